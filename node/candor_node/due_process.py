"""Asking the fair-process gate again, when time or an epoch may have changed its word (RECORDS.md §3.5).

Rules of this file:
- the rule itself is `candor_records.gate`; here is when it is asked, and what becomes of its word;
- a record that opens or closes is in the ledger, in the transaction that stored the gate's word.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from candor_node import filings, ledger
from candor_node.store import Database
from candor_records.gate import gate, gate_day
from candor_records.records import Record


def refresh(
    db: Database,
    now: datetime,
    exceptions: frozenset[str] = frozenset(),
    *,
    every: bool = False,
    seen: Callable[[Record], object] | None = None,
) -> int:
    """Ask the gate again for every record that time may have changed, or for `every` current record.

    Returns how many opened or closed; each such change is in the ledger. `seen` is shown every record asked
    about, so that who needs them next need not open them again.
    """
    today, changed = gate_day(now), 0
    was = filings.gate_columns(db)
    for row in filings.sealed_current(db) if every else filings.due_for_gate(db, today):
        record = row.open()
        if seen is not None:
            seen(record)
        decision = gate(record, today, exceptions)
        state = decision.state()
        # A new epoch asks for every record, and most words stay: what says the same is not written again.
        if was[row.dcn] != filings.columns(state):
            filings.set_gate(db, record.dcn, state)
        if bool(was[row.dcn][0]) != decision.matchable:
            changed += 1
            event = "record.opened" if decision.matchable else "record.held"
            names = ", ".join(clause.name for clause in decision.failed)
            ledger.append(db, now, event, {"dcn": row.dcn}, {"failed": names})
    return changed
