"""What the hub accepts from members, and what it refuses with which error (docs/protocol.md §7.2, §11)."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from candor_hub import relay as relay_module
from candor_hub.relay import MAX_ANSWER_OCTETS
from candor_proto.budget import Quota
from candor_proto.directory import MemberStatus
from candor_proto.errors import (
    ConflictingResubmission,
    Expired,
    IdentityMismatch,
    LimitExceeded,
    MalformedMessage,
    MemberSuspended,
    NotYetValid,
    PurposeRefused,
    QuotaSpent,
    SignatureInvalid,
    WrongRecipient,
)
from candor_proto.ids import LookupShape, NodeId, Purpose
from candor_proto.signing import SigningKey
from candor_proto.tlog.entries import receipt_commitment, request_commitment
from candor_wire.codec import MessageKind
from tests.hub_members import Member
from tests.unit.hub.offices import Office, office


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path) as made:
        yield made


@pytest.fixture
def alpha(hub: Office) -> Member:
    return hub.join("alpha")


@pytest.fixture
def bravo(hub: Office) -> Member:
    return hub.join("bravo")


@pytest.fixture
def charlie(hub: Office) -> Member:
    return hub.join("charlie")


# --- lookups ------------------------------------------------------------------------------------------


def test_a_lookup_becomes_one_delivery_for_each_target(
    hub: Office, alpha: Member, bravo: Member, charlie: Member
) -> None:
    lookup = alpha.lookup([bravo, charlie])
    receipt = hub.submit(lookup, alpha)
    assert receipt.recipients == 2
    assert receipt.nodes == {bravo.node, charlie.node}
    assert [delivery.envelope for delivery in hub.waiting(bravo)] == [lookup]
    assert [delivery.envelope for delivery in hub.waiting(charlie)] == [lookup]
    assert hub.waiting(alpha) == ()


def test_a_lookup_is_charged_once_by_its_elements(hub: Office, alpha: Member, bravo: Member) -> None:
    hub.submit(alpha.lookup([alpha, bravo]), alpha)
    assert hub.used(alpha) == 16
    hub.submit(alpha.lookup([alpha, bravo], shape=LookupShape.DETAILED), alpha)
    assert hub.used(alpha) == 16 + 40


def test_a_sender_that_is_not_the_certificate_is_refused(hub: Office, alpha: Member, bravo: Member) -> None:
    with pytest.raises(IdentityMismatch):
        hub.submit(alpha.sealed(bravo.node), bravo)
    assert hub.waiting(bravo) == ()


def test_a_lookup_signed_by_somebody_else_is_refused(hub: Office, alpha: Member, bravo: Member) -> None:
    stolen = replace(alpha.lookup([bravo]), sender=bravo.node)
    with pytest.raises(IdentityMismatch):
        hub.submit(stolen, bravo)


def test_a_forged_signature_is_refused(hub: Office, alpha: Member, bravo: Member) -> None:
    with pytest.raises(SignatureInvalid):
        hub.submit(alpha.lookup([bravo], signing_key=SigningKey.generate()), alpha)
    assert hub.used(alpha) == 0


def test_a_tampered_body_is_refused(hub: Office, alpha: Member, bravo: Member) -> None:
    lookup = alpha.lookup([bravo])
    at = lookup.body.index(bytes([Purpose.J_APPLICANT.value, LookupShape.SCREENING.value]))
    body = lookup.body[:at] + bytes([Purpose.CERTIFICATION.value]) + lookup.body[at + 1 :]
    assert body != lookup.body
    with pytest.raises(SignatureInvalid):
        hub.submit(replace(lookup, body=body), alpha)


def test_a_body_with_octets_behind_it_is_refused(hub: Office, alpha: Member, bravo: Member) -> None:
    lookup = alpha.lookup([bravo])
    with pytest.raises(MalformedMessage):
        hub.submit(replace(lookup, body=lookup.body + b"\0"), alpha)


def test_an_envelope_that_contradicts_its_lookup_is_refused(
    hub: Office, alpha: Member, bravo: Member
) -> None:
    lookup = alpha.lookup([bravo])
    with pytest.raises(IdentityMismatch):
        hub.submit(replace(lookup, envelope_id=secrets.token_bytes(16)), alpha)
    with pytest.raises(IdentityMismatch):
        hub.submit(replace(lookup, expires_at=lookup.expires_at + timedelta(hours=1)), alpha)
    with pytest.raises(WrongRecipient):
        hub.submit(replace(lookup, recipient=bravo.node), alpha)


def test_an_expired_lookup_is_refused(hub: Office, alpha: Member, bravo: Member) -> None:
    lookup = alpha.lookup([bravo])
    hub.clock.advance(hours=24)
    with pytest.raises(Expired):
        hub.submit(lookup, alpha)
    assert hub.used(alpha) == 0


def test_a_lookup_from_the_future_is_refused(hub: Office, alpha: Member, bravo: Member) -> None:
    early = hub.clock.now() + timedelta(minutes=6)
    with pytest.raises(NotYetValid):
        hub.submit(alpha.lookup([bravo], issued_at=early, life=timedelta(hours=2)), alpha)


@pytest.mark.parametrize("purpose", [Purpose.C, Purpose.AUDIT])
def test_a_purpose_that_is_off_is_refused(
    hub: Office, alpha: Member, bravo: Member, purpose: Purpose
) -> None:
    with pytest.raises(PurposeRefused):
        hub.submit(alpha.lookup([bravo], purpose=purpose), alpha)
    assert hub.waiting(bravo) == ()
    assert hub.used(alpha) == 0


def test_a_suspended_asker_is_refused(hub: Office, alpha: Member, bravo: Member) -> None:
    hub.directory.set_status(alpha.node, MemberStatus.SUSPENDED, hub.clock.now())
    with pytest.raises(MemberSuspended):
        hub.submit(alpha.lookup([bravo]), alpha)
    hub.directory.set_status(alpha.node, MemberStatus.ACTIVE, hub.clock.now())
    assert hub.submit(alpha.lookup([bravo]), alpha).recipients == 1


def test_suspension_counts_even_when_the_call_was_admitted_before_it(
    hub: Office, alpha: Member, bravo: Member
) -> None:
    admitted_by = hub.directory.latest().view
    hub.directory.set_status(alpha.node, MemberStatus.SUSPENDED, hub.clock.now())
    with pytest.raises(MemberSuspended):
        hub.relay.submit(alpha.lookup([bravo]), alpha.node, admitted_by, hub.clock.now())


def test_targets_must_be_active_members(hub: Office, alpha: Member, bravo: Member, charlie: Member) -> None:
    with pytest.raises(WrongRecipient):
        hub.submit(alpha.lookup([bravo, hub.newcomer("delta")]), alpha)
    hub.directory.set_status(charlie.node, MemberStatus.SUSPENDED, hub.clock.now())
    with pytest.raises(WrongRecipient):
        hub.submit(alpha.lookup([bravo, charlie]), alpha)
    assert hub.used(alpha) == 0


def test_the_quota_is_enforced_in_the_transaction_that_accepts(tmp_path: Path) -> None:
    with office(tmp_path, quota=Quota(total=480, weak=10_000, match=10_000, code=10_000)) as hub:
        alpha, bravo = hub.join("alpha"), hub.join("bravo")
        for _ in range(3):  # 48 elements are a day's tenth
            hub.submit(alpha.lookup([bravo]), alpha)
        with pytest.raises(QuotaSpent) as caught:
            hub.submit(alpha.lookup([bravo]), alpha)
        assert "free again at" in caught.value.remedy
        assert hub.used(alpha) == 48
        assert len(hub.waiting(bravo)) == 3
        hub.submit(bravo.lookup([alpha]), bravo)  # another member's quota is its own
        hub.clock.advance(hours=26)
        hub.submit(alpha.lookup([bravo]), alpha)


def test_quota_uses_survive_a_restart(tmp_path: Path) -> None:
    from tests.unit.hub.offices import opened

    with office(tmp_path) as hub:
        alpha, bravo = hub.join("alpha"), hub.join("bravo")
        hub.submit(alpha.lookup([bravo]), alpha)
    with opened(hub.config, hub.clock) as again:
        assert again.used(alpha) == 16


# --- the same again -----------------------------------------------------------------------------------


def test_the_same_lookup_again_is_answered_as_before_and_spends_once(
    hub: Office, alpha: Member, bravo: Member
) -> None:
    lookup = alpha.lookup([bravo])
    first = hub.submit(lookup, alpha)
    second = hub.submit(lookup, alpha)
    assert (second.recipients, second.again) == (first.recipients, True)
    assert hub.used(alpha) == 16
    assert len(hub.waiting(bravo)) == 1


def test_the_same_lookup_again_after_its_delivery_delivers_nothing(
    hub: Office, alpha: Member, bravo: Member
) -> None:
    lookup = alpha.lookup([bravo])
    hub.submit(lookup, alpha)
    (delivery,) = hub.waiting(bravo)
    hub.mailbox.acknowledge(bravo.node, [delivery.delivery_id])
    assert hub.submit(lookup, alpha).recipients == 1
    assert hub.waiting(bravo) == ()


def test_a_late_retry_is_answered_as_before(hub: Office, alpha: Member, bravo: Member) -> None:
    lookup = alpha.lookup([bravo])
    hub.submit(lookup, alpha)
    hub.clock.advance(days=3)
    hub.mailbox.forget(hub.clock.now())
    assert hub.submit(lookup, alpha).again


def test_the_same_id_with_another_body_is_refused(hub: Office, alpha: Member, bravo: Member) -> None:
    lookup = alpha.lookup([bravo])
    hub.submit(lookup, alpha)
    with pytest.raises(ConflictingResubmission):
        hub.submit(alpha.lookup([bravo], lookup_id=lookup.envelope_id), alpha)
    assert hub.used(alpha) == 16
    request = alpha.sealed(bravo.node)
    hub.submit(request, alpha)
    with pytest.raises(ConflictingResubmission):
        hub.submit(replace(request, body=secrets.token_bytes(len(request.body))), alpha)


def test_two_members_may_use_the_same_id(hub: Office, alpha: Member, bravo: Member) -> None:
    lookup_id = secrets.token_bytes(16)
    assert not hub.submit(alpha.lookup([bravo], lookup_id=lookup_id), alpha).again
    assert not hub.submit(bravo.lookup([alpha], lookup_id=lookup_id), bravo).again


# --- answers and disclosures --------------------------------------------------------------------------


def test_an_answer_goes_to_the_asker(hub: Office, alpha: Member, bravo: Member) -> None:
    lookup = alpha.lookup([bravo])
    hub.submit(lookup, alpha)
    answer = bravo.answer(lookup)
    assert hub.submit(answer, bravo).recipients == 1
    assert [delivery.envelope for delivery in hub.waiting(alpha)] == [answer]


def test_an_answer_of_a_node_that_was_not_asked_is_refused(
    hub: Office, alpha: Member, bravo: Member, charlie: Member
) -> None:
    lookup = alpha.lookup([bravo])
    hub.submit(lookup, alpha)
    with pytest.raises(WrongRecipient):
        hub.submit(charlie.answer(lookup), charlie)
    with pytest.raises(WrongRecipient):
        hub.submit(replace(bravo.answer(lookup), recipient=charlie.node), bravo)
    with pytest.raises(WrongRecipient):
        hub.submit(replace(bravo.answer(lookup), envelope_id=secrets.token_bytes(16)), bravo)
    assert hub.waiting(alpha) == ()


def test_an_answer_is_still_taken_after_the_lookup_was_delivered(
    hub: Office, alpha: Member, bravo: Member
) -> None:
    lookup = alpha.lookup([bravo])
    hub.submit(lookup, alpha)
    hub.mailbox.acknowledge(bravo.node, [delivery.delivery_id for delivery in hub.waiting(bravo)])
    assert hub.submit(bravo.answer(lookup), bravo).recipients == 1


def test_an_answer_larger_than_answers_are_is_refused(hub: Office, alpha: Member, bravo: Member) -> None:
    lookup = alpha.lookup([bravo])
    hub.submit(lookup, alpha)
    with pytest.raises(LimitExceeded):
        hub.submit(replace(bravo.answer(lookup), body=bytes(MAX_ANSWER_OCTETS + 1)), bravo)


@pytest.mark.parametrize("kind", [kind for kind in MessageKind if not kind.signed])
def test_a_sealed_message_goes_to_its_recipient(
    hub: Office, alpha: Member, bravo: Member, kind: MessageKind
) -> None:
    sealed = alpha.sealed(bravo.node, kind)
    assert hub.submit(sealed, alpha).nodes == {bravo.node}
    assert [delivery.envelope for delivery in hub.waiting(bravo)] == [sealed]


def test_a_message_to_a_stranger_is_refused(hub: Office, alpha: Member, bravo: Member) -> None:
    with pytest.raises(WrongRecipient):
        hub.submit(alpha.sealed(NodeId("nobody")), alpha)
    hub.directory.set_status(bravo.node, MemberStatus.SUSPENDED, hub.clock.now())
    with pytest.raises(WrongRecipient):
        hub.submit(alpha.sealed(bravo.node), alpha)


def test_messages_do_not_outlive_the_limits_of_their_kind(hub: Office, alpha: Member, bravo: Member) -> None:
    with pytest.raises(LimitExceeded):
        hub.submit(alpha.sealed(bravo.node, life=timedelta(days=31)), alpha)
    with pytest.raises(Expired):
        hub.submit(alpha.sealed(bravo.node, life=timedelta(0)), alpha)
    for kind in (MessageKind.RECALL_NOTICE, MessageKind.RECALL_ACK):
        with pytest.raises(LimitExceeded):
            hub.submit(alpha.sealed(bravo.node, kind, life=timedelta(days=31)), alpha)
    lookup = alpha.lookup([bravo])
    hub.submit(lookup, alpha)
    late = replace(bravo.answer(lookup), expires_at=hub.clock.now() + timedelta(hours=25))
    with pytest.raises(LimitExceeded):
        hub.submit(late, bravo)


def test_a_full_mailbox_refuses_a_message_but_not_a_lookup_of_everybody(
    hub: Office, alpha: Member, bravo: Member, charlie: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "MAX_MAILBOX_ROWS_PER_RECIPIENT", 2)
    for _ in range(2):
        hub.submit(alpha.sealed(bravo.node), alpha)
    with pytest.raises(LimitExceeded):
        hub.submit(alpha.sealed(bravo.node), alpha)
    assert hub.submit(alpha.lookup([bravo, charlie]), alpha).nodes == {charlie.node}


def test_one_sender_cannot_fill_anothers_mailbox(
    hub: Office, alpha: Member, bravo: Member, charlie: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "MAX_WAITING_FROM_ONE_SENDER", 2)
    for _ in range(2):
        hub.submit(alpha.sealed(bravo.node), alpha)
    with pytest.raises(LimitExceeded):
        hub.submit(alpha.sealed(bravo.node), alpha)
    assert hub.submit(charlie.sealed(bravo.node), charlie).recipients == 1


# --- what is kept -------------------------------------------------------------------------------------


def test_what_was_accepted_waits_to_be_logged_and_what_was_refused_does_not(
    hub: Office, alpha: Member, bravo: Member
) -> None:
    lookup, sealed = alpha.lookup([bravo]), alpha.sealed(bravo.node)
    hub.submit(lookup, alpha)
    hub.submit(lookup, alpha)
    hub.submit(sealed, alpha)
    with pytest.raises(PurposeRefused):
        hub.submit(alpha.lookup([bravo], purpose=Purpose.C), alpha)
    with hub.store.read() as tx:
        waiting = [(each.kind, each.entry) for each in tx.log.waiting(100) if each.kind >= 10]
    assert waiting == [
        (10, request_commitment(lookup.statement)),
        (11, receipt_commitment(3, sealed.body)),
    ]
