"""What has to be done about records, by when: the work list (RECORDS.md §4.2, §4.4).

Rules of this file:
- a day stands where it comes from: reviews and ends of retention in the record's head, the day after which an
  appeal is out of time in its gate's `recheck_on`. What no head says (a dispute's clock, a notice to the
  officer, a recall without an answer) is put down with `set_due` by whoever knows, in the transaction of the
  act, and ends with `clear_due` or with the record's key;
- nothing here names anybody, and nothing is opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import Enum

from candor_node.store import Database
from candor_proto.errors import InputInvalid
from candor_proto.record import RecordKind
from candor_records.records import Dcn, Standing


class What(Enum):
    """What is due; the value says it in a list."""

    REVIEW = "review: is it still to be kept?"
    RETENTION = "its time to be kept ends"
    APPEAL = "the time to appeal may be over: the gate asks again"
    DISPUTE = "the answer to a dispute"
    NOTICE = "the notice to the officer"
    RECALL = "a recall that nobody acknowledged"

    @classmethod
    def parse(cls, text: str) -> What:
        """Raises InputInvalid."""
        try:
            return cls[text.strip().upper()]
        except KeyError:
            names = ", ".join(what.name.lower() for what in cls)
            raise InputInvalid("Nothing of that name can be due.", remedy=f"Say one of {names}.") from None


@dataclass(frozen=True)
class Due:
    """One piece of work: what, by when, about which record."""

    due_on: date
    what: What
    dcn: Dcn
    kind: RecordKind
    standing: Standing
    legal_hold: bool
    record_id: bytes


# Kept in the head of a record, and when it counts: not for records that are over.
_IN_HEAD = {
    What.REVIEW: ("review_on", "standing IN ('DRAFT', 'HELD', 'ACTIVE')"),
    What.RETENTION: ("expires_on", "standing <> 'EXPUNGED'"),
    What.APPEAL: ("recheck_on", "standing = 'HELD' AND instr(', ' || failed || ', ', ', final, ') > 0"),
}


def set_due(db: Database, record_id: bytes, what: What, due_on: date) -> None:
    """Put down, in place of the day that was there, by when something is due that no head says."""
    if what in _IN_HEAD:
        raise AssertionError(f"when a {what.name} is due stands in the record's head")
    db.execute(
        "INSERT OR REPLACE INTO record_dues VALUES (?, ?, ?)", [record_id, what.name, due_on.isoformat()]
    )


def clear_due(db: Database, record_id: bytes, what: What) -> None:
    """It is done, or need not be done any more."""
    db.execute("DELETE FROM record_dues WHERE record_id = ? AND what = ?", [record_id, what.name])


def dues(
    db: Database, until: date, what: Sequence[What] = tuple(What), after: Due | None = None, limit: int = 100
) -> list[Due]:
    """What is due up to and on `until`, the longest overdue first; behind `after`, the last of a page."""
    begin = (after.due_on.isoformat(), after.record_id, after.what.name) if after else ("", b"", "")
    parts, values = [], list[str | bytes | int]()
    for one in what:
        sql, own = _part(one)
        parts.append(f"SELECT * FROM ({sql})")  # noqa: S608
        values += [until.isoformat(), begin[0], *own, *begin, limit]
    rows = db.execute(
        " UNION ALL ".join(parts) + " ORDER BY due_on, record_id, what LIMIT ?", [*values, limit]
    )
    return [
        Due(
            date.fromisoformat(due_on),
            What[name],
            Dcn(dcn),
            RecordKind[kind],
            Standing[standing],
            bool(legal_hold),
            record_id,
        )
        for due_on, record_id, name, dcn, kind, standing, legal_hold in rows
    ]


def _part(what: What) -> tuple[str, list[str]]:
    """The list's first rows about `what`, as SQL over until, from, …, begin and limit; and what `…` is."""
    columns = "dcn, record_kind, standing, legal_hold"
    if what in _IN_HEAD:
        column, counts = _IN_HEAD[what]
        sql = (
            f"SELECT {column} AS due_on, record_id, '{what.name}' AS what, {columns} FROM record_heads "  # noqa: S608
            f"WHERE {column} <= ? AND {column} >= ? AND {counts}"
        )
        own: list[str] = []
    else:
        sql = (
            f"SELECT due_on, record_dues.record_id, what, {columns} FROM record_dues "  # noqa: S608
            "JOIN record_heads USING (record_id) WHERE due_on <= ? AND due_on >= ? AND what = ?"
        )
        own = [what.name]
    return f"{sql} AND (due_on, record_id, what) > (?, ?, ?) ORDER BY due_on, record_id LIMIT ?", own
