"""Which act recalls what, and what its recipients do about it (docs/protocol.md §9.7-§9.11)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from candor_backup import folders
from candor_node import (
    backup,
    copies,
    lifecycle,
    mail_store,
    recall_store,
    recalls,
    request_store,
    restore,
)
from candor_node.founding import MIGRATIONS
from candor_node.lifecycle import Doing, LifeEvent
from candor_node.recalling import next_sending
from candor_node.store import Database, Store
from candor_proto.disclosure import DisclosureRequest, OwnerState, RequesterState
from candor_proto.errors import (
    AlreadyExists,
    ConflictingResubmission,
    IdentityMismatch,
    InputInvalid,
    MalformedMessage,
    UnknownObject,
)
from candor_proto.ids import Digest, NodeId, RecallId, RequestId
from candor_proto.recall import (
    AckLevel,
    Done,
    RecallAck,
    RecallAction,
    RecallKind,
    RecallNotice,
    RecallState,
    seal_ack,
    seal_notice,
)
from candor_proto.record import DisputeStatus, RecordKind
from candor_records.codes import AppealOutcome
from candor_records.life import Act, Overturning
from candor_records.policy import NoPack
from candor_records.records import Dcn
from candor_wire.codec import Envelope, MessageKind
from tests.federation import instead
from tests.pages import found_in, pages
from tests.parties import FEDERATION, NOW
from tests.recalls import ALPHA, BRAVO, Couple
from tests.records import STORE_KEY, make_content

Work = Callable[[Database, Doing], Any]


@pytest.fixture
def couple(tmp_path: Path) -> Iterator[Couple]:
    made = Couple(tmp_path)
    yield made
    made.close()


def circumstances(dcn: Dcn, act: Act, **changes: Any) -> Work:
    def work(db: Database, doing: Doing) -> LifeEvent:
        now = lifecycle.current(db, dcn).circumstances
        return lifecycle.change(db, dcn, act, doing, replace(now, **changes))

    return work


def void(dcn: Dcn) -> Work:
    return lambda db, doing: lifecycle.void(db, dcn, doing)


def expunge(dcn: Dcn) -> Work:
    return lambda db, doing: lifecycle.expunge(db, dcn, doing)


_NARRATIVE = "Left his post during a barricade of eleven hours."
_STATEMENT = "I was cleared by the arbitrator of the same facts."
# Of a record's fields what others say too: its owner, and days on which something else happened as well.
_NAMES_NOBODY = frozenset({"publishing_node", "reported_on", "subject_notified_on"})


# --- which act recalls what (§9.8) ---------------------------------------------------------------------

APPEALED = {"finality": "APPEAL_PENDING"}
ACTS: dict[str, tuple[Callable[[Dcn], Work], RecallKind | None]] = {
    "correction": (
        lambda dcn: lambda db, doing: lifecycle.correct(db, dcn, make_content(narrative="Put right."), doing),
        RecallKind.CORRECTED,
    ),
    "revision": (
        lambda dcn: lambda db, doing: lifecycle.revise(db, dcn, make_content(narrative="Reduced."), doing),
        RecallKind.REVISED,
    ),
    "notice of appeal": (
        lambda dcn: lambda db, doing: lifecycle.notice_of_appeal(db, dcn, {}, doing),
        RecallKind.APPEAL_NOTICED,
    ),
    "reversal": (
        lambda dcn: lambda db, doing: lifecycle.overturn(db, dcn, Overturning.REVERSED, {}, doing),
        RecallKind.VOIDED,
    ),
    "void": (void, RecallKind.VOIDED),
    "expungement": (expunge, RecallKind.EXPUNGED),
    "sealing order": (lambda dcn: circumstances(dcn, Act.SEAL, sealed_by_order=True), RecallKind.SEALED),
    "statement": (
        lambda dcn: circumstances(dcn, Act.STATEMENT, subject_statement="It was not me."),
        RecallKind.STATEMENT,
    ),
    "hold": (lambda dcn: circumstances(dcn, Act.HOLD, legal_hold=True), None),
    "nothing changed": (lambda dcn: circumstances(dcn, Act.KEEP), None),
    "sharing": (lambda dcn: circumstances(dcn, Act.CHANGE_SHARING), None),
}


@pytest.mark.parametrize(("act", "kind"), ACTS.values(), ids=ACTS)
def test_an_act_recalls_what_the_table_says(
    couple: Couple, act: Callable[[Dcn], Work], kind: RecallKind | None
) -> None:
    dcn = couple.file()
    request = couple.release(dcn)
    couple.carry()
    couple.later(hours=1)
    couple.act(act(dcn))
    found = couple.recalls()
    assert [one.kind for one in found] == ([] if kind is None else [kind])
    couple.tell()
    wanted = {
        None: None,
        RecallAction.DESTROY: Done.DESTROYED,
        RecallAction.REPLACE: Done.REPLACED,
        RecallAction.ANNOTATE: Done.ANNOTATED,
    }[kind.action if kind else None]
    assert [one.done for one in couple.recalls()] == ([] if wanted is None else [wanted])
    gone = kind is not None and kind.action is RecallAction.DESTROY
    assert (couple.holding(request).record is None) is gone


def test_an_appeal_that_changed_the_decision_is_a_revision_and_one_that_upheld_it_is_not(
    couple: Couple,
) -> None:
    dcn = couple.file()
    couple.release(dcn)
    couple.carry()
    for outcome, facts in ((AppealOutcome.UPHELD, {}), (AppealOutcome.MODIFIED, {"narrative": "Reduced."})):
        couple.act(lambda db, doing: lifecycle.notice_of_appeal(db, dcn, {}, doing))
        couple.act(lambda db, doing: lifecycle.decide_appeal(db, dcn, outcome, facts, doing))  # noqa: B023
    kinds = [one.kind for one in couple.recalls()]
    assert kinds == [
        RecallKind.APPEAL_NOTICED,
        RecallKind.APPEAL_DECIDED,
        RecallKind.APPEAL_NOTICED,
        RecallKind.REVISED,
    ]


def test_a_decision_that_the_policy_leaves_in_the_index_is_revised_not_withdrawn(tmp_path: Path) -> None:
    class Keeps(NoPack):
        def withdraws(self, kind: RecordKind, how: Overturning) -> bool:
            return False

    couple = Couple(tmp_path, policy=Keeps())
    dcn = couple.file()
    couple.release(dcn)
    couple.act(lambda db, doing: lifecycle.overturn(db, dcn, Overturning.PARDONED, {}, doing))
    assert [one.kind for one in couple.recalls()] == [RecallKind.REVISED]
    couple.close()


def test_every_release_of_any_version_is_recalled_and_nothing_else(couple: Couple) -> None:
    dcn = couple.file()
    other = couple.file(agency_record_id="IA-2", last="Elderbrook")
    first = couple.release(dcn)
    second = couple.correct(dcn, narrative="Put right.")
    later = couple.release(second, hit=2)
    couple.release(other, hit=3)
    waiting = couple.release(second, hit=4)
    couple.bravo.store.run_sync(
        lambda db: request_store.settle_received(
            db, waiting.request_id, OwnerState.DECLINED, NOW, reason="declined"
        )
    )
    couple.act(void(dcn))
    told = {one.request_id for one in couple.recalls() if one.kind is RecallKind.VOIDED}
    assert told == {first.request_id, later.request_id}


# --- the copy (§9.9) -----------------------------------------------------------------------------------


def octets_of(couple: Couple, request: RequestId) -> list[tuple[Any, ...]]:
    """Everything that alpha's tables hold under a request, but the request itself."""

    def work(db: Database) -> list[tuple[Any, ...]]:
        return [
            row
            for table in ("copy_keys", "copies")
            for row in db.execute(f"SELECT * FROM {table} WHERE request_id = ?", [request.value]).fetchall()
        ]

    return couple.alpha.store.run_sync(work)


