"""Records every message and all metadata that pass a hub or a node, and searches the recording.

The recorder is wrapped around the very same hub and node that run in production: interceptors given to
`app`, nothing else. What is recorded is decrypted: the raw octets of each message inside the TLS
connection, both ways, with method, peer and metadata. For the demo and for
tests/integration/test_recording.py; production code has no such switch.

    python -m tools.recording hub  --config hub.toml  --out hub.jsonl
    python -m tools.recording node --config node.toml --out node.jsonl
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import pathlib
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import grpc
import grpc.aio


@dataclass(frozen=True)
class Frame:
    """One message, or one set of metadata, as recorded."""

    where: str
    direction: str
    method: str
    peer: str
    what: str
    octets: bytes

    @property
    def shape(self) -> tuple[str, str, str, int]:
        """What an observer without the contents could compare: direction, method, kind and size."""
        return self.direction, self.method, self.what, len(self.octets)


class Recorder:
    """Appends frames to a file, one JSON object a line."""

    def __init__(self, path: pathlib.Path, where: str) -> None:
        self._file = path.open("a", encoding="utf-8", buffering=1)
        self._where = where

    def frame(self, direction: str, method: str, peer: str, what: str, octets: bytes) -> None:
        line = {
            "at": time.time(),
            "where": self._where,
            "direction": direction,
            "method": method,
            "peer": peer,
            "what": what,
            "octets": octets.hex(),
        }
        self._file.write(json.dumps(line) + "\n")

    def metadata(
        self, direction: str, method: str, peer: str, pairs: Iterable[tuple[str, str | bytes]] | None
    ) -> None:
        flat = [
            (key, value.hex() if isinstance(value, bytes) else str(value))
            for key, value in pairs or ()
            if key != "user-agent"
        ]
        self.frame(direction, method, peer, "metadata", json.dumps(flat).encode())


def load(path: pathlib.Path) -> list[Frame]:
    """The frames of a recording, in order."""
    frames = []
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        frames.append(
            Frame(
                entry["where"],
                entry["direction"],
                entry["method"],
                entry["peer"],
                entry["what"],
                bytes.fromhex(entry["octets"]),
            )
        )
    return frames


# --- around the hub ------------------------------------------------------------------------------------


class RecordingServerInterceptor(grpc.aio.ServerInterceptor):
    """Records the raw octets of every message by wrapping each handler's (de)serialisers."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        method = handler_call_details.method or ""
        self._recorder.metadata("in", method, "", handler_call_details.invocation_metadata)
        read, write = handler.request_deserializer, handler.response_serializer

        def reading(octets: bytes) -> Any:
            message = read(octets) if read else octets
            for kind, part in _parts(message, octets):
                self._recorder.frame("in", method, "", kind, part)
            return message

        def writing(message: Any) -> bytes:
            octets = write(message) if write else message
            for kind, part in _parts(message, octets):
                self._recorder.frame("out", method, "", kind, part)
            return octets

        factory = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[bool(handler.request_streaming), bool(handler.response_streaming)]
        behaviour: Any = (
            handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        )
        return factory(behaviour, request_deserializer=reading, response_serializer=writing)


def _kind(message: Any) -> str:
    """The message's type, and inside an envelope or a frame what it carries."""
    name = type(message).__name__
    frame = message.WhichOneof("frame") if "frame" in _oneofs(message) else None
    if frame:
        name += f".{frame}"
        message = getattr(message, frame)
    if hasattr(message, "envelope"):
        name += f".{message.envelope.kind}"
    return name


def _parts(message: Any, octets: bytes) -> Iterator[tuple[str, bytes]]:
    """Kind and octets of a message; of a frame with mail, those of each thing in it.

    How many things share a frame depends on what came in the same millisecond, not on what they say.
    """
    name = type(message).__name__
    if "frame" not in _oneofs(message) or message.WhichOneof("frame") != "mail":
        yield _kind(message), octets
        return
    for field, value in message.mail.ListFields():
        if field.name == "acknowledged":
            yield f"{name}.acknowledged", b"".join(number.to_bytes(8, "little") for number in value)
            continue
        for part in value:
            kind = f".{part.envelope.kind}" if hasattr(part, "envelope") else ""
            yield f"{name}.{type(part).__name__.lower()}{kind}", part.SerializeToString()


def _oneofs(message: Any) -> set[str]:
    descriptor = getattr(message, "DESCRIPTOR", None)
    return set(descriptor.oneofs_by_name) if descriptor is not None else set()


# --- around a node -------------------------------------------------------------------------------------


