"""The gate against an independent re-statement of RECORDS.md §3.5, over contents of every kind and any day.

The re-statement reads the flat texts of a row and knows nothing of the gate's code: it is written as a lawyer
would read the clause, one question after the other.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from candor_proto.policy import Sharing
from candor_proto.record import RecordKind
from candor_records.codes import AdjudicationStatus, Missing
from candor_records.content import content_fields
from candor_records.gate import gate
from candor_records.gate_rules import ADVISORY_SEPARATION, FINAL_APPEAL_PENDING, GateRules
from candor_records.record_fields import parse
from candor_records.records import Circumstances, Record, Standing, initial
from candor_records.why import why
from tests.contents import details
from tests.records import CONTRIBUTOR, NODE, NOW, ORI, make_record, make_row
from tests.thorough import examples

_FIRST, _LAST = date(2021, 1, 1), date(2022, 12, 31)
_DAYS = st.dates(_FIRST, _LAST)
_TEXTS = st.one_of(
    _DAYS.map(date.isoformat), _DAYS.map(date.isoformat), st.sampled_from(["", *Missing.__members__])
)
_EXCEPTIONS = st.sets(st.sampled_from([ADVISORY_SEPARATION, FINAL_APPEAL_PENDING])).map(frozenset)


@st.composite
def records(draw: st.DrawFn) -> Record:
    """Records of every kind whose facts of fair process are anything that intake takes."""
    kind = draw(st.sampled_from(RecordKind))
    row = make_row(record_kind=kind.name, **draw(details(kind)))
    if kind is not RecordKind.COMMENDATION:
        row["effective_on"] = draw(_DAYS).isoformat()
        row["decided_on"] = draw(_TEXTS)
        row["notice_given_on"] = draw(_TEXTS)
        row["notice_method"] = "MAIL" if row["notice_given_on"][:1] == "2" else ""
        row["opportunity"] = draw(st.sampled_from(["OFFERED_HELD", "OFFERED_WAIVED", "NOT_OFFERED"]))
        row["opportunity_on"] = draw(_TEXTS)
        row["finality"] = draw(
            st.sampled_from(
                ["FINAL", "APPEAL_TIME_RUNNING", "APPEAL_PENDING", "EXHAUSTED", "WAIVED", "", "WITHHELD"]
            )
        )
        row["appeal_until"] = draw(_DAYS).isoformat() if row["finality"] == "APPEAL_TIME_RUNNING" else ""
        for name in ("appeal_filed_on", "appeal_outcome", "appeal_decided_on"):
            row.pop(name, None)
        if draw(st.booleans()):
            row["appeal_filed_on"] = draw(_DAYS).isoformat()
        if draw(st.booleans()):
            row["appeal_decided_on"] = draw(_DAYS).isoformat()
            row["appeal_outcome"] = draw(st.sampled_from(["UPHELD", "MODIFIED", "REVERSED", "DISMISSED"]))
    if kind is RecordKind.SEPARATION_UNDER_INVESTIGATION:
        for name in ("separated_on", "investigation_opened_on", "officer_informed_on"):
            row[name] = draw(_TEXTS)
        row.pop("appointed_on", None)
    row["sharing"] = draw(st.sampled_from(["YELLOW", "RED", ""]))
    content, _ = parse(row)
    assume(content is not None)
    assert content is not None
    now = Circumstances(
        standing=draw(st.sampled_from([Standing.ACTIVE, Standing.HELD, Standing.VOID, Standing.EXPIRED])),
        sharing=content.sharing,
        reviewed=draw(st.sampled_from([True, True, True, False])),
        sealed_by_order=draw(st.sampled_from([False, False, False, True])),
        expires_on=draw(st.one_of(st.none(), st.dates(date(2022, 6, 1), _LAST))),
    )
    record = replace(initial(content, NOW, ORI, NODE, CONTRIBUTOR), circumstances=now)
    status = draw(st.sampled_from([None, None, None, *AdjudicationStatus]))
    return record if status is None else replace(record, adjudication_status=status)


def restated(record: Record, today: date, exceptions: frozenset[str]) -> bool:
    """RECORDS.md §3.5, read again."""
    said = content_fields(record.content)

    def day(name: str) -> date | None:
        text = said.get(name, "")
        return date.fromisoformat(text) if text[:1].isdigit() else None

    def happened(name: str) -> bool:
        found = day(name)
        return found is not None and found <= today

    def not_after(name: str, other: str) -> bool:
        one, two = day(name), day(other)
        return one is None or two is None or one <= two

    now = record.circumstances
    alive = (
        now.standing not in (Standing.VOID, Standing.EXPIRED)
        and (now.expires_on is None or today < now.expires_on)
        and now.reviewed
        and not now.sealed_by_order
        and record.adjudication_status.name not in ("REVERSED", "VACATED", "EXPUNGED")
        and said.get("appeal_outcome") != "REVERSED"
        and said.get("arbitration_outcome") != "REINSTATED"
    )
    if record.kind is RecordKind.COMMENDATION:
        return alive and now.sharing is not Sharing.RED
    notice = happened("notice_given_on") and not_after("notice_given_on", "decided_on")
    opportunity = (
        said["opportunity"] in ("OFFERED_HELD", "OFFERED_WAIVED")
        and (day("opportunity_on") is None or happened("opportunity_on"))
        and not_after("opportunity_on", "decided_on")
        and not_after("notice_given_on", "opportunity_on")
    )
    in_effect = happened("effective_on")
    if (
        record.kind is RecordKind.SEPARATION_UNDER_INVESTIGATION
        and said.get("investigation_outcome") != "SUSTAINED"
    ):
        left = "separated_on" if day("separated_on") else "effective_on"
        final = (
            ADVISORY_SEPARATION in exceptions
            and happened(left)
            and day("investigation_opened_on") is not None
            and day("officer_informed_on") is not None
            and not_after("investigation_opened_on", "officer_informed_on")
            and not_after("officer_informed_on", left)
            and said.get("investigation_outcome") not in ("NOT_SUSTAINED", "UNFOUNDED", "EXONERATED")
        )
    else:
        appealed = (
            said["finality"] == "APPEAL_PENDING"
            or said.get("arbitration_outcome") == "PENDING"
            or (
                day("appeal_filed_on") is not None
                and day("appeal_decided_on") is None
                and said["finality"] != "EXHAUSTED"
            )
        )
        over = said["finality"] in ("FINAL", "EXHAUSTED", "WAIVED") or (
            said["finality"] == "APPEAL_TIME_RUNNING" and today > date.fromisoformat(said["appeal_until"])
        )
        told = day("appeal_decided_on") is None or happened("appeal_decided_on")
        allowed = FINAL_APPEAL_PENDING in exceptions and in_effect
        final = happened("decided_on") and (allowed if appealed else over and told)
    return alive and notice and opportunity and final


@settings(max_examples=examples(62, thorough=250))
@given(record=records(), today=_DAYS, exceptions=_EXCEPTIONS)
def test_gate_is_the_clause_of_the_design_and_nothing_else(
    record: Record, today: date, exceptions: frozenset[str]
) -> None:
    decision = gate(record, today, GateRules(exceptions))
    assert decision.matchable == restated(record, today, exceptions), [one.words for one in decision.reasons]
    assert why(record, today, GateRules(exceptions)).shared == decision.matchable


@settings(max_examples=examples(30, thorough=120))
@given(record=records(), today=_DAYS, exceptions=_EXCEPTIONS)
def test_every_day_on_which_time_changes_the_gate_is_announced(
    record: Record, today: date, exceptions: frozenset[str]
) -> None:
    rules = GateRules(exceptions)
    decision = gate(record, today, rules)
    horizon = decision.recheck_on or date(2031, 6, 1)
    step = max((horizon - today).days // 40, 1)
    for days in range(0, (horizon - today).days, step):
        assert gate(record, today + timedelta(days=days), rules).matchable == decision.matchable


@pytest.mark.parametrize(
    ("overrides", "exceptions", "clause", "words"),
    [
        ({"opportunity_on": "2021-03-31"}, (), "opportunity", "came before the notice of 2021-04-01"),
        ({"appeal_filed_on": "2021-06-20"}, (), "final", "an appeal is pending"),
        ({"arbitration_outcome": "PENDING"}, (), "final", "an appeal is pending"),
        ({"arbitration_outcome": "REINSTATED"}, (), "not expunged", "REINSTATED"),
        (
            {
                "appeal_filed_on": "2021-06-20",
                "appeal_outcome": "REVERSED",
                "appeal_decided_on": "2021-09-01",
            },
            (),
            "not expunged",
            "REVERSED",
        ),
        (
            {"appeal_filed_on": "2021-06-20", "appeal_outcome": "UPHELD", "appeal_decided_on": "2027-09-01"},
            (),
            "final",
            "has not come yet",
        ),
        (
            {"finality": "APPEAL_PENDING", "effective_on": "2026-06-14"},
            (FINAL_APPEAL_PENDING,),
            "final",
            "takes effect on 2026-06-14 only",
        ),
    ],
)
def test_what_contradicts_fair_process_closes_the_gate(
    overrides: dict[str, str], exceptions: tuple[str, ...], clause: str, words: str
) -> None:
    decision = gate(make_record(**overrides), date(2026, 3, 2), GateRules(frozenset(exceptions)))
    assert [one.name for one in decision.failed] == [clause]
    assert words in decision.failed[0].words


@pytest.mark.parametrize(
    ("overrides", "clause", "words"),
    [
        ({"notice_given_on": "2027-04-01", "opportunity_on": ""}, "notice", "has not come yet"),
        ({"opportunity_on": "2027-04-01"}, "opportunity", "has not come yet"),
        ({"separated_on": "2026-06-14"}, "final", "has not separated yet"),
    ],
)
def test_advisory_record_tells_of_nothing_that_has_not_happened(
    overrides: dict[str, str], clause: str, words: str
) -> None:
    """Nothing was decided, so no decision day holds these dates back: the day itself must."""
    given = {
        "record_kind": "SEPARATION_UNDER_INVESTIGATION",
        "decided_on": "",
        "opportunity": "OFFERED_WAIVED",
        "investigation_opened_on": "2021-04-01",
        "officer_informed_on": "2021-04-01",
    }
    decision = gate(
        make_record(**{**given, **overrides}), date(2026, 3, 2), GateRules(frozenset({ADVISORY_SEPARATION}))
    )
    assert [one.name for one in decision.failed] == [clause]
    assert words in decision.failed[0].words


def test_settlement_is_shared_for_as_long_only_as_a_pack_lets_it() -> None:
    row = make_row(record_kind="CIVIL_JUDGMENT", judgment_form="SETTLEMENT_NO_ADMISSION")
    content, _ = parse(row, settlements=True)
    assert content is not None
    record = initial(content, NOW, ORI, NODE, CONTRIBUTOR)
    assert gate(record, date(2026, 3, 2), GateRules(settlements=True)).matchable
    closed = gate(record, date(2026, 3, 2))
    assert [clause.name for clause in closed.failed] == ["settlement"]
    assert "policy pack" in why(record, date(2026, 3, 2), GateRules()).failing[0][1]