def test_a_voided_record_is_destroyed_with_its_key_and_leaves_a_tombstone_without_identity(
    couple: Couple,
) -> None:
    dcn = couple.file()
    request = couple.release(dcn)
    couple.carry()
    held = couple.holding(request)
    assert held.record is not None
    assert held.record.fields["last"] == "Placeholderson"
    assert len(octets_of(couple, request.request_id)) == 2
    couple.later(hours=2)
    couple.act(void(dcn))
    couple.tell()
    tombstone = couple.holding(request)
    assert tombstone.state is RequesterState.RECALLED
    assert (tombstone.copy, tombstone.reply_key, tombstone.evidence_kept) == (None, b"", False)
    assert "destroyed on 2026" in tombstone.reason
    assert octets_of(couple, request.request_id) == []
    (recall,) = couple.received()
    assert (recall.kind, recall.done, recall.owner) == (RecallKind.VOIDED, Done.DESTROYED, BRAVO)
    assert couple.alpha.events("recall") == ["recall.applied"]
    (sent,) = couple.recalls()
    assert (sent.state, sent.done, sent.acted_at) == (RecallState.ACTED, Done.DESTROYED, couple.clock.now())
    assert couple.bravo.events("recall") == ["recall.due", "recall.sent", "recall.acted"]


def test_what_is_held_is_sealed(couple: Couple) -> None:
    request = couple.release(couple.file())
    couple.carry()
    for value in (cell for row in octets_of(couple, request.request_id) for cell in row):
        assert b"Placeholderson" not in (value if isinstance(value, bytes) else b"")