class RecordedChannel:
    """A node's channel whose stubs record the raw octets of every message, both ways.

    Not gRPC's client interceptors: those replace a stream by an iterator without `read` and `write`.
    """

    def __init__(self, channel: grpc.aio.Channel, recorder: Recorder) -> None:
        self._channel = channel
        self._recorder = recorder

    def __getattr__(self, name: str) -> Any:
        make = getattr(self._channel, name)
        if name not in ("unary_unary", "unary_stream", "stream_unary", "stream_stream"):
            return make

        def recorded(method: str, request_serializer: Any, response_deserializer: Any, **options: Any) -> Any:
            def writing(message: Any) -> bytes:
                octets: bytes = request_serializer(message)
                for kind, part in _parts(message, octets):
                    self._recorder.frame("out", method, "hub", kind, part)
                return octets

            def reading(octets: bytes) -> Any:
                message = response_deserializer(octets)
                for kind, part in _parts(message, octets):
                    self._recorder.frame("in", method, "hub", kind, part)
                return message

            return _RecordedCallable(make(method, writing, reading, **options), self._recorder, method)

        return recorded


class _RecordedCallable:
    """A stub's method that records the metadata it is called with."""

    def __init__(self, call: Any, recorder: Recorder, method: str) -> None:
        self._call = call
        self._recorder = recorder
        self._method = method

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self._recorder.metadata("out", self._method, "hub", options.get("metadata"))
        return self._call(*arguments, **options)


def recorded_channel(recorder: Recorder) -> Callable[[grpc.aio.Channel], grpc.aio.Channel]:
    """For `Node(..., wrap_channel=...)`."""

    def wrap(channel: grpc.aio.Channel) -> grpc.aio.Channel:
        return cast(grpc.aio.Channel, RecordedChannel(channel, recorder))

    return wrap


# --- searching -----------------------------------------------------------------------------------------


def spellings(needle: bytes) -> Mapping[str, tuple[bytes, ...]]:
    """The forms in which `needle` could stand in a message: raw, hexadecimal, base64 at any alignment.

    Base64 of a part depends on what stands around it: the characters that only `needle` decides are
    searched, for each of the three alignments, in both alphabets.
    """
    encoded: list[bytes] = []
    for lead in range(3):
        text = base64.b64encode(bytes(lead) + needle)
        # Characters (of six bits) that the needle alone decides.
        core = text[-(-lead * 8 // 6) : (lead + len(needle)) * 8 // 6]
        # Four characters stand by chance in any few megabytes.
        if len(core) >= 5:
            encoded += [core, core.translate(bytes.maketrans(b"+/", b"-_"))]
    return {
        "raw": tuple({needle, needle.lower(), needle.upper()}),
        "hexadecimal": (needle.hex().encode(), needle.hex().upper().encode()),
        "base64": tuple(dict.fromkeys(encoded)),
    }


@dataclass(frozen=True)
class Finding:
    """A needle found in a recording."""

    name: str
    form: str
    frame: int


def search(frames: Iterable[Frame], needles: Mapping[str, bytes]) -> list[Finding]:
    """Every place where one of `needles` (name → octets, at least 3) stands in a frame, in any spelling."""
    forms = {name: spellings(needle) for name, needle in needles.items() if len(needle) >= 3}
    return [
        Finding(name, form, number)
        for number, frame in enumerate(frames)
        for name, by_form in forms.items()
        for form, texts in by_form.items()
        if any(text in frame.octets for text in texts)
    ]


def between(frames: list[Frame], start: int, end: int) -> Iterator[Frame]:
    """Frames `start` (included) to `end` (excluded) without heartbeats, which come by the clock."""
    return (frame for frame in frames[start:end] if "heartbeat" not in frame.what)


# --- running a hub or a node with a recorder in front --------------------------------------------------


async def _run_hub(config_file: pathlib.Path, out: pathlib.Path) -> None:
    from candor_hub.config import load_config
    from candor_hub.running import serve

    def ready(hub_address: str, enrolment_address: str, log_address: str) -> None:
        print(f"candor-hub: ready on {hub_address}, recorded", flush=True)

    await serve(load_config(config_file), ready, [RecordingServerInterceptor(Recorder(out, "hub"))])


async def _run_node(config_file: pathlib.Path, out: pathlib.Path) -> None:
    from candor_node.config import load_config
    from candor_node.running import run_node

    config = load_config(config_file)

    def say(line: str) -> None:
        print(line, flush=True)

    await run_node(config, say, wrap_channel=recorded_channel(Recorder(out, config.node)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Run a hub or a node and record its decrypted traffic.")
    parser.add_argument("what", choices=["hub", "node"])
    parser.add_argument("--config", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    run = _run_hub if arguments.what == "hub" else _run_node
    asyncio.run(run(arguments.config, arguments.out))


if __name__ == "__main__":
    main()
