"""Recall: notice and acknowledgement (docs/protocol.md §9.7-§9.10)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from candor_proto.ids import Digest, FederationName, NodeId, RecallId, RequestId
from candor_proto.recall import (
    DONE_BY,
    AckLevel,
    Done,
    RecallAck,
    RecallKind,
    RecallNotice,
    check_answers,
    open_ack,
    open_notice,
)
from candor_proto.record import DisputeStatus
from candor_proto.sealing import DisclosureKey, SealContext, SealKind
from candor_proto.signing import VerifyingKey
from tools.vectors import world
from tools.vectors.book import Book, Given, changed, operation
from tools.vectors.disclosure import request
from tools.vectors.draws import draw
from tools.vectors.parties import ASKER, DAY, FEDERATION, HOUR, MINUTE, NOW, OWNER, THIRD, moment, ms
from tools.vectors.sealing import sealed_once
from tools.vectors.shapes import FLAG, OCTETS, TEXT, TIME, U8, fixed, listed, one_of

NOTICE = {
    "federation": TEXT,
    "recall_id": fixed(16),
    "owner": TEXT,
    "recipient": TEXT,
    "request_id": fixed(16),
    "request_digest": fixed(32),
    "kind": U8,
    "action": U8,
    "record": OCTETS,
    "changed": listed(TEXT),
    "dispute_status": U8,
    "subject_statement": TEXT,
    "effective": TIME,
    "issued": TIME,
}
ACK = {
    "federation": TEXT,
    "recall_id": fixed(16),
    "notice_digest": fixed(32),
    "recipient": TEXT,
    "owner": TEXT,
    "done": U8,
    "level": U8,
    "acted": TIME,
    "issued": TIME,
}


def notice(kind: RecallKind = RecallKind.CORRECTED) -> RecallNotice:
    """What the story's owner says, ten days after it released the record."""
    destroys = kind.action.name == "DESTROY"
    asked = request()
    return RecallNotice(
        federation=FEDERATION,
        recall_id=RecallId(draw("recall id", 16)),
        owner=OWNER.node,
        recipient=ASKER.node,
        request_id=asked.request_id,
        request=asked.digest(),
        kind=kind,
        record=world.RECORD.encode() if kind.with_record else b"",
        changed=() if destroys else ("decided_on", "narrative"),
        dispute_status=DisputeStatus.NONE if destroys else DisputeStatus.RESOLVED,
        subject_statement="" if destroys else "It was not me.",
        effective_at=NOW + 10 * DAY,
        issued_at=NOW + 10 * DAY + MINUTE,
    )


def ack() -> RecallAck:
    return RecallAck(
        federation=FEDERATION,
        recall_id=notice().recall_id,
        notice=notice().digest(),
        recipient=ASKER.node,
        owner=OWNER.node,
        done=Done.REPLACED,
        level=AckLevel.ACTED,
        acted_at=NOW + 10 * DAY + HOUR,
        issued_at=NOW + 10 * DAY + HOUR,
    )


def shown_notice(one: RecallNotice) -> dict[str, Any]:
    return {
        "federation": str(one.federation),
        "recall_id": one.recall_id.hex(),
        "owner": str(one.owner),
        "recipient": str(one.recipient),
        "request_id": one.request_id.hex(),
        "request_digest": one.request.hex(),
        "kind": one.kind.value,
        "action": one.action.value,
        "record": one.record.hex(),
        "changed": list(one.changed),
        "dispute_status": one.dispute_status.value,
        "subject_statement": one.subject_statement,
        "effective": ms(one.effective_at),
        "issued": ms(one.issued_at),
    }


def shown_ack(one: RecallAck) -> dict[str, Any]:
    return {
        "federation": str(one.federation),
        "recall_id": one.recall_id.hex(),
        "notice_digest": one.notice.hex(),
        "recipient": str(one.recipient),
        "owner": str(one.owner),
        "done": one.done.value,
        "level": one.level.value,
        "acted": ms(one.acted_at),
        "issued": ms(one.issued_at),
    }


