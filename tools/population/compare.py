"""How two populations differ in what goes wrong: measured rates side by side.

`python -m tools.population --compare DIR ...` prints the table; every figure is measured on the rows
alone, so that a set of files is measured in the same way as a generated population.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from tools.population.errors import Row
from tools.population.files import Labelled

FIELDS = ("first", "middle", "last", "suffix", "former_last", "dob", "ssn4", "sex", "post_state", "post_id")
# Fields that are often missing: how many of them are missing together tells sloppy rows from others.
OFTEN_MISSING = ("middle", "ssn4", "sex", "post_id")


def measured(data: Labelled) -> dict[str, float]:
    """Every figure by its name: shares of rows, of pairs, or of pairs that have the field on both sides."""
    found = {}
    for side, rows in (("A", data.records), ("B", data.queries)):
        for field in FIELDS:
            found[f"missing {field} {side}"] = _share(not getattr(row, field) for row in rows)
        found[f"partial dob {side}"] = _share("X" in row.dob for row in rows)
        found[f"1 January {side}"] = _share(row.dob.endswith("-01-01") for row in rows)
        found[f"initial first {side}"] = _share(len(row.first) == 1 for row in rows)
        found[f"initial middle {side}"] = _share(len(row.middle) == 1 for row in rows if row.middle)
        found[f"digit in names {side}"] = _share(
            any(letter.isdigit() for letter in row.first + row.last) for row in rows
        )
        found[f"two surnames {side}"] = _share("-" in row.last or " " in row.last for row in rows)
        together = Counter(sum(not getattr(row, field) for field in OFTEN_MISSING) for row in rows)
        for count in range(len(OFTEN_MISSING) + 1):
            found[f"{count} of 4 missing {side}"] = together[count] / len(rows)
    records = {row.rec_id: row for row in data.records}
    queries = {row.rec_id: row for row in data.queries}
    pairs = [(queries[query], records[record]) for query, record in data.truth]
    found |= {f"equal {name} A-B": share for name, share in _equal(pairs).items()}
    differing = Counter(sum(_differ(one, other, field) for field in FIELDS) for one, other in pairs)
    for count in range(5):
        found[f"{count} fields differ A-B"] = differing[count] / len(pairs)
    found |= {f"equal {name} A-A": share for name, share in _equal(_twice(data.records)).items()}
    return found


def _twice(records: Iterable[Row]) -> list[tuple[Row, Row]]:
    """The two records of everybody who has two."""
    first: dict[str, Row] = {}
    pairs = []
    for row in records:
        if row.entity_id in first:
            pairs.append((first[row.entity_id], row))
        else:
            first[row.entity_id] = row
    return pairs


def _differ(one: Row, other: Row, field: str) -> bool:
    values = getattr(one, field), getattr(other, field)
    return all(values) and values[0] != values[1]


def _equal(pairs: Sequence[tuple[Row, Row]]) -> dict[str, float]:
    shares = {}
    for field in FIELDS:
        both = [pair for pair in pairs if getattr(pair[0], field) and getattr(pair[1], field)]
        shares[field] = _share(not _differ(*pair, field) for pair in both)
    return shares


def _share(told: Iterable[bool]) -> float:
    """The share that is true; 0 of nothing."""
    values = list(told)
    return sum(values) / len(values) if values else 0.0


def kinds(rows: Iterable[Row]) -> Counter[str]:
    """How many rows there are of each kind."""
    return Counter(row.kind for row in rows)


def table(columns: Mapping[str, Mapping[str, float]]) -> str:
    """The figures of several populations, one a column, under their names."""
    names = list(columns)
    figures = list(next(iter(columns.values())))
    width = max(len(figure) for figure in figures)
    cells = [max(7, len(name)) for name in names]
    lines = [" " * width + "".join(f"  {name:>{cell}}" for name, cell in zip(names, cells, strict=True))]
    for figure in figures:
        values = (f"  {columns[name][figure]:>{cell}.4f}" for name, cell in zip(names, cells, strict=True))
        lines.append(f"{figure:<{width}}" + "".join(values))
    return "\n".join(lines) + "\n"
