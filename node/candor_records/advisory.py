"""When a separation under investigation may be shown although nobody decided anything (RECORDS.md §3.5).

The exception ADVISORY_SEPARATION stands on four conditions, and all of them are facts of the record: the
investigation was open at separation, which has taken place; the officer was told of it before separating; a
chance to respond was offered; and the matter was not resolved in the officer's favour.

Rules of this file:
- what such a record states is the *fact* of a separation, never that an allegation is true: no sentence here
  says more;
- a condition whose facts are not recorded is not met;
- the facts are read through the record's flat fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date

from candor_records.codes import IN_FAVOUR, Opportunity
from candor_records.gate_rules import ADVISORY_SEPARATION, Clause

_OFFERED = (Opportunity.OFFERED_HELD.name, Opportunity.OFFERED_WAIVED.name)
_IN_FAVOUR = frozenset(outcome.name for outcome in IN_FAVOUR)


def advisory_clause(fields: Mapping[str, str], today: date) -> Clause:
    """The clause `final` of an advisory record under the exception, from the flat fields of its content."""
    unmet = list(_unmet(fields, today))
    if unmet:
        words = f"Fails: as an advisory record it needs more: {'; '.join(unmet)}."
        return Clause("final", False, words)
    opened, informed = fields["investigation_opened_on"], fields["officer_informed_on"]
    words = (
        f"Holds: no finding was made; the policy pack allows it as advisory ({ADVISORY_SEPARATION}): the "
        f"investigation was open since {opened}, the officer knew of it since {informed}, and a chance to "
        "respond was offered."
    )
    return Clause("final", True, words)


def _unmet(fields: Mapping[str, str], today: date) -> Iterator[str]:
    """What is missing, as parts of one sentence."""
    separated = _day(fields, "separated_on") or _day(fields, "effective_on")
    opened, informed = _day(fields, "investigation_opened_on"), _day(fields, "officer_informed_on")
    if separated is not None and separated > today:
        yield "the officer has not separated yet"
    if opened is None:
        yield "it is not recorded when the investigation was opened"
    elif separated is None or opened > separated:
        yield "the investigation was not open when the officer separated"
    if informed is None:
        yield "it is not recorded when the officer was told of the investigation"
    elif separated is None or informed > separated:
        yield "the officer was told of the investigation only after separating"
    elif opened is not None and informed < opened:
        yield "the officer cannot have been told of the investigation before it was opened"
    if fields.get("opportunity") not in _OFFERED:
        yield "no chance to respond was offered"
    if fields.get("investigation_outcome") in _IN_FAVOUR:
        yield "the investigation ended in the officer's favour"


def _day(fields: Mapping[str, str], name: str) -> date | None:
    """The date in a field; None for whatever says that there is none."""
    try:
        return date.fromisoformat(fields.get(name, ""))
    except ValueError:
        return None
