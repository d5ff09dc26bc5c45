"""A hub that lies: it stands between the nodes and an honest hub, and changes what passes.

Rules of this file:
- everything that the hub could say, it can say: to one node, to some, to all. What it cannot do is sign in
  the name of a member, or open what is sealed;
- what it keeps from its honest half it answers itself, so that nobody notices by a missing receipt;
- every frame and call of every node is written down before anything is done to it: `sent`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from candor_hub.app import Hub
from candor_node.directory_store import FetchedDirectory
from candor_proto.directory import Directory
from candor_proto.errors import CandorError
from candor_proto.signing import SignedStatement
from candor_wire import codec
from candor_wire.codec import Envelope, MessageKind, Receipt
from candor_wire.v1 import hub_pb2
from tests.simulator.mail import parts_to_hub
from tests.simulator.network import Network, refusal

# What becomes of an envelope on its way: the envelopes that take its place.
Passing = Callable[[str, Envelope], Iterable[Envelope]]
# What is replied to a call in place of what the hub replies; `serve` asks the hub.
Serve = Callable[[list[bytes]], Awaitable[list[bytes]]]
Replying = Callable[[str, list[bytes], Serve], Awaitable[list[bytes]]]
# Delivery ids that no hub gives out.
_FORGED = 1 << 62


@dataclass(frozen=True)
class Sent:
    """One frame or call of a node: its parts with their octets, in order."""

    party: str
    at: float
    parts: tuple[tuple[str, int], ...]


def everything(_: str, envelope: Envelope) -> Iterator[Envelope]:
    """Nothing is changed."""
    yield envelope


class LyingNetwork(Network):
    """The hub's honest half behind a dishonest one. Nobody lies before it is told to."""

    def __init__(self, *args: Any, now: Callable[[], float]) -> None:
        super().__init__(*args)
        self._now = now
        self._numbers = itertools.count(_FORGED)
        self._forged: set[int] = set()
        self._cosigns: dict[int, asyncio.Future[int]] = {}
        self.sent: list[Sent] = []
        # What passes, for replays: (who was to get it, envelope); envelopes handed in by (who, envelope).
        self.delivered: list[tuple[str, Envelope]] = []
        self.handed_in: list[tuple[str, Envelope]] = []
        self.delivers: Passing = everything
        self.takes: Passing = everything
        self.replies: dict[str, Replying] = {}
        self.frames: Callable[[str, hub_pb2.AttachResponse], Iterable[hub_pb2.AttachResponse]] | None = None

    # --- frames ------------------------------------------------------------------------------------------

    def from_node(self, party: str, frame: hub_pb2.AttachRequest) -> Iterable[hub_pb2.AttachRequest]:
        parts = tuple((part.point, len(part.octets)) for part in parts_to_hub(frame))
        if frame.WhichOneof("frame") == "cosigned" and frame.cosigned.number in self._cosigns:
            self._cosigns.pop(frame.cosigned.number).set_result(frame.cosigned.status)
            return
        self.sent.append(Sent(party, self._now(), parts))
        if frame.WhichOneof("frame") != "mail":
            yield frame
            return
        own = [number for number in frame.mail.acknowledged if number not in self._forged]
        submissions, receipts = [], []
        for one in frame.mail.submissions:
            envelope = codec.read_known_envelope(one.envelope)
            self.handed_in.append((party, envelope))
            taken = list(self.takes(party, envelope))
            if not taken:
                receipts.append(Receipt(one.number, 1))
            # The first takes the number of the submission, whose receipt the node waits for.
            numbers = itertools.chain([one.number], self._numbers)
            submissions += [(number, each) for number, each in zip(numbers, taken, strict=False)]
        if receipts:
            self.streams[party].say_soon(codec.write_hub_mail((), receipts))
        if own or submissions:
            yield codec.write_node_mail(own, submissions)

    def to_node(self, party: str, frame: hub_pb2.AttachResponse) -> Iterable[hub_pb2.AttachResponse]:
        if frame.WhichOneof("frame") == "mail":
            receipts = [one for one in frame.mail.receipts if one.number < _FORGED]
            deliveries = list(self._deliveries(party, frame.mail.deliveries))
            del frame.mail.receipts[:], frame.mail.deliveries[:]
            frame.mail.receipts.extend(receipts)
            frame.mail.deliveries.extend(deliveries)
            if not receipts and not deliveries:
                return
        yield from (frame,) if self.frames is None else self.frames(party, frame)

    def _deliveries(self, party: str, deliveries: Iterable[Any]) -> Iterator[hub_pb2.Delivery]:
        for one in deliveries:
            envelope = codec.read_known_envelope(one.envelope)
            self.delivered.append((party, envelope))
            for number, each in zip(
                itertools.chain([one.delivery_id], self._forged_ids()),
                self.delivers(party, envelope),
                strict=False,
            ):
                yield hub_pb2.Delivery(delivery_id=number, envelope=codec.write_envelope(each))

    def _forged_ids(self) -> Iterator[int]:
        for number in self._numbers:
            self._forged.add(number)
            yield number

    async def deliver(self, party: str, *envelopes: Envelope) -> None:
        """Tell a node of envelopes of which the hub's honest half knows nothing."""
        ids = self._forged_ids()
        numbered = [(next(ids), codec.envelope_octets(each)) for each in envelopes]
        await self.streams[party].say(codec.write_hub_mail(numbered))

    async def ask_witness(self, party: str, request: bytes) -> int:
        """Ask a member to cosign, of which the hub's honest half knows nothing; the status of its answer."""
        number = next(self._numbers)
        answer = self._cosigns[number] = asyncio.get_running_loop().create_future()
        await self.tell(party, codec.Cosign(number, request))
        async with asyncio.timeout(30.0):
            status: int = await answer
        return status

    async def tell(self, party: str, frame: codec.HubFrame) -> None:
        await self.streams[party].say(codec.write_frame(frame))

    # --- calls -------------------------------------------------------------------------------------------

    async def answer(self, party: str, method: str, parts: list[bytes], serve: Serve) -> list[bytes]:
        self.sent.append(Sent(party, self._now(), ((method, sum(map(len, parts))),)))
        replying = self.replies.get(method)
        return await (serve(parts) if replying is None else replying(party, parts, serve))

    def refuse(self, method: str, error: CandorError, *, to: str = "") -> None:
        """Refuse every call of a method (of one node, if named)."""

        async def replying(party: str, parts: list[bytes], serve: Serve) -> list[bytes]:
            if to in ("", party):
                raise refusal(error)
            return await serve(parts)

        self.replies[method] = replying

    def show_directory(self, fetched: FetchedDirectory, *, to: str = "") -> None:
        """Give another directory than the hub's (to one node, if named)."""

        async def replying(party: str, parts: list[bytes], serve: Serve) -> list[bytes]:
            return list(directory_parts(fetched)) if to in ("", party) else await serve(parts)

        self.replies["GetDirectory"] = replying

    def honest(self) -> None:
        """It has had enough of lying, and has forgotten what passed."""
        self.delivered.clear()
        self.handed_in.clear()
        self.delivers = self.takes = everything
        self.replies.clear()
        self.frames = None


