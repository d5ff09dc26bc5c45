"""What always holds in a node's database of records, whatever died in the middle: the invariants checker.

    assert violations(store, now) == []

It reads tables and opens everything that has a key; each sentence it returns names one thing that is wrong.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from candor_node import filings, history, ledger, record_seals
from candor_node.store import Database, Store
from candor_proto.errors import CandorError
from candor_records.gate import gate, gate_day
from candor_records.life import REPORTS, Act
from candor_records.policy import NoPack, Policy
from candor_records.records import Dcn, Record, Standing

_TERMINAL_ACTS = {Act.EXPUNGE, Act.DESTROY}


def violations(store: Store, now: datetime, policy: Policy | None = None) -> list[str]:
    """All that is wrong; `now` is when the gate was asked last."""
    return store.run_sync(lambda db: list(_all(db, now, policy or NoPack())))


def _all(db: Database, now: datetime, policy: Policy) -> Iterator[str]:
    try:
        ledger.verify(db)
    except CandorError as error:
        yield f"ledger: {error.message}"
    filed = Counter(
        entry.refs.get("dcn", "") for entry in ledger.entries(db, event="record.filed", limit=10**6)
    )
    known = {dcn for (dcn,) in db.execute("SELECT dcn FROM records")}
    for dcn, times in filed.items():
        if times != 1 or dcn not in known:
            yield f"{dcn}: {times} ledger entries say that it was filed; it is there: {dcn in known}"
    for dcn in known - filed.keys():
        yield f"{dcn}: was filed and is not in the ledger"
    heads = {record_id for (record_id,) in db.execute("SELECT record_id FROM record_heads")}
    for (record_id,) in db.execute("SELECT DISTINCT record_id FROM records").fetchall():
        if record_id not in heads:
            yield f"{record_id.hex()}: versions without a head"
    for (record_id,) in db.execute("SELECT record_id FROM record_keys").fetchall():
        if record_id not in heads:
            yield f"{record_id.hex()}: a key of nothing"
    for record_id in sorted(heads):
        for sentence in _one(db, record_id, now, policy):
            yield f"{record_id.hex()}: {sentence}"


def _one(db: Database, record_id: bytes, now: datetime, policy: Policy) -> Iterator[str]:
    rows = db.execute(
        "SELECT dcn, version, previous_dcn, current FROM records WHERE record_id = ? ORDER BY version",
        [record_id],
    ).fetchall()
    numbers = [row[0] for row in rows]
    if [row[1] for row in rows] != list(range(1, len(rows) + 1)):
        yield "its versions do not count from one"
    if [row[2] for row in rows] != [None, *numbers][: len(rows)]:
        yield "its versions do not follow each other"
    if [row[3] for row in rows] != [0] * (len(rows) - 1) + [1]:
        yield "not exactly its last version is current"
    dcn, standing = db.execute(
        "SELECT dcn, standing FROM record_heads WHERE record_id = ?", [record_id]
    ).fetchone()
    if not numbers or dcn != numbers[-1]:
        yield "its head names another version"
    events = history.events(db, record_id)
    if [str(event.dcn) for event in events if event.act in REPORTS] != numbers:
        yield "its history does not have each filing once"
    destroyed = [event for event in events if event.act in _TERMINAL_ACTS]
    if record_seals.find_key(db, record_id) is None:
        yield from _tombstone(db, record_id, standing, bool(destroyed))
        return
    if destroyed:
        yield "it was destroyed and its key is still there"
    try:
        versions = filings.versions(db, record_id)
    except CandorError as error:
        yield error.message
        return
    yield from _gate(db, versions[-1], now, policy)


def _tombstone(db: Database, record_id: bytes, standing: str, destroyed: bool) -> Iterator[str]:
    if not destroyed:
        yield "its key is gone and nobody destroyed it"
    if standing != Standing.EXPUNGED.name:
        yield f"its key is gone and it stands as {standing}"
    left = db.execute(
        "SELECT count(*) FROM records WHERE record_id = ? AND (sealed <> x'' OR content_mac <> zeroblob(32))",
        [record_id],
    ).fetchone()[0]
    confirmed = db.execute(
        "SELECT count(*) FROM published JOIN records USING (dcn)"
        " WHERE record_id = ? AND salt <> zeroblob(32)",
        [record_id],
    ).fetchone()[0]
    if left or confirmed:
        yield "something that it said is left"


def _gate(db: Database, record: Record, now: datetime, policy: Policy) -> Iterator[str]:
    decision = gate(record, gate_day(now), policy.gate_rules(record.kind))
    row = db.execute(
        "SELECT matchable, reasons FROM record_heads WHERE dcn = ?", [str(record.dcn)]
    ).fetchone()
    if bool(row[0]) != decision.matchable or json.loads(row[1]) != [one.words for one in decision.failed]:
        yield "the gate says something else than what is stored"
    if (record.circumstances.standing is Standing.ACTIVE) != decision.matchable:
        yield f"it stands as {record.circumstances.standing.name} and the gate says {decision.matchable}"


def acts_of(store: Store, dcn: Dcn) -> list[Act]:
    """What happened to a record so far."""
    return store.run_sync(
        lambda db: [event.act for event in history.events(db, filings.record_id_of(db, dcn))]
    )
