"""Has the newest head witnessed: asks every witness of the policies at once (docs/protocol.md §15.3, §15.4).

Rules of this file:
- each witness is asked by a task of its own, and has one request at a time: one that is slow, dead or lies
  delays nobody but itself;
- while a head waits for its quorum others may be signed. It is left for the newest one when it has its
  quorum, when nobody is left to ask, or after ROUND_SECONDS;
- what a witness answers is believed when its key says so. A size above our own is told to the operator and
  believed by nobody: a witness could stop the log with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Protocol, TypeVar

import structlog

from candor_hub.clock import Clock
from candor_hub.store import Store
from candor_hub.tlog.files import LogFiles
from candor_hub.tlog.witnessed import Policies, Taken, Witnessed, has_quorum, present_policies
from candor_proto.errors import CandorError, LimitExceeded, LogInconsistent, SignatureInvalid, Unreachable
from candor_proto.ids import FederationName, NodeId
from candor_proto.statements import CLOCK_TOLERANCE
from candor_proto.tlog.checkpoint import SignedCheckpoint
from candor_proto.tlog.note import COSIGNATURE_ED25519, NoteSignature, VerifierKey
from candor_proto.tlog.policy import Policy, PolicyWitness
from candor_proto.tlog.signatures import verify_signature
from candor_proto.tlog.statements import witness_name
from candor_proto.tlog.tiles import consistency_proof
from candor_proto.tlog.witness import parse_response, request_octets

log = structlog.get_logger(__name__)

T = TypeVar("T")
ROUND_SECONDS = 5.0
RETRY_SECONDS = 5.0
# A witness that names another size is asked once more with it; twice, for it may move on meanwhile.
ATTEMPTS = 3

Send = Callable[[PolicyWitness, bytes], Awaitable[tuple[int, bytes]]]


@dataclass(eq=False)
class Head:
    """A head to be witnessed, with what witnesses said so far; `until` is when another may take its turn."""

    shard: int
    signed: SignedCheckpoint
    signed_by: set[bytes] = field(default_factory=set)
    taken: bool = False
    stored: int = 0
    until: float = 0.0

    @property
    def size(self) -> int:
        return self.signed.checkpoint.size


@dataclass(frozen=True)
class _Answer:
    """What a witness signed, or why it did not."""

    witness: PolicyWitness
    head: Head
    signatures: tuple[NoteSignature, ...]
    error: CandorError | None = None


@dataclass(frozen=True)
class _Known:
    """The policies, and the Ed25519 keys of members, whose names are those of their ML-DSA-44 keys."""

    policies: Policies
    ed25519: Mapping[str, VerifierKey]
    # Where the operator says that a key is asked. A policy with a wrong address would ask in vain for ever:
    # the next one needs the signature that never comes.
    addresses: Mapping[bytes, str]

    @property
    def witnesses(self) -> dict[bytes, PolicyWitness]:
        """Whom to ask, by key."""
        coming = self.policies.coming
        both = (*self.policies.in_force.witnesses, *(coming.witnesses if coming else ()))
        return {
            key: replace(witness, url=self.addresses.get(key, witness.url))
            for key, witness in ((each.key.key, each) for each in both)
        }

    def keys_of(self, witness: PolicyWitness) -> tuple[VerifierKey, ...]:
        second = self.ed25519.get(witness.key.name)
        return (witness.key, second) if second else (witness.key,)


class InThread(Protocol):
    """Runs what blocks elsewhere."""

    async def __call__(self, work: Callable[[], T], /) -> T: ...


class Asking:
    """Asks witnesses, for ever. One event loop owns it."""

    def __init__(
        self,
        store: Store,
        files: LogFiles,
        federation: FederationName,
        witnessed: Witnessed,
        send: Send,
        clock: Clock,
        in_thread: InThread,
        on_taken: Callable[[Head, Taken], Awaitable[None]],
        on_cosigned: Callable[[Head], Awaitable[None]],
    ) -> None:
        """`send` asks one witness; `on_taken` hears of heads with a quorum, `on_cosigned` of signatures."""
        self._store = store
        self._files = files
        self._federation = federation
        self._witnessed = witnessed
        self._send = send
        self._clock = clock
        self._in_thread = in_thread
        self._on_taken = on_taken
        self._on_cosigned = on_cosigned
        self._newest: Head | None = None
        self._present: Head | None = None
        self._known: _Known | None = None
        self._known_until = 0.0
        self._event = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._under_way: dict[bytes, asyncio.Task[None]] = {}
        self._answers: list[_Answer] = []
        self._not_before: dict[bytes, float] = {}
        # What each witness holds of a shard, as far as it is known: by key and shard.
        self._sizes: dict[tuple[bytes, int], int] = {}

    def newest(self, head: Head) -> None:
        """This head was signed last."""
        self._newest = head
        self._event.set()

    def attached(self, node: NodeId) -> None:
        """A member is back: if it is a witness, it need not wait for its next turn."""
        key_name = witness_name(self._federation, node)
        for key, witness in (self._known.witnesses if self._known else {}).items():
            if witness.key.name == key_name:
                self._not_before.pop(key, None)
        self._event.set()

    async def run(self) -> None:
        """For ever; what is under way ends with it."""
        try:
            while True:
                await self._event.wait()
                self._event.clear()
                try:
                    await self._step()
                except CandorError as error:
                    log.error("witnesses could not be asked", code=error.code, message=error.message)
                    self._again(RETRY_SECONDS)
                except Exception as error:
                    log.error("witnesses could not be asked", exc_info=error)
                    self._again(RETRY_SECONDS)
        finally:
            for task in self._under_way.values():
                task.cancel()
            if self._timer is not None:
                self._timer.cancel()

    def _again(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._event.set)

    async def _step(self) -> None:
        loop = asyncio.get_running_loop()
        head = self._turn(loop.time())
        if head is None:
            return
        # While heads wait the operator may have corrected an address.
        if self._known is None or loop.time() >= self._known_until:
            self._known = await self._in_thread(self._read)
            self._known_until = loop.time() + RETRY_SECONDS
        if self._known is None:
            return
        came = self._take_answers(head, self._known.policies.in_force, loop.time())
        self._ask_all(head, self._known, loop.time())
        if came:
            await self._on_cosigned(head)
        # What came after the quorum is kept as well, once nobody is left to wait for.
        more = head.taken and len(head.signed.signatures) > head.stored and not self._asked_about(head)
        now = self._clock.now()
        if more or (not head.taken and has_quorum(self._known.policies.in_force, head.signed, now)):
            await self._take(head, now)
        if not head.taken:
            self._again(RETRY_SECONDS)
        if self._newest is not head and (head.taken or not self._asked_about(head)):
            self._event.set()

    def _turn(self, moment: float) -> Head | None:
        """Which head is asked about: the newest one, unless one before it may still have its quorum."""
        present, newest = self._present, self._newest
        if newest is None or newest is present:
            return present
        if present is None or present.taken or not self._asked_about(present) or moment >= present.until:
            newest.until = moment + ROUND_SECONDS
            self._present = newest
        return self._present

    def _asked_about(self, head: Head) -> bool:
        return any(task.get_name() == _name(head) for task in self._under_way.values())

    def _read(self) -> _Known | None:
        with self._store.read() as tx:
            policies, records = present_policies(tx), tx.logged.witnesses()
            addresses = {witness.key.key: witness.url for witness in tx.log.outside()}
        if policies is None:
            return None
        names = {record.node: witness_name(self._federation, record.node) for record in records}
        ed25519 = {
            names[record.node]: VerifierKey(names[record.node], COSIGNATURE_ED25519, record.ed25519_key)
            for record in records
        }
        return _Known(policies, ed25519, addresses)

    async def _take(self, head: Head, now: datetime) -> None:
        signed = head.signed
        taken = await self._in_thread(partial(self._witnessed.take, head.shard, signed, now))
        # A newer policy may be in force, or wait for the next head.
        self._known = None
        if taken is None:
            return
        head.taken, head.stored = True, len(signed.signatures)
        await self._on_taken(head, taken)

    # --- one witness ------------------------------------------------------------------------------------

    def _ask_all(self, head: Head, known: _Known, moment: float) -> None:
        for key, witness in known.witnesses.items():
            waits = self._not_before.get(key, 0.0) > moment
            if key in self._under_way or key in head.signed_by or waits:
                continue
            task = asyncio.create_task(self._ask(witness, known.keys_of(witness), head), name=_name(head))
            self._under_way[key] = task

    def _take_answers(self, head: Head, policy: Policy, moment: float) -> bool:
        """Take up what came; whether it has brought signatures for `head`."""
        answers, self._answers = self._answers, []
        came = False
        for answer in answers:
            key = answer.witness.key.key
            self._under_way.pop(key, None)
            if answer.error is not None:
                self._not_before[key] = moment + RETRY_SECONDS
            elif answer.head.signed.checkpoint == head.signed.checkpoint:
                head.signed_by.add(key)
                head.signed = _with(head.signed, answer.signatures, policy)
                came = True
        return came

    async def _ask(self, witness: PolicyWitness, keys: tuple[VerifierKey, ...], head: Head) -> None:
        try:
            answer = _Answer(witness, head, await self._cosigned(witness, keys, head))
        except CandorError as error:
            level = log.error if isinstance(error, LogInconsistent) else log.info
            level("a witness did not sign", witness=witness.name, code=error.code, message=error.message)
            answer = _Answer(witness, head, (), error)
        except Exception as error:
            log.error("a witness could not be asked", witness=witness.name, exc_info=error)
            answer = _Answer(witness, head, (), CandorError("internal"))
        self._answers.append(answer)
        self._event.set()

    async def _cosigned(
        self, witness: PolicyWitness, keys: tuple[VerifierKey, ...], head: Head
    ) -> tuple[NoteSignature, ...]:
        """The witness's verified signatures on this head; raises what its refusal means."""
        place = witness.key.key, head.shard
        signed, files = head.signed, self._files.shard(head.shard)
        for _ in range(ATTEMPTS):
            old = min(self._sizes.get(place, 0), head.size)
            hashes = await self._in_thread(partial(consistency_proof, files, old, head.size))
            status, body = await self._send(witness, request_octets(old, hashes, signed))
            response = parse_response(status, body)
            if response.size is None:
                found = _verified(response.signatures, keys, signed, self._clock.now())
                self._sizes[place] = head.size
                return found
            if response.size > head.size:
                self._sizes.pop(place, None)
                raise LogInconsistent(
                    f"The witness {witness.name} says that it knows {response.size} entries of a log that "
                    f"has {head.size}.",
                    remedy="If several say so, this hub's database is older than what it signed once: stop "
                    "it (docs/log.md, section 7). One alone may be wrong, and is not needed.",
                )
            self._sizes[place] = response.size
        raise Unreachable(f"The witness {witness.name} names another size each time.")


