"""Look at the built book with a headless Chromium: light and dark, phone and laptop.

    python -m book.tools.browser                                     check every page
    python -m book.tools.browser --screenshots DIR --pages 02_pooling    and save full-page pictures

No overflow to the side, no console error, no request to another machine, equations rendered, pictures and
videos loaded, Colab links that end in ``.ipynb``. Without a Chromium on PATH the pass is skipped.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from book.tools.chapters import ROOT, Book, Problem, report
from book.tools.html_check import page_of

WIDTHS = {"phone": 390, "laptop": 1280}
THEMES = ("light", "dark")
PATIENCE = 120_000  # milliseconds, on a busy machine
ALLOWED = re.compile(r"THEBE_JS_URL")  # the theme loads its live-code script twice; harmless
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

READY = """async () => {
  if (window.MathJax && MathJax.startup) await MathJax.startup.promise;
  const all = query => [...document.querySelectorAll('article ' + query)];
  for (const box of all('details')) box.open = true;
  for (const box of all('.toggle-hidden')) box.classList.remove('toggle-hidden');
  for (const image of all('img')) image.loading = 'eager';
  for (const video of all('video')) { video.preload = 'auto'; video.load(); }
  const loaded = () => all('video').every(v => v.readyState >= 2) && all('img').every(i => i.complete);
  const hopeless = () => all('video').some(v => v.error || v.networkState === v.NETWORK_NO_SOURCE);
  for (let wait = 0; wait < 600 && !loaded() && !(wait > 50 && hopeless()); wait++)
    await new Promise(r => setTimeout(r, 100));
}"""

FACTS = """() => {
  const root = document.documentElement;
  const all = query => [...document.querySelectorAll(query)];
  const width = root.clientWidth;
  const hidden = e => { for (let p = e.parentElement; p; p = p.parentElement) {
    if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(p).overflowX)) return true; } return false; };
  const wide = all('article *').filter(e => e.getBoundingClientRect().right > width + 1 && !hidden(e));
  const name = e => e.tagName.toLowerCase() + (e.classList.length ? '.' + e.classList[0] : '');
  return {
    overflow: root.scrollWidth - root.clientWidth,
    wide: wide.slice(0, 3).map(e => name(e) + ' ' + (e.textContent || '').trim().slice(0, 40)),
    theme: root.dataset.theme,
    math: all('article .math').length,
    rendered: all('article mjx-container').length,
    broken: all('mjx-merror, [data-mjx-error], mjx-container [style*="color: red"]')
      .map(e => (e.getAttribute('data-mjx-error') || e.textContent).slice(0, 60)),
    images: all('article img').filter(i => !i.naturalWidth).map(i => i.src.slice(0, 80)),
    videos: all('article video').filter(v => v.readyState < 2).map(v => v.getAttribute('aria-label')),
    colab: all('a[href*="colab.research"]').map(a => a.href),
    path: location.pathname,
  };
}"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path):
    """The address of a web server for ``folder`` on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def find_chromium() -> str | None:
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


@contextmanager
def chromium(executable: str):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=FLAGS, timeout=PATIENCE)
        try:
            yield browser
        finally:
            browser.close()


def judge(facts: dict, chapter: bool, repository: str, theme: str) -> list[tuple[str, str]]:
    """Rules broken by what was seen on one page: (rule, message) pairs."""
    out = []
    if facts["overflow"] > 0:
        wide = "; ".join(facts["wide"]) or "find the wide element"
        out.append(("overflow", f"{facts['overflow']} px too wide: {wide}"))
    if facts["theme"] != theme:
        out.append(("theme", f"shown in {facts['theme']!r}"))
    if facts["rendered"] < facts["math"]:
        out.append(("math", f"{facts['rendered']} of {facts['math']} equations rendered"))
    out += [("math", f"an equation with an error: {text}") for text in facts["broken"]]
    out += [("image", f"did not load: {source}") for source in facts["images"]]
    out += [("video", f"can't be played: {label}") for label in facts["videos"]]
    if chapter:
        slug = repository.split("://", 1)[-1].split("/", 1)[-1].rstrip("/")
        good = [link for link in facts["colab"] if link.endswith(".ipynb") and f"/{slug}/" in link]
        if not good or len(good) != len(facts["colab"]):
            out.append(("colab", f"the launch button should lead to the .ipynb in {slug}: {facts['colab']}"))
    return out


def look(browser: Browser, base: str, book: Book, file: str, theme: str, width: str, shots: Path | None):
    """Open one page in one theme at one width; its problems."""
    context = browser.new_context(viewport={"width": WIDTHS[width], "height": 900}, color_scheme=theme)
    context.add_init_script(f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}');")
    context.set_default_timeout(PATIENCE)
    page: Page = context.new_page()
    seen: list[tuple[str, str]] = []
    page.on("pageerror", lambda error: seen.append(("console", str(error).splitlines()[0])))
    page.on("console", lambda line: seen.append(("console", line.text)) if line.type == "error" else None)
    page.on("response", lambda r: seen.append(("request", f"{r.status} {r.url}")) if r.status >= 400 else None)

    def route(route, request):
        if request.url.startswith((base, "data:", "blob:")):
            route.continue_()
        else:
            seen.append(("network", f"asked for {request.url}; readers may be offline"))
            route.abort()

    page.route("**/*", route)
    path = page_of(book, file).relative_to(book.html).as_posix()
    page.goto(f"{base}/{path}", wait_until="load")
    page.evaluate(READY)
    seen += judge(page.evaluate(FACTS), file.endswith(".ipynb"), book.config["repository"]["url"], theme)
    if shots is not None:
        shots.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=shots / f"{Path(file).stem}-{width}-{theme}.png", full_page=True)
    context.close()
    where = f"{path} ({width}, {theme})"
    return [Problem(where, rule, message) for rule, message in dict.fromkeys(seen) if not ALLOWED.search(message)]


def problems(book: Book, files: list[str], executable: str, shots: Path | None = None) -> list[Problem]:
    """Every page in both themes at both widths."""
    out: list[Problem] = []
    with served(book.html) as base, chromium(executable) as browser:
        for file in files:
            for width in WIDTHS:
                for theme in THEMES:
                    out += look(browser, base, book, file, theme, width, shots)
    return out


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m book.tools.browser", description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--pages", nargs="*", default=[], help="names like 02_pooling or index; without it, all")
    parser.add_argument("--screenshots", type=Path, metavar="DIR", help="save full-page pictures there")
    options = parser.parse_args(arguments)
    book = Book(options.root.resolve())
    files = [file for file in book.toc if not options.pages or Path(file).stem in options.pages]
    executable = find_chromium()
    if executable is None:
        print("browser pass: skipped, no Chromium on PATH (on Debian: apt-get install chromium)")
        return 0
    if not files:
        names = ", ".join(Path(file).stem for file in book.toc)
        print(f"error: no page {' '.join(options.pages)}; there are: {names}", file=sys.stderr)
        return 2
    if missing := [file for file in files if not page_of(book, file).exists()]:
        print(f"error: not built: {', '.join(missing)}; run `make book` first", file=sys.stderr)
        return 1
    found = problems(book, files, executable, options.screenshots)
    return report(found, f"browser pass ({len(files)} pages, {len(WIDTHS)} widths, {len(THEMES)} themes)")


if __name__ == "__main__":
    sys.exit(main())
