"""Two ways of matching by exact keys alone, as baselines: the toy hash and a published set of match keys.

The toy hash is one key of first name, last name and birth date: what a hashed spreadsheet column does.

The published set is that of the Office for National Statistics for linking the 2011 Census of England and
Wales to the NHS Patient Register by hashed match-keys (Beyond 2011, paper M9, "Matching Anonymous Data",
2013): eleven concatenations of forename, surname, birth date, sex and postcode, each looser in one place.
Adapted to the fields there are:

- SSN4 stands where the postcode stood: the one field beside name and birth date that most rows have. Its
  first two digits stand for the district, the first for the area.
- Sex is left out: it is missing in one row of ten and says one bit. So the key that differs from the first by
  sex alone falls away.
- Keys 3, 10 and 11 do without the SSN4: of the choices tried on the development sets that one serves the set
  best (F1 .946 instead of .912 with name, birth date and SSN4).
- Key 11 needs a middle name. Without it and the one above, nine keys are left.

A record is answered when any key is equal, with the score 1: such a set knows no threshold.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from bench.matching_metrics import Pair

Row = Mapping[str, str]
Key = tuple[str, ...]


def letters(text: str) -> str:
    """Lower case a to z, marks off: all that these baselines normalise."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in plain if "a" <= letter <= "z")


def digits(text: str, length: int) -> str:
    """`length` digits, what separates them off; anything else is missing."""
    found = text.replace("-", "").strip()
    return found if len(found) == length and found.isdecimal() and set(found) != {"0"} else ""


def toy(row: Row) -> list[Key]:
    """The one key, if the row has all of it."""
    return _whole([(letters(row["first"]), letters(row["last"]), digits(row["dob"], 8))])


def published(row: Row) -> list[Key]:
    """The published keys of a row that asks; the numbers are those of the paper."""
    return _published(row, exchanged=False)


def published_of_record(row: Row) -> list[Key]:
    """The same of a row that is held: its tenth key meets names that one of the two has exchanged."""
    return _published(row, exchanged=True)


def _published(row: Row, exchanged: bool) -> list[Key]:
    first, last, middle = letters(row["first"]), letters(row["last"]), letters(row["middle"])
    born, ssn4 = digits(row["dob"], 8), digits(row["ssn4"], 4)
    names = (last, first) if exchanged else (first, last)
    return _whole(
        [
            ("1", first, last, born, ssn4),
            ("2", first[:1], last[:1], born, ssn4[:2]),
            ("3", first[:2], last[:2], born),
            ("4", first[:1], born, ssn4),
            ("5", last[:1], born, ssn4),
            ("6", first, last, born[:4], ssn4[:1]),
            ("7", first, last, ssn4),
            ("8", first, last, born),
            ("10", *names, born),
            ("11", middle, last, born),
        ]
    )


def _whole(keys: Iterable[Key]) -> list[Key]:
    return [key for key in keys if all(key)]


def meet(
    queries: Iterable[Row],
    records: Iterable[Row],
    asked: Callable[[Row], list[Key]],
    held: Callable[[Row], list[Key]],
) -> dict[Pair, float]:
    """Every pair with an equal key, with the score 1."""
    holders: dict[Key, list[str]] = defaultdict(list)
    for record in records:
        for key in held(record):
            holders[key].append(record["rec_id"])
    return {
        (query["rec_id"], record): 1.0
        for query in queries
        for key in asked(query)
        for record in holders.get(key, ())
    }
