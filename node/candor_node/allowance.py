"""What is left of quotas, asked before a batch starts (docs/protocol.md §11.3).

A question is a lookup about nobody: signed, routed and answered like any other, so that a node needs no
second way to say what it allows, and the answer is signed like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from candor_node import flight_store, ledger, mail_store
from candor_node.clock import Clock
from candor_node.hub_client import HubClient
from candor_node.index_client import IndexClient
from candor_node.mail_store import InboxRow
from candor_node.outbox import Outbox
from candor_node.store import Database, Store
from candor_proto.errors import CandorError, LogUnwitnessed
from candor_proto.exchange import Draft, draft_lookup, plan_targets, verify_answer
from candor_proto.ids import FederationName, KeyClass, LookupId, LookupShape, NodeId, Purpose
from candor_proto.signing import SigningKey
from candor_proto.statements import Left, cost, elements_in, lookup_digest
from candor_wire.codec import Envelope, MessageKind
from candor_wire.limits import CALL_DEADLINE_SECONDS

ANSWER_SECONDS = 10.0


@dataclass
class _Question:
    draft: Draft
    waiting: set[NodeId]
    said: dict[NodeId, Left] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class Allowed:
    """What the hub and each node that answered allow now; `silent` have not answered in time."""

    hub: Left
    nodes: Mapping[NodeId, Left]
    silent: tuple[NodeId, ...]
    # Lookups that carry one person, one a scheme version in use: the hub counts each, a node sees one.
    lookups: int = 1


class Allowances:
    """Asks, and takes the answers. Belongs to the event loop."""

    def __init__(
        self,
        store: Store,
        indexes: IndexClient,
        outbox: Outbox,
        hub: HubClient,
        federation: FederationName,
        own: NodeId,
        key: SigningKey,
        clock: Clock,
    ) -> None:
        self._store = store
        self._indexes = indexes
        self._outbox = outbox
        self._hub = hub
        self._federation = federation
        self._own = own
        self._key = key
        self._clock = clock
        self._questions: dict[LookupId, _Question] = {}

    async def ask(self, purpose: Purpose, seconds: float = ANSWER_SECONDS) -> Allowed:
        """Ask the hub and every node of which an index is held. Raises what denies it, or Unreachable."""
        hub = await self._hub.quota()
        planned = plan_targets(self._indexes.require_directory(), self._indexes.heads())
        targets = planned.targets
        if not targets:
            return Allowed(hub, {}, ())
        now = self._clock.now()
        draft = draft_lookup(
            [], LookupShape.SCREENING, purpose, self._federation, self._own, targets, self._key, now
        )
        question = _Question(draft, {target.node for target in targets})
        self._questions[draft.lookup.lookup_id] = question
        try:
            await self._send(draft, now)
            async with asyncio.timeout(seconds):
                while question.waiting:
                    question.changed.clear()
                    await question.changed.wait()
        except TimeoutError:
            pass
        finally:
            del self._questions[draft.lookup.lookup_id]
        silent = tuple(sorted(question.waiting))
        return Allowed(hub, question.said, silent, len(planned.groups))

    async def _send(self, draft: Draft, now: datetime) -> None:
        lookup, statement = draft.lookup, draft.statement
        envelope = Envelope(
            lookup.lookup_id.value,
            MessageKind.LOOKUP,
            self._own,
            None,
            statement.body,
            statement.signature,
            lookup.expires_at,
        )

        def work(db: Database) -> mail_store.OutboxRow | None:
            mail_store.enqueue(db, envelope, now)
            details: dict[str, ledger.Value] = {"targets": len(lookup.targets)}
            ledger.append(db, now, "quota.asked", {"lookup_id": str(lookup.lookup_id)}, details)
            return mail_store.outgoing(db, self._own, MessageKind.LOOKUP, lookup.lookup_id.value)

        row = await self._store.run(work)
        if row is not None:
            async with asyncio.timeout(CALL_DEADLINE_SECONDS):
                await self._outbox.send(row)

    async def process(self, row: InboxRow) -> bool:
        """Take an answer to a question; False when it belongs to none. Raises StoreUnusable only."""
        question = self._questions.get(LookupId(row.envelope.envelope_id))
        if question is None:
            return False
        node, now = row.envelope.sender, self._clock.now()
        code = ""
        try:
            key = self._indexes.require_directory().member(node).signing_key
            draft = question.draft
            digest = lookup_digest(draft.statement.body)
            question.said[node] = verify_answer(row.statement, draft.lookup, digest, node, key).left
        except LogUnwitnessed:
            raise
        except CandorError as error:
            code = error.code

        def work(db: Database) -> None:
            if not code:
                flight_store.state_allowance(db, node, question.said[node], now)
            mail_store.settle(db, row.number, code)

        await self._store.run(work)
        if not code:
            question.waiting.discard(node)
            question.changed.set()
        return True


# --- does it fit? --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """What a batch needs of each node, and where that is not left: `hub_left` and `short` are what fits."""

    need: int
    hub_left: int
    hub_short: bool
    short: Mapping[NodeId, int]
    silent: tuple[NodeId, ...]

    @property
    def fits(self) -> bool:
        return not self.hub_short and not self.short

    def sentence(self) -> str:
        """For example "This batch needs 2.0 million of the 0.8 million elements left at 3 nodes (…)."."""
        need = amount(self.need)
        parts = []
        if self.hub_short:
            parts.append(f"of the {amount(self.hub_left)} elements left at the hub")
        if self.short:
            least = amount(min(self.short.values()))
            parts.append(f"of the {least} elements left at {_nodes(tuple(sorted(self.short)))}")
        if not parts:
            words = f"This batch needs {need} elements at each node; that is left everywhere"
        else:
            words = f"This batch needs {need} {' and '.join(parts)}"
        if self.silent:
            words += f"; what {_nodes(self.silent)} allow is not known, for they have not answered"
        return f"{words}."


def estimate(rows: int, shape: LookupShape, allowed: Allowed) -> Estimate:
    """Whether `rows` persons fit into what is allowed; one with several surnames may take twice as much."""
    need = cost(shape, rows)

    def short(left: Left, lookups: int = 1) -> bool:
        return any(lookups * wanted > left.of(key_class) for key_class, wanted in need.items()) or (
            lookups * sum(need.values()) > left.total
        )

    def room(left: Left) -> int:
        """The elements that fit at these proportions of classes."""
        persons = min(
            [left.total // elements_in(shape), *(left.of(each) // one for each, one in _one(shape).items())]
        )
        return persons * elements_in(shape)

    return Estimate(
        need=sum(need.values()),
        hub_left=room(allowed.hub) // allowed.lookups,
        hub_short=short(allowed.hub, allowed.lookups),
        short={node: room(left) for node, left in allowed.nodes.items() if short(left)},
        silent=allowed.silent,
    )


def _one(shape: LookupShape) -> dict[KeyClass, int]:
    return {key_class: count for key_class, count in cost(shape, 1).items() if count}


def amount(elements: int) -> str:
    """A number that people read: 2.0 million, 0.8 million, 80,000."""
    return f"{elements / 1e6:.1f} million" if elements >= 100_000 else f"{elements:,}"


def _nodes(names: tuple[NodeId, ...]) -> str:
    shown = ", ".join(map(str, names[:5])) + (", …" if len(names) > 5 else "")
    return f"{len(names)} node{'s' * (len(names) != 1)} ({shown})"
