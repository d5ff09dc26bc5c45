"""Recall notices and their acknowledgements (docs/protocol.md §9.7-§9.11; attacks A8, A9)."""

from __future__ import annotations

import json
import secrets
import struct
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.disclosure import DisclosureRequest
from candor_proto.errors import (
    CandorError,
    CommitmentMismatch,
    IdentityMismatch,
    IllegalTransition,
    LimitExceeded,
    MalformedMessage,
    NotCanonical,
    NotYetValid,
    SealedDataInvalid,
    SignatureInvalid,
    WrongRecipient,
)
from candor_proto.ids import Digest, FederationName, Handle, LookupId, NodeId, Purpose, RecallId, RequestId
from candor_proto.recall import (
    MAX_CHANGED,
    RECALL_TRANSITIONS,
    RECIPIENT_TRANSITIONS,
    AckLevel,
    Done,
    RecallAck,
    RecallAction,
    RecallEvent,
    RecallKind,
    RecallNotice,
    RecallState,
    RecipientEvent,
    RecipientState,
    check_about,
    check_answers,
    open_ack,
    open_notice,
    recall_after,
    recipient_after,
    seal_ack,
    seal_notice,
)
from candor_proto.record import CanonicalRecord, DisputeStatus, RecordKind, Tier
from candor_proto.sealing import DisclosureKey, SealContext, SealKind, seal_statement
from tests.parties import FEDERATION, NOW, Parties

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "recall.json").read_text())
PARTIES = Parties("asker", "mallory", "owner")
RECORD = CanonicalRecord(
    RecordKind.TERMINATION_FOR_CAUSE, Tier.ADJUDICATED, {"dcn": "C-2", "last": "Schmidt"}
)
ENVELOPE = secrets.token_bytes(16)
REQUEST = DisclosureRequest(
    FEDERATION,
    RequestId(secrets.token_bytes(16)),
    NodeId("asker"),
    NodeId("owner"),
    1,
    Handle(secrets.token_bytes(16)),
    Digest(bytes(32)),
    Purpose.J_APPLICANT,
    "REQ-1",
    Digest(bytes(32)),
    "Sgt. Example",
    LookupId(secrets.token_bytes(16)),
    DisclosureKey.generate().public,
    NOW,
    NOW + timedelta(days=30),
)
CORRECTED = RecallNotice(
    FEDERATION,
    RecallId(secrets.token_bytes(16)),
    NodeId("owner"),
    NodeId("asker"),
    REQUEST.request_id,
    REQUEST.digest(),
    RecallKind.CORRECTED,
    RECORD.encode(),
    ("effective_on", "narrative"),
    DisputeStatus.OPEN,
    "It was not me.",
    NOW,
    NOW,
)
VOIDED = replace(
    CORRECTED,
    kind=RecallKind.VOIDED,
    record=b"",
    changed=(),
    dispute_status=DisputeStatus.NONE,
    subject_statement="",
)
ACK = RecallAck(
    FEDERATION,
    VOIDED.recall_id,
    VOIDED.digest(),
    NodeId("asker"),
    NodeId("owner"),
    Done.DESTROYED,
    AckLevel.ACTED,
    NOW,
    NOW,
)


def sealed_notice(notice: RecallNotice, signer: str = "owner") -> bytes:
    return seal_notice(notice, PARTIES[signer].signing, PARTIES["asker"].disclosure.public, ENVELOPE)


def open_as_recipient(
    sealed: bytes, sender: str = "owner", now: datetime = NOW, envelope: bytes = ENVELOPE
) -> RecallNotice:
    return open_notice(
        sealed,
        PARTIES["asker"].disclosure,
        FEDERATION,
        envelope,
        NodeId(sender),
        NodeId("asker"),
        PARTIES[sender].signing.public,
        now,
    )


def sealed_ack(ack: RecallAck, signer: str = "asker") -> bytes:
    return seal_ack(ack, PARTIES[signer].signing, PARTIES["owner"].disclosure.public, ENVELOPE)


def open_as_owner(sealed: bytes, sender: str = "asker", now: datetime = NOW) -> RecallAck:
    return open_ack(
        sealed,
        PARTIES["owner"].disclosure,
        FEDERATION,
        ENVELOPE,
        NodeId(sender),
        NodeId("owner"),
        PARTIES[sender].signing.public,
        now,
    )


# --- the octets (§9.7, §9.10) --------------------------------------------------------------------------


