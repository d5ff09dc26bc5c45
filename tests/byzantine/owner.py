"""An owner that does not seal what it should: its segments between sealing and signing.

    with spoiling("bravo", lambda bench: bench.garble_shares()):
        await fed.publish(bravo)

The owner's real publisher packs, signs and sends; what is changed on the bench is all that is not its own.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from candor_node import epochs, publisher
from candor_node.packing import Published, Sealed
from candor_node.publisher import Plan, Settings
from candor_proto import oprf
from candor_proto.ids import BlobId, Digest, Handle, KeyClass
from candor_proto.matchkeys import record_codes, record_keys
from candor_proto.normalise import Particulars, Person, normalise
from candor_proto.scheme import Label as MatchLabel
from candor_proto.sealed_index import (
    BLOB_OCTETS,
    ENTRY_OCTETS,
    FIELD_TAG_OCTETS,
    EntryKeys,
    IndexOwner,
    Label,
    _label_key,
    open_blob,
    polynomial,
    seal_blob,
    share_slots,
    withdrawal_marker,
)
from candor_proto.segment import Segment, build
from tests.federation import OFFICER

Spoil = Callable[["Bench"], None]
# The officer whom the owner aims at, as it has her on file.
PERSON = normalise(Particulars(**OFFICER))


class Bench:
    """One segment taken apart, and put together again by `sealed`. `record` is the one aimed at."""

    def __init__(self, planned: Plan, settings: Settings, sealed: Sealed) -> None:
        ((self.number, octets),) = sealed.segments
        self._sealed = sealed
        self.record: Published = sealed.published[0]
        self.owner = IndexOwner(settings.federation, settings.node, planned.epoch.number)
        self.keys = epochs.keys_for(
            planned.epoch.seed, settings.federation, settings.node, planned.epoch.number
        )
        self.threshold = settings.threshold
        parsed = Segment(octets)
        self.entries, self.blobs = list(parsed._entries), list(parsed._blobs)
        self.markers = list(parsed._markers)
        self._octets: bytes | None = None

    # --- what stands in it -------------------------------------------------------------------------------

    def output(self, key_class: KeyClass, value: bytes) -> bytes:
        """F of a value, which the owner knows for every value."""
        return oprf.evaluate(self.keys[key_class], value)

    def key_outputs(self, person: Person = PERSON) -> Iterator[tuple[MatchLabel, bytes]]:
        """Each match key of a person, with its F."""
        for label, value in record_keys(person):
            yield label, self.output(label.key_class, value)

    def code_outputs(self, person: Person = PERSON) -> Iterator[tuple[MatchLabel, bytes]]:
        for label, value in record_codes(person).codes:
            yield label, self.output(label.key_class, value)

    @property
    def blob(self) -> bytes:
        return next(blob for blob in self.blobs if blob[:16] == self.record.secrets.blob_id.value)

    def label(self) -> Label:
        return open_blob(self.blob, self.record.secrets.secret, self.owner)

    # --- what is done to it ------------------------------------------------------------------------------

    def put_blob(self, blob: bytes) -> None:
        """In place of the record's own."""
        self.blobs[self.blobs.index(self.blob)] = blob

    def put_label(self, label: Label) -> None:
        secret = self.record.secrets
        self.put_blob(seal_blob(label, secret.secret, secret.blob_id, self.owner))

    def put_plaintext(self, plaintext: bytes) -> None:
        """Seal octets that are no label, under the commitment of the record's own secret."""
        own = self.record.secrets
        key, nonce, commitment = _label_key(own.secret, own.blob_id, self.owner)
        head = own.blob_id.value + commitment
        self.put_blob(head + AESGCM(key).encrypt(nonce, plaintext, head))

    def replace_entry(self, output: bytes, entry: bytes) -> None:
        """In place of the first entry of an F; a dummy goes when there is none."""
        tag = EntryKeys(output, self.owner).tag(self.number, 0)
        held = next((each for each in self.entries if each[:16] == tag), None)
        self.entries.remove(held or self._dummy())
        self.entries.append(entry)

    def seal_entry(self, output: bytes, slots: tuple[bytes, ...], blob_id: BlobId | None = None) -> None:
        """Replace the first entry of an F by one with these share slots."""
        blob = blob_id or self.record.secrets.blob_id
        self.replace_entry(output, EntryKeys(output, self.owner).seal(self.number, 0, blob, slots))

    def _dummy(self) -> bytes:
        # All of the record's keys have tags of their own; any other entry is a dummy.
        own = {EntryKeys(output, self.owner).tag(self.number, 0) for _, output in self.key_outputs()}
        return next(entry for entry in self.entries if entry[:16] not in own)

    def mark_withdrawn(self) -> None:
        own = self.record.secrets
        self.markers[0] = withdrawal_marker(own.secret, own.blob_id)

    def coefficients(self, secret: bytes | None = None) -> tuple[bytes, ...]:
        own = self.record.secrets
        return polynomial(secret or own.secret, own.blob_id, self.threshold)

    def shares(self, label: MatchLabel, coefficients: tuple[bytes, ...]) -> tuple[bytes, ...]:
        return share_slots(coefficients, label.position, label.weight)

    def put_segment(self, octets: bytes) -> None:
        """These octets stand where the segment would."""
        self._octets = octets

    def rebuild(self) -> bytes:
        """The segment as it is on the bench now."""
        return build(self.owner, self.number, self.entries, self.blobs, self.markers)

    def sealed(self) -> Sealed:
        octets = self._octets or self.rebuild()
        return replace(self._sealed, segments=((self.number, octets),))


