// Filters of the ledger page, by table and by status. Without this script the page is complete, only unfiltered.
document.addEventListener("DOMContentLoaded", () => {
  const box = document.getElementById("ledger-filters");
  const tables = [...document.querySelectorAll("details.ledger")];
  if (!box || !tables.length) return;

  const select = (name, options) => {
    const label = box.appendChild(document.createElement("label"));
    label.append(name);
    const element = label.appendChild(document.createElement("select"));
    for (const [value, text] of [["", "all"], ...options]) element.add(new Option(text, value));
    element.addEventListener("change", show);
    return element;
  };
  const name = (id) => (id === "text" ? "Running text" : `Table ${id}`);
  const rows = tables.flatMap((table) => [...table.querySelectorAll("tr[data-status]")]);
  const number = (kind) => rows.filter((row) => row.dataset.status === kind).length;
  const kinds = box.dataset.kinds.split("|").filter(number);
  const table = select("Table", tables.map((element) => [element.dataset.table, name(element.dataset.table)]));
  const status = select("Status", kinds.map((kind) => [kind, `${kind} (${number(kind)})`]));
  const count = box.appendChild(document.createElement("span"));
  count.setAttribute("aria-live", "polite");
  box.hidden = false;
  show();

  function show() {
    let seen = 0;
    const filtered = table.value || status.value;
    for (const element of document.querySelectorAll("details.ledger, details.ledger-aside")) {
      const section = element.closest("section");
      const own = section.querySelector("details.ledger");
      let hits = 0;
      for (const row of element.querySelectorAll("tr[data-status]")) {
        row.hidden = Boolean(status.value) && row.dataset.status !== status.value;
        hits += !row.hidden;
      }
      if (own && own !== element) continue; // shown or hidden with its section
      const fits = own ? hits > 0 && (!table.value || own.dataset.table === table.value) : !filtered;
      section.hidden = !fits;
      if (own) own.open = fits && Boolean(filtered);
      seen += fits ? hits : 0;
    }
    count.textContent = `${seen} of ${rows.length} numbers`;
  }
});