def of_vector() -> tuple[RecallNotice, RecallAck]:
    """The values whose octets stand in tests/vectors/recall.json."""
    at = datetime(2026, 3, 2, 12, tzinfo=UTC)
    notice = RecallNotice(
        FederationName("demo-exchange.example"),
        RecallId(bytes(range(16))),
        NodeId("springfield-pd"),
        NodeId("shelbyville-so"),
        RequestId(bytes(range(16, 32))),
        Digest(bytes(range(32))),
        RecallKind.CORRECTED,
        RECORD.encode(),
        ("effective_on", "narrative"),
        DisputeStatus.OPEN,
        "It was not me.",
        at,
        at + timedelta(seconds=1),
    )
    ack = RecallAck(
        notice.federation,
        notice.recall_id,
        notice.digest(),
        notice.recipient,
        notice.owner,
        Done.REPLACED,
        AckLevel.READ,
        at,
        at + timedelta(hours=1),
    )
    return notice, ack


def test_the_octets_are_those_of_the_vectors() -> None:
    notice, ack = of_vector()
    assert notice.encode().hex() == VECTORS["notice"]
    assert str(notice.digest()) == VECTORS["notice_digest"]
    assert ack.encode().hex() == VECTORS["ack"]


def test_the_octets_of_the_vectors_follow_the_text_field_by_field() -> None:
    """Written from §9.7 and §9.10 with `struct` alone."""
    at = 1_772_452_800_000  # 2026-03-02 12:00 UTC in milliseconds

    def text(value: str) -> bytes:
        return struct.pack(">I", len(value.encode())) + value.encode()

    label, owner, recipient = b"\x17candor/v1/recall-notice", "springfield-pd", "shelbyville-so"
    notice = label + text("demo-exchange.example") + bytes(range(16)) + text(owner) + text(recipient)
    notice += bytes(range(16, 32)) + bytes(range(32)) + b"\x01\x02"
    notice += struct.pack(">I", len(RECORD.encode())) + RECORD.encode()
    notice += struct.pack(">I", 2) + text("effective_on") + text("narrative") + b"\x02"
    notice += text("It was not me.") + struct.pack(">QQ", at, at + 1_000)
    assert notice.hex() == VECTORS["notice"]
    ack = b"\x14candor/v1/recall-ack" + text("demo-exchange.example") + bytes(range(16))
    ack += bytes.fromhex(VECTORS["notice_digest"]) + text(recipient) + text(owner) + b"\x02\x02"
    assert (ack + struct.pack(">QQ", at, at + 3_600_000)).hex() == VECTORS["ack"]


def test_encodings_round_trip() -> None:
    for notice in (CORRECTED, VOIDED):
        assert RecallNotice.decode(notice.encode()) == notice
    assert RecallAck.decode(ACK.encode()) == ACK


NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,20}\Z", fullmatch=True)


@given(
    st.sampled_from(RecallKind),
    st.lists(NAMES, unique=True, max_size=5),
    st.sampled_from(DisputeStatus),
    st.text(max_size=40).map(lambda text: RecallNotice.decode(CORRECTED.encode()).subject_statement + text),
    st.integers(0, 10**9),
)
def test_every_notice_that_may_be_is_read_as_it_was_written(
    kind: RecallKind, changed: list[str], dispute: DisputeStatus, statement: str, seconds: int
) -> None:
    says = kind.action is not RecallAction.DESTROY
    notice = replace(
        CORRECTED,
        kind=kind,
        record=RECORD.encode() if kind.with_record else b"",
        changed=tuple(sorted(changed)) if says else (),
        dispute_status=dispute if says else DisputeStatus.NONE,
        subject_statement=statement if says else "",
        issued_at=NOW + timedelta(seconds=seconds),
    )
    try:
        octets = notice.encode()
    except UnicodeEncodeError:
        return
    read = RecallNotice.decode(octets)
    assert read.encode() == octets


@given(st.binary(max_size=300))
def test_arbitrary_octets_raise_typed_errors_only(octets: bytes) -> None:
    for kind in (RecallNotice, RecallAck):
        with pytest.raises(CandorError):
            kind.decode(octets)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_octet_is_read_as_it_stands_or_refused(at: int, change: int) -> None:
    for value in (CORRECTED, ACK):
        octets = bytearray(value.encode())
        octets[at % len(octets)] ^= change
        try:
            read = type(value).decode(bytes(octets))
        except CandorError:
            continue
        assert read.encode() == bytes(octets)


def test_octets_behind_the_end_are_refused() -> None:
    for value in (CORRECTED, ACK):
        with pytest.raises(NotCanonical):
            type(value).decode(value.encode() + b"\0")


