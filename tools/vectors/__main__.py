"""`python -m tools.vectors` writes tests/vectors/protocol; `--check` compares, octet for octet."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from tools.vectors import (
    answers,
    canonical,
    curve,
    directory,
    disclosure,
    draws_of_audit,
    entries,
    evidence,
    folds,
    heads,
    identifiers,
    index,
    lookups,
    merkle,
    notes,
    openings,
    policies,
    proofs,
    recall,
    receipts,
    records,
    rules,
    sealing,
    segments,
    shares,
    signatures,
    slots,
    successions,
    witnesses,
)
from tools.vectors.book import FOLDER, readme, schema

BOOKS = (
    identifiers.book,
    canonical.book,
    signatures.book,
    curve.book,
    slots.book,
    shares.book,
    index.book,
    segments.book,
    heads.book,
    lookups.book,
    answers.book,
    records.book,
    sealing.book,
    disclosure.book,
    recall.book,
    directory.book,
    rules.book,
    merkle.book,
    notes.book,
    entries.book,
    policies.book,
    witnesses.book,
    proofs.book,
    folds.book,
    draws_of_audit.book,
    receipts.book,
    evidence.book,
    openings.book,
    successions.book,
)


def files() -> Iterator[tuple[str, str]]:
    """Name and text of every file that is made."""
    for make in BOOKS:
        book = make()
        yield f"{book.name}.json", book.text()
    yield "schema.json", schema()
    yield "README.md", readme()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if a file differs")
    check = parser.parse_args().check
    FOLDER.mkdir(exist_ok=True)
    differing = []
    for name, text in files():
        path = FOLDER / name
        if check and (not path.exists() or path.read_text("utf-8") != text):
            differing.append(name)
        elif not check:
            path.write_text(text, "utf-8")
    for name in differing:
        print(f"{name} is not what `python -m tools.vectors` makes.")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
