"""Has the newest head witnessed: asks every witness of the policies at once (docs/protocol.md §15.3, §15.4).

Rules of this file:
- each witness is asked by a task of its own, and has one request at a time: one that is slow, dead or lies
  delays nobody but itself;
- while a head waits for its quorum others may be signed. It is left for the newest one when it has its
  quorum, when nobody is left to ask, or after ROUND_SECONDS;
- what a witness answers is believed when its key says so. A size above our own is told to the operator and
  believed by nobody: a witness could stop the log with it (`confirmed`);
- with several replicas all ask about the head that the sequencer has chosen (`rounds`), each the witnesses
  that it reaches: signatures on different heads would never make a quorum.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Protocol, TypeVar

import structlog

from candor_hub.clock import Clock
from candor_hub.store import Store
from candor_hub.store.log import ShardRecord
from candor_hub.tlog.confirmed import KnowsMore
from candor_hub.tlog.files import LogFiles
from candor_hub.tlog.head import Head, merged, verified
from candor_hub.tlog.rounds import Round, Rounds, named
from candor_hub.tlog.witnessed import Policies, Taken, Witnessed, has_quorum, present_policies
from candor_proto.errors import CandorError, LogInconsistent, Unreachable
from candor_proto.ids import FederationName, NodeId
from candor_proto.tlog.note import COSIGNATURE_ED25519, NoteSignature, VerifierKey
from candor_proto.tlog.policy import Policy, PolicyWitness
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


async def _no_claim(witness: str, size: int | None) -> None:
    return


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
        reaches: Callable[[PolicyWitness], bool] = lambda _: True,
        rounds: Rounds | None = None,
        on_heard: Callable[[Head, frozenset[str]], bool] = lambda head, signed_by: False,
        on_claim: Callable[[str, int | None], Awaitable[None]] = _no_claim,
    ) -> None:
        """`send` asks one witness; `on_taken` hears of heads with a quorum, `on_cosigned` of signatures.

        `reaches` says whether a witness can be asked from here; `rounds` is None where there is no other
        replica. `on_heard` hears which witnesses of the policy in force have signed, and says whether more
        are waited for; `on_claim` hears what a witness claims to know, and that it does so no more (None).
        """
        self._store = store
        self._files = files
        self._federation = federation
        self._witnessed = witnessed
        self._send = send
        self._clock = clock
        self._in_thread = in_thread
        self._on_taken = on_taken
        self._on_cosigned = on_cosigned
        self._reaches = reaches
        self._rounds = rounds
        self._on_heard = on_heard
        self._on_claim = on_claim
        # By witness: what it claimed when it was asked last, None when it has signed since.
        self._claims: dict[str, int | None] = {}
        self._leads = rounds is None
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

    # Among several replicas:

    @property
    def waits(self) -> bool:
        """Whether a head waits for its quorum."""
        return self._present is not None and not self._present.taken

    def lead(self, newest: Head | None) -> None:
        """From now on this replica chooses which head is witnessed; `newest` was signed last."""
        self._leads, self._present, self._newest = True, None, newest
        self._event.set()

    def cease(self) -> None:
        """Another replica chooses, and `follow` says what."""
        self._leads, self._present, self._newest = False, None, None

    def follow(self, present: Round) -> None:
        """The head that all ask about, with what witnesses have signed at whatever replica."""
        if self._present is None or self._present.round != present.number:
            if self._leads:
                return
            self._present = Head(present.shard, present.signed, round=present.number)
        self._present.heard.update(present.cosigned)
        self._event.set()

    def taken(self, shards: Iterable[ShardRecord]) -> None:
        """What is witnessed by now, whoever has taken it up."""
        head = self._present
        for row in shards:
            if head is not None and row.shard == head.shard and not head.taken:
                head.taken = row.witnessed_size > head.size or row.witnessed.startswith(head.base)
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
        if self._rounds is not None and not head.round:
            head.round = await self._in_thread(partial(self._rounds.begin, head.shard, head.signed))
        # While heads wait the operator may have corrected an address.
        if self._known is None or loop.time() >= self._known_until:
            self._known = await self._in_thread(self._read)
            self._known_until = loop.time() + RETRY_SECONDS
        if self._known is None:
            return
        policy = self._known.policies.in_force
        came = self._take_answers(head, policy, loop.time())
        self._ask_all(head, self._known, loop.time())
        if came:
            await self._on_cosigned(head)
        await self._tell_claims()
        if not await self._share(head, policy):
            return
        signers = (each.name for each in policy.witnesses if named(each.key.key) in head.signed_by)
        awaited = self._on_heard(head, frozenset(signers))
        # What came after the quorum is kept as well, once nobody is left to wait for.
        more = head.taken and len(head.signed.signatures) > head.stored and not self._asked_about(head)
        now = self._clock.now()
        if more or (not head.taken and has_quorum(policy, head.signed, now)):
            await self._take(head, now)
        if not head.taken or awaited:
            self._again(RETRY_SECONDS)
        if self._newest is not None and self._newest is not head and self._is_over(head, loop.time()):
            self._event.set()

    def _turn(self, moment: float) -> Head | None:
        """Which head is asked about: the newest one, unless one before it may still have its quorum."""
        present, newest = self._present, self._newest
        if not self._leads or newest is None or newest is present:
            return present
        if present is None or self._is_over(present, moment):
            newest.until = moment + ROUND_SECONDS
            self._present = newest
        return self._present

    def _is_over(self, head: Head, moment: float) -> bool:
        """Whether waiting for more signatures is of no use: nobody is left to ask, or it took too long."""
        if head.taken or moment >= head.until:
            return True
        # Of the witnesses that other replicas ask nothing is known here.
        return self._rounds is None and not self._asked_about(head)

    async def _share(self, head: Head, policy: Policy) -> bool:
        """Tell the other replicas what came here, take in what came there; False if its round is over."""
        if self._rounds is not None and head.unshared:
            shared = dict(head.unshared)
            others = await self._in_thread(partial(self._rounds.add, head.round, shared))
            if others is None:
                head.taken = True
                return False
            for witness in shared:
                head.unshared.pop(witness, None)
            head.heard.update(others)
        heard, head.heard = head.heard, {}
        for witness, signatures in heard.items():
            head.signed_by.add(witness)
            head.signed = merged(head.signed, signatures, policy)
        return True

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

    def _signed_size(self, shard: int) -> int:
        """How many entries of a shard are signed by now, by whichever replica."""
        with self._store.read() as tx:
            return max((row.size for row in tx.log.shards() if row.shard == shard), default=0)

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
            if key in self._under_way or named(key) in head.signed_by or waits or not self._reaches(witness):
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
            if isinstance(answer.error, KnowsMore):
                self._claims[answer.witness.name] = answer.error.size
            elif answer.error is None and answer.witness.name in self._claims:
                self._claims[answer.witness.name] = None
            if answer.error is not None:
                self._not_before[key] = moment + RETRY_SECONDS
            elif answer.head is head:
                # Not of the same checkpoint in an earlier term: `confirmed` counts who signed in this one.
                head.signed_by.add(named(key))
                head.signed = merged(head.signed, answer.signatures, policy)
                if self._rounds is not None:
                    head.unshared[named(key)] = answer.signatures
                came = True
        return came

    async def _tell_claims(self) -> None:
        for witness, size in list(self._claims.items()):
            await self._on_claim(witness, size)
            if size is None:
                del self._claims[witness]

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
                found = verified(response.signatures, keys, signed, self._clock.now())
                self._sizes[place] = head.size
                return found
            if response.size > head.size:
                self._sizes.pop(place, None)
                if response.size <= await self._in_thread(partial(self._signed_size, head.shard)):
                    raise Unreachable(f"The witness {witness.name} has signed a newer head already.")
                raise KnowsMore(witness.name, response.size, head.size)
            self._sizes[place] = response.size
        raise Unreachable(f"The witness {witness.name} names another size each time.")


def _name(head: Head) -> str:
    return f"cosign {id(head)}"