# --- what a kind may say (§9.8) ------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "action"), list(product(RecallKind, RecallAction)))
def test_the_action_is_that_of_the_kind_and_no_other(kind: RecallKind, action: RecallAction) -> None:
    says = kind.action is not RecallAction.DESTROY
    notice = replace(CORRECTED if says else VOIDED, kind=kind, record=RECORD.encode() * kind.with_record)
    octets = notice.encode()
    mark = bytes([kind.value, kind.action.value]) + len(notice.record).to_bytes(4, "big")
    assert octets.count(mark) == 1
    forged = octets.replace(mark, bytes([kind.value, action.value]) + mark[2:])
    if action is kind.action:
        assert RecallNotice.decode(forged) == notice
    else:
        with pytest.raises(NotCanonical, match="asks for"):
            RecallNotice.decode(forged)


@pytest.mark.parametrize(
    "notice",
    [
        replace(VOIDED, record=RECORD.encode()),
        replace(CORRECTED, record=b""),
        replace(CORRECTED, kind=RecallKind.STATEMENT),
        replace(VOIDED, changed=("last",)),
        replace(VOIDED, subject_statement="It was not Schmidt."),
        replace(VOIDED, dispute_status=DisputeStatus.OPEN),
        replace(CORRECTED, changed=("narrative", "effective_on")),
        replace(CORRECTED, changed=("narrative", "narrative")),
        replace(CORRECTED, record=b"no record"),
        replace(CORRECTED, changed=("Narrative of Schmidt",)),
        replace(CORRECTED, issued_at=NOW - timedelta(seconds=1)),
    ],
)
def test_a_notice_that_says_too_much_or_too_little_is_refused(notice: RecallNotice) -> None:
    with pytest.raises(MalformedMessage):
        RecallNotice.decode(notice.encode())


def test_what_is_over_its_limit_is_refused() -> None:
    many = tuple(f"a{number:03}" for number in range(MAX_CHANGED + 1))
    for changes in ({"changed": many}, {"record": bytes(44_001)}, {"subject_statement": "x" * 16_001}):
        with pytest.raises(LimitExceeded):
            RecallNotice.decode(replace(CORRECTED, **changes).encode())


def test_the_longest_notice_fits_its_envelope() -> None:
    fields = {f"field_{number}": "x" * 14_000 for number in range(3)}
    whole = replace(
        CORRECTED,
        record=CanonicalRecord(RECORD.kind, RECORD.tier, fields).encode(),
        changed=tuple(sorted(f"the_name_of_a_field_{number}" for number in range(MAX_CHANGED))),
        subject_statement="\N{PILE OF POO}" * 4_000,
    )
    assert open_as_recipient(sealed_notice(whole)) == whole
    assert len(sealed_notice(whole)) == len(sealed_notice(VOIDED)) == SealKind.RECALL_NOTICE.sealed_octets
    assert len(sealed_ack(ACK)) == SealKind.RECALL_ACK.sealed_octets


# --- who says it, to whom, about what (§9.9) -----------------------------------------------------------


def test_a_notice_of_somebody_else_is_refused() -> None:
    with pytest.raises(SignatureInvalid):
        open_as_recipient(sealed_notice(VOIDED, signer="mallory"))


def resealed(kind: SealKind, body: bytes, signer: str, sender: str, to: str, context: str) -> bytes:
    """`body`, signed by `signer`, in a seal that says sender and recipient as they should be."""
    return seal_statement(
        PARTIES[signer].signing.sign(context, body),
        PARTIES[to].disclosure.public,
        SealContext(FEDERATION, kind, ENVELOPE, NodeId(sender), NodeId(to)),
    )


def test_a_member_cannot_recall_what_another_one_released() -> None:
    """The notice names the owner; Mallory signs it and sends it under her own name."""
    kind = SealKind.RECALL_NOTICE
    sealed = resealed(kind, VOIDED.encode(), "mallory", "mallory", "asker", "recall-notice")
    with pytest.raises(IdentityMismatch, match="another owner"):
        open_as_recipient(sealed, sender="mallory")
    honest = replace(VOIDED, owner=NodeId("mallory"))
    sealed = resealed(kind, honest.encode(), "mallory", "mallory", "asker", "recall-notice")
    with pytest.raises(IdentityMismatch, match="somebody else released"):
        check_about(open_as_recipient(sealed, sender="mallory"), REQUEST)


def test_a_notice_for_another_recipient_or_federation_is_refused() -> None:
    for changes, error in (
        ({"recipient": NodeId("mallory")}, WrongRecipient),
        ({"federation": FederationName("other.example")}, IdentityMismatch),
    ):
        body = replace(VOIDED, **changes).encode()
        sealed = resealed(SealKind.RECALL_NOTICE, body, "owner", "owner", "asker", "recall-notice")
        with pytest.raises(error):
            open_as_recipient(sealed)