def _name(head: Head) -> str:
    return f"cosign {id(head)}"


def _verified(
    signatures: Sequence[NoteSignature], keys: Sequence[VerifierKey], signed: SignedCheckpoint, now: datetime
) -> tuple[NoteSignature, ...]:
    """Those of `signatures` that are by `keys`, the first of which must have signed.

    Raises SignatureInvalid when one does not verify, is missing, or states a time that has not come.
    """
    found = []
    for key in keys:
        for signature in signatures:
            if signature.is_by(key):
                moment = verify_signature(key, signed.checkpoint, signature)
                if moment is not None and moment > now + CLOCK_TOLERANCE:
                    raise SignatureInvalid(f"{key.name} signed with a time that has not come.")
                found.append(signature)
    if not found or not found[0].is_by(keys[0]):
        raise SignatureInvalid(f"{keys[0].name} answered without its signature.")
    return tuple(found)


def _with(signed: SignedCheckpoint, signatures: Sequence[NoteSignature], policy: Policy) -> SignedCheckpoint:
    """A checkpoint has 64 lines: when they are full, what the policy in force does not name makes room."""
    for some in (signatures, signatures[:1]):
        with suppress(LimitExceeded):
            return signed.with_signatures(some)
    keys = [witness.key for witness in policy.witnesses]
    named = [line for line in signatures if any(line.is_by(key) for key in keys)]
    return policy.knows(signed).with_signatures(named)
