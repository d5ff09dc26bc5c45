"""Entries and blobs of the sealed index (docs/protocol.md §6.1-§6.3, §6.5).

Rules of this file:
- every key, tag and nonce is derived from an OPRF output or a record's secret *and* node, epoch,
  segment and counter, so no pair of (key, nonce) and no tag ever repeats;
- lengths are constants: nothing here depends on a value;
- whatever does not open raises SealedDataInvalid, which the asker treats as a miss (§7.6).
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from candor_proto.canonical import Writer
from candor_proto.derive import DerivingKey, derive, expand, extract
from candor_proto.errors import GateClosed, LimitExceeded, MalformedMessage, SealedDataInvalid
from candor_proto.ids import BlobId, Digest, FederationName, Handle, NodeId
from candor_proto.scheme import MAX_LABELS
from candor_proto.shamir import SECRET_OCTETS, evaluate, evaluate_each, interpolate_at_zero

TAG_OCTETS = 16
SHARE_SLOTS = 3
ENTRY_OCTETS = TAG_OCTETS + 16 + SHARE_SLOTS * SECRET_OCTETS + 16
FIELD_TAG_OCTETS = 8
FIELD_TAG_SLOTS = 44
_BLOB_PLAINTEXT = 1 + 16 + 1 + 1 + 4 + 32 + 4 + FIELD_TAG_OCTETS * FIELD_TAG_SLOTS
BLOB_OCTETS = 16 + 32 + _BLOB_PLAINTEXT + 16
MARKER_OCTETS = 16
MAX_CHAIN = 256
MAX_WEIGHT = 2
MIN_THRESHOLD, MAX_THRESHOLD = 3, 8
_THRESHOLD_BOUNDS = f"A threshold lies between {MIN_THRESHOLD} and {MAX_THRESHOLD}."
_BLOB_VERSION = 1
_ENTRY_LABEL, _FIELD_TAG_LABEL = "index-entry", "field-tag"

RandomBytes = Callable[[int], bytes]


@dataclass(frozen=True)
class IndexOwner:
    """Whose index, and which epoch: bound into every derivation."""

    federation: FederationName
    node: NodeId
    epoch: int

    def context(self) -> bytes:
        return self._context

    @cached_property
    def _context(self) -> bytes:
        # Every entry of an index derives from it: made once, it costs a tenth of an entry less.
        return Writer().text(str(self.federation)).text(str(self.node)).integer(self.epoch, 4).finish()


@dataclass(frozen=True, repr=False)
class RecordSecrets:
    """What is drawn afresh for one record in one epoch (§6.3). Never printed."""

    secret: bytes
    salt: bytes
    blob_id: BlobId
    handle: Handle

    @classmethod
    def draw(cls, random_bytes: RandomBytes = secrets.token_bytes) -> RecordSecrets:
        return cls(
            random_bytes(SECRET_OCTETS),
            random_bytes(32),
            BlobId(random_bytes(16)),
            Handle(random_bytes(16)),
        )

    def __repr__(self) -> str:
        return f"RecordSecrets(blob_id={self.blob_id}, <redacted>)"


@dataclass(frozen=True)
class Label:
    """What a record's blob says to whoever passed the gate."""

    handle: Handle
    kind: int
    tier: int
    expires_days: int
    commitment: Digest
    presence: int
    field_tags: tuple[bytes, ...] = field(repr=False)

    def holds(self, tag: bytes) -> bool:
        """Whether `tag` stands among the field tags; every slot is compared."""
        found = False
        for own in self.field_tags:
            found |= hmac.compare_digest(own, tag)
        return found


# --- entries ---------------------------------------------------------------------------------------