def test_what_is_held_is_bound_to_its_row(couple: Couple) -> None:
    """Even under one key: the rows of two copies cannot be exchanged."""
    request = couple.release(couple.file())
    other = couple.release(couple.file(agency_record_id="IA-2"), hit=2)
    couple.carry()

    def swap(db: Database) -> None:
        db.execute(
            "UPDATE copies SET sealed = (SELECT sealed FROM copies WHERE request_id = ?1)"
            " WHERE request_id = ?2",
            [other.request_id.value, request.request_id.value],
        )
        db.execute(
            "UPDATE copy_keys SET key = (SELECT key FROM copy_keys WHERE request_id = ?1)"
            " WHERE request_id = ?2",
            [other.request_id.value, request.request_id.value],
        )

    couple.alpha.store.run_sync(swap)
    with pytest.raises(Exception, match="does not open"):
        couple.holding(request)


def test_a_corrected_record_takes_the_place_of_the_old_one(couple: Couple) -> None:
    dcn = couple.file()
    request = couple.release(dcn)
    couple.carry()
    second = couple.correct(dcn, narrative="Put right.", effective_on="2021-06-15")
    couple.tell()
    copy = couple.holding(request).copy
    assert copy is not None
    (version,) = copy.versions
    assert version.record.fields["dcn"] == str(second)
    assert version.record.fields["narrative"] == "Put right."
    assert version.changed == ("effective_on", "narrative")
    assert couple.received()[0].changed == ("effective_on", "narrative")


def test_a_revision_stands_beside_what_it_revises_and_is_corrected_alone(couple: Couple) -> None:
    dcn = couple.file()
    request = couple.release(dcn)
    couple.carry()
    content = make_content(narrative="Reduced.")
    couple.act(lambda db, doing: lifecycle.revise(db, dcn, content, doing))
    couple.tell()
    couple.correct(dcn, narrative="Reduced to a reprimand.")
    couple.tell()
    copy = couple.holding(request).copy
    assert copy is not None
    told = [one.record.fields["narrative"][:7] for one in copy.versions]
    assert told == ["Falsifi", "Reduced"]
    assert copy.versions[1].record.fields["narrative"] == "Reduced to a reprimand."


def test_a_statement_and_a_dispute_travel_to_what_is_held(couple: Couple) -> None:
    dcn = couple.file()
    request = couple.release(dcn)
    couple.carry()
    for statement in ("It was not me.", "It was my brother."):
        couple.act(circumstances(dcn, Act.STATEMENT, subject_statement=statement))
        couple.tell()
    copy = couple.holding(request).copy
    assert copy is not None
    assert (copy.subject_statement, len(copy.versions)) == ("It was my brother.", 1)
    assert len(octets_of(couple, request.request_id)) == 3  # the key, the record, the last annotation


# --- the order of things (§9.9, §9.11) -----------------------------------------------------------------


def test_a_response_that_arrives_after_a_destroying_recall_is_not_stored(couple: Couple) -> None:
    """Mail has no order: the response still lay in the hub's mailbox."""
    dcn = couple.file()
    request = couple.release(dcn)
    (response,) = couple.take(couple.bravo)
    couple.act(void(dcn))
    couple.tell()
    assert couple.received()[0].done is Done.NOTHING_HELD
    couple.deliver(response)
    held = couple.holding(request)
    assert (held.state, held.copy) == (RequesterState.RECALLED, None)
    assert octets_of(couple, request.request_id) == []
    assert couple.alpha.store.run_sync(mail_store.counts).inbox_waiting == 0


def test_a_response_that_is_being_opened_while_the_recall_comes_is_not_stored(couple: Couple) -> None:
    """What was read before the recall must not be stored behind it."""
    dcn = couple.file()
    request = couple.release(dcn)
    (response,) = couple.take(couple.bravo)
    row = couple.alpha.store.run_sync(lambda db: mail_store.receive(db, response, NOW))
    assert row is not None
    couple.act(void(dcn))
    couple.send()
    (notice,) = couple.take(couple.bravo)
    opened = couple.alpha.requester._open

    def open_slowly(*arguments: Any) -> Any:
        found = opened(*arguments)
        couple.deliver(notice)
        return found

    instead(couple.alpha.requester, "_open", open_slowly)
    asyncio.run(couple.alpha.requester.process(row))
    held = couple.holding(request)
    assert (held.state, held.copy) == (RequesterState.RECALLED, None)
    assert octets_of(couple, request.request_id) == []