def test_a_notice_from_the_future_or_in_another_envelope_is_refused() -> None:
    with pytest.raises(NotYetValid):
        open_as_recipient(sealed_notice(VOIDED), now=NOW - timedelta(minutes=6))
    with pytest.raises(SealedDataInvalid):
        open_as_recipient(sealed_notice(VOIDED), envelope=bytes(16))


def test_a_notice_about_another_request_is_refused() -> None:
    check_about(VOIDED, REQUEST)
    for notice in (
        replace(VOIDED, request=Digest(bytes(32))),
        replace(VOIDED, request_id=RequestId(bytes(16))),
    ):
        with pytest.raises(CommitmentMismatch):
            check_about(notice, REQUEST)


def test_a_signature_of_a_response_does_not_recall() -> None:
    sealed = resealed(
        SealKind.RECALL_NOTICE, VOIDED.encode(), "owner", "owner", "asker", "disclosure-response"
    )
    with pytest.raises(SignatureInvalid):
        open_as_recipient(sealed)


# --- acknowledgements (§9.10) --------------------------------------------------------------------------


def test_an_acknowledgement_reaches_the_owner_whole() -> None:
    ack = open_as_owner(sealed_ack(ACK))
    assert ack == ACK
    check_answers(ack, NodeId("asker"), VOIDED.digest(), RecallKind.VOIDED)


def test_nobody_acknowledges_for_another_member() -> None:
    with pytest.raises(SignatureInvalid):
        open_as_owner(sealed_ack(ACK, signer="mallory"))
    sealed = resealed(SealKind.RECALL_ACK, ACK.encode(), "mallory", "mallory", "owner", "recall-ack")
    with pytest.raises(IdentityMismatch):
        open_as_owner(sealed, sender="mallory")
    with pytest.raises(IdentityMismatch):
        check_answers(replace(ACK, recipient=NodeId("mallory")), NodeId("asker"), ACK.notice, VOIDED.kind)


def test_an_acknowledgement_to_another_owner_or_federation_is_refused() -> None:
    for changes, error in (
        ({"owner": NodeId("mallory")}, WrongRecipient),
        ({"federation": FederationName("other.example")}, IdentityMismatch),
    ):
        body = replace(ACK, **changes).encode()
        with pytest.raises(error):
            open_as_owner(resealed(SealKind.RECALL_ACK, body, "asker", "asker", "owner", "recall-ack"))


def test_an_acknowledgement_from_the_future_is_refused() -> None:
    with pytest.raises(NotYetValid):
        open_as_owner(sealed_ack(ACK), now=NOW - timedelta(minutes=6))
    with pytest.raises(MalformedMessage):
        RecallAck.decode(replace(ACK, acted_at=NOW + timedelta(seconds=1)).encode())


@pytest.mark.parametrize(("kind", "done"), list(product(RecallKind, Done)))
def test_what_was_done_fits_what_was_asked_for(kind: RecallKind, done: Done) -> None:
    fits = {
        RecallAction.DESTROY: {Done.DESTROYED, Done.NOTHING_HELD},
        RecallAction.REPLACE: {Done.REPLACED, Done.NOTHING_HELD},
        RecallAction.ANNOTATE: {Done.ANNOTATED, Done.NOTHING_HELD},
    }
    ack = replace(ACK, done=done)
    if done in fits[kind.action]:
        check_answers(ack, NodeId("asker"), ACK.notice, kind)
    else:
        with pytest.raises(MalformedMessage):
            check_answers(ack, NodeId("asker"), ACK.notice, kind)


def test_an_acknowledgement_of_another_notice_is_refused() -> None:
    with pytest.raises(CommitmentMismatch):
        check_answers(ACK, NodeId("asker"), Digest(bytes(32)), VOIDED.kind)


# --- states, and what prints ---------------------------------------------------------------------------


def test_every_pair_of_state_and_event_is_listed_or_refused() -> None:
    for state, event in product(RecallState, RecallEvent):
        if (state, event) not in RECALL_TRANSITIONS:
            with pytest.raises(IllegalTransition):
                recall_after(state, event)
    for own, happened in product(RecipientState, RecipientEvent):
        if (own, happened) not in RECIPIENT_TRANSITIONS:
            with pytest.raises(IllegalTransition):
                recipient_after(own, happened)


def test_what_was_acknowledged_is_never_sent_again_nor_forgotten() -> None:
    for state in (RecallState.ACTED, RecallState.READ):
        assert (state, RecallEvent.SENDS) not in RECALL_TRANSITIONS
        following = {after for (before, _), after in RECALL_TRANSITIONS.items() if before is state}
        assert following <= {RecallState.ACTED, RecallState.READ}


def test_nothing_personal_prints() -> None:
    shown: Any = repr(CORRECTED) + repr(ACK)
    for secret in ("Schmidt", "not me"):
        assert secret not in shown