class EntryKeys:
    """All entries' tags and keys of one OPRF output in one index (§6.1)."""

    __slots__ = ("_context", "_derive")

    def __init__(self, output: bytes, owner: IndexOwner, *, many: bool = False) -> None:
        """`output` is the 64-octet F. `many` pays for owners, who seal many entries under one output."""
        self._derive: Callable[[bytes, int], bytes] = (
            DerivingKey(output, _ENTRY_LABEL).derive
            if many
            else partial(expand, extract(output, _ENTRY_LABEL))
        )
        self._context = owner.context()

    def _material(self, segment: int, counter: int) -> bytes:
        info = self._context + segment.to_bytes(4, "big") + counter.to_bytes(2, "big")
        return self._derive(info, TAG_OCTETS + 32 + 12)

    def tag(self, segment: int, counter: int) -> bytes:
        return self._material(segment, counter)[:TAG_OCTETS]

    def seal(self, segment: int, counter: int, blob_id: BlobId, slots: Sequence[bytes]) -> bytes:
        """One entry of ENTRY_OCTETS; `slots` are SHARE_SLOTS values of 16 octets."""
        if not 0 <= counter < MAX_CHAIN:
            raise LimitExceeded(f"A tag chain holds at most {MAX_CHAIN} entries.")
        material = self._material(segment, counter)
        tag, key, nonce = material[:16], material[16:48], material[48:]
        return tag + AESGCM(key).encrypt(nonce, blob_id.value + b"".join(slots), tag)

    def open(self, segment: int, counter: int, entry: bytes) -> tuple[BlobId, tuple[bytes, ...]]:
        """Blob id and share slots; raises SealedDataInvalid."""
        return self._open(self._material(segment, counter), entry)

    @staticmethod
    def _open(material: bytes, entry: bytes) -> tuple[BlobId, tuple[bytes, ...]]:
        tag, key, nonce = material[:16], material[16:48], material[48:]
        if len(entry) != ENTRY_OCTETS or not hmac.compare_digest(entry[:TAG_OCTETS], tag):
            raise SealedDataInvalid("An entry under another tag.")
        try:
            body = AESGCM(key).decrypt(nonce, entry[TAG_OCTETS:], tag)
        except InvalidTag:
            raise SealedDataInvalid("An entry that does not open.") from None
        slots = tuple(body[16 + 16 * n : 32 + 16 * n] for n in range(SHARE_SLOTS))
        return BlobId(body[:16]), slots

    def probe(
        self, segment: int, find: Callable[[bytes], bytes | None]
    ) -> Iterator[tuple[BlobId, tuple[bytes, ...]] | None]:
        """Walk the chain until the first tag that `find` does not hold, at most MAX_CHAIN steps.

        Yields None for an entry that does not open: the chain goes on, the entry is a miss (§7.6).
        """
        for counter in range(MAX_CHAIN):
            material = self._material(segment, counter)
            entry = find(material[:TAG_OCTETS])
            if entry is None:
                return
            try:
                yield self._open(material, entry)
            except SealedDataInvalid:
                yield None


# --- shares ----------------------------------------------------------------------------------------


def polynomial(secret: bytes, blob_id: BlobId, threshold: int) -> tuple[bytes, ...]:
    """The coefficients of f, constant term (the secret) first (§6.2)."""
    if not MIN_THRESHOLD <= threshold <= MAX_THRESHOLD:
        raise LimitExceeded(_THRESHOLD_BOUNDS)
    key = DerivingKey(secret, "share-coefficient")
    tail = (key.derive(blob_id.value + bytes([index]), SECRET_OCTETS) for index in range(1, threshold))
    return (secret, *tail)


def abscissae(position: int, weight: int) -> tuple[int, ...]:
    """The abscissae of the shares that the label at `position` carries."""
    if not 0 <= weight <= MAX_WEIGHT or not 0 <= position < MAX_LABELS:
        raise LimitExceeded(f"No label carries more than its slots, and there are at most {MAX_LABELS}.")
    return tuple(1 + SHARE_SLOTS * position + slot for slot in range(weight))