def test_a_correction_that_overtakes_the_response_is_kept_and_the_old_version_is_not(couple: Couple) -> None:
    dcn = couple.file()
    request = couple.release(dcn)
    (response,) = couple.take(couple.bravo)
    couple.correct(dcn, narrative="Put right.")
    couple.tell()
    assert couple.received()[0].done is Done.NOTHING_HELD
    assert couple.holding(request).record is None
    couple.deliver(response)
    copy = couple.holding(request).copy
    assert copy is not None
    assert [one.record.fields["narrative"] for one in copy.versions] == ["Put right."]


def test_an_annotation_that_overtakes_the_response_is_shown_with_it(couple: Couple) -> None:
    dcn = couple.file()
    request = couple.release(dcn)
    (response,) = couple.take(couple.bravo)
    couple.act(circumstances(dcn, Act.STATEMENT, subject_statement="It was not me."))
    couple.tell()
    couple.deliver(response)
    held = couple.holding(request)
    assert held.record is not None
    assert held.copy is not None
    assert held.copy.subject_statement == "It was not me."


def test_what_recalls_said_goes_when_the_response_never_comes(couple: Couple) -> None:
    dcn = couple.file()
    request = couple.release(dcn)
    couple.take(couple.bravo)
    couple.correct(dcn, narrative="Put right.")
    couple.tell()
    assert len(octets_of(couple, request.request_id)) == 2
    couple.later(days=31)
    asyncio.run(couple.alpha.requester.expire())
    assert octets_of(couple, request.request_id) == []
    couple.correct(dcn, narrative="Put right again.")
    couple.tell()
    assert couple.received()[-1].done is Done.NOTHING_HELD
    assert octets_of(couple, request.request_id) == []


def test_the_same_notice_twice_acts_once_and_is_acknowledged_twice(couple: Couple) -> None:
    dcn = couple.file()
    request = couple.release(dcn)
    couple.carry()
    couple.correct(dcn, narrative="Put right.")
    couple.send()
    (first,) = couple.take(couple.bravo)
    couple.deliver(first)
    (lost,) = couple.take(couple.alpha)
    assert lost.kind is MessageKind.RECALL_ACK
    couple.later(days=1)
    couple.send()
    (again,) = couple.take(couple.bravo)
    assert again.envelope_id != first.envelope_id
    couple.deliver(again)
    (ack,) = couple.take(couple.alpha)
    couple.deliver(ack)
    couple.deliver(lost)
    (recall,) = couple.recalls()
    assert (recall.state, recall.done, recall.sendings) == (RecallState.ACTED, Done.REPLACED, 2)
    assert recall.acted_at == NOW
    assert couple.alpha.events("recall") == ["recall.applied"]
    copy = couple.holding(request).copy
    assert copy is not None
    assert len(copy.versions) == 1


def test_recalls_about_one_release_go_in_their_order_and_a_destroying_one_at_once(couple: Couple) -> None:
    dcn = couple.file()
    couple.release(dcn)
    couple.carry()
    couple.correct(dcn, narrative="One.")
    couple.correct(dcn, narrative="Two.")
    assert couple.send() == 1
    couple.take(couple.bravo)
    assert couple.send() == 0
    couple.act(void(dcn))
    states = [one.state for one in couple.recalls()]
    assert states == [RecallState.SUPERSEDED, RecallState.SUPERSEDED, RecallState.PENDING]
    assert couple.send() == 1


def test_a_correction_that_arrives_after_the_void_finds_nothing(couple: Couple) -> None:
    dcn = couple.file()
    request = couple.release(dcn)
    couple.carry()
    couple.correct(dcn, narrative="Put right.")
    couple.send()
    (slow,) = couple.take(couple.bravo)
    couple.act(void(dcn))
    couple.tell()
    couple.deliver(slow)
    couple.carry()
    assert octets_of(couple, request.request_id) == []
    assert couple.received()[-1].done is Done.NOTHING_HELD
    assert [one.state for one in couple.recalls()] == [RecallState.SUPERSEDED, RecallState.ACTED]


def test_nothing_but_destruction_is_said_about_a_copy_that_was_to_be_destroyed(couple: Couple) -> None:
    dcn = couple.file()
    couple.release(dcn)
    couple.carry()
    couple.act(circumstances(dcn, Act.SEAL, sealed_by_order=True))
    couple.act(circumstances(dcn, Act.UNSEAL, sealed_by_order=False))
    couple.act(circumstances(dcn, Act.STATEMENT, subject_statement="It was not me."))
    assert [one.kind for one in couple.recalls()] == [RecallKind.SEALED]
    couple.act(expunge(dcn))
    assert [one.kind for one in couple.recalls()] == [RecallKind.SEALED, RecallKind.EXPUNGED]


