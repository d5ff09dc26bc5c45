"""Takes what members hand in: lookups to many, everything else to one (docs/protocol.md §7.2).

Rules of this file:
- the hub believes nothing about identity but the certificate: `caller` comes from there;
- acceptance, quota, ledger and deliveries are one transaction: what was acknowledged is delivered, what was
  refused has cost nothing;
- the same id with the same body is answered as before, whatever happened since; with another it is refused;
- a body is checked for who and when, never for what: blinded and sealed octets mean nothing here.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from candor_hub.directory import CurrentDirectory
from candor_hub.store import Store, Transaction
from candor_hub.store.mailbox import Accepted
from candor_proto.budget import BUCKET, MONTH, Quota, bucket, check_budget, remaining
from candor_proto.canonical import digest
from candor_proto.directory import MemberStatus
from candor_proto.errors import (
    ConflictingResubmission,
    Expired,
    IdentityMismatch,
    LimitExceeded,
    MemberSuspended,
    NotAMember,
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
}


@dataclass(frozen=True)
class Receipt:
    """What the sender is told, and whom to wake; `again` when it was accepted before."""

    recipients: int
    nodes: frozenset[NodeId]
    again: bool = False


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
        if envelope.sender != caller:
            raise IdentityMismatch(
                f"The message claims to come from {envelope.sender}; the certificate is that of {caller}."
            )
        body_digest = Digest(digest("envelope-body", envelope.body))
        lookup = _read_lookup(envelope, directory) if envelope.kind is MessageKind.LOOKUP else None
        with self._store.write() as tx:
            # Also keeps two lookups of one asker from spending the same quota (§11).
            status = tx.members.lock(caller)
            earlier = tx.mailbox.find(envelope)
            if earlier is not None:
                return _as_before(earlier, body_digest)
            _check_life(envelope, now)
            if lookup is not None:
                lookup.check_time(now)
            _check_standing(caller, status)
            if lookup is not None:
                receipt = self._lookup(tx, lookup, directory, now)
            else:
                receipt = _single(tx, envelope)
            tx.mailbox.add(envelope, body_digest, receipt.nodes, now)
            _record(tx, envelope, now)
        return receipt

    def left(self, caller: NodeId, now: datetime) -> Left:
        """What `caller` may still use, in elements (§11.3)."""
        with self._store.read() as tx:
            uses = tx.quotas.uses(caller, now - MONTH - BUCKET)
        return Left(*(remaining(self._quota, uses, now, key_class) for key_class in (None, *KeyClass)))

    def _lookup(self, tx: Transaction, lookup: Lookup, directory: CurrentDirectory, now: datetime) -> Receipt:
        check_purpose(lookup.purpose)
        _check_targets(lookup, directory)
        wanted = lookup.cost
        uses = tx.quotas.uses(lookup.asker, now - MONTH - BUCKET)
        check_budget(self._quota, uses, wanted, now, str(lookup.asker))
        tx.quotas.spend(lookup.asker, bucket(now), wanted)
        # A member that has been away for long does not keep all others from asking: it is left out, and
        # the asker sees it as expired, never as "no record" (§7.7).
        full = tx.mailbox.full(MAX_MAILBOX_ROWS_PER_RECIPIENT)
        nodes = frozenset(target.node for target in lookup.targets) - full
        return Receipt(len(nodes), nodes)


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
    active = frozenset(directory.nodes())
    for target in lookup.targets:
        if target.node not in active:
            raise WrongRecipient(
                f"{target.node} is not an active member.",
                remedy="Fetch the directory and ask again with the members it lists.",
            )


def _single(tx: Transaction, envelope: Envelope) -> Receipt:
    """Checks of what goes to one recipient."""
    recipient = envelope.recipient
    status = tx.members.status(recipient) if recipient is not None else None
    if recipient is None or status is None:
        raise WrongRecipient(f"{recipient} is not a member.", remedy="Fetch the directory.")
    if envelope.kind is MessageKind.ANSWER:
        if len(envelope.body) > MAX_ANSWER_OCTETS:
            raise LimitExceeded(f"An answer is at most {MAX_ANSWER_OCTETS:,} octets.")
        if not tx.mailbox.lookup_was_sent(envelope.envelope_id, recipient, envelope.sender):
            raise WrongRecipient(f"{recipient} asked {envelope.sender} nothing under this id.")
    elif status is not MemberStatus.ACTIVE:
        raise WrongRecipient(f"{recipient} is suspended.", remedy="Try again when the directory lists it.")
    if (
        tx.mailbox.waiting_count(recipient) >= MAX_MAILBOX_ROWS_PER_RECIPIENT
        or tx.mailbox.waiting_from(envelope.sender, recipient) >= MAX_WAITING_FROM_ONE_SENDER
    ):
        raise LimitExceeded(f"The mailbox of {recipient} is full.", remedy="Try again later.")
    return Receipt(1, frozenset({recipient}))


def _record(tx: Transaction, envelope: Envelope, now: datetime) -> None:
    salt = secrets.token_bytes(32)
    commitment = digest("ledger-entry", salt, str(envelope.sender).encode(), envelope.body)
    tx.ledger.append(envelope.sender, envelope.kind.value, salt, commitment, now)
