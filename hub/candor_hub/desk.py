"""What a batch of submissions is judged by: read once from the database, kept up to date while judging.

The rules (`relay`) ask here instead of the database, so that a thousand answers cost a few statements and not
a few thousand. What one submission of a batch changes (quota, a used id, a place in a mailbox) counts for the
next one of the same batch at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from candor_hub.directory import CurrentDirectory
from candor_hub.store import Transaction
from candor_hub.store.envelopes import Acceptance, Accepted, Asked, Key, Posting, key_of
from candor_hub.tlog.due import commitment, commitment_row
from candor_proto.budget import BUCKET, MONTH, Use, bucket
from candor_proto.directory import MemberStatus
from candor_proto.ids import Digest, KeyClass, NodeId
from candor_proto.statements import Lookup
from candor_wire.codec import Envelope, MessageKind


@dataclass(frozen=True, slots=True)
class Submission:
    """What a member hands in: `caller` is who its certificate says, `directory` what it was admitted by."""

    envelope: Envelope
    caller: NodeId
    directory: CurrentDirectory = field(repr=False)


@dataclass(frozen=True, slots=True)
class Checked:
    """A submission whose sender is its caller, and whose signature verifies if it is a lookup.

    `asked` is, for an answer, what must have been asked.
    """

    submission: Submission
    envelope: Envelope
    key: Key
    body_digest: Digest
    lookup: Lookup | None
    asked: Asked | None

    @classmethod
    def of(cls, submission: Submission, body_digest: Digest, lookup: Lookup | None) -> Checked:
        envelope, asked = submission.envelope, None
        if envelope.kind is MessageKind.ANSWER and envelope.recipient is not None:
            asked = (envelope.recipient, envelope.envelope_id, envelope.sender)
        return cls(submission, envelope, key_of(envelope), body_digest, lookup, asked)


@dataclass
class Desk:
    """Belongs to the thread that judges, for as long as its transaction is open."""

    statuses: Mapping[NodeId, MemberStatus]
    earlier: dict[Key, Accepted]
    uses: dict[NodeId, tuple[Use, ...]]
    asked: set[Asked]
    waiting: Counter[NodeId]
    waiting_from: Counter[tuple[NodeId, NodeId]]
    accepted: list[Acceptance] = field(default_factory=list)
    spent: dict[NodeId, Counter[KeyClass]] = field(default_factory=dict)

    @classmethod
    def open(cls, tx: Transaction, batch: Sequence[Checked], now: datetime) -> Desk:
        """Everything that judging `batch` needs; raises StoreUnusable."""
        callers = {each.submission.caller for each in batch}
        single = [each.envelope for each in batch if each.lookup is None]
        addressed = {envelope.recipient for envelope in single if envelope.recipient is not None}
        statuses = _statuses(tx, batch, callers | addressed)
        wanted = {each.asked for each in batch if each.asked is not None}
        pairs = {
            (envelope.sender, envelope.recipient) for envelope in single if envelope.recipient is not None
        }
        lookups = [each.lookup for each in batch if each.lookup is not None]
        recipients = addressed.union(target.node for lookup in lookups for target in lookup.targets)
        askers = {lookup.asker for lookup in lookups}
        return cls(
            statuses=statuses,
            earlier=tx.envelopes.find({each.key for each in batch}),
            uses=tx.quotas.uses_of(askers, now - MONTH - BUCKET),
            asked=set(tx.envelopes.asked(wanted)),
            waiting=Counter(tx.mailbox.waiting_counts(recipients)),
            waiting_from=Counter(tx.mailbox.waiting_from(pairs)),
        )

    def accept(self, checked: Checked, nodes: frozenset[NodeId], now: datetime) -> None:
        """Note that `checked` goes to `nodes`."""
        envelope, lookup = checked.envelope, checked.lookup
        named = frozenset(target.node for target in lookup.targets) if lookup is not None else nodes
        self.accepted.append(
            Acceptance(envelope, checked.key, checked.body_digest, nodes, named - nodes, commitment(envelope))
        )
        self.earlier[checked.key] = Accepted(checked.body_digest, len(nodes))
        for node in nodes:
            self.waiting[node] += 1
            self.waiting_from[envelope.sender, node] += 1
        if lookup is None:
            return
        wanted = lookup.cost
        self.asked.update((lookup.asker, envelope.envelope_id, node) for node in nodes)
        self.spent.setdefault(lookup.asker, Counter()).update(wanted)
        counts = [wanted.get(key_class, 0) for key_class in (KeyClass.WEAK, KeyClass.MATCH, KeyClass.CODE)]
        self.uses[lookup.asker] += (Use(bucket(now), *counts),)

    def close(self, tx: Transaction, now: datetime) -> tuple[Posting, ...] | None:
        """Write down what was accepted; what will be on its way, if known. Raises StoreUnusable."""
        for asker, wanted in sorted(self.spent.items()):
            tx.quotas.spend(asker, bucket(now), wanted)
        if not self.accepted:
            return ()
        tx.log.wait((commitment_row(each.envelope, each.commitment) for each in self.accepted), now)
        tx.notices.mail(frozenset().union(*(each.nodes for each in self.accepted)))
        return tx.envelopes.add(self.accepted, now)


def _statuses(
    tx: Transaction, batch: Sequence[Checked], nodes: Collection[NodeId]
) -> Mapping[NodeId, MemberStatus]:
    """The standing of `nodes` in this very transaction.

    Whatever changes a member makes a new version of the directory in the same transaction (`directory`):
    while the version is that of a directory in hand, what stands in it is what the rows say.
    """
    views = {each.submission.directory.version: each.submission.directory for each in batch}
    current = views.get(tx.directories.latest_version())
    return tx.members.statuses(nodes) if current is None else current.statuses
