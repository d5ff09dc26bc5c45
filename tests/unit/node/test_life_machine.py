"""Everything that can happen to a record, in any order, on a real database (RECORDS.md §3.5, §4.1).

After each act: nothing is matchable outside the gate; the history has everything; no control number was used
twice; what is not possible says so by a typed error and changes nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from candor_node import due_process, filings, history, ledger, lifecycle, record_seals
from candor_node.lifecycle import Doing, LifeEvent
from candor_node.store import Database
from candor_proto.errors import CandorError, InputInvalid, UnknownObject, WrongStanding
from candor_proto.policy import Sharing
from candor_proto.record import RecordKind
from candor_records.codes import AdjudicationStatus, AppealOutcome, Finality, Missing, Opportunity
from candor_records.content import Content
from candor_records.gate import gate_day
from candor_records.gate_rules import FINAL_APPEAL_PENDING, GateRules
from candor_records.life import REPORTS, Act, Overturning
from candor_records.policy import NoPack, Retention
from candor_records.records import Circumstances, Dcn, Record, ReportType, Standing
from tests.records import NODE, NOW, ORI, make_content, new_store

KINDS = ("TERMINATION_FOR_CAUSE", "CRIMINAL_CONVICTION", "COMMENDATION", "SUSTAINED_FORCE_FINDING")
VARIANTS: tuple[dict[str, str], ...] = (
    {},
    {"finality": "APPEAL_TIME_RUNNING", "appeal_until": "2026-03-20"},
    {"finality": "APPEAL_PENDING"},
    {"opportunity": "NOT_OFFERED", "opportunity_on": ""},
    {"notice_given_on": "", "notice_method": ""},
    {"ssn4": "4822"},
)
TERMINAL = (Standing.VOID, Standing.EXPIRED, Standing.EXPUNGED)


class Pack(NoPack):
    """A policy that keeps a year from filing and, at times, lets a pending appeal pass."""

    appeal_passes = False

    def gate_rules(self, kind: RecordKind) -> GateRules:
        return GateRules(frozenset({FINAL_APPEAL_PENDING}) if self.appeal_passes else frozenset())

    def retention(self, content: Content, filed_on: date) -> Retention:
        return Retention(filed_on + timedelta(days=180), filed_on + timedelta(days=365))

    def withdraws(self, kind: RecordKind, how: Overturning) -> bool:
        return how is not Overturning.PARDONED


def may_match(record: Record, day: date, appeal_passes: bool) -> bool:
    """The gate once more, written from RECORDS.md §3.5 alone."""
    now, facts = record.circumstances, record.content.due_process
    over = now.expires_on is not None and day >= now.expires_on
    if over or now.standing in TERMINAL or not now.reviewed or now.sealed_by_order:
        return False
    if record.report_type is ReportType.VOID or record.adjudication_status in (
        AdjudicationStatus.REVERSED,
        AdjudicationStatus.VACATED,
        AdjudicationStatus.EXPUNGED,
    ):
        return False
    if record.kind is RecordKind.COMMENDATION:
        return now.sharing is not Sharing.RED
    notice = not isinstance(facts.notice_given_on, Missing)
    heard = facts.opportunity in (Opportunity.OFFERED_HELD, Opportunity.OFFERED_WAIVED)
    run_out = isinstance(facts.appeal_until, date) and day > facts.appeal_until
    final = (
        facts.finality in (Finality.FINAL, Finality.EXHAUSTED, Finality.WAIVED)
        or (facts.finality is Finality.APPEAL_TIME_RUNNING and run_out)
        or (facts.finality is Finality.APPEAL_PENDING and appeal_passes)
    )
    return notice and heard and final


class Life(RuleBasedStateMachine):
    """Records of one agency; the model is a list of the acts that were done to each."""

    records: Bundle[str] = Bundle("records")

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.store = new_store(Path(self.folder.name))
        self.now = NOW
        self.pack = Pack()
        self.filed = 0
        self.first: dict[str, bytes] = {}
        self.done: dict[bytes, list[tuple[Act, str]]] = {}
        self.numbers: set[str] = set()
        self.ended: dict[bytes, Standing] = {}

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()

    # --- acts ------------------------------------------------------------------------------------------

    @rule(
        target=records, kind=st.sampled_from(KINDS), variant=st.sampled_from(VARIANTS), reviewed=st.booleans()
    )
    def file(self, kind: str, variant: dict[str, str], reviewed: bool) -> str:
        self.filed += 1
        name = f"IA-{self.filed}"
        content = self.content(name, kind, variant)
        event = self.store.run_sync(
            lambda db: lifecycle.file(db, content, ORI, NODE, self.doing(), reviewed=reviewed)
        )
        self.remember(event)
        dcn = str(event.after.dcn)
        self.first[dcn] = event.after.record_id
        return dcn

    @rule(dcn=records, kind=st.sampled_from(KINDS), variant=st.sampled_from(VARIANTS), revise=st.booleans())
    def file_more(self, dcn: str, kind: str, variant: dict[str, str], revise: bool) -> None:
        before = self.current(dcn)
        name = before.content.agency_record_id if before else "IA-1"
        known = before.kind.name if before else kind
        same_kind = self.filed % 5 or kind == known
        content = self.content(name, known if same_kind else kind, variant)
        if revise:
            self.attempt(dcn, None, lambda db: lifecycle.revise(db, Dcn(dcn), content, self.doing()))
        else:
            self.attempt(dcn, None, lambda db: lifecycle.correct(db, Dcn(dcn), content, self.doing()))

    @rule(dcn=records)
    def appeal(self, dcn: str) -> None:
        self.attempt(
            dcn, Act.NOTICE_APPEAL, lambda db: lifecycle.notice_of_appeal(db, Dcn(dcn), {}, self.doing())
        )

    @rule(dcn=records, outcome=st.sampled_from(AppealOutcome))
    def decide(self, dcn: str, outcome: AppealOutcome) -> None:
        self.attempt(dcn, None, lambda db: lifecycle.decide_appeal(db, Dcn(dcn), outcome, {}, self.doing()))

    @rule(dcn=records, how=st.sampled_from(Overturning))
    def overturn(self, dcn: str, how: Overturning) -> None:
        self.attempt(dcn, Act.OVERTURN, lambda db: lifecycle.overturn(db, Dcn(dcn), how, {}, self.doing()))

    @rule(dcn=records)
    def void(self, dcn: str) -> None:
        self.attempt(dcn, Act.VOID, lambda db: lifecycle.void(db, Dcn(dcn), self.doing()))

    @rule(dcn=records, act=st.sampled_from((Act.EXPUNGE, Act.DESTROY)))
    def destroy(self, dcn: str, act: Act) -> None:
        self.attempt(dcn, act, lambda db: lifecycle.expunge(db, Dcn(dcn), self.doing(), act))

    @rule(dcn=records, act=st.sampled_from((Act.REVIEW, Act.SEAL, Act.UNSEAL, Act.HOLD, Act.LIFT_HOLD)))
    def act(self, dcn: str, act: Act) -> None:
        changes: dict[Act, dict[str, bool]] = {
            Act.REVIEW: {"reviewed": True},
            Act.SEAL: {"sealed_by_order": True},
            Act.UNSEAL: {"sealed_by_order": False},
            Act.HOLD: {"legal_hold": True},
            Act.LIFT_HOLD: {"legal_hold": False},
        }
        self.change(dcn, act, lambda now: replace(now, **changes[act]))  # type: ignore[arg-type]

    @rule(dcn=records, sharing=st.sampled_from(Sharing))
    def share(self, dcn: str, sharing: Sharing) -> None:
        self.change(dcn, Act.CHANGE_SHARING, lambda now: replace(now, sharing=sharing))

    @rule(dcn=records, text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
    def state(self, dcn: str, text: str) -> None:
        self.change(dcn, Act.STATEMENT, lambda now: replace(now, subject_statement=text))

    @rule(days=st.sampled_from((1, 20, 180, 366)))
    def wait(self, days: int) -> None:
        self.now += timedelta(days=days)
        self.ask_the_gate()

    @rule()
    def adopt_another_pack(self) -> None:
        self.pack.appeal_passes = not self.pack.appeal_passes
        self.ask_the_gate(every=True)

    # --- what always holds --------------------------------------------------------------------------

    @invariant()
    def nothing_matches_outside_the_gate(self) -> None:
        if not hasattr(self, "store"):
            return
        day = gate_day(self.now)

        def work(db: Database) -> None:
            words = filings.gate_words(db)
            opened = {row.dcn: row.open() for row in filings.sealed_current(db)}
            for dcn, matchable in words.items():
                record = opened.get(dcn)
                expected = record is not None and may_match(record, day, self.pack.appeal_passes)
                assert matchable == expected, (dcn, record)
                if record is not None:
                    assert (record.circumstances.standing is Standing.ACTIVE) == matchable

        self.store.run_sync(work)

    @invariant()
    def history_is_complete_and_no_number_came_twice(self) -> None:
        if not hasattr(self, "store"):
            return

        def work(db: Database) -> None:
            total = 0
            for record_id, done in self.done.items():
                events = history.events(db, record_id)
                assert [(event.act, str(event.dcn)) for event in events] == done
                numbers = filings.control_numbers(db, record_id)
                assert numbers == [dcn for act, dcn in done if act in REPORTS]
                total += len(numbers)
                versions = filings.versions(db, record_id)
                if record_seals.find_key(db, record_id) is None:
                    assert versions == []
                    assert not any(event.reason for event in events)
                else:
                    assert [str(version.dcn) for version in versions] == numbers
                    previous = [None, *(version.dcn for version in versions)]
                    assert [version.previous_dcn for version in versions] == previous[:-1]
            assert total == len(self.numbers)
            ledger.verify(db)

        self.store.run_sync(work)

    # --- helpers ----------------------------------------------------------------------------------------

    def doing(self) -> Doing:
        return Doing(self.now, "clerk-7", self.pack, "as ordered")

    def content(self, name: str, kind: str, variant: dict[str, str]) -> Content:
        own = {} if kind == "COMMENDATION" else variant
        return make_content(agency_record_id=name, record_kind=kind, **own)

    def current(self, dcn: str) -> Record | None:
        try:
            return self.store.run_sync(lambda db: lifecycle.current(db, Dcn(dcn)))
        except UnknownObject:
            return None

    def change(self, dcn: str, act: Act, changed: Callable[[Circumstances], Circumstances]) -> None:
        def work(db: Database) -> LifeEvent:
            now = lifecycle.current(db, Dcn(dcn)).circumstances
            return lifecycle.change(db, Dcn(dcn), act, self.doing(), changed(now))

        self.attempt(dcn, act, work)

    def attempt(self, dcn: str, act: Act | None, work: Callable[[Database], LifeEvent | None]) -> None:
        """Do it, or be refused by a typed error after which everything is as it was."""
        before = self.store.run_sync(ledger.head)
        try:
            event = self.store.run_sync(work)
        except (WrongStanding, UnknownObject, InputInvalid):
            assert self.store.run_sync(ledger.head) == before
            return
        except CandorError as error:
            raise AssertionError(f"{act}: {error!r}") from error
        if event is not None:
            assert act is None or event.act is act
            assert event.after.record_id not in self.ended or event.act in (
                Act.HOLD, Act.LIFT_HOLD, Act.EXPUNGE, Act.DESTROY, Act.STATEMENT,
            )  # fmt: skip
            self.remember(event)

    def remember(self, event: LifeEvent) -> None:
        record = event.after
        self.done.setdefault(record.record_id, []).append((event.act, str(record.dcn)))
        if event.act in REPORTS:
            assert str(record.dcn) not in self.numbers
            self.numbers.add(str(record.dcn))
        assert (event.act is Act.VOID) <= (record.circumstances.standing is Standing.VOID)
        if record.circumstances.standing in TERMINAL:
            self.ended[record.record_id] = record.circumstances.standing

    def ask_the_gate(self, *, every: bool = False) -> None:
        def work(db: Database) -> list[Record]:
            seen: list[Record] = []
            due_process.refresh(db, self.now, self.pack, every=every, seen=seen.append)
            return seen

        for record in self.store.run_sync(work):
            if record.circumstances.standing is Standing.EXPIRED and record.record_id not in self.ended:
                self.ended[record.record_id] = Standing.EXPIRED
                self.done[record.record_id].append((Act.EXPIRE, str(record.dcn)))


def test_record_is_matchable_inside_the_gate_only_whatever_happens_to_it() -> None:
    run_state_machine_as_test(Life, settings=settings(max_examples=40, stateful_step_count=30))