@pytest.mark.parametrize("act", [void, expunge], ids=["void", "expunge"])
def test_a_response_still_in_the_outbox_is_taken_back_with_the_act(
    couple: Couple, act: Callable[[Dcn], Work]
) -> None:
    dcn = couple.file()
    request = couple.release(dcn)
    other = couple.release(couple.file(agency_record_id="IA-2"), hit=2)
    couple.act(act(dcn))
    assert [one.envelope_id for one in couple.take(couple.bravo)] == [other.request_id.value]
    couple.tell()
    assert couple.holding(request).state is RequesterState.RECALLED


# --- sending again (§9.11) -----------------------------------------------------------------------------


def test_a_notice_goes_again_after_one_three_and_seven_days_and_then_every_week() -> None:
    at, days = NOW, list[int]()
    while len(days) < 6:
        at = next_sending(NOW, at)
        days.append((at - NOW).days)
    assert days == [1, 3, 7, 14, 21, 28]


def test_a_recipient_that_was_away_longer_than_an_envelope_lives_hears_of_it(couple: Couple) -> None:
    dcn = couple.file()
    request = couple.release(dcn)
    couple.carry()
    couple.act(void(dcn))
    for _ in range(60):
        couple.send()
        assert all(one.expires_at > couple.clock.now() for one in couple.take(couple.bravo))
        couple.later(days=1)
    (recall,) = couple.recalls()
    assert (recall.state, recall.sendings) == (RecallState.SENT, 11)
    assert recalls.overdue(recall, couple.clock.now())
    assert len({one.envelope_id for one in couple.sent}) == len(couple.sent)
    last = couple.sent[-1]
    couple.deliver(last)
    couple.carry()
    (recall,) = couple.recalls()
    assert recall.state is RecallState.ACTED
    assert couple.holding(request).state is RequesterState.RECALLED
    assert not recalls.overdue(recall, couple.clock.now())
    couple.later(days=30)
    assert couple.send() == 0


def test_a_notice_that_the_hub_has_not_taken_is_not_put_beside_itself(couple: Couple) -> None:
    dcn = couple.file()
    couple.release(dcn)
    couple.carry()
    couple.act(void(dcn))
    couple.send()
    couple.later(days=1)
    couple.send()
    assert len(couple.take(couple.bravo)) == 1


def test_a_recall_that_cannot_be_sent_keeps_no_other_from_being_heard(couple: Couple) -> None:
    for number in (1, 2):
        dcn = couple.file(agency_record_id=f"IA-{number}")
        couple.release(dcn, hit=number)
        couple.carry()
        couple.correct(dcn, agency_record_id=f"IA-{number}", narrative="Put right.")
    spoilt = "UPDATE recalls SET body = zeroblob(100) WHERE number = 1"
    couple.bravo.store.run_sync(lambda db: db.execute(spoilt))
    couple.tell()
    assert [one.state for one in couple.recalls()] == [RecallState.PENDING, RecallState.ACTED]
    assert couple.send() == 0
    couple.later(days=1)
    assert couple.send() == 1


def test_overdue_is_a_question_of_time(couple: Couple) -> None:
    dcn = couple.file()
    couple.release(dcn)
    couple.act(void(dcn))
    (recall,) = couple.recalls()
    assert not recalls.overdue(recall, NOW + timedelta(days=7))
    assert recalls.overdue(recall, NOW + timedelta(days=7, seconds=1))
    assert recalls.overdue(recall, NOW + timedelta(days=3), days=2)


def test_who_is_no_member_any_more_is_undeliverable_and_looked_for_again(couple: Couple) -> None:
    dcn = couple.file()
    couple.release(dcn)
    couple.carry()
    couple.act(void(dcn))
    directory = couple.indexes.directory
    gone = directory._members.pop(ALPHA)
    couple.send()
    (recall,) = couple.recalls()
    assert (recall.state, recall.sendings) == (RecallState.UNDELIVERABLE, 0)
    assert recalls.overdue(recall, NOW + timedelta(days=8))
    assert couple.send() == 0
    couple.later(days=1)
    couple.send()
    assert couple.bravo.events("recall") == ["recall.due", "recall.undeliverable"]
    directory._members[ALPHA] = gone
    couple.later(days=1)
    couple.tell()
    assert couple.recalls()[0].state is RecallState.ACTED


def test_the_time_to_forget_is_from_the_act_to_the_moment_when_the_recipient_acted(couple: Couple) -> None:
    for number, minutes in enumerate((1, 2, 30)):
        dcn = couple.file(agency_record_id=f"IA-{number}")
        couple.release(dcn, hit=number + 1)
        couple.carry()
        couple.correct(dcn, agency_record_id=f"IA-{number}", narrative="Put right.")
        couple.tell()
        couple.act(void(dcn))
        couple.later(minutes=minutes)
        couple.tell()
    forgot = recalls.time_to_forget(couple.bravo.store.run_sync(recall_store.acknowledged))
    assert (forgot.recalls, forgot.median, forgot.longest) == (
        3,
        timedelta(minutes=2),
        timedelta(minutes=30),
    )
    assert recalls.time_to_forget([]).recalls == 0


