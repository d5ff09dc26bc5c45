"""Evaluates the lookups of others under this node's epoch keys (docs/protocol.md §7.3-§7.4).

Rules of this file:
- no record and no row of a subject is touched: there is nothing for timing to show;
- replay entry, quota, ledger entry and answer are one transaction, and nothing leaves before it: an answer
  that could not be accounted for was never given, a crash before it leaves the lookup as it was;
- a refusal is a signed answer of the same size; what is not provably a member's lookup gets no answer,
  for nobody would be addressed by it: it is counted and dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from candor_node import epochs, ledger, mail_store
from candor_node.accountability import noticing
from candor_node.clock import Clock
from candor_node.index_client import IndexClient
from candor_node.logs import log
from candor_node.mail_store import InboxRow, OutboxRow
from candor_node.outbox import Outbox
from candor_node.store import Database, Store
from candor_node.workers import Workers, lane_for, slices_in
from candor_proto import oprf
from candor_proto.budget import Quota, Use, check_budget, remaining
from candor_proto.directory import check_standing
from candor_proto.errors import (
    CandorError,
    IdentityMismatch,
    LogUnwitnessed,
    MemberSuspended,
    NotYetValid,
    PurposeRefused,
    QuotaSpent,
    Replayed,
    StaleEpoch,
    StoreUnusable,
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
from candor_records.policy import Policy
from candor_wire.codec import Envelope, MessageKind

CATCH_UP_SECONDS = 10.0


@dataclass(frozen=True)
class Decision:
    """What a lookup gets; `seed` is the epoch's when it is to be evaluated."""

    status: AnswerStatus
    reason: str
    epoch: int
    seed: bytes | None = field(default=None, repr=False)


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
        outbox: Outbox,
        policy: Callable[[Database], Policy],
    ) -> None:
        self._store = store
        self._indexes = indexes
        self._own = own
        self._key = key
        self._quota = quota
        self._clock = clock
        self._workers = workers
        self._outbox = outbox
        self._policy = policy

    async def process(self, row: InboxRow) -> None:
        """Answer one lookup or drop it: stored before or not, it is stored and settled when this returns.

        Raises StoreUnusable, or LogUnwitnessed with nothing done.
        """
        # A lookup may overtake the announcement of the member that sent it.
        await self._indexes.caught_up(CATCH_UP_SECONDS)
        answer = await self._workers.run(row.lane, self._work_off, row)
        if answer is not None:
            await self._outbox.send_soon(answer)

    # --- on a thread: one hop there and back costs less than one for every step -----------------------------

    def _work_off(self, row: InboxRow) -> OutboxRow | None:
        """Answer or drop; the answer as it stands in the outbox."""
        try:
            lookup, now = self._verify(row, self._clock.now()), self._clock.now()
            foreseen = self._store.run_sync(partial(self._foresee, lookup=lookup, now=now))
            evaluations = self._evaluate(lookup, foreseen)
            status, answer = self._store.run_sync(
                lambda db: self._record(db, row, lookup, foreseen, evaluations, now)
            )
        except (StoreUnusable, LogUnwitnessed):
            raise
        except CandorError as error:
            if isinstance(error, Replayed):
                self._notice_replay(row)
            note, now = error.code, self._clock.now()
            log.warning("lookup dropped", sender=str(row.envelope.sender), code=note)
            self._store.run_sync(lambda db: mail_store.finish(db, row, now, note))
            return None
        if status is not None:
            log.info("lookup answered", asker=str(lookup.asker), status=status.name)
        return answer

    def _notice_replay(self, row: InboxRow) -> None:
        """A lookup under an id that was answered before; its signature is good (§17.1)."""
        lookup, now = Lookup.decode(row.envelope.body), self._clock.now()
        self._store.run_sync(lambda db: noticing.replayed(db, lookup, row.statement, now))

    def _verify(self, row: InboxRow, now: datetime) -> Lookup:
        lookup = verify_lookup(row.statement, self._indexes.require_directory(), self._own, now)
        if lookup.asker != row.envelope.sender or lookup.lookup_id.value != row.envelope.envelope_id:
            raise IdentityMismatch("A lookup in the envelope of another sender.")
        return lookup

    def _foresee(self, db: Database, lookup: Lookup, now: datetime) -> Decision:
        """What the lookup would get now: nothing is evaluated in vain, or twice. Raises Replayed."""
        mail_store.check_new(db, lookup.asker, lookup.lookup_id)
        return self._judge(db, lookup, now)

    def _record(
        self,
        db: Database,
        row: InboxRow,
        lookup: Lookup,
        foreseen: Decision,
        evaluations: Mapping[KeyClass, Evaluation],
        now: datetime,
    ) -> tuple[AnswerStatus | None, OutboxRow | None]:
        """The one transaction of an answer: what it says, and the answer as it stands in the outbox.

        Nothing of either when somebody else stored the lookup meanwhile. Raises Replayed.
        """
        number = mail_store.finish(db, row, now)
        if not number:
            return None, None
        # Others of the same asker may have been answered while this one was evaluated. A refusal stands.
        decision = foreseen if foreseen.seed is None else self._judge(db, lookup, now)
        mail_store.answer_once(db, lookup.asker, lookup.lookup_id, number, decision.status, lookup.expires_at)
        noticing.answered(db, lookup, row.statement)
        if decision.status is AnswerStatus.EVALUATED:
            mail_store.use_quota(db, lookup.asker, lookup.cost, now)
        else:
            evaluations = {}
        left = self._left(mail_store.quota_uses(db, lookup.asker), now)
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
        answer = Answer(
            federation=lookup.federation,
            lookup_id=lookup.lookup_id,
            lookup=lookup_digest(row.envelope.body),
            node=self._own,
            asker=lookup.asker,
            status=decision.status,
            epoch=decision.epoch,
            answered_at=now,
            left=left,
            shape=lookup.shape,
            persons=lookup.persons,
            evaluations=evaluations,
        )
        return decision.status, self._outbox.put(db, self._envelope(lookup, answer), now)

    def _envelope(self, lookup: Lookup, answer: Answer) -> Envelope:
        statement = self._key.sign("answer", answer.encode())
        return Envelope(
            lookup.lookup_id.value,
            MessageKind.ANSWER,
            self._own,
            lookup.asker,
            statement.body,
            statement.signature,
            lookup.expires_at,
        )

    def _left(self, uses: Sequence[Use], now: datetime) -> Left:
        of = [remaining(self._quota, uses, now, key_class) for key_class in (None, *KeyClass)]
        return Left(*of)

    def _judge(self, db: Database, lookup: Lookup, now: datetime) -> Decision:
        """Standing, epoch, purpose and quota, in the order of §7.3."""
        epoch = lookup.epoch_for(self._own) or 0
        try:
            check_standing(self._indexes.require_directory().member(lookup.asker), now)
            seed = epochs.usable(db, epoch, now).seed
            check_purpose(lookup.purpose, self._policy(db).purposes)
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

    def _evaluate(self, lookup: Lookup, decision: Decision) -> dict[KeyClass, Evaluation]:
        """Elements and proof of each class; none for a refusal, or of a lookup about nobody."""
        if decision.seed is None or not lookup.persons:
            return {}
        keys = epochs.keys_for(decision.seed, lookup.federation, self._own, decision.epoch)
        evaluations = {}
        for key_class in classes_of(lookup.shape):
            asked = lookup.elements[key_class]
            slices = slices_in(len(asked))
            sliced = self._workers.map(lane_for(lookup.persons), slices)
            elements, proof = oprf.blind_evaluate(keys[key_class], asked, threads=slices, map=sliced)
            evaluations[key_class] = Evaluation(elements, proof)
        return evaluations