def directory_parts(fetched: FetchedDirectory) -> Iterator[bytes]:
    """The messages of a reply to GetDirectory."""
    body = fetched.statement.body
    start = hub_pb2.DirectoryStart(
        signature=fetched.statement.signature, certificate_chain=fetched.chain, body_octets=len(body)
    )
    yield hub_pb2.GetDirectoryResponse(start=start).SerializeToString()
    for chunk in codec.chunks(body):
        yield hub_pb2.GetDirectoryResponse(chunk=chunk).SerializeToString()


# --- directories that a hub can sign -------------------------------------------------------------------


def shown_by(hub: Hub) -> FetchedDirectory:
    """The directory that the hub shows."""
    stored = hub.directory.latest().stored
    return FetchedDirectory(stored.statement, stored.chain)


def signed_by(hub: Hub, directory: Directory) -> FetchedDirectory:
    """Another directory under the hub's key."""
    keys = hub.keys()
    return FetchedDirectory(
        keys.directory_key.sign("directory", directory.encode()), keys.directory_chain_der
    )


def altered(hub: Hub, *, ahead: int = 0, **changes: Any) -> FetchedDirectory:
    """The hub's newest directory with `changes`, `ahead` versions further, signed by the hub."""
    directory = Directory.decode(shown_by(hub).statement.body)
    return signed_by(hub, replace(directory, version=directory.version + ahead, **changes))


def with_head(hub: Hub, node: str, head: SignedStatement, *, ahead: int = 0) -> FetchedDirectory:
    """The hub's newest directory with another index head of one member."""
    directory = Directory.decode(shown_by(hub).statement.body)
    members = tuple(
        replace(member, head=head) if str(member.node) == node else member for member in directory.members
    )
    return altered(hub, ahead=ahead, members=members)


# --- what becomes of envelopes -------------------------------------------------------------------------


def dropping(kind: MessageKind, *, to: str = "", by: str = "") -> Passing:
    """Nothing of this kind passes (on its way to `to`, or of the sender `by`)."""

    def passing(party: str, envelope: Envelope) -> Iterator[Envelope]:
        if not (envelope.kind is kind and to in ("", party) and by in ("", str(envelope.sender))):
            yield envelope

    return passing


def changing(
    kind: MessageKind, change: Callable[[Envelope], Envelope], *, to: str = "", by: str = ""
) -> Passing:
    """What is of this kind (on its way to `to`, of the sender `by`) is changed."""

    def passing(party: str, envelope: Envelope) -> Iterator[Envelope]:
        meant = envelope.kind is kind and to in ("", party) and by in ("", str(envelope.sender))
        yield change(envelope) if meant else envelope

    return passing


def flipped(octets: bytes, at: int) -> bytes:
    """One bit is another one."""
    changed = bytearray(octets)
    changed[at] ^= 1
    return bytes(changed)
