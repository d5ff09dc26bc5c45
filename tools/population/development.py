"""The development sets officers-dev and officers-devhard, carried in `data/`: the project stands alone.

`data/README.md` says where they come from and what they may be used for. They are packed as one CSV of
records and queries; `address`, which is copied without error from person to row, and `agency`, which says
nothing, are left out. Which pairs are one person is not packed: it is what `entity_id` says.
"""

from __future__ import annotations

import csv
import io
import lzma
from collections.abc import Iterable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Final

from tools.population.errors import Row
from tools.population.files import Labelled, Pair, read
from tools.population.names import DATA, label

NAMES: Final = ("officers-dev", "officers-devhard")
# In the packed file; `agency` and `origin` are made when it is read.
PACKED: Final = (
    "rec_id", "entity_id", "first", "middle", "last", "suffix", "former_last", "dob", "ssn4", "sex",
    "post_state", "post_id", "kind",
)  # fmt: skip
_RECORD, _QUERY = "A", "Q"


def path(name: str) -> Path:
    """The packed file of a development set."""
    return DATA / f"{name}.csv.xz"


def load(name: str) -> Labelled:
    """A development set: records and queries in the order of the original files, and every true pair.

    `agency` is empty; `origin` is the label of the surname *as filed* (tools.population.names.label). Raises
    ValueError for another name.
    """
    if name not in NAMES:
        raise ValueError(f"The development sets are {', '.join(NAMES)}.")
    return unpack(lzma.decompress(path(name).read_bytes()).decode("utf-8"))


def unpack(text: str) -> Labelled:
    """What `pack` packed, less agencies, and with the origin label of each surname as filed."""
    rows = [
        Row(**values, agency="", origin=label(values["last"])) for values in csv.DictReader(io.StringIO(text))
    ]
    records = [row for row in rows if row.rec_id.startswith(_RECORD)]
    queries = [row for row in rows if row.rec_id.startswith(_QUERY)]
    return Labelled(records, queries, sorted(_pairs(records, queries)))


def pack(data: Labelled) -> str:
    """Records and queries as one CSV. Raises ValueError if the truth is not what `entity_id` says."""
    if set(_pairs(data.records, data.queries)) != set(data.truth):
        raise ValueError("The true pairs are not those with the same entity_id.")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(PACKED)
    writer.writerows(map(attrgetter(*PACKED), [*data.records, *data.queries]))
    return out.getvalue()


def _pairs(records: Iterable[Row], queries: Iterable[Row]) -> Iterator[Pair]:
    held: dict[str, list[str]] = {}
    for record in records:
        held.setdefault(record.entity_id, []).append(record.rec_id)
    for query in queries:
        yield from ((query.rec_id, rec_id) for rec_id in held.get(query.entity_id, ()))


def carry(folder: Path, name: str) -> None:
    """Pack the files of `folder` as the development set `name`: done once, and kept to say how."""
    text = pack(read(folder))
    path(name).write_bytes(lzma.compress(text.encode("utf-8"), preset=9 | lzma.PRESET_EXTREME))