# --- nothing is left of an expunged record -------------------------------------------------------------


def test_an_expunged_record_leaves_no_word_of_itself_in_the_owners_recalls(couple: Couple) -> None:
    dcn = couple.file()
    couple.release(dcn)
    couple.carry()
    couple.correct(dcn, narrative="Put right.")
    couple.act(circumstances(dcn, Act.STATEMENT, subject_statement="It was not me."))
    couple.act(expunge(dcn))

    def bodies(db: Database) -> list[bytes]:
        return [body for (body,) in db.execute("SELECT body FROM recalls ORDER BY number").fetchall()]

    first, second, last = couple.bravo.store.run_sync(bodies)
    assert (first, second) == (b"", b"")
    notice = RecallNotice.decode(last)
    assert (notice.record, notice.changed, notice.subject_statement) == (b"", (), "")
    couple.tell()
    assert couple.bravo.store.run_sync(bodies) == [b"", b"", b""]


def test_a_notice_about_a_record_is_sealed_under_the_records_own_key(couple: Couple) -> None:
    dcn = couple.file()
    couple.release(dcn)
    couple.carry()
    couple.correct(dcn, narrative="Put right.")
    body = couple.bravo.store.run_sync(lambda db: db.execute("SELECT body FROM recalls").fetchone()[0])
    assert b"Placeholderson" not in body
    (recall,) = couple.recalls()
    couple.bravo.store.run_sync(lambda db: db.execute("DELETE FROM record_keys"))
    assert couple.bravo.store.run_sync(lambda db: recall_store.notice_of(db, recall)) is None
    couple.send()
    assert couple.recalls()[0].state is RecallState.SUPERSEDED


# --- notices that are not what they seem (§9.9) --------------------------------------------------------


def notice_for(couple: Couple, about: DisclosureRequest, /, **changes: Any) -> RecallNotice:
    notice = RecallNotice(
        FEDERATION,
        RecallId(secrets.token_bytes(16)),
        BRAVO,
        ALPHA,
        about.request_id,
        about.digest(),
        RecallKind.VOIDED,
        b"",
        (),
        DisputeStatus.NONE,
        "",
        couple.clock.now(),
        couple.clock.now(),
    )
    return replace(notice, **changes)


def arrives(couple: Couple, notice: RecallNotice, signer: str = "bravo") -> None:
    """As if `signer` had sent it under its own name."""
    envelope_id = secrets.token_bytes(16)
    key, to = couple.parties[signer].signing, couple.parties["alpha"].disclosure.public
    sealed = seal_notice(replace(notice, owner=NodeId(signer)), key, to, envelope_id)
    expires_at = couple.clock.now() + timedelta(days=30)
    couple.deliver(
        Envelope(envelope_id, MessageKind.RECALL_NOTICE, NodeId(signer), ALPHA, sealed, b"", expires_at)
    )


def dropped(couple: Couple) -> list[str]:
    """Why alpha dropped messages."""

    def work(db: Database) -> list[str]:
        rows = db.execute("SELECT note FROM inbox WHERE state = 'dropped' ORDER BY number").fetchall()
        return [note for (note,) in rows]

    return couple.alpha.store.run_sync(work)


def test_a_member_cannot_recall_what_another_released(couple: Couple) -> None:
    request = couple.release(couple.file())
    couple.carry()
    arrives(couple, notice_for(couple, request), signer="mallory")
    assert couple.holding(request).record is not None
    assert dropped(couple) == [IdentityMismatch.code]
    assert couple.take(couple.alpha) == []


def test_a_notice_about_no_request_or_another_one_is_dropped_without_an_acknowledgement(
    couple: Couple,
) -> None:
    request = couple.release(couple.file())
    couple.carry()
    arrives(couple, notice_for(couple, request, request_id=RequestId(bytes(16))))
    arrives(couple, notice_for(couple, request, request=Digest(bytes(32))))
    arrives(couple, notice_for(couple, request, issued_at=NOW + timedelta(hours=1)))
    assert dropped(couple) == [UnknownObject.code, "commitment_mismatch", "not_yet_valid"]
    assert couple.holding(request).record is not None
    assert couple.take(couple.alpha) == []


def test_one_id_for_two_notices_is_refused(couple: Couple) -> None:
    dcn = couple.file()
    request = couple.release(dcn)
    couple.carry()
    couple.correct(dcn, narrative="Put right.")
    couple.tell()
    arrives(couple, notice_for(couple, request, recall_id=couple.recalls()[0].recall_id))
    assert dropped(couple) == [ConflictingResubmission.code]
    assert couple.holding(request).record is not None


