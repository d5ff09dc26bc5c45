"""Synthetic officers and records for tests. No name here is anybody's."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from candor_node.founding import MIGRATIONS
from candor_node.store import Store
from candor_proto.ids import NodeId, Ori
from candor_records.content import ALL_FIELDS, CONTENT_FIELDS, DUE_PROCESS_FIELDS, Content
from candor_records.record_fields import parse
from candor_records.records import Record, initial
from tests.empty import empty_store

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
ORI = Ori("ZZ0010000")
NODE = NodeId("springfield-pd")
CONTRIBUTOR = "clerk-7"

_ROW = {
    "agency_record_id": "IA-2021-0001",
    "record_kind": "TERMINATION_FOR_CAUSE",
    "first": "Quentin",
    "middle": "Zebulon",
    "last": "Placeholderson",
    "suffix": "",
    "former_last": "",
    "birth_date": "1984-07-23",
    "ssn4": "4821",
    "sex": "M",
    "post_state": "ZZ",
    "post_id": "B-204417",
    "effective_on": "2021-06-14",
    "decided_on": "2021-06-07",
    "decision_maker": "TRIAL_BOARD",
    "standard_of_proof": "PREPONDERANCE",
    "notice_given_on": "2021-04-01",
    "notice_method": "IN_PERSON",
    "opportunity": "OFFERED_HELD",
    "opportunity_on": "2021-05-11",
    "finality": "FINAL",
    "appeal_until": "",
    "subject_notified_on": "2021-06-20",
    "sharing": "YELLOW",
    "on_duty": "YES",
    "use_of_force_related": "NO",
    "allegation_categories": "DISHONESTY;ABUSE_OF_POWER",
    "source_of_record": "PERSONNEL_ACTION",
    "narrative": "Falsified two overtime reports; sustained after a hearing.",
}
_EMPTY_IN_COMMENDATIONS = (*DUE_PROCESS_FIELDS, "allegation_categories")

_FIRST = ("Aldo", "Bettina", "Corwin", "Delphine", "Edgar", "Fenella", "Gideon", "Hester", "Jocasta")
_LAST = ("Ashgrove", "Birchwater", "Coldfell", "Dunmarsh", "Elderbrook", "Fernhollow", "Greywick")
_TAIL = ("son", "by", "worth", "field", "man", "stead", "wright", "lock")


STORE_KEY = bytes(range(32))


def new_store(folder: Path) -> Store:
    """A new database in `folder`, with all tables of a node."""
    return empty_store(folder / "node.db", STORE_KEY)


def open_again(folder: Path) -> Store:
    """The database that `new_store` made in `folder`."""
    return Store.open(folder / "node.db", STORE_KEY, MIGRATIONS)


def make_row(**overrides: str) -> dict[str, str]:
    """A row of the first import format that is valid and passes the gate; any column can be overridden.

    `record_kind="COMMENDATION"` empties the due-process columns, as the format wants.
    """
    row = dict(_ROW)
    if overrides.get("record_kind") == "COMMENDATION":
        row.update(dict.fromkeys(_EMPTY_IN_COMMENDATIONS, ""))
        row["narrative"] = "Pulled a driver from a burning car."
    if overrides.get("record_kind") in ("CRIMINAL_CONVICTION", "CIVIL_JUDGMENT"):
        row.update(source_of_record="COURT", decision_maker="COURT", notice_method="COURT_SERVICE")
    unknown = overrides.keys() - set(ALL_FIELDS)
    if unknown:
        raise AssertionError(f"no such column: {', '.join(sorted(unknown))}")
    row.update(overrides)
    return row


def csv_bytes(rows: Iterable[dict[str, str]], columns: Iterable[str] | None = None) -> bytes:
    """The rows as a CSV file in UTF-8 with CRLF; all columns that a row has, if none are named."""
    rows = list(rows)
    known = list(columns or dict.fromkeys((*CONTENT_FIELDS, *(name for row in rows for name in row))))
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, known, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode("utf-8")


def make_content(**overrides: str) -> Content:
    """The content of `make_row(**overrides)`."""
    content, faults = parse(make_row(**overrides))
    if content is None:
        raise AssertionError("; ".join(fault.message for fault in faults))
    return content


def make_record(now: datetime = NOW, ori: Ori = ORI, node: NodeId = NODE, /, **overrides: str) -> Record:
    """The first version of a record with the content of `make_row(**overrides)`."""
    return initial(make_content(**overrides), now, ori, node, CONTRIBUTOR)


def generated_rows(count: int, seed: int = 1, **overrides: str) -> Iterator[dict[str, str]]:
    """`count` valid rows of different officers, always the same for a seed.

    One in three has a middle name, one in eight a former or a double surname, one in twenty no ssn4.
    """
    draw = random.Random(seed)
    for number in range(count):
        last = draw.choice(_LAST) + draw.choice(_TAIL)
        if draw.random() < 0.06:
            last += "-" + draw.choice(_LAST)
        yield make_row(
            **{
                "agency_record_id": f"IA-{seed}-{number:06d}",
                "first": draw.choice(_FIRST),
                "middle": draw.choice(_FIRST) if draw.random() < 0.33 else "",
                "last": last,
                "former_last": draw.choice(_LAST) if draw.random() < 0.06 else "",
                "birth_date": str(date(1955, 1, 1) + timedelta(days=draw.randrange(16_000))),
                "ssn4": f"{draw.randint(1, 9998):04d}" if draw.random() < 0.95 else "",
                "sex": draw.choice("MFX"),
                "post_id": f"{draw.randint(10_000, 999_999)}",
                **overrides,
            }
        )