def share_slots(
    coefficients: Sequence[bytes],
    position: int,
    weight: int,
    random_bytes: RandomBytes = secrets.token_bytes,
) -> tuple[bytes, ...]:
    """The SHARE_SLOTS slots of a label's entries: its shares, then random octets."""
    shares = [evaluate(coefficients, abscissa) for abscissa in abscissae(position, weight)]
    return (*shares, *(random_bytes(SECRET_OCTETS) for _ in range(SHARE_SLOTS - weight)))


def record_slots(
    coefficients: Sequence[bytes],
    labels: tuple[tuple[int, int], ...],
    random_bytes: RandomBytes = secrets.token_bytes,
) -> list[tuple[bytes, ...]]:
    """What `share_slots` gives for each (position, weight) of `labels`, at a tenth of the price."""
    layout = _layout(labels)
    shares = evaluate_each(coefficients, layout.points)
    octets = random_bytes(SECRET_OCTETS * layout.free)
    fillers = [octets[at : at + SECRET_OCTETS] for at in range(0, len(octets), SECRET_OCTETS)]
    return [(*shares[own], *fillers[random]) for own, random in layout.slots]


@dataclass(frozen=True)
class _Layout:
    """Of the labels of a record: the abscissae of all their shares, in order, how many slots stay free, and
    which of the shares and which of the random fillers each label takes."""

    points: tuple[int, ...]
    free: int
    slots: tuple[tuple[slice, slice], ...]


@lru_cache(maxsize=1024)
def _layout(labels: tuple[tuple[int, int], ...]) -> _Layout:
    points: list[int] = []
    slots, free = [], 0
    for position, weight in labels:
        own = abscissae(position, weight)
        slots.append((slice(len(points), len(points) + weight), slice(free, free + SHARE_SLOTS - weight)))
        points += own
        free += SHARE_SLOTS - weight
    return _Layout(tuple(points), free, tuple(slots))


# --- blobs -----------------------------------------------------------------------------------------


def _label_key(secret: bytes, blob_id: BlobId, owner: IndexOwner) -> tuple[bytes, bytes, bytes]:
    material = derive(secret, "label-key", blob_id.value + owner.context(), 32 + 12 + 32)
    return material[:32], material[32:44], material[44:]


def field_tag(output: bytes, blob_id: BlobId) -> bytes:
    """The tag of one field value in one blob (§6.3)."""
    return derive(output, _FIELD_TAG_LABEL, blob_id.value, FIELD_TAG_OCTETS)


def field_tag_key(output: bytes) -> DerivingKey:
    """For owners, who put a value's tag into many blobs: what `field_tags` takes for `output`."""
    return DerivingKey(output, _FIELD_TAG_LABEL)


def field_tags(keys: Iterable[DerivingKey], blob_id: BlobId) -> tuple[bytes, ...]:
    """What `field_tag` gives for the output of each of `keys`."""
    info = blob_id.value
    return tuple([key.derive(info, FIELD_TAG_OCTETS) for key in keys])


def withdrawal_marker(secret: bytes, blob_id: BlobId) -> bytes:
    """What stands in the withdrawal list once this blob is withdrawn (§6.5)."""
    return derive(secret, "withdrawn", blob_id.value, MARKER_OCTETS)


def seal_blob(
    label: Label,
    secret: bytes,
    blob_id: BlobId,
    owner: IndexOwner,
    random_bytes: RandomBytes = secrets.token_bytes,
) -> bytes:
    """One blob of BLOB_OCTETS; free field-tag slots are filled at random, then all are sorted."""
    if len(label.field_tags) > FIELD_TAG_SLOTS:
        raise LimitExceeded(f"A blob holds at most {FIELD_TAG_SLOTS} field tags.")
    spare = FIELD_TAG_SLOTS - len(label.field_tags)
    tags = sorted([*label.field_tags, *(random_bytes(FIELD_TAG_OCTETS) for _ in range(spare))])
    writer = Writer().integer(_BLOB_VERSION, 1).fixed(label.handle.value, 16)
    writer.integer(label.kind, 1).integer(label.tier, 1).integer(label.expires_days, 4)
    writer.fixed(label.commitment.value, 32).integer(label.presence, 4)
    if set(map(len, tags)) != {FIELD_TAG_OCTETS}:
        raise MalformedMessage(f"A field tag is {FIELD_TAG_OCTETS} octets.")
    writer.fixed(b"".join(tags), FIELD_TAG_OCTETS * FIELD_TAG_SLOTS)
    key, nonce, commitment = _label_key(secret, blob_id, owner)
    head = blob_id.value + commitment
    return head + AESGCM(key).encrypt(nonce, writer.finish(), head)