@operation(
    "encode-recall-notice",
    "9.7",
    "the body of a notice, and its digest. Two-way",
    NOTICE,
    {"body": OCTETS, "digest": fixed(32)},
)
def _encode_notice(given: Given) -> dict[str, Any]:
    made = RecallNotice(
        FederationName(given["federation"]),
        RecallId(bytes.fromhex(given["recall_id"])),
        NodeId(given["owner"]),
        NodeId(given["recipient"]),
        RequestId(bytes.fromhex(given["request_id"])),
        Digest(bytes.fromhex(given["request_digest"])),
        RecallKind(given["kind"]),
        bytes.fromhex(given["record"]),
        tuple(given["changed"]),
        DisputeStatus(given["dispute_status"]),
        given["subject_statement"],
        moment(given["effective"]),
        moment(given["issued"]),
    )
    assert made.action.value == given["action"]
    assert RecallNotice.decode(made.encode()) == made
    return {"body": made.encode().hex(), "digest": made.digest().hex()}


@operation("decode-recall-notice", "9.8", "the fields of a notice", {"body": OCTETS}, NOTICE)
def _decode_notice(given: Given) -> dict[str, Any]:
    return shown_notice(RecallNotice.decode(bytes.fromhex(given["body"])))


@operation("encode-recall-ack", "9.10", "the body of an acknowledgement. Two-way", ACK, {"body": OCTETS})
def _encode_ack(given: Given) -> dict[str, Any]:
    made = RecallAck(
        FederationName(given["federation"]),
        RecallId(bytes.fromhex(given["recall_id"])),
        Digest(bytes.fromhex(given["notice_digest"])),
        NodeId(given["recipient"]),
        NodeId(given["owner"]),
        Done(given["done"]),
        AckLevel(given["level"]),
        moment(given["acted"]),
        moment(given["issued"]),
    )
    assert RecallAck.decode(made.encode()) == made
    return {"body": made.encode().hex()}


@operation("decode-recall-ack", "9.10", "the fields of an acknowledgement", {"body": OCTETS}, ACK)
def _decode_ack(given: Given) -> dict[str, Any]:
    return shown_ack(RecallAck.decode(bytes.fromhex(given["body"])))


@operation(
    "recall-kind",
    "9.8",
    "what a kind asks for, whether its notice carries a record, and what an acknowledgement may say was done",
    {"kind": U8},
    {"action": U8, "record": FLAG, "done": listed(U8)},
)
def _recall_kind(given: Given) -> dict[str, Any]:
    kind = RecallKind(given["kind"])
    done = sorted([DONE_BY[kind.action].value, Done.NOTHING_HELD.value])
    return {"action": kind.action.value, "record": kind.with_record, "done": done}


@operation(
    "check-recall-ack",
    "9.10",
    "whether an acknowledgement is `recipient`'s word about the notice of this digest and kind",
    {"body": OCTETS, "recipient": TEXT, "notice_digest": fixed(32), "kind": U8},
    {},
)
def _check_ack(given: Given) -> dict[str, Any]:
    made = RecallAck.decode(bytes.fromhex(given["body"]))
    digest = Digest(bytes.fromhex(given["notice_digest"]))
    check_answers(made, NodeId(given["recipient"]), digest, RecallKind(given["kind"]))
    return {}


