"""A member's keys, and what it would say: signed lookups, answers, sealed messages, segments, heads.

No network: `tests/hubs.py` adds the connection.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from candor_certs.profiles import TlsPrivateKey
from candor_certs.requests import new_tls_key
from candor_proto.directory import IndexHead, SegmentRef
from candor_proto.group import Element, hash_to_group
from candor_proto.ids import (
    Digest,
    FederationName,
    KeyClass,
    LookupId,
    LookupShape,
    NodeId,
    Ori,
    Purpose,
)
from candor_proto.normalise import SCHEME_VERSION
from candor_proto.sealed_index import IndexOwner
from candor_proto.sealing import DisclosureKey, SealKind
from candor_proto.segment import address, build
from candor_proto.signing import SigningKey
from candor_proto.statements import (
    LOOKUP_LIFE,
    SLOTS,
    Answer,
    AnswerStatus,
    Commitments,
    Left,
    Lookup,
    Target,
)
from candor_wire import codec

FEDERATION = FederationName("demo-exchange.example")
SEALED = {
    codec.MessageKind.DISCLOSURE_REQUEST: SealKind.REQUEST,
    codec.MessageKind.DISCLOSURE_RESPONSE: SealKind.RESPONSE,
    codec.MessageKind.RECALL_NOTICE: SealKind.RECALL_NOTICE,
    codec.MessageKind.RECALL_ACK: SealKind.RECALL_ACK,
}


class ShiftedClock:
    """The machine's clock, moved by as much as a test wants; TLS keeps to the real one."""

    def __init__(self, start: datetime | None = None) -> None:
        self.shift = (start - datetime.now(UTC)) if start else timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.shift

    def advance(self, **by: float) -> None:
        """As timedelta takes it: `advance(hours=25)`."""
        self.shift += timedelta(**by)


def ori_for(node: str) -> str:
    """An ORI for a node of this name: the same each time, another for each name used in tests."""
    return f"CA{int.from_bytes(node.encode(), 'big') % 1_000_000:06}0"


@dataclass
class Member:
    """A member's names, keys and clock."""

    node: NodeId
    ori: Ori
    clock: ShiftedClock
    signing_key: SigningKey = field(default_factory=SigningKey.generate)
    disclosure_key: DisclosureKey = field(default_factory=DisclosureKey.generate, repr=False)
    tls_key: TlsPrivateKey = field(default_factory=new_tls_key, repr=False)
    epoch_keys: dict[int, dict[KeyClass, Element]] = field(default_factory=dict, repr=False)

    # --- messages -----------------------------------------------------------------------------------

    def lookup(
        self,
        targets: Sequence[Member],
        *,
        purpose: Purpose = Purpose.J_APPLICANT,
        shape: LookupShape = LookupShape.SCREENING,
        persons: int = 1,
        lookup_id: bytes | None = None,
        issued_at: datetime | None = None,
        life: timedelta = LOOKUP_LIFE,
        signing_key: SigningKey | None = None,
        asker: NodeId | None = None,
    ) -> codec.Envelope:
        """A signed lookup over random elements, in its envelope."""
        now = (issued_at or self.clock.now()).replace(microsecond=0)
        lookup = Lookup(
            federation=FEDERATION,
            lookup_id=LookupId(lookup_id or secrets.token_bytes(16)),
            asker=asker or self.node,
            purpose=purpose,
            shape=shape,
            commitments=tuple(
                Commitments(*(Digest(secrets.token_bytes(32)) for _ in range(4))) for _ in range(persons)
            ),
            issued_at=now,
            expires_at=now + life,
            targets=tuple(Target(node, 1) for node in sorted({target.node for target in targets})),
            elements={
                key_class: tuple(_element() for _ in range(SLOTS[shape][key_class] * persons))
                for key_class in KeyClass
            },
        )
        statement = (signing_key or self.signing_key).sign("lookup", lookup.encode())
        return codec.Envelope(
            envelope_id=lookup.lookup_id.value,
            kind=codec.MessageKind.LOOKUP,
            sender=self.node,
            recipient=None,
            body=statement.body,
            signature=statement.signature,
            expires_at=lookup.expires_at,
        )

    def answer(self, lookup: codec.Envelope) -> codec.Envelope:
        """A signed refusal to the lookup: as large as any answer."""
        asked = Lookup.decode(lookup.body)
        answer = Answer(
            federation=FEDERATION,
            lookup_id=asked.lookup_id,
            lookup=asked.digest(),
            node=self.node,
            asker=asked.asker,
            status=AnswerStatus.REFUSED,
            epoch=1,
            answered_at=self.clock.now(),
            left=Left(0, 0, 0, 0),
            shape=asked.shape,
            persons=asked.persons,
            evaluations={},
        )
        statement = self.signing_key.sign("answer", answer.encode())
        return codec.Envelope(
            envelope_id=asked.lookup_id.value,
            kind=codec.MessageKind.ANSWER,
            sender=self.node,
            recipient=asked.asker,
            body=statement.body,
            signature=statement.signature,
            expires_at=asked.expires_at,
        )

    def sealed(
        self,
        recipient: NodeId,
        kind: codec.MessageKind = codec.MessageKind.DISCLOSURE_REQUEST,
        life: timedelta = timedelta(days=30),
    ) -> codec.Envelope:
        """Random octets of the size of a sealed message."""
        return codec.Envelope(
            envelope_id=secrets.token_bytes(16),
            kind=kind,
            sender=self.node,
            recipient=recipient,
            body=secrets.token_bytes(SEALED[kind].sealed_octets),
            signature=b"",
            expires_at=(self.clock.now() + life).replace(microsecond=0),
        )

    def segment(self, number: int = 1, epoch: int = 1, node: NodeId | None = None) -> bytes:
        """A segment of dummies, of the smallest size."""
        owner = IndexOwner(FEDERATION, node or self.node, epoch)
        return build(owner, number, [], [], [])

    def head(
        self,
        segments: Sequence[bytes] = (),
        *,
        sequence: int = 1,
        epoch: int = 1,
        issued_at: datetime | None = None,
        node: NodeId | None = None,
    ) -> IndexHead:
        """An index head over these segments, numbered from 1."""
        return IndexHead(
            federation=FEDERATION,
            node=node or self.node,
            sequence=sequence,
            epoch=epoch,
            keys=self.epoch_keys.setdefault(epoch, {key_class: _element() for key_class in KeyClass}),
            threshold=5,
            scheme_version=SCHEME_VERSION,
            segments=tuple(
                SegmentRef(number, address(octets), len(octets)) for number, octets in enumerate(segments, 1)
            ),
            issued_at=(issued_at or self.clock.now()).replace(microsecond=0),
        )


def _element() -> Element:
    return hash_to_group(secrets.token_bytes(16))
