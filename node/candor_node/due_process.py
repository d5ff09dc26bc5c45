"""Asking the fair-process gate again, when time or an epoch may have changed its word (RECORDS.md §3.5).

Rules of this file:
- the rule itself is `candor_records.gate`; here is when it is asked, and what becomes of its word;
- a record that opens, closes or expires is in the ledger, in the transaction that stored the gate's word.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime

from candor_node import filings, history, ledger
from candor_node.store import Database
from candor_records.gate import GateDecision, gate, gate_day, standing
from candor_records.life import LIVE, Act
from candor_records.policy import Policy
from candor_records.records import Record, Standing

TIME = "time"


def refresh(
    db: Database,
    now: datetime,
    policy: Policy,
    *,
    every: bool = False,
    seen: Callable[[Record], object] | None = None,
) -> int:
    """Ask the gate again for every record that time may have changed, or for `every` current record.

    Returns how many opened or closed; each such change is in the ledger. `seen` is shown every record asked
    about, so that who needs them next need not open them again. A record whose time to be kept is over
    expires here, for good.
    """
    today, changed = gate_day(now), 0
    was = filings.gate_columns(db)
    for row in filings.sealed_current(db) if every else filings.due_for_gate(db, today):
        record = row.open()
        decision = gate(record, today, policy.gate_rules(record.kind))
        before = record.circumstances.standing
        record = replace(
            record, circumstances=replace(record.circumstances, standing=_now(record, decision, today))
        )
        if seen is not None:
            seen(record)
        state, after = decision.state(), record.circumstances.standing
        # A new epoch asks for every record, and most words stay: what says the same is not written again.
        if was[row.dcn] != filings.columns(state) or after is not before:
            filings.set_gate(db, record, state)
        if after is Standing.EXPIRED is not before:
            history.append(db, record.record_id, record.dcn, Act.EXPIRE, now, TIME, "", "")
            ledger.append(db, now, "record.expire", {"dcn": row.dcn})
        if bool(was[row.dcn][0]) != decision.matchable:
            changed += 1
            event = "record.opened" if decision.matchable else "record.held"
            ledger.append(db, now, event, {"dcn": row.dcn}, {"failed": ", ".join(state.failed)})
    return changed


def _now(record: Record, decision: GateDecision, today: date) -> Standing:
    """Where the record stands now that the gate has spoken."""
    circumstances = record.circumstances
    if circumstances.standing not in LIVE:
        return circumstances.standing
    if circumstances.expires_on is not None and today >= circumstances.expires_on:
        return Standing.EXPIRED
    return standing(record, decision)