@operation(
    "open-recall",
    "9.9",
    "what `own` makes of a sealed notice or acknowledgement said to be that of `sender`: its body",
    {
        "what": one_of("recall-notice", "recall-ack"),
        "private_key": OCTETS,
        "federation": TEXT,
        "envelope_id": fixed(16),
        "sender": TEXT,
        "sender_key": OCTETS,
        "own": TEXT,
        "now": TIME,
        "sealed": OCTETS,
    },
    {"body": OCTETS},
)
def _open_recall(given: Given) -> dict[str, Any]:
    arguments = (
        bytes.fromhex(given["sealed"]),
        DisclosureKey(bytes.fromhex(given["private_key"])),
        FederationName(given["federation"]),
        bytes.fromhex(given["envelope_id"]),
        NodeId(given["sender"]),
        NodeId(given["own"]),
        VerifyingKey(bytes.fromhex(given["sender_key"])),
        moment(given["now"]),
    )
    opened = open_notice(*arguments) if given["what"] == "recall-notice" else open_ack(*arguments)
    return {"body": opened.encode().hex()}


def book() -> Book:
    found = Book(
        "recall",
        "Recall notices of every kind and their acknowledgements: encoded, refused, sealed once and opened.",
        ("9.7", "9.8", "9.9", "9.10"),
        "The owner of the story (README.md) corrects what it released; by candor_proto.recall. "
        "tests/vectors/recall.json is an "
        "older notice, whose octets a test writes field by field. Sealed messages were made once and are "
        "kept.",
    )
    for kind in RecallKind:
        found.case(f"kind_{kind.name.lower()}", "recall-kind", {"kind": kind.value})
        found.case(f"notice_{kind.name.lower()}", "encode-recall-notice", shown_notice(notice(kind)))
    for level in AckLevel:
        given = shown_ack(replace(ack(), level=level))
        found.case(f"ack_{level.name.lower()}", "encode-recall-ack", given)
    nothing = replace(ack(), done=Done.NOTHING_HELD, issued_at=NOW + 11 * DAY)
    found.case("ack_nothing_held", "encode-recall-ack", shown_ack(nothing))
    _refused(found)
    _checked(found)
    _opened(found)
    return found


def _refused(found: Book) -> None:
    good = notice()
    body, void = good.encode(), notice(RecallKind.VOIDED)
    kind = body.index(good.request.value) + 32
    statement = notice(RecallKind.STATEMENT)
    for flaw, octets, refuse in (
        ("octet_behind", body + b"\0", "not_canonical"),
        ("cut", body[:-1], "malformed_message"),
        ("kind_0", body[:kind] + b"\0" + body[kind + 1 :], "malformed_message"),
        ("kind_10", body[:kind] + b"\x0a" + body[kind + 1 :], "malformed_message"),
        ("action_of_another_kind", body[: kind + 1] + b"\3" + body[kind + 2 :], "not_canonical"),
        ("action_4", body[: kind + 1] + b"\4" + body[kind + 2 :], "malformed_message"),
        ("record_missing", replace(good, record=b"").encode(), "not_canonical"),
        ("record_too_many", replace(statement, record=good.record).encode(), "not_canonical"),
        ("record_malformed", replace(good, record=good.record[:-1]).encode(), "malformed_message"),
        ("changed_not_sorted", replace(good, changed=("b", "a")).encode(), "not_canonical"),
        ("changed_twice", replace(good, changed=("a", "a")).encode(), "not_canonical"),
        ("changed_malformed", replace(good, changed=("A",)).encode(), "malformed_message"),
        (
            "changed_129",
            replace(good, changed=tuple(f"a{n:03}" for n in range(129))).encode(),
            "limit_exceeded",
        ),
        ("destroys_and_says_what_changed", replace(void, changed=("a",)).encode(), "not_canonical"),
        ("destroys_with_a_statement", replace(void, subject_statement="x").encode(), "not_canonical"),
        ("destroys_in_dispute", replace(void, dispute_status=DisputeStatus.OPEN).encode(), "not_canonical"),
        ("issued_before_its_effect", replace(good, issued_at=NOW).encode(), "malformed_message"),
    ):
        found.case(f"notice_{flaw}", "decode-recall-notice", {"body": octets.hex()}, refuse=refuse)
    said = ack()
    octets = said.encode()
    for flaw, spoilt, refuse in (
        ("octet_behind", octets + b"\0", "not_canonical"),
        ("cut", octets[:-1], "malformed_message"),
        ("done_5", octets[:-18] + b"\5" + octets[-17:], "malformed_message"),
        ("level_3", octets[:-17] + b"\3" + octets[-16:], "malformed_message"),
        ("issued_before_it_acted", replace(said, issued_at=NOW).encode(), "malformed_message"),
    ):
        found.case(f"ack_{flaw}", "decode-recall-ack", {"body": spoilt.hex()}, refuse=refuse)


