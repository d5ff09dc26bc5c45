"""Deciding about the disclosure requests of others (docs/protocol.md §9.6).

Rules of this file:
- the fair-process gate is asked again at the moment of release, whoever decides; what is RED by then is
  released by nobody;
- a record about a subject who is marked as sensitive here is released by two people: one asks (`second`),
  the other approves, and approving is releasing;
- what is unknown, withdrawn, held, RED or declined is one answer on the wire;
- decision, response and ledger entry are one transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from candor_node import (
    approvals,
    ledger,
    mail_store,
    publisher,
    record_seals,
    request_store,
    responses,
    rollback,
    subjects,
    users,
)
from candor_node.accountability import receipts
from candor_node.approvals import Approval, ApprovalId
from candor_node.clock import Clock
from candor_node.index_client import IndexClient
from candor_node.logs import log
from candor_node.mail_store import InboxRow
from candor_node.outbox import Outbox
from candor_node.publisher import Resolved
from candor_node.request_store import ReceivedRequest
from candor_node.responses import Said, say
from candor_node.store import Database, Store, Work
from candor_proto.directory import check_standing
from candor_proto.disclosure import (
    DisclosureRequest,
    OwnerEvent,
    OwnerState,
    open_signed_request,
    owner_after,
)
from candor_proto.errors import (
    AlreadyExists,
    CandorError,
    Expired,
    GateClosed,
    InputInvalid,
    LogUnwitnessed,
    UnknownObject,
    WrongRole,
    WrongStanding,
)
from candor_proto.ids import FederationName, NodeId, Purpose, RequestId
from candor_proto.policy import Release, Sharing, check_purpose, release_by_rule
from candor_proto.record import Tier
from candor_proto.sealing import DisclosureKey
from candor_proto.signing import SignedStatement, SigningKey
from candor_records.gate import gate, gate_day
from candor_records.policy import Policy
from candor_records.records import Record
from candor_records.roles import Operation

RULE = "standing rule"
SENSITIVE = "The subject is marked as sensitive here: two people decide."


@dataclass(frozen=True)
class _Judged:
    """What the standing rule says to a request."""

    event: OwnerEvent
    reason: str
    resolved: Resolved | None = None


class Owner:
    """Receives requests for own records and answers them."""

    def __init__(
        self,
        store: Store,
        indexes: IndexClient,
        outbox: Outbox,
        federation: FederationName,
        own: NodeId,
        key: SigningKey,
        disclosure_key: DisclosureKey,
        green_purposes: frozenset[Purpose],
        policy: Callable[[Database], Policy],
        clock: Clock,
    ) -> None:
        self._store = store
        self._indexes = indexes
        self._outbox = outbox
        self._federation = federation
        self._own = own
        self._key = key
        self._disclosure_key = disclosure_key
        self._green_purposes = green_purposes
        self._policy = policy
        self._clock = clock

    # --- receiving ---------------------------------------------------------------------------------------

    async def process(self, row: InboxRow) -> None:
        """Take in one request of the inbox; decide it by rule, if the rule decides. Raises StoreUnusable."""
        now = self._clock.now()
        try:
            request, statement = await asyncio.to_thread(self._open, row, now)
        except LogUnwitnessed:
            raise  # not now; what is in it shows later
        except CandorError as error:
            # Nothing in it can be trusted, not even where an answer would go.
            code = error.code
            log.warning("request dropped", sender=str(row.envelope.sender), code=code)
            await self._store.run(lambda db: mail_store.settle(db, row.number, code))
            return
        if await self._store.run(lambda db: request_store.received(db, request.request_id)) is not None:
            await self._store.run(lambda db: mail_store.settle(db, row.number))
            return
        judged = await self._store.run(lambda db: self._judge(db, request, now))
        said = await asyncio.to_thread(self._answer, request, judged.event, judged.resolved, now)

        def work(db: Database) -> bool:
            if request_store.received(db, request.request_id) is not None:
                mail_store.settle(db, row.number)
                return True
            # Between judging and sealing the record may have been withdrawn or marked RED.
            if self._judge(db, request, now) != judged:
                return False
            dcn = str(judged.resolved.record.dcn) if judged.resolved else ""
            request_store.add_received(db, request, OwnerState.RECEIVED, judged.reason, dcn, now)
            receipts.request_arrived(db, request.request_id, statement.signature)
            ledger.append(db, now, "disclosure.received", _refs(request, dcn), _papers(request))
            self._enter(db, request, OwnerState.RECEIVED, judged.event, dcn, judged.reason, said, now)
            mail_store.settle(db, row.number)
            return True

        if not await self._store.run(work):
            await self.process(row)
            return
        self._outbox.wake()

    def _open(self, row: InboxRow, now: datetime) -> tuple[DisclosureRequest, SignedStatement]:
        sender = self._indexes.require_directory().member(row.envelope.sender)
        return open_signed_request(
            row.envelope.body,
            self._disclosure_key,
            self._federation,
            RequestId(row.envelope.envelope_id),
            sender.node,
            self._own,
            sender.signing_key,
            now,
        )

    def _judge(self, db: Database, request: DisclosureRequest, now: datetime) -> _Judged:
        try:
            self._check_asked(db, request, now)
            resolved = self._releasable(db, request, now)
        except LogUnwitnessed:
            raise
        except CandorError as error:
            return _Judged(OwnerEvent.DECLINES, error.message)
        record = resolved.record
        release, reason = release_by_rule(
            record.sharing,
            advisory=record.tier is Tier.ADVISORY,
            wrong_person_disputed=record.wrong_person_disputed,
            purpose=request.purpose,
            green_purposes=self._green_purposes,
        )
        event = {
            Release.RELEASE: OwnerEvent.RULE_RELEASES,
            Release.ASK_A_PERSON: OwnerEvent.RULE_WAITS,
            Release.DECLINE: OwnerEvent.DECLINES,
        }[release]
        if event is OwnerEvent.RULE_RELEASES and _sensitive(db, record):
            event, reason = OwnerEvent.RULE_WAITS, SENSITIVE
        return _Judged(event, reason, resolved)

    # --- a person decides --------------------------------------------------------------------------------

    async def second(self, request_id: RequestId, by: str, note: str = "") -> ApprovalId | None:
        """Put the release before a second person, if its subject is marked as sensitive; None if not.

        The same proposal again while that waits. Raises as `approve` does, and WrongRole.
        """
        now = self._clock.now()
        known = await self._waiting(request_id, by)

        def work(db: Database) -> ApprovalId | None:
            record = self._approvable(db, known.request, now).record
            if not _sensitive(db, record):
                return None
            actor = users.acting_now(db, now, by)
            if actor is None:
                raise WrongRole("This user may not act any more.", remedy="Sign in as another user.")
            operation, about = Operation.RELEASE_SENSITIVE, str(request_id)
            for waiting in approvals.pending_about(db, now, operation, about):
                return waiting.approval_id
            key = record_seals.key_of(db, record.record_id)
            arguments = {"dcn": str(record.dcn), "requester": str(known.request.requester)}
            return approvals.propose(db, now, operation, actor, about, arguments, note or SENSITIVE, key)

        return await self._store.run(work)

    def release(self, db: Database, approval: Approval, now: datetime) -> None:
        """The executor of RELEASE_SENSITIVE: release, in the transaction that approves it."""
        known = request_store.received(db, RequestId(bytes.fromhex(approval.about)))
        if known is None:
            raise UnknownObject("The request is gone.", remedy="Reject the proposal.")
        resolved = self._approvable(db, known.request, now)
        if str(resolved.record.dcn) != approval.arguments["dcn"]:
            raise WrongStanding("The record was changed since this was proposed.", remedy="Reject it.")
        event = OwnerEvent.PERSON_APPROVES
        said = self._answer(known.request, event, resolved, now)
        by, second = approval.proposed_by, approval.decided_by
        self._decide(db, known, event, "released by two people", said, now, by, approval.reason, second)

    async def approve(self, request_id: RequestId, by: str, note: str = "") -> ReceivedRequest:
        """Release the record.

        Raises UnknownObject, AlreadyExists (decided), GateClosed, Expired, WrongStanding or WrongRole.
        """
        now = self._clock.now()
        known = await self._waiting(request_id, by)
        resolved = await self._store.run(lambda db: self._approvable(db, known.request, now))
        event = OwnerEvent.PERSON_APPROVES
        said = await asyncio.to_thread(self._answer, known.request, event, resolved, now)

        def work(db: Database) -> None:
            # Between reading and releasing the record may have been withdrawn.
            if self._approvable(db, known.request, now).record != resolved.record:
                raise GateClosed("The record was changed a moment ago.", remedy="Look at it again.")
            if _sensitive(db, resolved.record):
                raise WrongRole(SENSITIVE, remedy="Approve it again: it is then put before a second person.")
            self._decide(db, known, event, "released by a person", said, now, by, note)

        return await self._decided(request_id, work)

    def _check_asked(self, db: Database, request: DisclosureRequest, now: datetime) -> None:
        """Asked by whom, and for what: the pack may have narrowed the purposes since."""
        check_standing(self._indexes.require_directory().member(request.requester), now)
        check_purpose(request.purpose, self._policy(db).purposes)

    def _approvable(self, db: Database, request: DisclosureRequest, now: datetime) -> Resolved:
        """What a person may release now: asked of requester, purpose, time, gate and sharing choice."""
        self._check_asked(db, request, now)
        if now >= request.expires_at:
            raise Expired("This request has expired.", remedy="The requester may ask again.")
        resolved = self._releasable(db, request, now)
        if resolved.record.sharing is Sharing.RED:
            raise WrongStanding(
                "The record is RED by now: it is released to nobody.",
                remedy="Decline the request; `candor-node records sharing` opens a record, with two people.",
            )
        return resolved

    async def decline(
        self, request_id: RequestId, by: str, reason: str, *, not_same_person: bool = False
    ) -> ReceivedRequest:
        """Decline, or say that it is somebody else. The reason stays here, sealed with the record."""
        if not reason.strip():
            raise InputInvalid("Declining needs a reason, for the account.", remedy="Give it with --reason.")
        now = self._clock.now()
        known = await self._waiting(request_id, by)
        event = OwnerEvent.DECLINES
        said = await asyncio.to_thread(
            self._answer, known.request, event, None, now, not_same_person=not_same_person
        )
        word = "not the same person" if not_same_person else "declined by a person"
        return await self._decided(
            request_id, lambda db: self._decide(db, known, event, word, said, now, by, reason)
        )

    async def _waiting(self, request_id: RequestId, by: str) -> ReceivedRequest:
        if not by.strip():
            raise InputInvalid("A decision needs the person who takes it.", remedy="Name them with --by.")
        known = await self._store.run(lambda db: request_store.received(db, request_id))
        if known is None:
            raise UnknownObject(
                f"No request {request_id} was received here.",
                remedy="`candor-node requests list` shows them.",
            )
        _check_undecided(known)
        return known

    def _decide(
        self,
        db: Database,
        known: ReceivedRequest,
        event: OwnerEvent,
        reason: str,
        said: Said | None,
        now: datetime,
        by: str,
        note: str,
        second: str = "",
    ) -> None:
        current = request_store.received(db, known.request.request_id)
        if current is None:
            raise UnknownObject("The request is gone.")
        _check_undecided(current)
        self._enter(db, known.request, current.state, event, known.dcn, reason, said, now, by, note, second)

    async def _decided(self, request_id: RequestId, work: Work[None]) -> ReceivedRequest:
        await self._store.run(work)
        self._outbox.wake()
        known = await self._store.run(lambda db: request_store.received(db, request_id))
        if known is None:
            raise UnknownObject(f"No request {request_id} was received here.")
        return known

    def _releasable(self, db: Database, request: DisclosureRequest, now: datetime) -> Resolved:
        """The record a request names, if the gate lets it go now; raises UnknownObject or GateClosed."""
        resolved = publisher.resolve_handle(db, request.epoch, request.handle)
        if resolved.commitment != request.commitment:
            raise UnknownObject("The request names another record than its handle.")
        if resolved.withdrawn:
            raise GateClosed("The record was withdrawn since it was published.")
        record = resolved.record
        decision = gate(record, gate_day(now), self._policy(db).gate_rules(record.kind))
        if not decision.matchable:
            words = " ".join(clause.words for clause in decision.failed)
            raise GateClosed(f"The fair-process gate is closed. {words}")
        return resolved

    # --- answering ---------------------------------------------------------------------------------------

    def _answer(
        self,
        request: DisclosureRequest,
        event: OwnerEvent,
        resolved: Resolved | None,
        now: datetime,
        *,
        not_same_person: bool = False,
    ) -> Said | None:
        """The response; None while a person has to decide."""
        return say(request, event, resolved, self._key, now, not_same_person=not_same_person)

    def _enter(
        self,
        db: Database,
        request: DisclosureRequest,
        state: OwnerState,
        event: OwnerEvent,
        dcn: str,
        reason: str,
        said: Said | None,
        now: datetime,
        by: str = RULE,
        note: str = "",
        second: str = "",
    ) -> None:
        """Take one step of the state table, with its response and its ledger entry. Raises WentBack."""
        if said is not None:
            rollback.check_sharing(db)
        after = owner_after(state, event)
        deciders = f"{by}, {second}" if second else by
        request_store.settle_received(
            db, request.request_id, after, now, reason=reason, by=deciders, note=note
        )
        if said is not None:
            responses.enqueue(db, request, said, now)
        ledger.append(
            db,
            now,
            f"disclosure.{after.value}",
            _refs(request, dcn),
            {**_papers(request), "reason": reason, "by": by, **({"second": second} if second else {})},
        )

    async def expire(self) -> None:
        """Close the requests that nobody decided in their life."""
        now = self._clock.now()

        def work(db: Database) -> None:
            for known in request_store.ended_received(db, now):
                self._enter(
                    db,
                    known.request,
                    known.state,
                    OwnerEvent.EXPIRES,
                    known.dcn,
                    "nobody decided in time",
                    None,
                    now,
                )

        await self._store.run(work)


def _sensitive(db: Database, record: Record) -> bool:
    """Whether the subject of a record is marked here."""
    if not subjects.any_marked(db):
        return False
    about = subjects.subject(subjects.trace_key(db), record.content.identity.particulars())
    return subjects.sensitive(db, about)


def _check_undecided(known: ReceivedRequest) -> None:
    if known.state is not OwnerState.WAITING:
        raise AlreadyExists(
            f"This request is {known.state.value} already.", remedy="A decision is not taken twice."
        )


def _refs(request: DisclosureRequest, dcn: str) -> dict[str, str]:
    refs = {"request_id": str(request.request_id), "requester": str(request.requester)}
    return {**refs, "dcn": dcn} if dcn else refs


def _papers(request: DisclosureRequest) -> dict[str, ledger.Value]:
    return {
        "purpose": request.purpose.name,
        "case_number": request.case,
        "officer": request.officer,
        "consent": str(request.consent),
    }