def check_blob_commitment(blob: bytes, secret: bytes, owner: IndexOwner) -> tuple[bytes, bytes]:
    """Key and nonce of a blob once it is committed to `secret`; raises SealedDataInvalid."""
    key, nonce, commitment = _label_key(secret, BlobId(blob[:16]), owner)
    if not hmac.compare_digest(blob[16:48], commitment):
        raise SealedDataInvalid("A blob committed to another key.")
    return key, nonce


def open_blob(blob: bytes, secret: bytes, owner: IndexOwner) -> Label:
    """The label inside a blob; raises SealedDataInvalid, whatever is wrong with it."""
    if len(blob) != BLOB_OCTETS:
        raise SealedDataInvalid("A blob of the wrong size.")
    # Before decryption: AES-GCM alone can be made to open under two keys (attack A12).
    key, nonce = check_blob_commitment(blob, secret, owner)
    try:
        text = AESGCM(key).decrypt(nonce, blob[48:], blob[:48])
    except InvalidTag:
        raise SealedDataInvalid("A blob that does not open.") from None
    if text[0] != _BLOB_VERSION:
        raise SealedDataInvalid("A blob of an unknown version.")
    tags = tuple(text[at : at + FIELD_TAG_OCTETS] for at in range(59, _BLOB_PLAINTEXT, FIELD_TAG_OCTETS))
    if list(tags) != sorted(tags):
        raise SealedDataInvalid("A blob whose field tags are not sorted.")
    return Label(
        handle=Handle(text[1:17]),
        kind=text[17],
        tier=text[18],
        expires_days=int.from_bytes(text[19:23], "big"),
        commitment=Digest(text[23:55]),
        presence=int.from_bytes(text[55:59], "big"),
        field_tags=tags,
    )


# --- the asker's side of the gate ---------------------------------------------------------------------


def open_through_gate(
    blob: bytes,
    hits: Mapping[int, tuple[int, tuple[bytes, ...]]],
    threshold: int,
    owner: IndexOwner,
) -> tuple[Label, bytes]:
    """Label and secret of `blob` from the labels hit for it, or a typed refusal (§6.4).

    `hits` maps a label's position to (its weight in the asker's own table, the share slots found).
    Raises GateClosed below the threshold, SealedDataInvalid when shares or blob are malformed,
    LimitExceeded for a threshold or weight out of bounds.
    """
    if not MIN_THRESHOLD <= threshold <= MAX_THRESHOLD:
        raise LimitExceeded(_THRESHOLD_BOUNDS)
    if sum(weight for weight, _ in hits.values()) < threshold:
        raise GateClosed("The labels hit weigh less than the owner's threshold.")
    shares: dict[int, bytes] = {}
    for position, (weight, slots) in hits.items():
        for slot, abscissa in enumerate(abscissae(position, weight)):
            shares[abscissa] = slots[slot]
    secret = interpolate_at_zero(shares, threshold)
    coefficients = polynomial(secret, BlobId(blob[:16]), threshold)
    on_polynomial = True
    for abscissa, share in shares.items():
        # No early end: how many shares are right is nobody's business (§7.6).
        on_polynomial &= hmac.compare_digest(evaluate(coefficients, abscissa), share)
    if not on_polynomial:
        raise SealedDataInvalid("A share that is not on the owner's polynomial.")
    return open_blob(blob, secret, owner), secret