@contextmanager
def spoiling(node: str, spoil: Spoil) -> Iterator[None]:
    """What `node` seals meanwhile goes over the bench."""
    honest = publisher.seal

    def seal(planned: Plan, settings: Settings) -> Sealed:
        sealed = honest(planned, settings)
        if str(settings.node) != node or not sealed.published:
            return sealed
        bench = Bench(planned, settings, sealed)
        spoil(bench)
        return bench.sealed()

    with patch.object(publisher, "seal", seal):
        yield


# --- what an owner may do to its own index --------------------------------------------------------------


def garble_entries(bench: Bench) -> None:
    """The tags are right, what they seal is noise."""
    for _, output in bench.key_outputs():
        tag = EntryKeys(output, bench.owner).tag(bench.number, 0)
        bench.replace_entry(output, tag + secrets.token_bytes(ENTRY_OCTETS - 16))


def garble_one_entry(bench: Bench) -> None:
    """All but one of a person's entries are right: who is opened all the same is told from others."""
    _, output = next(bench.key_outputs())
    tag = EntryKeys(output, bench.owner).tag(bench.number, 0)
    bench.replace_entry(output, tag + secrets.token_bytes(ENTRY_OCTETS - 16))


def garble_shares(bench: Bench) -> None:
    """The entries open, the shares in them are noise."""
    for _, output in bench.key_outputs():
        bench.seal_entry(output, tuple(secrets.token_bytes(16) for _ in range(3)))


def garble_one_share(bench: Bench) -> None:
    """Good shares enough to open the blob, and one entry whose shares are noise."""
    _, output = next(bench.key_outputs())
    bench.seal_entry(output, tuple(secrets.token_bytes(16) for _ in range(3)))


def shares_of_another_polynomial(bench: Bench) -> None:
    """Shares of a secret of which the blob knows nothing."""
    coefficients = bench.coefficients(secrets.token_bytes(16))
    for label, output in bench.key_outputs():
        bench.seal_entry(output, bench.shares(label, coefficients))


def name_no_blob(bench: Bench) -> None:
    """Entries with good shares for a blob that is not there."""
    coefficients, blob = bench.coefficients(), BlobId(secrets.token_bytes(16))
    for label, output in bench.key_outputs():
        bench.seal_entry(output, bench.shares(label, coefficients), blob)


