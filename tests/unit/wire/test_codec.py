"""Message ↔ value: strict at the door (docs/protocol.md §3.4, §8.3, §13)."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.errors import (
    CandorError,
    LimitExceeded,
    MalformedMessage,
    QuotaSpent,
    UnsupportedVersion,
)
from candor_proto.ids import NodeId
from candor_proto.sealing import SealKind
from candor_proto.signing import SignedStatement
from candor_wire import codec, limits, log_codec
from candor_wire.codec import (
    Assembler,
    Cosign,
    Cosigned,
    Delivery,
    DirectoryChanged,
    Envelope,
    Heartbeat,
    Hello,
    HubFrame,
    HubMail,
    MessageKind,
    Receipt,
    Welcome,
)
from candor_wire.v1 import hub_pb2
from tests.parties import NOW

LOOKUP = Envelope(bytes(16), MessageKind.LOOKUP, NodeId("a"), None, b"body", bytes(64), NOW)
SEALED = Envelope(
    bytes(16),
    MessageKind.DISCLOSURE_REQUEST,
    NodeId("a"),
    NodeId("b"),
    bytes(SealKind.REQUEST.sealed_octets),
    b"",
    NOW,
)


RECALL = replace(SEALED, kind=MessageKind.RECALL_NOTICE, body=bytes(SealKind.RECALL_NOTICE.sealed_octets))
ACK = replace(SEALED, kind=MessageKind.RECALL_ACK, body=bytes(SealKind.RECALL_ACK.sealed_octets))


@pytest.mark.parametrize(
    "envelope", [LOOKUP, SEALED, RECALL, ACK], ids=["signed", "sealed", "recall", "acknowledgement"]
)
def test_an_envelope_survives_the_wire(envelope: Envelope) -> None:
    sent = codec.write_envelope(envelope).SerializeToString()
    assert codec.read_envelope(hub_pb2.Envelope.FromString(sent)) == envelope


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"envelope_id": bytes(15)}, MalformedMessage),
        ({"kind": 0}, MalformedMessage),
        ({"kind": 99}, MalformedMessage),
        ({"sender": "Not A Node"}, MalformedMessage),
        ({"body": b""}, LimitExceeded),
        ({"body": bytes(256 * 1024 + 1)}, LimitExceeded),
        ({"signature": bytes(63)}, MalformedMessage),
        ({"kind": 2}, MalformedMessage),  # an answer without a recipient
        ({"kind": 3, "recipient": "b"}, MalformedMessage),  # a sealed body of another size
        ({"kind": 5, "recipient": "b"}, MalformedMessage),
        ({"kind": 6, "recipient": "b"}, MalformedMessage),
        ({"expires_at_milliseconds": 2**63}, MalformedMessage),
    ],
)
def test_a_malformed_envelope_is_refused(changes: dict[str, object], error: type[Exception]) -> None:
    message = codec.write_envelope(LOOKUP)
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(error):
        codec.read_envelope(message)


def test_unknown_fields_are_refused_however_deep() -> None:
    inner = codec.write_envelope(LOOKUP).SerializeToString() + b"\xfa\x06\x01x"
    with pytest.raises(MalformedMessage):
        codec.read_envelope(hub_pb2.Envelope.FromString(inner))
    frame = hub_pb2.AttachResponse(mail=hub_pb2.HubMail(deliveries=[hub_pb2.Delivery(delivery_id=1)]))
    frame.mail.deliveries[0].envelope.MergeFromString(inner)
    with pytest.raises(MalformedMessage):
        codec.read_frame(frame)
    mail = hub_pb2.AttachRequest(mail=hub_pb2.NodeMail(submissions=[hub_pb2.Submission(number=1)]))
    mail.mail.submissions[0].envelope.MergeFromString(inner)
    with pytest.raises(MalformedMessage):
        codec.read_node_frame(mail)


def test_the_size_of_an_envelope_does_not_depend_on_its_values() -> None:
    sizes = {
        len(
            codec.write_envelope(
                replace(
                    SEALED,
                    envelope_id=secrets.token_bytes(16),
                    body=secrets.token_bytes(SealKind.REQUEST.sealed_octets),
                    expires_at=datetime(2026 + year, 1, 1, tzinfo=UTC),
                )
            ).SerializeToString()
        )
        for year in range(20)
    }
    assert len(sizes) == 1


@pytest.mark.parametrize(
    "frame",
    [
        Welcome(NOW, 3),
        HubMail((Delivery(9, SEALED), Delivery(10, SEALED)), (Receipt(7, 3),)),
        DirectoryChanged(4),
        Heartbeat(NOW),
        Cosign(7, b"old 0"),
    ],
)
def test_hub_frames_survive_the_wire(frame: HubFrame) -> None:
    sent = codec.write_frame(frame).SerializeToString()
    assert codec.read_frame(hub_pb2.AttachResponse.FromString(sent)) == frame


@pytest.mark.parametrize("deliveries", [0, 1, 3])
@pytest.mark.parametrize("octets", [1, 127, 128, 16_383, 16_384, 200_000])
def test_a_frame_put_together_of_octets_is_the_one_that_protobuf_makes(octets: int, deliveries: int) -> None:
    envelope = codec.write_envelope(replace(LOOKUP, body=bytes(octets)))
    ids = [(1 << 62) + number for number in range(deliveries)]
    receipts = [Receipt(0, 0), Receipt(7, 3), Receipt(8, LimitExceeded("Too much.", remedy="Wait."))]
    whole = hub_pb2.AttachResponse(
        mail=hub_pb2.HubMail(
            deliveries=[hub_pb2.Delivery(delivery_id=one, envelope=envelope) for one in ids],
            receipts=[codec.write_receipt(one) for one in receipts],
        )
    )
    encoded = envelope.SerializeToString()
    made = codec.write_hub_mail([(one, encoded) for one in ids], receipts)
    assert made == whole
    assert made.SerializeToString() == whole.SerializeToString()


def test_an_empty_frame_is_refused() -> None:
    with pytest.raises(MalformedMessage):
        codec.read_frame(hub_pb2.AttachResponse())
    with pytest.raises(MalformedMessage):
        codec.read_hello(hub_pb2.AttachRequest())
    for frame in (hub_pb2.AttachRequest(), hub_pb2.AttachRequest(mail=hub_pb2.NodeMail())):
        with pytest.raises(MalformedMessage):
            codec.read_node_frame(frame)
    with pytest.raises(MalformedMessage):
        codec.read_frame(hub_pb2.AttachResponse(mail=hub_pb2.HubMail()))
    unsettled = hub_pb2.HubMail(receipts=[hub_pb2.Receipt(number=1)])
    with pytest.raises(MalformedMessage):
        codec.read_frame(hub_pb2.AttachResponse(mail=unsettled))


def test_node_frames_survive_the_wire() -> None:
    assert codec.read_hello(codec.write_hello(Hello(NOW, 5))) == Hello(NOW, 5)
    mail = codec.NodeMail((1, 2), ((5, SEALED),))
    assert codec.read_node_frame(codec.write_node_mail((1, 2), [(5, SEALED)])) == mail


@pytest.mark.parametrize("status", sorted(limits.WITNESS_STATUSES))
def test_the_response_of_a_witness_survives_the_wire(status: int) -> None:
    sent = Cosigned(1 << 60, status, b"body")
    assert codec.read_node_frame(codec.write_cosigned(sent)) == sent


@pytest.mark.parametrize("status", [0, 201, 500])
def test_a_response_of_no_witness_is_refused(status: int) -> None:
    with pytest.raises(MalformedMessage):
        codec.read_node_frame(codec.write_cosigned(Cosigned(1, status, b"")))


def test_what_is_said_to_witnesses_is_bounded() -> None:
    large = bytes(limits.MAX_COSIGNED_BYTES + 1)
    with pytest.raises(LimitExceeded):
        codec.read_node_frame(codec.write_cosigned(Cosigned(1, 200, large)))
    for request in (b"", bytes(limits.MAX_COSIGN_BYTES + 1)):
        with pytest.raises(LimitExceeded):
            codec.read_frame(codec.write_frame(Cosign(1, request)))


@pytest.mark.parametrize(
    "path", ["shards", "1/checkpoint", "1/tile/0/x001/234.p/5", "12/tile/entries/000", "1/draw/2026-11"]
)
def test_a_path_of_the_log_survives_the_wire(path: str) -> None:
    assert log_codec.read_log_path(log_codec.write_log_path(path)) == path


@pytest.mark.parametrize(
    "path",
    ["", "/", "/shards", "shards/", "1//signed", "..", "1/../../keys", "1/.hidden", "1/a\n", "A", "x" * 129],
)
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(MalformedMessage):
        log_codec.read_log_path(log_codec.write_log_path(path))


def test_a_statement_to_be_logged_survives_the_wire() -> None:
    statement = SignedStatement(b"body", bytes(64))
    assert log_codec.read_put_statement(log_codec.write_put_statement("heartbeat", statement)) == (
        "heartbeat",
        statement,
    )


@pytest.mark.parametrize(
    ("context", "body", "signature", "error"),
    [
        ("", b"body", bytes(64), MalformedMessage),
        ("Heartbeat", b"body", bytes(64), MalformedMessage),
        ("heartbeat", b"", bytes(64), LimitExceeded),
        ("heartbeat", bytes(limits.MAX_LOGGED_STATEMENT_BYTES + 1), bytes(64), LimitExceeded),
        ("heartbeat", b"body", bytes(63), MalformedMessage),
    ],
)
def test_a_malformed_statement_is_refused(
    context: str, body: bytes, signature: bytes, error: type[Exception]
) -> None:
    message = hub_pb2.PutStatementRequest(context=context, body=body, signature=signature)
    with pytest.raises(error):
        log_codec.read_put_statement(message)


def test_a_directory_is_asked_for_by_its_version_or_none() -> None:
    assert log_codec.read_directory_version(hub_pb2.GetDirectoryRequest()) is None
    assert log_codec.read_directory_version(hub_pb2.GetDirectoryRequest(version=7)) == 7
    with pytest.raises(MalformedMessage):
        log_codec.read_directory_version(hub_pb2.GetDirectoryRequest(version=1 << 63))


def test_a_refusal_on_the_stream_is_the_typed_error() -> None:
    sent = Receipt(7, QuotaSpent("Spent.", remedy="Wait."))
    receipt = codec.read_frame(codec.write_frame(HubMail((), (sent,))))
    assert isinstance(receipt, HubMail)
    error = receipt.receipts[0].outcome
    assert isinstance(error, QuotaSpent)
    assert (error.message, error.remedy) == ("Spent.", "Wait.")


def test_an_error_that_is_not_ours_is_withheld_on_the_stream_too() -> None:
    sent = codec.write_receipt(Receipt(7, KeyError("sentinel")))
    assert b"sentinel" not in sent.SerializeToString()
    assert sent.refusal.code == CandorError.code


def test_an_envelope_that_is_none_is_a_matter_of_its_submission() -> None:
    frame = codec.write_node_mail((3,), [(1, SEALED), (2, SEALED)])
    frame.mail.submissions[0].envelope.envelope_id = b"short"
    mail = codec.read_node_frame(frame)
    assert isinstance(mail, codec.NodeMail)
    assert mail.acknowledged == (3,)
    assert [type(one) for _, one in mail.submissions] == [MalformedMessage, Envelope]


def test_another_protocol_version_is_refused_with_what_to_do() -> None:
    message = codec.write_hello(Hello(NOW, 5))
    message.hello.protocol_version = 2
    with pytest.raises(UnsupportedVersion) as caught:
        codec.read_hello(message)
    assert "Upgrade" in caught.value.remedy
    welcome = codec.write_frame(Welcome(NOW, 3))
    welcome.welcome.protocol_version = 2
    with pytest.raises(UnsupportedVersion):
        codec.read_frame(welcome)


def test_too_many_acknowledgements_at_once_are_refused() -> None:
    with pytest.raises(LimitExceeded):
        codec.read_node_frame(codec.write_acknowledge(range(limits.MAX_ACKNOWLEDGED_IDS + 1)))
    many = [(number, SEALED) for number in range(limits.MAX_UNANSWERED_SUBMISSIONS + 1)]
    with pytest.raises(LimitExceeded):
        codec.read_node_frame(codec.write_node_mail((), many))


@given(st.binary(max_size=200))
def test_arbitrary_octets_raise_typed_errors_only(octets: bytes) -> None:
    try:
        message = hub_pb2.AttachResponse.FromString(octets)
    except Exception:
        return
    try:
        codec.read_frame(message)
    except CandorError:
        return


def test_chunks_assemble_again_and_never_beyond_the_limit() -> None:
    octets = secrets.token_bytes(limits.CHUNK_BYTES * 2 + 5)
    assembler = Assembler(len(octets))
    for chunk in codec.chunks(octets):
        assembler.add(chunk)
    assert assembler.finish() == octets
    with pytest.raises(LimitExceeded):
        assembler.add(b"x")
    for wrong in (b"", bytes(limits.CHUNK_BYTES + 1)):
        with pytest.raises(MalformedMessage):
            Assembler(1 << 30).add(wrong)


def test_certificate_chains_have_limits() -> None:
    assert codec.read_chain([b"x"]) == (b"x",)
    for wrong in ([], [b"x"] * 5):
        with pytest.raises(LimitExceeded):
            codec.read_chain(wrong)
    with pytest.raises(MalformedMessage):
        codec.read_chain([bytes(16 * 1024 + 1)])
    with pytest.raises(MalformedMessage):
        codec.read_address(bytes(31))


def test_an_acknowledgement_of_a_delivery_that_cannot_be_is_refused() -> None:
    with pytest.raises(MalformedMessage):
        codec.read_node_frame(codec.write_acknowledge((1 << 63,)))
