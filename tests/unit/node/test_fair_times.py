"""Days that count for or against the officer: told, late, over, carried out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import pytest

from candor_node import desk, due_process, filings, history, lifecycle, notices, retention, subject_acts
from candor_node.lifecycle import Doing, LifeEvent
from candor_node.shipped_packs import shipped
from candor_node.store import Database, Store
from candor_proto.errors import InputInvalid, WrongStanding
from candor_proto.record import RecordKind
from candor_records.codes import NoticeMethod
from candor_records.content import Content
from candor_records.dispute import DisputeGround, DisputeState, Resolution
from candor_records.gate_rules import GateRules, Tighten, Tightening
from candor_records.life import Act, Overturning
from candor_records.pack import PackPolicy
from candor_records.policy import NoPack, Retention
from candor_records.records import Record, Standing, canonical
from candor_records.subject_report import facts
from tests.desk import desk_store, doing, filed
from tests.packs import clock, default_pack, make_policy
from tests.records import NOW

DAY = timedelta(days=1)


class Telling(NoPack):
    """Shared only once the officer was told, three days ago."""

    def gate_rules(self, kind: RecordKind) -> GateRules:
        return GateRules(
            tightenings=(Tightening(Tighten.SUBJECT_NOTIFIED, "x.told", "A Code", waiting_days=3),)
        )


class FromReport(NoPack):
    """Kept one year from the report."""

    def retention(self, content: Content, filed_on: date) -> Retention:
        return Retention(None, filed_on.replace(year=filed_on.year + 1), "a year")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with desk_store(tmp_path) as opened:
        yield opened


def at(days: int, policy: NoPack | None = None) -> Doing:
    return doing(now=NOW + days * DAY, policy=policy)


def corrected(store: Store, record: Record, how: Doing, **fields: str) -> Record:
    def work(db: Database) -> LifeEvent | None:
        return desk.act(db, lifecycle.current(db, record.dcn), Act.CORRECT, how, fields, "", None)

    event = store.run_sync(work)
    assert event is not None
    return event.after


# --- told ------------------------------------------------------------------------------------------------


def test_notice_that_was_sent_meets_a_pack_that_asks_for_it(store: Store) -> None:
    record = filed(store, at(0, Telling()), subject_notified_on="")
    assert record.circumstances.standing is Standing.HELD
    told = partial(subject_acts.mark_notified, dcn=record.dcn, on=NOW.date() + DAY, method=NoticeMethod.MAIL)
    store.run_sync(lambda db: told(db, doing=at(1, Telling())))
    kept = store.run_sync(lambda db: lifecycle.current(db, record.dcn))
    assert kept.circumstances.subject_told_on == NOW.date() + DAY
    assert kept.circumstances.standing is Standing.HELD
    for days, standing in ((3, Standing.HELD), (5, Standing.ACTIVE)):
        store.run_sync(partial(due_process.refresh, now=NOW + days * DAY, policy=Telling()))
        found = store.run_sync(lambda db: lifecycle.current(db, record.dcn))
        assert found.circumstances.standing is standing


def test_nobody_was_told_before_a_notice_was_sent(store: Store) -> None:
    record = filed(store, at(0, Telling()), subject_notified_on="")
    assert store.run_sync(partial(notices.told_on, record_id=record.record_id)) is None


def test_notice_dated_ahead_stays_due(store: Store) -> None:
    record = filed(store, subject_notified_on="2026-04-01")
    (notice,) = store.run_sync(partial(notices.of_record, record_id=record.record_id))
    assert notice.sent_on is None


# --- late ------------------------------------------------------------------------------------------------


def test_lateness_is_fixed_at_filing_and_said_to_everybody(store: Store) -> None:
    policy = make_policy(clock())
    first = filed(store, doing(policy=policy))
    late = (NOW.date() - date(2021, 6, 19)).days
    assert canonical(first).fields["days_late"] == str(late)
    assert ("Days late", str(late)) in facts(first)
    after = corrected(store, first, doing(now=NOW + 40 * DAY, policy=policy), narrative="Shorter.")
    assert after.days_late == late
    assert store.run_sync(partial(filings.find, dcn=first.dcn)).days_late == late
    moved = corrected(store, first, doing(now=NOW + 41 * DAY, policy=policy), effective_on="2026-03-01")
    assert canonical(moved).fields["days_late"] == "0"


def test_where_no_clock_runs_nothing_is_said_of_lateness(store: Store) -> None:
    record = filed(store)
    assert "days_late" not in canonical(record).fields
    assert "Days late" not in dict(facts(record))


# --- over ------------------------------------------------------------------------------------------------


def test_later_versions_do_not_lengthen_the_time_a_record_is_kept(store: Store) -> None:
    record = filed(store, at(0, FromReport()))
    after = corrected(store, record, at(100, FromReport()), narrative="Shorter.")
    assert after.circumstances.expires_on == record.circumstances.expires_on == date(2027, 3, 2)
    stored = store.run_sync(lambda db: lifecycle.current(db, record.dcn))
    assert stored.reported_at == NOW


def test_first_report_that_is_over_already_expires_with_the_next_tick(store: Store) -> None:
    class Over(NoPack):
        def retention(self, content: Content, filed_on: date) -> Retention:
            return Retention(None, date(2026, 1, 1), "over")

    record = filed(store, at(0, Over()))
    assert record.circumstances.standing is Standing.HELD
    store.run_sync(partial(due_process.refresh, now=NOW, policy=Over()))
    assert (
        store.run_sync(lambda db: lifecycle.current(db, record.dcn)).circumstances.standing
        is Standing.EXPIRED
    )
    acts = store.run_sync(partial(history.events, record_id=record.record_id))
    assert [event.act for event in acts] == [Act.FILE, Act.EXPIRE]
    plan = store.run_sync(partial(retention.plan, today=NOW.date(), policy=Over()))
    assert [end.due.dcn for end in plan.destroy] == [record.dcn]


def test_what_a_pack_destroys_once_it_was_overturned_comes_to_its_end(store: Store) -> None:
    class Destroying(NoPack):
        def destroyed_after(self, kind: RecordKind, how: Overturning) -> int | None:
            return 30

    record = filed(store, at(0, Destroying()))
    store.run_sync(
        lambda db: lifecycle.overturn(db, record.dcn, Overturning.REVERSED, {}, at(1, Destroying()))
    )
    ends = NOW.date() + 31 * DAY
    for days, standing in ((30, Standing.HELD), (32, Standing.EXPIRED)):
        store.run_sync(partial(due_process.refresh, now=NOW + days * DAY, policy=Destroying()))
        found = store.run_sync(lambda db: lifecycle.current(db, record.dcn))
        assert (found.circumstances.expires_on, found.circumstances.standing) == (ends, standing)
    plan = store.run_sync(partial(retention.plan, today=ends, policy=Destroying()))
    assert [(end.due.dcn, end.rule) for end in plan.destroy] == [
        (found.dcn, "the rule about decisions that were taken away")
    ]


def test_void_of_an_overturned_record_does_not_keep_it_longer(store: Store) -> None:
    policy = PackPolicy((default_pack(), shipped("texas").pack))
    record = filed(store, doing(policy=policy), effective_on="2026-01-14", subject_notified_on="")
    how = doing(policy=policy, second="chief-1")
    store.run_sync(lambda db: lifecycle.overturn(db, record.dcn, Overturning.REINSTATED, {}, how))
    event = store.run_sync(lambda db: lifecycle.void(db, record.dcn, how))
    assert event.after.circumstances.expires_on == NOW.date() + 30 * DAY


def test_review_that_would_be_due_again_at_once_is_not_kept(store: Store) -> None:
    class Reviewed(NoPack):
        def retention(self, content: Content, filed_on: date) -> Retention:
            return Retention(date(2026, 1, 1), None, "a review")

    record, how = filed(store, at(0, Reviewed())), at(1, Reviewed())
    with pytest.raises(InputInvalid, match="due again at once"):
        store.run_sync(lambda db: desk.act(db, record, Act.KEEP, how, {}, "", None))
    later = date(2031, 1, 1)
    event = store.run_sync(lambda db: desk.act(db, record, Act.KEEP, how, {}, "", later))
    assert event is not None
    assert event.after.circumstances.review_on == later


# --- carried out -----------------------------------------------------------------------------------------


def test_what_was_corrected_before_the_resolver_decided_is_not_what_it_decided(store: Store) -> None:
    record = filed(store)
    ground, opened_on = DisputeGround.FACTUAL_INACCURACY, NOW.date()
    store.run_sync(lambda db: subject_acts.open_dispute(db, record.dcn, ground, "", opened_on, at(0)))
    corrected(store, record, at(1), rank="Sergeant")
    store.run_sync(lambda db: subject_acts.refer(db, record.dcn, opened_on + 61 * DAY, at(63)))
    decided = Resolution.CORRECT, "The day is wrong.", opened_on + 70 * DAY
    store.run_sync(lambda db: subject_acts.resolve(db, record.dcn, *decided, at(70)))
    with pytest.raises(WrongStanding, match="has to be corrected"):
        store.run_sync(lambda db: subject_acts.carry_out(db, record.dcn, at(71)))
    corrected(store, record, at(71), effective_on="2021-06-15")
    event = store.run_sync(lambda db: subject_acts.carry_out(db, record.dcn, at(72)))
    assert event.after.circumstances.dispute is not None
    assert event.after.circumstances.dispute.state is DisputeState.RESOLVED


def test_no_dispute_was_received_before_there_was_a_record(store: Store) -> None:
    """Its days would be over before the agency could answer."""
    record, ground = filed(store), DisputeGround.NOT_REPORTABLE
    with pytest.raises(InputInvalid, match="before the record was first filed"):
        store.run_sync(
            lambda db: subject_acts.open_dispute(db, record.dcn, ground, "", NOW.date() - DAY, at(1))
        )


@pytest.mark.parametrize(("days", "possible"), [(59, False), (60, False), (61, True)])
def test_agency_has_its_sixty_days_to_the_end(store: Store, days: int, possible: bool) -> None:
    """Over 29 February 2028 as over any day; the last one ends in the last zone."""
    leap = doing(now=NOW.replace(year=2028, month=1, day=31))
    record = filed(store, leap)
    ground, opened_on = DisputeGround.NOT_REPORTABLE, leap.now.date()
    store.run_sync(lambda db: subject_acts.open_dispute(db, record.dcn, ground, "", opened_on, leap))
    on = opened_on + days * DAY
    then = doing(now=leap.now + days * DAY)
    if possible:
        store.run_sync(lambda db: subject_acts.refer(db, record.dcn, on, then))
    else:
        with pytest.raises(WrongStanding, match="has until 2028-03-31"):
            store.run_sync(lambda db: subject_acts.refer(db, record.dcn, on, then))
