"""Takes what members hand in: lookups to many, everything else to one (docs/protocol.md §7.2).

Rules of this file:
- the hub believes nothing about identity but the certificate: `caller` comes from there;
- acceptance, quota, deliveries and what is to be logged are one transaction: what was acknowledged is
  delivered, what was refused has cost nothing. A transaction takes many submissions (`submit_all`), each with
  an outcome of its own, the same as if it had come alone;
- the same id with the same body is answered as before, whatever happened since; with another it is refused;
- a body is checked for who and when, never for what: blinded and sealed octets mean nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from candor_hub.desk import Checked, Desk, Submission
from candor_hub.directory import CurrentDirectory
from candor_hub.store import Store
from candor_hub.store.envelopes import Accepted, Posting
from candor_proto.budget import BUCKET, MONTH, Quota, check_budget, remaining
from candor_proto.canonical import digest
from candor_proto.directory import MemberStatus
from candor_proto.errors import (
    CandorError,
    ConflictingResubmission,
    Expired,
    IdentityMismatch,
    LimitExceeded,
    MemberSuspended,
    NotAMember,
    StoreUnusable,
    WrongRecipient,
)
from candor_proto.exchange import verify_lookup_signature
from candor_proto.ids import Digest, KeyClass, LookupShape, NodeId
from candor_proto.policy import check_purpose
from candor_proto.statements import (
    CLOCK_TOLERANCE,
    LOOKUP_LIFE,
    MAX_PERSONS,
    Left,
    Lookup,
    answer_octets,
)
from candor_wire.codec import Envelope, MessageKind
from candor_wire.limits import MAX_MAILBOX_ROWS_PER_RECIPIENT

DISCLOSURE_LIFE = timedelta(days=30)
# An answer to a detailed lookup about 64 persons, the largest there is.
MAX_ANSWER_OCTETS = answer_octets(LookupShape.DETAILED, MAX_PERSONS)
# One member alone must not be able to fill another's mailbox.
MAX_WAITING_FROM_ONE_SENDER = 1_000
_LIFE = {
    MessageKind.LOOKUP: LOOKUP_LIFE,
    MessageKind.ANSWER: LOOKUP_LIFE,
    MessageKind.DISCLOSURE_REQUEST: DISCLOSURE_LIFE,
    MessageKind.DISCLOSURE_RESPONSE: DISCLOSURE_LIFE,
    MessageKind.RECALL_NOTICE: DISCLOSURE_LIFE,
    MessageKind.RECALL_ACK: DISCLOSURE_LIFE,
}


@dataclass(frozen=True)
class Receipt:
    """What the sender is told, and to whom it goes; `again` when it was accepted before.

    `posting` is what has become of it in the mailbox, if this is known: it is committed.
    """

    recipients: int
    nodes: frozenset[NodeId]
    again: bool = False
    posting: Posting | None = field(default=None, repr=False, compare=False)


Outcome = Receipt | CandorError


class Relay:
    """Accepts envelopes into mailboxes; safe to use from several threads."""

    def __init__(self, store: Store, quota: Quota) -> None:
        self._store = store
        self._quota = quota

    def submit(
        self, envelope: Envelope, caller: NodeId, directory: CurrentDirectory, now: datetime
    ) -> Receipt:
        """Accept an envelope of `caller`; it is stored durably when this returns.

        Raises IdentityMismatch, SignatureInvalid, Expired, NotYetValid, NotAMember, MemberSuspended,
        PurposeRefused, WrongRecipient, QuotaSpent, LimitExceeded, ConflictingResubmission.
        """
        (outcome,) = self.submit_all([Submission(envelope, caller, directory)], now)
        if isinstance(outcome, CandorError):
            raise outcome
        return outcome

    def left(self, caller: NodeId, now: datetime) -> Left:
        """What `caller` may still use, in elements (§11.3)."""
        with self._store.read() as tx:
            uses = tx.quotas.uses_of({caller}, now - MONTH - BUCKET)[caller]
        return Left(*(remaining(self._quota, uses, now, key_class) for key_class in (None, *KeyClass)))

    def submit_all(self, batch: Sequence[Submission], now: datetime) -> list[Outcome]:
        """As `submit` one after the other, in one transaction: receipts and refusals, in the same order.

        One refusal changes nothing for the others. Raises StoreUnusable when none of them is known to be
        stored.
        """
        checked = [_outcome(partial(_check_sender, submission)) for submission in batch]
        good = [each for each in checked if isinstance(each, Checked)]
        if not good:
            return [each for each in checked if isinstance(each, CandorError)]
        with self._store.write() as tx:
            desk = Desk.open(tx, good, now)
            outcomes = [
                _outcome(partial(self._judge, desk, each, now)) if isinstance(each, Checked) else each
                for each in checked
            ]
            postings = desk.close(tx, now)
        return outcomes if postings is None else _with_postings(outcomes, postings)

    def _judge(self, desk: Desk, checked: Checked, now: datetime) -> Receipt:
        envelope, caller, lookup = checked.envelope, checked.submission.caller, checked.lookup
        earlier = desk.earlier.get(checked.key)
        if earlier is not None:
            return _as_before(earlier, checked.body_digest)
        _check_life(envelope, now)
        if lookup is not None:
            lookup.check_time(now)
        _check_standing(caller, desk.statuses.get(caller))
        if lookup is not None:
            nodes = self._targets(desk, lookup, checked.submission.directory, now)
        else:
            nodes = _recipient(desk, checked)
        desk.accept(checked, nodes, now)
        return Receipt(len(nodes), nodes)

    def _targets(
        self, desk: Desk, lookup: Lookup, directory: CurrentDirectory, now: datetime
    ) -> frozenset[NodeId]:
        check_purpose(lookup.purpose)
        _check_targets(lookup, directory)
        check_budget(self._quota, desk.uses[lookup.asker], lookup.cost, now, str(lookup.asker))
        # A member that has been away for long does not keep all others from asking: it is left out, and
        # the asker sees it as expired, never as "no record" (§7.7).
        full = {node for node, count in desk.waiting.items() if count >= MAX_MAILBOX_ROWS_PER_RECIPIENT}
        return frozenset(target.node for target in lookup.targets) - full


Result = TypeVar("Result")


def _outcome(work: Callable[[], Result]) -> Result | CandorError:
    """What `work` returns, or the refusal it raises; a failing database is no refusal."""
    try:
        return work()
    except StoreUnusable:
        raise
    except CandorError as error:
        return error


def _with_postings(outcomes: Sequence[Outcome], postings: Iterable[Posting]) -> list[Outcome]:
    """The postings are those of what was accepted now, in the same order."""
    following = iter(postings)
    return [
        outcome
        if isinstance(outcome, CandorError) or outcome.again
        else Receipt(outcome.recipients, outcome.nodes, posting=next(following))
        for outcome in outcomes
    ]


def _check_sender(submission: Submission) -> Checked:
    """Who and how it was signed; needs no database."""
    envelope, caller = submission.envelope, submission.caller
    if envelope.sender != caller:
        raise IdentityMismatch(
            f"The message claims to come from {envelope.sender}; the certificate is that of {caller}."
        )
    lookup = _read_lookup(envelope, submission.directory) if envelope.kind is MessageKind.LOOKUP else None
    return Checked.of(submission, Digest(digest("envelope-body", envelope.body)), lookup)


def _read_lookup(envelope: Envelope, directory: CurrentDirectory) -> Lookup:
    lookup = verify_lookup_signature(envelope.statement, directory)
    if lookup.asker != envelope.sender:
        raise IdentityMismatch(
            f"The lookup was signed by {lookup.asker}, but handed in by {envelope.sender}."
        )
    if lookup.lookup_id.value != envelope.envelope_id or lookup.expires_at != envelope.expires_at:
        raise IdentityMismatch("Id or expiry on the envelope are not those of the lookup inside.")
    if envelope.recipient is not None:
        raise WrongRecipient("A lookup goes to the targets it names, not to a recipient on its envelope.")
    return lookup


def _as_before(earlier: Accepted, body_digest: Digest) -> Receipt:
    if earlier.body_digest != body_digest:
        raise ConflictingResubmission(
            "This id was used before, with another body.", remedy="Send a new message under a new id."
        )
    return Receipt(earlier.recipients, frozenset(), again=True)


def _check_standing(caller: NodeId, status: MemberStatus | None) -> None:
    if status is None:
        raise NotAMember(f"{caller} is not a member.")
    if status is not MemberStatus.ACTIVE:
        raise MemberSuspended(f"{caller} is suspended.", remedy="Ask the hub's operator.")


def _check_life(envelope: Envelope, now: datetime) -> None:
    if now >= envelope.expires_at:
        raise Expired("This message has expired.", remedy="Send a new one.")
    if envelope.expires_at > now + _LIFE[envelope.kind] + CLOCK_TOLERANCE:
        raise LimitExceeded(
            f"A message of this kind lives at most {int(_LIFE[envelope.kind].total_seconds() // 3600)} hours."
        )


def _check_targets(lookup: Lookup, directory: CurrentDirectory) -> None:
    for target in lookup.targets:
        if target.node not in directory.active:
            raise WrongRecipient(
                f"{target.node} is not an active member.",
                remedy="Fetch the directory and ask again with the members it lists.",
            )


def _recipient(desk: Desk, checked: Checked) -> frozenset[NodeId]:
    """Checks of what goes to one recipient."""
    envelope, recipient = checked.envelope, checked.envelope.recipient
    status = desk.statuses.get(recipient) if recipient is not None else None
    if recipient is None or status is None:
        raise WrongRecipient(f"{recipient} is not a member.", remedy="Fetch the directory.")
    if envelope.kind is MessageKind.ANSWER:
        if len(envelope.body) > MAX_ANSWER_OCTETS:
            raise LimitExceeded(f"An answer is at most {MAX_ANSWER_OCTETS:,} octets.")
        if checked.asked not in desk.asked:
            raise WrongRecipient(f"{recipient} asked {envelope.sender} nothing under this id.")
    elif status is not MemberStatus.ACTIVE:
        raise WrongRecipient(f"{recipient} is suspended.", remedy="Try again when the directory lists it.")
    if (
        desk.waiting[recipient] >= MAX_MAILBOX_ROWS_PER_RECIPIENT
        or desk.waiting_from[envelope.sender, recipient] >= MAX_WAITING_FROM_ONE_SENDER
    ):
        raise LimitExceeded(f"The mailbox of {recipient} is full.", remedy="Try again later.")
    return frozenset({recipient})
