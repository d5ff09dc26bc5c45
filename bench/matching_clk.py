"""Bloom filters (clkhash and anonlink) on one folder: run by `bench.environments` in its own environment.

Reads A.csv (records) and B.csv (queries) of the folder given; for each weighting in turn writes the pairs
whose Dice coefficient is at least FLOOR, the best of each row, to the file given, with the weighting's name
put in for NAME (query_id, rec_id, probability: the coefficient, which is none). Prints {"seconds": {name:
...}, "pairs", "version", ...}. Imports nothing of the project.

Every pair is compared; a lookup is not one-to-one, so no assignment follows. `default` takes the bits a token
of the schema that clkhash ships. The other weightings are tried besides; the best of all is picked on the
very test, which no user could do: what tuning could reach.
"""

import contextlib
import csv
import io
import json
import sys
import time
import unicodedata
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

SECRET = "candor bench"  # Nothing is protected by it here.
FLOOR = 0.6
# At most so many a row: below the floor of use, and millions of pairs less to write.
BEST_OF_ROW = 20
BITS = 1024
NAMES = ("first", "last", "middle", "former_last")
# Bits of first and last name, birth date, SSN4, any other field: of a token each (a bigram or a digit) in the
# schema that clkhash ships with its example names, of the whole field in those tried besides.
WEIGHTINGS: dict[str, tuple[str, tuple[int, int, int, int]]] = {
    "default": ("bitsPerToken", (15, 30, 30, 15)),
    "equal": ("bitsPerFeature", (200, 200, 200, 50)),
    "dates and numbers": ("bitsPerFeature", (100, 200, 200, 40)),
    "few bits": ("bitsPerFeature", (60, 120, 120, 25)),
    "few bits, more of names": ("bitsPerFeature", (100, 120, 120, 25)),
}
Row = dict[str, str]


def plain(text: str) -> str:
    """Lower case, marks and punctuation off."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKD", text.lower())))


def rows(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {name: value if name == "rec_id" else plain(value) for name, value in line.items()}
            for line in csv.DictReader(file)
        ]


def schema(there: list[str], strategy: str, bits: tuple[int, int, int, int]) -> dict[str, Any]:
    """A clkhash schema: bigrams of names, digits of numbers with their place."""
    of_name, of_date, of_ssn4, of_other = bits
    features = []
    for name in there:
        count = {"dob": of_date, "ssn4": of_ssn4}.get(name, of_name if name in NAMES[:2] else of_other)
        features.append(
            {
                "identifier": name,
                "format": {"type": "string", "encoding": "utf-8", "case": "mixed"},
                "hashing": {
                    "comparison": {
                        "type": "ngram",
                        "n": 2 if name in NAMES else 1,
                        "positional": name not in NAMES,
                    },
                    "strategy": {strategy: count},
                    "hash": {"type": "blakeHash"},
                    # An empty field sets no bits.
                    "missingValue": {"sentinel": "", "replaceWith": ""},
                },
            }
        )
    return {
        "version": 3,
        "clkConfig": {
            "l": BITS,
            "kdf": {"type": "HKDF", "hash": "SHA256", "salt": "Y2FuZG9y", "info": "", "keySize": 64},
        },
        "features": features,
    }


def scored(folder: Path, out: str, wanted: list[str]) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import anonlink  # type: ignore[import-not-found]  # lives elsewhere
    from clkhash import clk  # type: ignore[import-not-found]  # lives elsewhere
    from clkhash.schema import from_json_dict  # type: ignore[import-not-found]  # lives elsewhere

    records, queries = rows(folder / "A.csv"), rows(folder / "B.csv")
    there = [
        name
        for name in records[0]
        if name != "rec_id" and all(any(row[name] for row in side) for side in (records, queries))
    ]
    seconds, pairs = {}, {}
    for name in wanted:
        started = time.perf_counter()
        made = from_json_dict(schema(there, *WEIGHTINGS[name]))
        # It prints a progress bar and statistics.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            asked, held = (
                clk.generate_clks(
                    [[row[field] for field in there] for row in side], made, SECRET, max_workers=1
                )
                for side in (queries, records)
            )
        similar, _, (left, right) = anonlink.candidate_generation.find_candidate_pairs(
            [asked, held], anonlink.similarities.dice_coefficient, FLOOR, BEST_OF_ROW
        )
        with Path(out.replace("NAME", name)).open("w", encoding="utf-8", newline="") as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(("query_id", "rec_id", "probability"))
            for score, query, record in zip(similar, left, right, strict=True):
                lines.writerow((queries[query]["rec_id"], records[record]["rec_id"], repr(score)))
        seconds[name] = round(time.perf_counter() - started, 2)
        pairs[name] = len(similar)
    return {
        "seconds": seconds,
        "pairs": pairs,
        "version": version("anonlink"),
        "clkhash": version("clkhash"),
    }


if __name__ == "__main__":
    json.dump(scored(Path(sys.argv[1]), sys.argv[2], sys.argv[3:] or list(WEIGHTINGS)), sys.stdout)