def test_a_refused_response_kept_as_evidence_is_destroyed_like_a_copy(couple: Couple) -> None:
    dcn = couple.file()
    request = couple.release(dcn)
    (response,) = couple.take(couple.bravo)
    couple.deliver(replace(response, body=bytes(len(response.body))))
    assert couple.holding(request).evidence_kept
    couple.act(void(dcn))
    couple.tell()
    held = couple.holding(request)
    assert (held.state, held.evidence_kept, held.reply_key) == (RequesterState.RECALLED, False, b"")
    assert couple.received()[0].done is Done.DESTROYED


def test_a_recall_that_was_lost_with_its_owner_is_told_again_when_the_owner_is_restored(
    couple: Couple, tmp_path: Path
) -> None:
    """The backup is older than the expungement: its keys say so, and its ledger says who has a copy."""
    dcn = couple.file()
    request = couple.release(dcn)
    couple.carry()
    store, folder = couple.bravo.store, tmp_path / "backup"
    backup.write(store, BRAVO, folder, NOW)
    couple.act(expunge(dcn))
    backup.tidy(store, BRAVO, NOW + timedelta(minutes=1))
    later = NOW + timedelta(hours=1)
    restored = tmp_path / "restored" / "node.db"
    assert restore.restore(folder, restored, STORE_KEY, later).destroyed == 1
    with Store.open(restored, STORE_KEY, MIGRATIONS) as again:
        (recall,) = again.run_sync(lambda db: recall_store.of_request(db, request.request_id))
    assert (recall.kind, recall.state, recall.dcn) == (RecallKind.EXPUNGED, RecallState.PENDING, str(dcn))


def test_nothing_of_a_copy_is_left_on_any_page_of_who_was_told_to_destroy_it(
    couple: Couple, tmp_path: Path
) -> None:
    """Nor in an old backup: what its response would open with lies under the key that was destroyed."""
    dcn = couple.file(narrative=_NARRATIVE)
    request = couple.release(dcn)
    store, folder = couple.alpha.store, tmp_path / "backup"
    backup.write(store, ALPHA, folder, NOW)
    (reply_key,) = {couple.holding(request).reply_key}
    (old,) = folders.parts(folder, "records", ".db")
    assert len(reply_key) > 0
    assert found_in(pages(old, STORE_KEY), [reply_key]) == []
    couple.carry()
    couple.correct(dcn, narrative=f"{_NARRATIVE} Put right.")
    couple.act(circumstances(dcn, Act.STATEMENT, subject_statement=_STATEMENT))
    couple.tell()
    couple.tell()
    held = couple.holding(request).copy
    assert held is not None
    assert held.subject_statement == _STATEMENT
    fields = {name: value for name, value in held.record.fields.items() if len(value) > 3}
    key = store.run_sync(lambda db: db.execute("SELECT key FROM copy_keys").fetchone()[0])
    couple.act(void(dcn))
    couple.tell()
    store.checkpoint()
    backup.tidy(store, ALPHA, NOW + timedelta(minutes=1))
    everything = [page for file in folder.glob("*.db") for page in pages(file, STORE_KEY)]
    everything += pages(store.path, STORE_KEY)
    said = {name: found_in(everything, [value.encode()]) for name, value in fields.items()}
    assert {name for name, where in said.items() if where} <= _NAMES_NOBODY, said
    assert found_in(everything, [_NARRATIVE.encode(), _STATEMENT.encode(), key, reply_key]) == []


# --- acknowledgements (§9.10) --------------------------------------------------------------------------


def test_a_person_who_has_read_it_says_so_and_is_not_named_to_the_owner(couple: Couple) -> None:
    dcn = couple.file()
    couple.release(dcn)
    couple.carry()
    couple.act(void(dcn))
    couple.tell()
    (recall,) = couple.received()
    couple.later(days=2)
    read = asyncio.run(couple.alpha.recipient.acknowledge(recall.recall_id, "dana"))
    assert (read.read_by, read.read_at) == ("dana", couple.clock.now())
    couple.carry()
    (sent,) = couple.recalls()
    assert (sent.state, sent.read_at, sent.acted_at) == (RecallState.READ, couple.clock.now(), NOW)
    assert couple.alpha.events("recall") == ["recall.applied", "recall.acknowledged"]
    assert couple.bravo.events("recall")[-1] == "recall.read"
    with pytest.raises(AlreadyExists):
        asyncio.run(couple.alpha.recipient.acknowledge(recall.recall_id, "dana"))
    with pytest.raises(UnknownObject):
        asyncio.run(couple.alpha.recipient.acknowledge(RecallId(bytes(16)), "dana"))
    with pytest.raises(InputInvalid):
        asyncio.run(couple.alpha.recipient.acknowledge(recall.recall_id, " "))


