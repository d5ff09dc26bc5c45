"""Evaluates the lookups of others under this node's epoch keys (docs/protocol.md §7.3-§7.4).

Rules of this file:
- no record and no row of a subject is touched: there is nothing for timing to show;
- replay entry, quota and ledger entry are one transaction, before anything is evaluated;
- a refusal is a signed answer of the same size; what is not provably a member's lookup gets no answer,
  for nobody would be addressed by it: it is counted and dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from candor_node import epochs, ledger, mail_store
from candor_node.clock import Clock
from candor_node.index_client import IndexClient
from candor_node.logs import log
from candor_node.mail_store import InboxRow
from candor_node.store import Database, Store
from candor_node.workers import Workers, lane_for, slices_in
from candor_proto import oprf
from candor_proto.budget import Quota, Use, check_budget, remaining
from candor_proto.directory import check_standing
from candor_proto.errors import (
    CandorError,
    IdentityMismatch,
    MemberSuspended,
    NotYetValid,
    PurposeRefused,
    QuotaSpent,
    Replayed,
    StaleEpoch,
)
from candor_proto.exchange import verify_lookup
from candor_proto.ids import KeyClass, NodeId
from candor_proto.policy import check_purpose
from candor_proto.signing import SigningKey
from candor_proto.statements import (
    Answer,
    AnswerStatus,
    Evaluation,
    Left,
    Lookup,
    classes_of,
    lookup_digest,
)
from candor_wire.codec import Envelope, MessageKind

CATCH_UP_SECONDS = 10.0
NOTHING_LEFT = Left(0, 0, 0, 0)


@dataclass(frozen=True)
class Decision:
    """What a lookup gets; `seed` is the epoch's when it is to be evaluated.

    `left` is what the asker may use after it (§11.3).
    """

    status: AnswerStatus
    reason: str
    epoch: int
    seed: bytes | None = field(default=None, repr=False)
    left: Left = NOTHING_LEFT


class Answerer:
    """Turns a stored lookup into a signed answer in the outbox."""

    def __init__(
        self,
        store: Store,
        indexes: IndexClient,
        own: NodeId,
        key: SigningKey,
        quota: Quota,
        clock: Clock,
        workers: Workers,
    ) -> None:
        self._store = store
        self._indexes = indexes
        self._own = own
        self._key = key
        self._quota = quota
        self._clock = clock
        self._workers = workers

    async def process(self, row: InboxRow) -> None:
        """Answer one lookup of the inbox, or drop it. Raises StoreUnusable only."""
        # A lookup may overtake the announcement of the member that sent it.
        await self._indexes.caught_up(CATCH_UP_SECONDS)
        try:
            lookup = await self._workers.run(row.lane, self._verify, row, self._clock.now())
        except CandorError as error:
            await self._drop(row, error)
            return
        now = self._clock.now()
        try:
            decision = await self._store.run(lambda db: self._decide(db, row, lookup, now))
        except Replayed as error:
            await self._drop(row, error)
            return
        lane = lane_for(lookup.persons)
        answer = await self._workers.run(lane, self._answer, lookup, row.statement.body, decision, now)
        await self._store.run(lambda db: self._send(db, row, lookup, answer, now))
        log.info("lookup answered", asker=str(lookup.asker), status=decision.status.name)

    def _verify(self, row: InboxRow, now: datetime) -> Lookup:
        lookup = verify_lookup(row.statement, self._indexes.require_directory(), self._own, now)
        if lookup.asker != row.envelope.sender or lookup.lookup_id.value != row.envelope.envelope_id:
            raise IdentityMismatch("A lookup in the envelope of another sender.")
        return lookup

    def _decide(self, db: Database, row: InboxRow, lookup: Lookup, now: datetime) -> Decision:
        """The one transaction before an evaluation; raises Replayed."""
        before = mail_store.accept_once(db, lookup.asker, lookup.lookup_id, row.number, lookup.expires_at)
        if before is not None:
            return self._resume(db, lookup, before, now)
        decision = self._judge(db, lookup, now)
        mail_store.decide(db, lookup.asker, lookup.lookup_id, decision.status)
        if decision.status is AnswerStatus.EVALUATED:
            mail_store.use_quota(db, lookup.asker, lookup.cost, now)
        decision = replace(decision, left=self._left(mail_store.quota_uses(db, lookup.asker), now))
        ledger.append(
            db,
            now,
            "lookup.answered",
            {"lookup_id": str(lookup.lookup_id), "asker": str(lookup.asker)},
            {
                "purpose": lookup.purpose.name,
                "persons": lookup.persons,
                "elements": sum(lookup.cost.values()),
                "status": decision.status.name,
                "reason": decision.reason,
            },
        )
        return decision

    def _resume(self, db: Database, lookup: Lookup, status: AnswerStatus, now: datetime) -> Decision:
        """What was decided, and counted, before a crash kept it from being answered."""
        epoch = lookup.epoch_for(self._own) or 0
        left = self._left(mail_store.quota_uses(db, lookup.asker), now)
        if status is not AnswerStatus.EVALUATED:
            return Decision(status, "", epoch, left=left)
        try:
            return Decision(status, "", epoch, epochs.usable(db, epoch, now).seed, left)
        except StaleEpoch as error:
            return Decision(AnswerStatus.STALE_EPOCH, error.message, epoch, left=left)

    def _left(self, uses: Sequence[Use], now: datetime) -> Left:
        of = [remaining(self._quota, uses, now, key_class) for key_class in (None, *KeyClass)]
        return Left(*of)

    def _judge(self, db: Database, lookup: Lookup, now: datetime) -> Decision:
        """Standing, epoch, purpose and quota, in the order of §7.3."""
        epoch = lookup.epoch_for(self._own) or 0
        try:
            check_standing(self._indexes.require_directory().member(lookup.asker), now)
            seed = epochs.usable(db, epoch, now).seed
            check_purpose(lookup.purpose)
            uses = mail_store.quota_uses(db, lookup.asker)
            check_budget(self._quota, uses, lookup.cost, now, str(lookup.asker))
        except (MemberSuspended, NotYetValid) as error:
            return Decision(AnswerStatus.REFUSED_STANDING, error.message, epoch)
        except StaleEpoch as error:
            return Decision(AnswerStatus.STALE_EPOCH, error.message, epoch)
        except PurposeRefused as error:
            return Decision(AnswerStatus.REFUSED_PURPOSE, error.message, epoch)
        except QuotaSpent as error:
            return Decision(AnswerStatus.QUOTA, error.message, epoch)
        return Decision(AnswerStatus.EVALUATED, "", epoch, seed)

    def _answer(self, lookup: Lookup, body: bytes, decision: Decision, now: datetime) -> Answer:
        evaluations: dict[KeyClass, Evaluation] = {}
        if decision.seed is not None and lookup.persons:
            pairs = epochs.keys_for(decision.seed, lookup.federation, self._own, decision.epoch)
            sliced = self._workers.map(lane_for(lookup.persons))
            for key_class in classes_of(lookup.shape):
                asked = lookup.elements[key_class]
                elements, proof = oprf.blind_evaluate(
                    pairs[key_class], asked, threads=slices_in(len(asked)), map=sliced
                )
                evaluations[key_class] = Evaluation(elements, proof)
        return Answer(
            federation=lookup.federation,
            lookup_id=lookup.lookup_id,
            lookup=lookup_digest(body),
            node=self._own,
            asker=lookup.asker,
            status=decision.status,
            epoch=decision.epoch,
            answered_at=now,
            left=decision.left,
            shape=lookup.shape,
            persons=lookup.persons,
            evaluations=evaluations,
        )

    def _send(self, db: Database, row: InboxRow, lookup: Lookup, answer: Answer, now: datetime) -> None:
        statement = self._key.sign("answer", answer.encode())
        envelope = Envelope(
            lookup.lookup_id.value,
            MessageKind.ANSWER,
            self._own,
            lookup.asker,
            statement.body,
            statement.signature,
            lookup.expires_at,
        )
        mail_store.enqueue(db, envelope, now)
        mail_store.answered(db, lookup.asker, lookup.lookup_id)
        mail_store.settle(db, row.number)

    async def _drop(self, row: InboxRow, error: CandorError) -> None:
        log.warning("lookup dropped", sender=str(row.envelope.sender), code=error.code)
        await self._store.run(lambda db: mail_store.settle(db, row.number, error.code))
