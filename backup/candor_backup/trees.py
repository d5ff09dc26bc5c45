"""Which pages of a database hold a table, and what such a page looks like without its secrets.

The format is SQLite's (https://www.sqlite.org/fileformat2.html, "B-tree Pages"), of tables with a row number
whose rows fit into a page: the tables of keys, and no others, come here.

Rules of this file:
- a table without its secrets is a table: same rows, same row numbers, and zeros for the last column, so that
  the database that holds it is whole and opens by itself;
- what is on such a page and in none of its rows (gaps, freed rows) is zeros too;
- what does not look as expected is refused: better no backup than one that holds a key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from candor_backup.pages import PAGE_OCTETS, USABLE_OCTETS
from candor_proto.errors import StoreUnusable

SECRET_OCTETS = 32
_INTERIOR, _LEAF = 0x05, 0x0D
_INTERIOR_HEADER, _LEAF_HEADER = 12, 8
_FREE_HEADER = 4
# Serial type of a blob: 12 + twice its length.
_SECRET_TYPE = 12 + 2 * SECRET_OCTETS
_MOST_LEVELS = 20

ReadPage = Callable[[int], bytes]


@dataclass(frozen=True)
class TablePages:
    """The numbers of a table's pages: those that lead to others, and those that hold rows."""

    interior: frozenset[int]
    leaves: frozenset[int]

    @property
    def all(self) -> frozenset[int]:
        return self.interior | self.leaves


def pages_of(read: ReadPage, roots: Iterable[int]) -> TablePages:
    """The pages of the tables whose first pages are `roots`; `read` gives a page in clear.

    Raises StoreUnusable.
    """
    interior: set[int] = set()
    leaves: set[int] = set()
    for root in roots:
        level = [root]
        for _ in range(_MOST_LEVELS):
            # All leaves of a tree are equally deep, so one page tells what its whole level is.
            kind = read(level[0])[0]
            if kind == _LEAF:
                leaves.update(level)
                break
            interior.update(level)
            level = [child for number in level for child in _children(read(number), number)]
        else:
            raise _unknown(root)
    return TablePages(frozenset(interior), frozenset(leaves))


def without_secrets(clear: bytes, number: int) -> bytes:
    """The page of such a table with zeros for every secret and for all that belongs to no row."""
    kind = clear[0]
    if number == 1 or kind not in (_INTERIOR, _LEAF):
        raise _unknown(number)
    header = _INTERIOR_HEADER if kind == _INTERIOR else _LEAF_HEADER
    made = bytearray(PAGE_OCTETS)
    made[USABLE_OCTETS:] = clear[USABLE_OCTETS:]
    pointers = header + 2 * int.from_bytes(clear[3:5], "big")
    if pointers > USABLE_OCTETS:
        raise _unknown(number)
    made[:pointers] = clear[:pointers]
    # The list of freed rows stays: SQLite's own checks count it.
    free = int.from_bytes(clear[1:3], "big")
    while free:
        if not pointers <= free <= USABLE_OCTETS - _FREE_HEADER:
            raise _unknown(number)
        made[free : free + _FREE_HEADER] = clear[free : free + _FREE_HEADER]
        following = int.from_bytes(clear[free : free + 2], "big")
        if following and following <= free:
            raise _unknown(number)
        free = following
    for at in range(header, pointers, 2):
        start = int.from_bytes(clear[at : at + 2], "big")
        if not pointers <= start < USABLE_OCTETS:
            raise _unknown(number)
        if kind == _INTERIOR:
            end = start + 4 + _varint(clear, start + 4, number)[1]
        else:
            end = _row_end(clear, start, number)
        made[start:end] = clear[start:end]
        if kind == _LEAF:
            made[end - SECRET_OCTETS : end] = bytes(SECRET_OCTETS)
    return bytes(made)


def _children(clear: bytes, number: int) -> list[int]:
    if clear[0] != _INTERIOR:
        raise _unknown(number)
    count = int.from_bytes(clear[3:5], "big")
    found = []
    for at in range(_INTERIOR_HEADER, _INTERIOR_HEADER + 2 * count, 2):
        start = int.from_bytes(clear[at : at + 2], "big")
        found.append(int.from_bytes(clear[start : start + 4], "big"))
    return [*found, int.from_bytes(clear[8:12], "big")]


def _row_end(clear: bytes, start: int, number: int) -> int:
    """Where the row that begins at `start` ends; its last column must be a secret."""
    octets, size = _varint(clear, start, number)
    at = start + size
    at += _varint(clear, at, number)[1]
    end = at + octets
    if end > USABLE_OCTETS or octets > USABLE_OCTETS - 35:  # longer rows go on on another page
        raise _unknown(number)
    header, size = _varint(clear, at, number)
    types, position = [], at + size
    while position < at + header:
        kind, size = _varint(clear, position, number)
        types.append(kind)
        position += size
    if not types or types[-1] != _SECRET_TYPE:
        raise _unknown(number)
    return end


def _varint(clear: bytes, at: int, number: int) -> tuple[int, int]:
    """A number of variable length, and how many octets it has."""
    value = 0
    for size in range(1, 9):
        if at + size > USABLE_OCTETS:
            raise _unknown(number)
        octet = clear[at + size - 1]
        value = value << 7 | octet & 0x7F
        if octet < 0x80:
            return value, size
    return value << 8 | clear[at + 8], 9


def _unknown(number: int) -> StoreUnusable:
    return StoreUnusable(
        f"Page {number} of the database is not what a table of keys is made of; nothing was backed up.",
        remedy="Run `candor-node doctor`; a database that is damaged is restored from a backup.",
    )