def test_read_before_acted_counts_as_both(couple: Couple) -> None:
    dcn = couple.file()
    couple.release(dcn)
    couple.carry()
    couple.act(void(dcn))
    couple.send()
    for envelope in couple.take(couple.bravo):
        couple.deliver(envelope)
    acted = couple.take(couple.alpha)
    asyncio.run(couple.alpha.recipient.acknowledge(couple.received()[0].recall_id, "dana"))
    for envelope in (*couple.take(couple.alpha), *acted):
        couple.deliver(envelope)
    (sent,) = couple.recalls()
    assert (sent.state, sent.done, sent.acted_at) == (RecallState.READ, Done.DESTROYED, NOW)


@pytest.mark.parametrize(
    ("changes", "signer", "code"),
    [
        ({}, "mallory", IdentityMismatch.code),
        ({"notice": Digest(bytes(32))}, "alpha", "commitment_mismatch"),
        ({"done": Done.ANNOTATED}, "alpha", MalformedMessage.code),
        ({"recall_id": RecallId(bytes(16))}, "alpha", UnknownObject.code),
        ({"issued_at": NOW + timedelta(hours=1)}, "alpha", "not_yet_valid"),
    ],
)
def test_an_acknowledgement_that_does_not_fit_changes_nothing(
    couple: Couple, changes: dict[str, Any], signer: str, code: str
) -> None:
    dcn = couple.file()
    couple.release(dcn)
    couple.carry()
    couple.act(void(dcn))
    couple.send()
    (recall,) = couple.recalls()
    ack = RecallAck(
        FEDERATION,
        recall.recall_id,
        recall.digest,
        NodeId(signer),
        BRAVO,
        Done.DESTROYED,
        AckLevel.ACTED,
        NOW,
        NOW,
    )
    ack, envelope_id = replace(ack, **changes), secrets.token_bytes(16)
    sealed = seal_ack(
        ack, couple.parties[signer].signing, couple.parties["bravo"].disclosure.public, envelope_id
    )
    couple.deliver(
        Envelope(
            envelope_id,
            MessageKind.RECALL_ACK,
            NodeId(signer),
            BRAVO,
            sealed,
            b"",
            NOW + timedelta(days=30),
        )
    )
    assert couple.recalls() == [recall]
    notes = couple.bravo.store.run_sync(
        lambda db: db.execute("SELECT note FROM inbox WHERE state = 'dropped'").fetchall()
    )
    assert notes == [(code,)]


# --- one act, one transaction --------------------------------------------------------------------------


def test_an_act_that_fails_recalls_nothing(couple: Couple) -> None:
    dcn = couple.file()
    request = couple.release(dcn)

    def fails(db: Database, doing: Doing) -> None:
        lifecycle.void(db, dcn, doing)
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        couple.act(fails)
    assert couple.recalls() == []
    assert [one.envelope_id for one in couple.take(couple.bravo)] == [request.request_id.value]


def test_a_crash_between_act_and_sending_loses_nothing(tmp_path: Path) -> None:
    couple = Couple(tmp_path)
    dcn = couple.file()
    request = couple.release(dcn)
    couple.carry()
    couple.act(void(dcn))
    couple.close()
    for side in (couple.alpha, couple.bravo):
        store = Store.open(tmp_path / str(side.name) / "node.db", STORE_KEY, MIGRATIONS)
        side.store = store
        for part in (side.recaller, side.recipient, side.requester):
            part._store = store
    couple.tell()
    assert couple.recalls()[0].state is RecallState.ACTED
    assert couple.holding(request).state is RequesterState.RECALLED
    couple.close()


def test_a_notice_is_applied_with_all_that_goes_with_it_or_not_at_all(
    couple: Couple, monkeypatch: pytest.MonkeyPatch
) -> None:
    dcn = couple.file()
    request = couple.release(dcn)
    couple.carry()
    couple.act(void(dcn))
    couple.send()
    (notice,) = couple.take(couple.bravo)
    row = couple.alpha.store.run_sync(lambda db: mail_store.receive(db, notice, NOW))
    assert row is not None
    with monkeypatch.context() as patched:
        patched.setattr(mail_store, "enqueue", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            asyncio.run(couple.alpha.process(row))
    assert couple.holding(request).record is not None
    assert couple.received() == []
    asyncio.run(couple.alpha.process(row))
    assert couple.holding(request).record is None
    assert couple.alpha.store.run_sync(lambda db: copies.held(db, request.request_id)) is None
