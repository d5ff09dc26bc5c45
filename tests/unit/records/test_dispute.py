"""The subject's words and the clock of a dispute (RECORDS.md §4.2)."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from candor_proto.errors import CandorError, InputInvalid, SealedDataInvalid, WrongStanding
from candor_proto.record import DisputeStatus
from candor_records.dispute import (
    MAX_STATEMENT_CHARACTERS,
    Dispute,
    DisputeAnswer,
    DisputeGround,
    DisputeState,
    Resolution,
    answer,
    carry_out,
    check_words,
    open_dispute,
    refer,
    resolve,
    voided,
    warnings,
)

DAY = date(2026, 3, 2)
DCN = "0000000000000000A"


def opened(ground: DisputeGround = DisputeGround.FACTUAL_INACCURACY, days: int = 60) -> Dispute:
    return open_dispute(None, ground, DAY, DCN, "The date is another.", days)


def stood_by() -> Dispute:
    return answer(opened(), DisputeAnswer.STAND_BY, DAY + timedelta(days=3), "The order says so.")


def refer_on(dispute: Dispute | None, on: date) -> Dispute:
    return refer(dispute, "State POST", on, on)


# --- the clock -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [1, 59, 60])
def test_a_dispute_is_not_referred_while_the_agencys_sixty_days_run(days: int) -> None:
    with pytest.raises(WrongStanding, match="has until 2026-05-01"):
        refer_on(opened(), DAY + timedelta(days=days))


def test_a_dispute_may_be_referred_on_the_sixty_first_day() -> None:
    referred = refer_on(opened(), DAY + timedelta(days=61))
    assert referred.status is DisputeStatus.IN_RESOLUTION
    assert referred.resolver == "State POST"


def test_a_letter_dated_ahead_does_not_shorten_the_agencys_days() -> None:
    with pytest.raises(WrongStanding, match="has until"):
        refer(opened(), "State POST", DAY + timedelta(days=61), DAY + timedelta(days=60))


def test_once_the_agency_stands_by_the_record_nobody_waits_for_the_sixty_days() -> None:
    assert refer_on(stood_by(), DAY + timedelta(days=3)).state is DisputeState.IN_RESOLUTION


def test_an_agency_that_promised_a_correction_and_does_nothing_may_be_taken_to_the_resolver() -> None:
    promised = answer(opened(), DisputeAnswer.CORRECT, DAY, "The date will be corrected.")
    with pytest.raises(WrongStanding):
        refer_on(promised, DAY + timedelta(days=60))
    assert refer_on(promised, DAY + timedelta(days=61)).state is DisputeState.IN_RESOLUTION


@pytest.mark.parametrize(("days", "late"), [(59, False), (60, False), (61, True)])
def test_an_unanswered_dispute_is_overdue_from_the_sixty_first_day(days: int, late: bool) -> None:
    assert opened().due() == (DAY + timedelta(days=60), "answer the dispute")
    assert opened().overdue(DAY + timedelta(days=days)) is late


def test_a_late_answer_is_still_an_answer() -> None:
    late = answer(opened(), DisputeAnswer.STAND_BY, DAY + timedelta(days=200), "We stand by it.")
    assert late.state is DisputeState.STOOD_BY
    assert late.due() is None


def test_a_packs_own_clock_counts() -> None:
    assert refer_on(opened(days=10), DAY + timedelta(days=11)).resolver == "State POST"


# --- what is owed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [Resolution.CORRECT, Resolution.VOID])
def test_a_resolution_that_is_not_carried_out_stays_due_and_travels_as_unsettled(said: Resolution) -> None:
    decided = resolve(refer_on(stood_by(), DAY + timedelta(days=4)), said, DAY + timedelta(days=9), "So.")
    assert decided.owed == said.name
    assert decided.overdue(DAY + timedelta(days=10))
    assert decided.status is DisputeStatus.IN_RESOLUTION
    with pytest.raises(WrongStanding, match="has not been done"):
        carry_out(decided, DAY + timedelta(days=10), corrected=False)
    done = voided(decided, DAY + timedelta(days=11))
    assert done is not None
    assert done.status is DisputeStatus.RESOLVED
    assert done.resolution is said
    assert not done.overdue(DAY + timedelta(days=900))


def test_a_correction_does_not_carry_out_a_void() -> None:
    promised = answer(opened(), DisputeAnswer.VOID, DAY, "Filed for the wrong officer.")
    with pytest.raises(WrongStanding, match="has to be voided"):
        carry_out(promised, DAY, corrected=True)


def test_an_unchanged_record_is_resolved_at_once() -> None:
    kept = resolve(
        refer_on(stood_by(), DAY + timedelta(days=4)), Resolution.UNCHANGED, DAY + timedelta(9), "No."
    )
    assert kept.status is DisputeStatus.RESOLVED
    assert kept.resolved_on == DAY + timedelta(days=9)
    assert kept.due() is None


# --- again -----------------------------------------------------------------------------------------------


def test_a_disputed_record_is_not_disputed_twice_at_once() -> None:
    with pytest.raises(WrongStanding, match="disputed already"):
        open_dispute(opened(), DisputeGround.WRONG_PERSON, DAY, DCN)


def test_another_ground_may_be_raised_after_a_resolution_and_the_decided_one_not_again() -> None:
    kept = resolve(
        refer_on(stood_by(), DAY + timedelta(days=4)), Resolution.UNCHANGED, DAY + timedelta(9), "No."
    )
    later = DAY + timedelta(days=20)
    with pytest.raises(WrongStanding, match="has decided on this ground"):
        open_dispute(kept, DisputeGround.FACTUAL_INACCURACY, later, DCN)
    again = open_dispute(kept, DisputeGround.WRONG_PERSON, later, DCN)
    assert again.state is DisputeState.OPEN
    assert again.deadline == later + timedelta(days=60)
    assert again.answer is None


def test_a_settled_dispute_may_be_followed_by_one_on_the_same_ground() -> None:
    promised = answer(opened(), DisputeAnswer.CORRECT, DAY, "The date will be corrected.")
    settled = carry_out(promised, DAY + timedelta(days=2), corrected=True)
    assert open_dispute(settled, DisputeGround.FACTUAL_INACCURACY, DAY + timedelta(days=9), DCN).open


@pytest.mark.parametrize(
    "step",
    [
        lambda d: answer(d, DisputeAnswer.STAND_BY, DAY, "x"),
        lambda d: refer_on(d, DAY + timedelta(days=99)),
        lambda d: resolve(d, Resolution.VOID, DAY, "x"),
        lambda d: carry_out(d, DAY, corrected=True),
    ],
)
def test_nothing_happens_to_a_dispute_that_does_not_exist(step: object) -> None:
    assert callable(step)
    with pytest.raises(WrongStanding, match="is not disputed"):
        step(None)


def test_steps_are_not_dated_before_the_one_before_them() -> None:
    with pytest.raises(InputInvalid, match="lies before"):
        answer(opened(), DisputeAnswer.STAND_BY, DAY - timedelta(days=1), "x")
    with pytest.raises(InputInvalid, match="lies before"):
        refer_on(stood_by(), DAY + timedelta(days=2))


def test_a_dispute_that_is_resolved_takes_no_step() -> None:
    settled = voided(opened(), DAY)
    with pytest.raises(WrongStanding, match="The dispute is resolved"):
        answer(settled, DisputeAnswer.STAND_BY, DAY, "x")
    with pytest.raises(WrongStanding, match="The dispute is resolved"):
        refer_on(settled, DAY + timedelta(days=99))
    with pytest.raises(WrongStanding, match="The dispute is resolved"):
        resolve(settled, Resolution.VOID, DAY, "x")


@pytest.mark.parametrize("reasons", ["", "  \n "])
def test_an_answer_or_resolution_without_reasons_is_refused(reasons: str) -> None:
    with pytest.raises(InputInvalid):
        answer(opened(), DisputeAnswer.STAND_BY, DAY, reasons)
    with pytest.raises(InputInvalid):
        resolve(refer_on(stood_by(), DAY + timedelta(days=4)), Resolution.VOID, DAY + timedelta(9), reasons)


def test_a_dispute_is_referred_to_somebody() -> None:
    with pytest.raises(InputInvalid, match="No independent resolver"):
        refer(stood_by(), " ", DAY + timedelta(days=9), DAY + timedelta(days=9))


class DisputeMachine(RuleBasedStateMachine):
    """Every step at every time: what the table has not is a typed error, and the clock never gives way."""

    def __init__(self) -> None:
        super().__init__()
        self.dispute: Dispute | None = None
        self.today = DAY

    def attempt(self, step: object) -> None:
        assert callable(step)
        try:
            self.dispute = step()
        except (WrongStanding, InputInvalid):
            return

    @rule(days=st.integers(0, 40))
    def time_passes(self, days: int) -> None:
        self.today += timedelta(days=days)

    @rule(ground=st.sampled_from(DisputeGround))
    def opens(self, ground: DisputeGround) -> None:
        self.attempt(lambda: open_dispute(self.dispute, ground, self.today, DCN))

    @rule(said=st.sampled_from(DisputeAnswer))
    def answers(self, said: DisputeAnswer) -> None:
        self.attempt(lambda: answer(self.dispute, said, self.today, "Reasons."))

    @rule()
    def refers(self) -> None:
        before = self.dispute
        self.attempt(lambda: refer_on(self.dispute, self.today))
        if before is not None and self.dispute is not before:
            assert before.state is DisputeState.STOOD_BY or self.today > before.deadline

    @rule(said=st.sampled_from(Resolution))
    def resolves(self, said: Resolution) -> None:
        self.attempt(lambda: resolve(self.dispute, said, self.today, "Reasons."))

    @rule(corrected=st.booleans())
    def carries_out(self, corrected: bool) -> None:
        before = self.dispute
        self.attempt(lambda: carry_out(self.dispute, self.today, corrected=corrected))
        assert self.dispute is before or (corrected and before is not None and before.owed == "CORRECT")

    @rule()
    def is_voided(self) -> None:
        self.dispute = voided(self.dispute, self.today)
        assert self.dispute is None or not self.dispute.open

    @precondition(lambda self: self.dispute is not None)
    @invariant()
    def what_is_stored_reads_back_and_status_follows_state(self) -> None:
        assert self.dispute is not None
        assert Dispute.read(self.dispute.fields()) == self.dispute
        assert (self.dispute.status is DisputeStatus.RESOLVED) is not self.dispute.open
        assert bool(self.dispute.owed) is (self.dispute.state in (DisputeState.AGREED, DisputeState.DECIDED))


TestDisputeMachine = DisputeMachine.TestCase


# --- words -----------------------------------------------------------------------------------------------


def test_a_statement_of_four_thousand_characters_is_kept_and_one_more_is_refused() -> None:
    assert check_words("é" * MAX_STATEMENT_CHARACTERS) == "é" * 4_000
    with pytest.raises(InputInvalid, match="4001 characters"):
        check_words("é" * 4_001)


def test_characters_are_counted_in_the_composed_form() -> None:
    assert len(check_words("e\u0301" * 4_000)) == 4_000


@pytest.mark.parametrize("text", ["123-45-6789", "My number is 123 45 6789."])
def test_a_whole_social_security_number_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InputInvalid) as error:
        check_words(text)
    assert "6789" not in str(error.value)


@pytest.mark.parametrize("text", ["a\x1b[2Jb", "a\u202eb", "a\x00b"])
def test_words_that_could_forge_lines_on_a_screen_are_refused(text: str) -> None:
    with pytest.raises(InputInvalid, match="control character"):
        check_words(text)


def test_what_a_report_may_not_carry_is_the_subjects_to_say() -> None:
    text = "In my Garrity interview I said so; I was on medical leave."
    assert check_words(text) == text
    assert any("compelled statement" in warning for warning in warnings(text))
    assert warnings("I was never heard.") == ()


@given(st.text())
def test_words_are_kept_in_one_form_or_refused_with_a_typed_error(text: str) -> None:
    try:
        kept = check_words(text)
    except InputInvalid:
        return
    assert check_words(kept) == kept


@given(st.dictionaries(st.sampled_from(sorted(opened().fields())), st.text()))
def test_a_stored_dispute_that_was_altered_is_a_typed_error(changes: dict[str, str]) -> None:
    fields = opened().fields() | changes
    try:
        assert Dispute.read(fields).fields() == fields
    except CandorError as error:
        assert isinstance(error, SealedDataInvalid)


def test_nothing_the_subject_said_is_printed() -> None:
    assert "date is another" not in repr(opened())
