"""Attacks of the application: whole calls and streams of a member that means ill, and of strangers who enrol.

Four calls at a time on each of two connections, as many as the hub allows, a new one for each that ends.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime

from candor_proto.canonical import to_milliseconds
from candor_proto.ids import LookupId, NodeId, Ori
from candor_proto.segment import address
from candor_proto.signing import SigningKey
from candor_proto.statements import Lookup
from candor_wire import codec
from candor_wire.v1 import enrolment_pb2, hub_pb2
from tests.campaign.attacks.frames import ATTACH, DIRECTORY, ENROL, PUT_SEGMENT, QUOTA, SUBMIT, _again
from tests.campaign.attacks.wire import DATA, END_STREAM, Place, Post, Wire, frame, message, settings
from tests.hub_members import Member, ShiftedClock

SEGMENT = "/candor.v1.HubService/GetSegment"
LOG = "/candor.v1.HubService/GetLog"
STATEMENT = "/candor.v1.HubService/PutStatement"
RENEW = "/candor.v1.HubService/RenewCertificate"
HEAD = "/candor.v1.HubService/PutHead"
AT_ONCE = 4
CONNECTIONS = 2

Call = tuple[str, bytes]


def _flood(post: Post, place: Place, calls: Iterator[Call], connections: int = CONNECTIONS) -> None:
    """Keep calls going on each connection."""
    with ExitStack() as stack:
        wires: list[Wire] = []
        while True:
            # One after the other: a hub may want to hear a call on each before it takes the next.
            if len(wires) < connections:
                wires.append(stack.enter_context(Wire(post, place)))
            for wire in wires:
                free = AT_ONCE - len(wire.windows)
                if free:
                    wire.say(b"".join(wire.open_call(*next(calls)) for _ in range(free)))
                    post.counts["calls"] += free
                wire.listen(0.001)


def _for_ever(make: Callable[[], Call]) -> Iterator[Call]:
    while True:
        yield make()


def member(post: Post) -> Member:
    """Speaks, and signs, for the attacker."""
    return Member(
        NodeId(post.node), Ori("CA0000000"), ShiftedClock(), signing_key=SigningKey(post.signing_seed)
    )


def _lookups(post: Post, good: bool) -> Iterator[codec.Envelope]:
    """Lookups of the attacker under ids of their own, whose signatures are good or not."""
    one = member(post)
    targets = [replace(one, node=NodeId(f"node-{number:04}")) for number in range(3)]
    model = one.lookup(targets)
    lookup = Lookup.decode(model.body)
    while True:
        lookup_id = LookupId(secrets.token_bytes(16))
        body = replace(lookup, lookup_id=lookup_id).encode()
        signature = one.signing_key.sign("lookup", body).signature if good else secrets.token_bytes(64)
        yield replace(model, envelope_id=lookup_id.value, body=body, signature=signature)


# --- calls -------------------------------------------------------------------------------------------------


@_again
def invalid_requests(post: Post, place: Place) -> None:
    """Submit with what is no message, and with one of unknown fields."""
    octets = (b"\xff" * 500, b"\xa2\x06\x03abc" * 100, b"\x0a\xff\xff\xff\xff\x0f")
    path = SUBMIT if place.members else ENROL
    _flood(post, place, _for_ever(lambda: (path, octets[post.counts["calls"] % len(octets)])))


@_again
def cheap_calls(post: Post, place: Place) -> None:
    """GetQuota and GetLog without a pause."""
    shards = hub_pb2.GetLogRequest(path="shards").SerializeToString()
    calls = ((QUOTA, b""), (LOG, shards))
    _flood(post, place, _for_ever(lambda: calls[post.counts["calls"] % 2]))


@_again
def directories(post: Post, place: Place) -> None:
    """The whole directory, again and again."""
    _flood(post, place, _for_ever(lambda: (DIRECTORY, b"")))


@_again
def unknown_objects(post: Post, place: Place) -> None:
    """Segments and files of the log that do not exist, and a method that does not."""
    deep = hub_pb2.GetLogRequest(path="1/tile/0/" + "x999/" * 15 + "999").SerializeToString()

    def make() -> Call:
        wanted = hub_pb2.GetSegmentRequest(address=secrets.token_bytes(32)).SerializeToString()
        return ((SEGMENT, wanted), (LOG, deep), ("/candor.v1.HubService/Nothing", b""))[
            post.counts["calls"] % 3
        ]

    _flood(post, place, _for_ever(make))


@_again
def statements(post: Post, place: Place) -> None:
    """Statements, heads and certificate requests that nobody signed."""

    def make() -> Call:
        body, signature = secrets.token_bytes(2_000), secrets.token_bytes(64)
        statement = hub_pb2.PutStatementRequest(context="witness-key", body=body, signature=signature)
        head = hub_pb2.PutHeadRequest(body=body, signature=signature)
        renew = hub_pb2.RenewCertificateRequest(certificate_request=body, signature=signature)
        calls = ((STATEMENT, statement), (HEAD, head), (RENEW, renew))
        path, request = calls[post.counts["calls"] % 3]
        return path, request.SerializeToString()

    _flood(post, place, _for_ever(make))


@_again
def bad_lookups(post: Post, place: Place) -> None:
    """Lookups by Submit whose signatures do not verify."""
    envelopes = _lookups(post, good=False)

    def make() -> Call:
        envelope = codec.write_envelope(next(envelopes))
        return SUBMIT, hub_pb2.SubmitRequest(envelope=envelope).SerializeToString()

    _flood(post, place, _for_ever(make))


@_again
def spend_quota(post: Post, place: Place) -> None:
    """Good lookups over eight connections at once, until the quota is spent and beyond."""
    envelopes = _lookups(post, good=True)

    def make() -> Call:
        envelope = codec.write_envelope(next(envelopes))
        return SUBMIT, hub_pb2.SubmitRequest(envelope=envelope).SerializeToString()

    _flood(post, place, _for_ever(make), connections=8)


# --- segments ----------------------------------------------------------------------------------------------


@_again
def unfinished_uploads(post: Post, place: Place) -> None:
    """Uploads that bring one small chunk a second, and never end."""
    with ExitStack() as stack:
        wires: list[Wire] = []
        while True:
            if len(wires) < CONNECTIONS:
                wires.append(stack.enter_context(Wire(post, place)))
            for wire in wires:
                while len(wire.windows) < AT_ONCE:
                    begun = hub_pb2.PutSegmentRequest(address=secrets.token_bytes(32)).SerializeToString()
                    wire.say(wire.open_call(PUT_SEGMENT))
                    _send(wire, wire.stream, begun)
                    post.counts["uploads"] += 1
                chunk = hub_pb2.PutSegmentRequest(chunk=bytes(16)).SerializeToString()
                for stream in tuple(wire.windows):
                    _send(wire, stream, chunk)
                wire.listen(0.01)
            post.pause(1.0)


@_again
def garbage_segments(post: Post, place: Place) -> None:
    """Whole segments of 64 MiB of nothing, under an address that is theirs or not, as fast as they go."""
    chunk = hub_pb2.PutSegmentRequest(chunk=bytes(256 * 1024)).SerializeToString()
    with Wire(post, place) as wire:
        while True:
            named = address(b"") if post.counts["uploads"] % 2 else secrets.token_bytes(32)
            value = named if isinstance(named, bytes) else named.value
            wire.say(wire.open_call(PUT_SEGMENT))
            stream = wire.stream
            _send(wire, stream, hub_pb2.PutSegmentRequest(address=value).SerializeToString())
            for _ in range(256):
                if stream not in wire.windows:
                    post.pause(0.05)
                    break
                _send(wire, stream, chunk)
                post.counts["octets"] += len(chunk)
            else:
                wire.say(frame(DATA, END_STREAM, stream))
                while stream in wire.windows:
                    wire.listen(0.05)
            post.counts["uploads"] += 1


def _send(wire: Wire, stream: int, octets: bytes) -> None:
    """A message on an open stream, within its windows; what is left when the stream ends is dropped."""
    left = memoryview(message(octets))
    while left and stream in wire.windows:
        some = min(wire.window, wire.windows[stream], 16_384, len(left))
        if some <= 0:
            wire.listen(0.05)
            continue
        wire.say(frame(DATA, 0, stream, bytes(left[:some])))
        wire.window -= some
        wire.windows[stream] -= some
        left = left[some:]
        wire.hear()


# --- the stream --------------------------------------------------------------------------------------------


def _hello() -> bytes:
    now = to_milliseconds(datetime.now(UTC))
    hello = hub_pb2.Hello(protocol_version=1, node_time_milliseconds=now)
    return hub_pb2.AttachRequest(hello=hello).SerializeToString()


@_again
def attach_again(post: Post, place: Place) -> None:
    """Streams that are opened, greeted, and replaced by the next one."""
    with ExitStack() as stack:
        wires: list[Wire] = []
        hello = message(_hello())
        while True:
            if len(wires) < CONNECTIONS:
                wires.append(stack.enter_context(Wire(post, place)))
            for wire in wires:
                while len(wire.windows) < AT_ONCE:
                    wire.say(wire.open_call(ATTACH) + frame(DATA, 0, wire.stream, hello))
                    post.counts["streams"] += 1
                wire.listen(0.001)


def _on_stream(post: Post, place: Place, flood: Callable[[], bytes]) -> None:
    """Attach, then say `flood` over and over, within the windows."""
    with Wire(post, place) as wire:
        wire.say(wire.open_call(ATTACH))
        stream = wire.stream
        _send(wire, stream, _hello())
        began = time.monotonic()
        while stream in wire.windows:
            _send(wire, stream, flood())
            post.counts["frames"] += 1
            wire.hear()
        if time.monotonic() - began < 0.05:
            post.pause(0.05)


@_again
def empty_frames(post: Post, place: Place) -> None:
    """Mail on the stream with one acknowledgement of nothing."""
    octets = hub_pb2.AttachRequest(mail=hub_pb2.NodeMail(acknowledged=[1])).SerializeToString()
    _on_stream(post, place, lambda: octets)


@_again
def acknowledgements(post: Post, place: Place) -> None:
    """Acknowledgements of a thousand deliveries that were never made, without a pause."""

    def flood() -> bytes:
        first = secrets.randbelow(1 << 40)
        mail = hub_pb2.NodeMail(acknowledged=range(first, first + 1_000))
        return hub_pb2.AttachRequest(mail=mail).SerializeToString()

    _on_stream(post, place, flood)


@_again
def submissions(post: Post, place: Place) -> None:
    """Lookups on the stream with bad signatures, sixteen to a frame, without waiting for receipts."""
    envelopes = _lookups(post, good=False)
    prepared = [
        hub_pb2.Submission(number=number, envelope=codec.write_envelope(next(envelopes)))
        for number in range(16)
    ]
    octets = hub_pb2.AttachRequest(mail=hub_pb2.NodeMail(submissions=prepared)).SerializeToString()
    _on_stream(post, place, lambda: octets)


@_again
def good_submissions(post: Post, place: Place) -> None:
    """Good lookups on the stream, as many as are taken."""
    envelopes = _lookups(post, good=True)

    def flood() -> bytes:
        some = [
            hub_pb2.Submission(number=n, envelope=codec.write_envelope(next(envelopes))) for n in range(4)
        ]
        return hub_pb2.AttachRequest(mail=hub_pb2.NodeMail(submissions=some)).SerializeToString()

    _on_stream(post, place, flood)


@_again
def unread_mail(post: Post, place: Place) -> None:
    """A stream on which everything is handed in and nothing is read."""
    envelopes = _lookups(post, good=False)
    with Wire(post, place, settings(s4=0)) as wire:
        wire.say(wire.open_call(ATTACH))
        stream = wire.stream
        _send(wire, stream, _hello())
        while stream in wire.windows:
            one = hub_pb2.Submission(number=1, envelope=codec.write_envelope(next(envelopes)))
            octets = hub_pb2.AttachRequest(mail=hub_pb2.NodeMail(submissions=[one])).SerializeToString()
            _send(wire, stream, octets)
            post.counts["frames"] += 1


# --- enrolment
# -----------------------------------------------------------------------------------------------


@_again
def wrong_tokens(post: Post, place: Place) -> None:
    """Enrolment with tokens that were never given."""

    def make() -> Call:
        request = enrolment_pb2.EnrolRequest(
            token=secrets.token_bytes(32),
            ori="CA0999990",
            node=f"guess-{secrets.randbelow(1 << 30)}",
            certificate_request=bytes(700),
            signing_key=secrets.token_bytes(32),
            disclosure_key=secrets.token_bytes(1_216),
            node_time_milliseconds=to_milliseconds(datetime.now(UTC)),
        )
        return ENROL, request.SerializeToString()

    _flood(post, place, _for_ever(make))