def _checked(found: Book) -> None:
    base = {
        "body": ack().encode().hex(),
        "recipient": ASKER.name,
        "notice_digest": notice().digest().hex(),
        "kind": RecallKind.CORRECTED.value,
    }
    found.case("ack_fits", "check-recall-ack", base)
    nothing = replace(ack(), done=Done.NOTHING_HELD).encode().hex()
    found.case("ack_nothing_held_fits", "check-recall-ack", {**base, "body": nothing})
    for flaw, change, refuse in (
        ("another_recipient", {"recipient": THIRD.name}, "identity_mismatch"),
        ("another_notice", {"notice_digest": "00" * 32}, "commitment_mismatch"),
        ("another_action", {"kind": RecallKind.VOIDED.value}, "malformed_message"),
    ):
        found.case(f"ack_fits_not_{flaw}", "check-recall-ack", {**base, **change}, refuse=refuse)


def _opened(found: Book) -> None:
    envelope = draw("envelope of the recall", 16)
    context = SealContext(FEDERATION, SealKind.RECALL_NOTICE, envelope, OWNER.node, ASKER.node)
    statement = OWNER.signing.sign("recall-notice", notice(RecallKind.VOIDED).encode())
    found.keep("sealed notice", sealed_once(statement, ASKER.disclosure, context))
    base: dict[str, Any] = {
        "what": "recall-notice",
        "private_key": ASKER.disclosure.octets().hex(),
        "federation": str(FEDERATION),
        "envelope_id": envelope.hex(),
        "sender": OWNER.name,
        "sender_key": OWNER.signing.public.value.hex(),
        "own": ASKER.name,
        "now": ms(NOW + 10 * DAY + HOUR),
        "sealed": changed("sealed notice"),
    }
    found.case("notice_opens", "open-recall", base)
    for flaw, change, refuse in (
        ("another_envelope", {"envelope_id": "00" * 16}, "sealed_data_invalid"),
        ("another_key_of_the_sender", {"sender_key": THIRD.signing.public.value.hex()}, "signature_invalid"),
        ("issued_too_far_ahead", {"now": ms(NOW + 10 * DAY - 5 * MINUTE)}, "not_yet_valid"),
    ):
        found.case(f"notice_opens_not_{flaw}", "open-recall", {**base, **change}, refuse=refuse)
    context = SealContext(FEDERATION, SealKind.RECALL_ACK, envelope, ASKER.node, OWNER.node)

    def sealed(name: str, made: RecallAck) -> dict[str, Any]:
        signed = ASKER.signing.sign("recall-ack", made.encode())
        found.keep(name, sealed_once(signed, OWNER.disclosure, context))
        return changed(name)

    base |= {
        "what": "recall-ack",
        "private_key": OWNER.disclosure.octets().hex(),
        "sender": ASKER.name,
        "sender_key": ASKER.signing.public.value.hex(),
        "own": OWNER.name,
        "sealed": sealed("sealed ack", ack()),
    }
    found.case("ack_opens", "open-recall", base)
    for flaw, spoilt, refuse in (
        (
            "to_another_owner",
            {"sealed": sealed("ack to another", replace(ack(), owner=THIRD.node))},
            "wrong_recipient",
        ),
        (
            "of_another",
            {"sealed": sealed("ack of another", replace(ack(), recipient=THIRD.node))},
            "identity_mismatch",
        ),
    ):
        found.case(f"ack_opens_not_{flaw}", "open-recall", {**base, **spoilt}, refuse=refuse)
