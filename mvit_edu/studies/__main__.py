"""`python -m mvit_edu.studies [TABLE ...]`: the paper's numbers against ours; without a table, the totals."""

from __future__ import annotations

import argparse

from mvit_edu.studies.claims import KINDS, claims_of, status, summary
from mvit_edu.studies.paper import paper_table


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m mvit_edu.studies", description=__doc__)
    parser.add_argument("table", nargs="*", help="for example 13 or A.3")
    tables = parser.parse_args(argv).table
    if not tables:
        for kind, number in summary().items():
            print(f"{number:5d}  {kind:16} {KINDS[kind]}")
    for id in tables:
        try:
            table = paper_table(id)
        except ValueError as error:
            parser.error(str(error))
        print(f"{table.name}. {table.title}")
        for claim in claims_of(table):
            now = status(claim)
            printed = f"paper {claim.printed} {claim.unit}".strip()
            ours = f"ours {now.shown or '-'}"
            print("  " + " | ".join([claim.label, claim.column, printed, ours, f"{now.kind} {now.text}".strip()]))
            if claim.reading and claim.how == "counted":
                print(f"      {claim.reading}")
            elif now.command:
                print(f"      {now.command}")


if __name__ == "__main__":
    main()