def garble_blob(bench: Bench) -> None:
    """The blob's id and commitment are right, its box is noise."""
    bench.put_blob(bench.blob[:48] + secrets.token_bytes(BLOB_OCTETS - 48))


def commit_to_another_key(bench: Bench) -> None:
    """The blob's commitment is that of no secret that the shares give."""
    bench.put_blob(bench.blob[:16] + secrets.token_bytes(32) + bench.blob[48:])


def malformed_plaintext(bench: Bench) -> None:
    """The box opens, to octets of the right length that are no label."""
    bench.put_plaintext(bytes([9]) + secrets.token_bytes(BLOB_OCTETS - 16 - 32 - 16 - 1))


def unsorted_tags(bench: Bench) -> None:
    """A label whose field tags are in an order that says something."""
    text = bytearray(_plaintext(bench))
    text[59 : 59 + FIELD_TAG_OCTETS] = b"\xff" * FIELD_TAG_OCTETS
    bench.put_plaintext(bytes(text))


def unknown_kind(bench: Bench) -> None:
    bench.put_label(replace(bench.label(), kind=77))


def _plaintext(bench: Bench) -> bytes:
    own = bench.record.secrets
    key, nonce, _ = _label_key(own.secret, own.blob_id, bench.owner)
    blob = bench.blob
    return AESGCM(key).decrypt(nonce, blob[48:], blob[:48])


def marked_withdrawn(bench: Bench) -> None:
    """The record is withdrawn in the very segment that publishes it."""
    bench.mark_withdrawn()


def expired(bench: Bench) -> None:
    bench.put_label(replace(bench.label(), expires_days=1))


def wrong_field_tags(bench: Bench) -> None:
    """Tags of nobody's fields: everything that could be compared seems to differ."""
    tags = tuple(secrets.token_bytes(FIELD_TAG_OCTETS) for _ in range(44))
    bench.put_label(replace(bench.label(), field_tags=tags))


def wrong_presence(bench: Bench) -> None:
    """The record claims to hold no field that could be compared."""
    bench.put_label(replace(bench.label(), presence=0))


def false_commitment(bench: Bench) -> None:
    """The blob commits to no record at all."""
    bench.put_label(replace(bench.label(), commitment=_noise()))


def _noise() -> Digest:
    return Digest(secrets.token_bytes(32))


def overweight_label(bench: Bench) -> None:
    """One weak label carries as many shares as would open the blob; the others are gone."""
    coefficients = bench.coefficients()
    for number, (label, output) in enumerate(bench.key_outputs()):
        if number:
            tag = secrets.token_bytes(16)
            bench.replace_entry(output, tag + secrets.token_bytes(ENTRY_OCTETS - 16))
        else:
            bench.seal_entry(
                output, (*share_slots(coefficients, label.position, 2)[:2], secrets.token_bytes(16))
            )


def phantoms_for(people: int) -> Spoil:
    """Entries and a blob for a whole roster of people of whom nothing is on file."""

    def spoil(bench: Bench) -> None:
        tags = {entry[:16] for entry in bench.entries}
        for number in range(people):
            person = normalise(
                Particulars(**(OFFICER | {"first": f"Phantom{number}", "ssn4": f"{5000 + number}"}))
            )
            secret = replace(
                bench.record.secrets, secret=secrets.token_bytes(16), blob_id=BlobId(secrets.token_bytes(16))
            )
            coefficients = polynomial(secret.secret, secret.blob_id, bench.threshold)
            made = replace(bench.label(), handle=Handle(secrets.token_bytes(16)), commitment=_noise())
            bench.blobs.append(seal_blob(made, secret.secret, secret.blob_id, bench.owner))
            for label, output in bench.key_outputs(person):
                sealer = EntryKeys(output, bench.owner)
                counter = next(n for n in range(256) if sealer.tag(bench.number, n) not in tags)
                tags.add(sealer.tag(bench.number, counter))
                slots = share_slots(coefficients, label.position, label.weight)
                bench.entries.append(sealer.seal(bench.number, counter, secret.blob_id, slots))

    return spoil
