"""What has to be done about records, by when: the work list (RECORDS.md §4.2, §4.4).

Rules of this file:
- a day stands where it comes from, and nowhere twice: reviews, ends of retention and disputes in the head of
  the record, the day after which an appeal is out of time in its gate's `recheck_on`, notices to the officer
  and recalls in their own tables;
- nothing here names anybody, and nothing is opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import Enum

from candor_node.recalls import OVERDUE_DAYS
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


# Kept in the head of a record, and when it counts: most not for records that are over. The + keeps the days'
# own indexes in use, which give the first of a page without reading all the others.
_IN_HEAD = {
    What.REVIEW: ("review_on", "+standing IN ('DRAFT', 'HELD', 'ACTIVE')"),
    What.RETENTION: ("expires_on", "+standing <> 'EXPUNGED'"),
    What.DISPUTE: ("dispute_due_on", "+standing IN ('DRAFT', 'HELD', 'ACTIVE')"),
    What.APPEAL: ("recheck_on", "+standing = 'HELD' AND instr(', ' || failed || ', ', ', final, ') > 0"),
}


def dues(
    db: Database,
    until: date,
    what: Sequence[What] = tuple(What),
    kind: RecordKind | None = None,
    after: Due | None = None,
    limit: int = 100,
    overdue_days: int = OVERDUE_DAYS,
) -> list[Due]:
    """What is due up to and on `until`, the longest overdue first; behind `after`, the last of a page.

    `overdue_days`: how long the policy gives a recipient to acknowledge a recall.
    """
    begin = (after.due_on.isoformat(), after.record_id, after.what.name) if after else ("", b"", "")
    parts = [f"SELECT * FROM ({_part(one, overdue_days, of_kind=kind is not None)})" for one in what]  # noqa: S608
    only = [kind.name] if kind else []
    values = [until.isoformat(), begin[0], *only, *begin, limit] * len(parts)
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


def _part(what: What, overdue_days: int, *, of_kind: bool) -> str:
    """The list's first rows about `what`, as SQL over until, from, kind (if any), begin (three) and limit."""
    if what in _IN_HEAD:
        day, counts = _IN_HEAD[what]
        source, record, distinct, kind = f"record_heads WHERE {counts}", "record_id", "", "+record_kind"
    else:
        day, source, kind = _ELSEWHERE[what]
        day = day.format(overdue_days=overdue_days)
        record, distinct = "record_heads.record_id", "DISTINCT"
    # The plus keeps SQLite from reading all records of the kind instead of what is due first.
    only = f"AND {kind} = ? " if of_kind else ""
    return (
        f"SELECT {distinct} {day} AS due_on, {record}, '{what.name}' AS what, record_heads.dcn, "  # noqa: S608
        f"record_heads.record_kind, standing, legal_hold FROM {source} AND {day} <= ? AND {day} >= ? {only}"
        f"AND ({day}, {record}, '{what.name}') > (?, ?, ?) ORDER BY due_on, {record} LIMIT ?"
    )


# What an own table says: the day, and where from. A recall outlives its record.
_ELSEWHERE = {
    What.NOTICE: (
        "subject_notices.due_on",
        "subject_notices JOIN record_heads USING (record_id) WHERE sent_on IS NULL",
        "subject_notices.record_kind",
    ),
    What.RECALL: (
        "date(recalls.effective_at / 1000, 'unixepoch', '+{overdue_days:d} days')",
        "recalls JOIN record_heads USING (record_id) "
        "WHERE recalls.state IN ('pending', 'sent', 'undeliverable')",
        "+record_heads.record_kind",
    ),
}
