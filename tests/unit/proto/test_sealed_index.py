"""§6.1-§6.5: entries, shares, blobs and the gate, as owners make them and as attackers would."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from candor_proto import oprf, sealed_index
from candor_proto.errors import CandorError, GateClosed, LimitExceeded, MalformedMessage, SealedDataInvalid
from candor_proto.ids import BlobId, Digest, Handle, NodeId
from candor_proto.matchkeys import record_keys
from candor_proto.normalise import normalise
from candor_proto.scheme import CURRENT, MAX_LABELS
from candor_proto.sealed_index import (
    BLOB_OCTETS,
    ENTRY_OCTETS,
    FIELD_TAG_SLOTS,
    MAX_CHAIN,
    MAX_THRESHOLD,
    MIN_THRESHOLD,
    SHARE_SLOTS,
    EntryKeys,
    IndexOwner,
    Label,
    RecordSecrets,
    abscissae,
    field_tag,
    field_tag_key,
    field_tags,
    open_blob,
    open_through_gate,
    polynomial,
    record_slots,
    seal_blob,
    share_slots,
    withdrawal_marker,
)
from candor_proto.segment import address
from candor_proto.shamir import evaluate, invert_public, multiply_by_public
from tests.indexes import HARBOR, Sealer, drawn_from, keys_of, seal_people
from tests.parties import FEDERATION, MIKE

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "sealed_index.json").read_text("utf-8"))
OCTETS16 = st.binary(min_size=16, max_size=16)
F = bytes(range(64))
BLOB = BlobId(bytes(range(16)))
RECORD = RecordSecrets(b"s" * 16, b"t" * 32, BLOB, Handle(b"h" * 16))
LABEL = Label(Handle(b"h" * 16), 3, 1, 20_000, Digest(b"c" * 32), 0b101, (b"tag-1234", b"tag-5678"))


def opened(hits: Mapping[int, tuple[int, tuple[bytes, ...]]], blob: bytes, threshold: int = 3) -> Label:
    return open_through_gate(blob, hits, threshold, HARBOR)[0]


def hits_of(weights: Mapping[int, int], threshold: int) -> dict[int, tuple[int, tuple[bytes, ...]]]:
    coefficients = polynomial(RECORD.secret, BLOB, threshold)
    return {
        position: (weight, share_slots(coefficients, position, weight))
        for position, weight in weights.items()
    }


def sealed() -> bytes:
    return seal_blob(LABEL, RECORD.secret, BLOB, HARBOR)


# --- §6.1 entries --------------------------------------------------------------------------------------


def test_s6_1_an_entry_has_96_octets_and_opens_to_what_was_sealed() -> None:
    keys = EntryKeys(F, HARBOR)
    slots = (b"1" * 16, b"2" * 16, b"3" * 16)
    entry = keys.seal(1, 0, BLOB, slots)
    assert len(entry) == ENTRY_OCTETS == 96
    assert entry[:16] == keys.tag(1, 0)
    assert keys.open(1, 0, entry) == (BLOB, slots)


class Recorder:
    """Stands in for AES-GCM and notes every (key, nonce) that seals something."""

    used: Counter[tuple[bytes, bytes]] = Counter()

    def __init__(self, key: bytes) -> None:
        self.key = key

    def encrypt(self, nonce: bytes, data: bytes, associated: bytes) -> bytes:
        Recorder.used[self.key, nonce] += 1
        return AESGCM(self.key).encrypt(nonce, data, associated)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    Recorder.used = Counter()
    monkeypatch.setattr(sealed_index, "AESGCM", Recorder)
    return Recorder


def test_a11_equal_keys_never_repeat_a_tag_key_or_nonce(recorder: type[Recorder]) -> None:
    """The same person five times over, in two segments, two epochs and two nodes, under one OPRF output.

    (Real epochs and nodes have keys of their own: here only the derivations stand between them.)
    """
    keys = keys_of(HARBOR)
    tags: Counter[bytes] = Counter()
    sealed_items = 0
    for owner in (HARBOR, replace(HARBOR, epoch=8), replace(HARBOR, node=NodeId("bay-pd"))):
        for number in (1, 2):
            sealer = Sealer(keys, owner, number, 3)
            for _ in range(5):
                person = sealer.seal(MIKE)
                tags.update(entry[:16] for _, entry in person.entries)
                sealed_items += len(person.entries) + 1
    assert set(tags.values()) == {1}
    assert set(recorder.used.values()) == {1}
    assert sum(recorder.used.values()) == sealed_items
    assert (
        len({key for key, _ in recorder.used}) == len({nonce for _, nonce in recorder.used}) == sealed_items
    )


@pytest.mark.parametrize(
    ("owner", "segment", "counter"),
    [
        (HARBOR, 1, 1),
        (HARBOR, 2, 0),
        (replace(HARBOR, epoch=8), 1, 0),
        (replace(HARBOR, node=NodeId("harbor-pe")), 1, 0),
        (replace(HARBOR, federation=type(FEDERATION)("other.example")), 1, 0),
    ],
)
def test_a11_an_entry_moved_elsewhere_does_not_open(owner: IndexOwner, segment: int, counter: int) -> None:
    entry = EntryKeys(F, HARBOR).seal(1, 0, BLOB, (bytes(16),) * 3)
    elsewhere = EntryKeys(F, owner)
    with pytest.raises(SealedDataInvalid):
        elsewhere.open(segment, counter, entry)
    with pytest.raises(SealedDataInvalid):
        elsewhere.open(segment, counter, elsewhere.tag(segment, counter) + entry[16:])


def test_every_bit_of_an_entry_counts() -> None:
    keys = EntryKeys(F, HARBOR)
    entry = keys.seal(1, 0, BLOB, (bytes(16),) * 3)
    for bit in range(len(entry) * 8):
        spoilt = bytearray(entry)
        spoilt[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SealedDataInvalid):
            keys.open(1, 0, bytes(spoilt))


@given(entry=st.one_of(st.binary(max_size=120), st.binary(min_size=80, max_size=80)))
def test_arbitrary_octets_under_the_right_tag_raise_only_typed_errors(entry: bytes) -> None:
    keys = EntryKeys(F, HARBOR)
    for octets in (entry, keys.tag(1, 0) + entry):
        with pytest.raises(SealedDataInvalid):
            keys.open(1, 0, octets)


def test_s6_1_a_chain_ends_at_256() -> None:
    keys = EntryKeys(F, HARBOR)
    with pytest.raises(LimitExceeded):
        keys.seal(1, MAX_CHAIN, BLOB, (bytes(16),) * 3)
    asked = []

    def endless(tag: bytes) -> bytes | None:
        asked.append(tag)
        return tag + bytes(80)

    assert list(keys.probe(1, endless)) == [None] * 256
    assert len(set(asked)) == 256


def test_s6_1_a_chain_ends_at_the_first_gap_and_not_at_an_entry_that_fails() -> None:
    keys = EntryKeys(F, HARBOR)
    entries = {keys.tag(1, n): keys.seal(1, n, BLOB, (bytes(16),) * 3) for n in (0, 1, 2, 4)}
    entries[keys.tag(1, 1)] = keys.tag(1, 1) + bytes(80)
    assert [found is not None for found in keys.probe(1, entries.get)] == [True, False, True]


# --- §6.2, §6.4 the gate -------------------------------------------------------------------------------


@settings(max_examples=200)
@given(
    threshold=st.integers(3, 8),
    weights=st.dictionaries(st.integers(0, 15), st.integers(0, 2), max_size=16),
)
def test_s6_4_a_blob_opens_if_and_only_if_the_weights_reach_the_threshold(
    threshold: int, weights: dict[int, int]
) -> None:
    hits, blob = hits_of(weights, threshold), sealed()
    if sum(weights.values()) >= threshold:
        assert opened(hits, blob, threshold).handle == LABEL.handle
    else:
        with pytest.raises(GateClosed):
            opened(hits, blob, threshold)


@settings(max_examples=50)
@given(threshold=st.integers(3, 8), slots=st.data())
def test_a5c_more_shares_than_the_askers_own_weight_do_not_help(threshold: int, slots: st.DataObject) -> None:
    """The owner fills every slot of weak labels with good shares; the asker counts its own weights."""
    coefficients = polynomial(RECORD.secret, BLOB, threshold)
    positions = slots.draw(st.sets(st.integers(0, 15), min_size=1, max_size=threshold - 1))
    generous = {
        position: (1, tuple(evaluate(coefficients, 1 + 3 * position + slot) for slot in range(SHARE_SLOTS)))
        for position in positions
    }
    assert sum(len(found) for _, found in generous.values()) >= 3
    with pytest.raises(GateClosed):
        opened(generous, sealed(), threshold)


def test_a_label_of_weight_0_adds_nothing() -> None:
    hits = hits_of({0: 1, 3: 1}, 3) | {1: (0, (bytes(16),) * 3), 2: (0, (bytes(16),) * 3)}
    with pytest.raises(GateClosed):
        opened(hits, sealed())


@pytest.mark.parametrize(("position", "weight"), [(0, 3), (0, -1), (MAX_LABELS, 1), (-1, 1)])
def test_no_weight_or_position_beyond_the_table(position: int, weight: int) -> None:
    with pytest.raises(LimitExceeded):
        abscissae(position, weight)


def test_s6_2_no_two_labels_share_an_abscissa() -> None:
    every = [abscissa for position in range(MAX_LABELS) for abscissa in abscissae(position, 2)]
    assert len(every) == len(set(every)) == 2 * MAX_LABELS
    # One octet of the field names each of them, and none is the place of the secret.
    assert max(every) < 256
    assert min(every) == 1


@pytest.mark.parametrize("threshold", [-1, 0, 1, 2, 9, 255])
def test_s6_2_a_threshold_out_of_bounds_opens_nothing(threshold: int) -> None:
    """Below 3 a single label would open; at 0 there is nothing to interpolate."""
    secret = RECORD.secret
    hits = {4: (2, (secret, secret, secret)), 5: (2, (secret, secret, secret))}
    with pytest.raises(LimitExceeded):
        opened(hits, sealed(), threshold)
    with pytest.raises(LimitExceeded):
        opened({}, sealed(), threshold)
    with pytest.raises(LimitExceeded):
        polynomial(secret, BLOB, threshold)


@pytest.mark.parametrize("position", [4, 5, 6, 12])
@pytest.mark.parametrize("slot", [0, 1])
def test_s6_4_every_share_held_is_recomputed(position: int, slot: int) -> None:
    """Also those that interpolation does not use: a wrong one marks the person it is aimed at."""
    hits = hits_of({4: 2, 5: 2, 6: 2, 12: 2}, 3)
    assert opened(hits, sealed()).handle == LABEL.handle
    weight, slots = hits[position]
    spoilt = list(slots)
    spoilt[slot] = bytes([spoilt[slot][0] ^ 1]) + spoilt[slot][1:]
    hits[position] = weight, tuple(spoilt)
    with pytest.raises(SealedDataInvalid):
        opened(hits, sealed())


def test_unused_slots_are_not_shares() -> None:
    hits = hits_of({4: 2, 0: 1}, 3)
    hits[0] = 1, (hits[0][1][0], bytes(16), b"\xff" * 16)
    assert opened(hits, sealed()).handle == LABEL.handle


def test_shares_of_another_polynomial_through_the_same_secret_are_refused() -> None:
    """§6.2 fixes the coefficients: an owner cannot choose its own and still have them accepted."""
    own = [RECORD.secret, os.urandom(16), os.urandom(16)]
    hits = {4: (2, tuple(evaluate(own, 13 + n) for n in range(3))), 0: (1, (evaluate(own, 1),))}
    with pytest.raises(SealedDataInvalid):
        opened(hits, sealed())


def test_variants_of_a_label_carry_the_same_shares() -> None:
    """An alias cannot count twice (§6.2): all surnames' keys give one and the same share."""
    person = replace(MIKE, last="Schmidt-Jones", former_last="Miller")
    keys = keys_of(HARBOR)
    _, (one,) = seal_people([person], keys)
    by_label: dict[str, set[tuple[bytes, ...]]] = {}
    count: Counter[str] = Counter()
    for key, (name, entry) in zip(record_keys(normalise(person)), one.entries, strict=True):
        output = oprf.evaluate(keys[key.label.key_class], key.input)
        _, slots = EntryKeys(output, HARBOR).open(1, 0, entry)
        by_label.setdefault(name, set()).add(slots[: key.label.weight])
        count[name] += 1
    assert max(count.values()) > 1
    assert all(len(shares) == 1 for shares in by_label.values())


# --- §6.3 blobs ----------------------------------------------------------------------------------------


def test_s6_3_a_blob_has_475_octets_and_opens_to_what_was_sealed() -> None:
    blob = sealed()
    assert len(blob) == BLOB_OCTETS == 475
    label = open_blob(blob, RECORD.secret, HARBOR)
    assert replace(label, field_tags=()) == replace(LABEL, field_tags=())
    assert set(LABEL.field_tags) <= set(label.field_tags)
    assert len(label.field_tags) == FIELD_TAG_SLOTS
    assert list(label.field_tags) == sorted(label.field_tags)
    assert label.holds(b"tag-1234")
    assert not label.holds(b"tag-0000")


def test_a5_a_blob_has_the_same_size_whatever_it_holds() -> None:
    for tags in ((), (b"12345678",) * FIELD_TAG_SLOTS):
        assert len(seal_blob(replace(LABEL, field_tags=tags), RECORD.secret, BLOB, HARBOR)) == BLOB_OCTETS
    with pytest.raises(LimitExceeded):
        seal_blob(replace(LABEL, field_tags=(b"12345678",) * 45), RECORD.secret, BLOB, HARBOR)


@pytest.mark.parametrize(
    "owner",
    [
        replace(HARBOR, epoch=8),
        replace(HARBOR, node=NodeId("bay-pd")),
        replace(HARBOR, federation=type(FEDERATION)("other.example")),
    ],
)
def test_a_blob_of_another_owner_or_epoch_does_not_open(owner: IndexOwner) -> None:
    with pytest.raises(SealedDataInvalid):
        open_blob(sealed(), RECORD.secret, owner)


def test_every_bit_of_a_blob_counts() -> None:
    blob = sealed()
    for bit in range(len(blob) * 8):
        spoilt = bytearray(blob)
        spoilt[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SealedDataInvalid):
            open_blob(bytes(spoilt), RECORD.secret, HARBOR)


@given(
    blob=st.one_of(st.binary(max_size=600), st.binary(min_size=BLOB_OCTETS, max_size=BLOB_OCTETS)),
    secret=OCTETS16,
)
def test_arbitrary_octets_as_a_blob_raise_only_typed_errors(blob: bytes, secret: bytes) -> None:
    with pytest.raises(SealedDataInvalid):
        open_blob(blob, secret, HARBOR)


@given(text=st.binary(min_size=411, max_size=411))
def test_arbitrary_plaintext_of_a_dishonest_owner_raises_only_typed_errors(text: bytes) -> None:
    """The owner knows the secret and seals what it likes: version, order of tags and all numbers."""
    blob = sealed_plaintext(text)
    try:
        label = open_blob(blob, RECORD.secret, HARBOR)
    except CandorError:
        return
    assert text[0] == 1
    assert list(label.field_tags) == sorted(label.field_tags)


def sealed_plaintext(text: bytes) -> bytes:
    key, nonce, commitment = sealed_index._label_key(RECORD.secret, BLOB, HARBOR)
    head = BLOB.value + commitment
    return head + AESGCM(key).encrypt(nonce, text, head)


def plaintext(version: int = 1, tags: list[bytes] | None = None) -> bytes:
    rising = [n.to_bytes(8, "big") for n in range(FIELD_TAG_SLOTS)]
    return bytes([version]) + bytes(58) + b"".join(tags or rising)


def test_s6_3_version_and_order_of_the_plaintext_are_checked() -> None:
    assert open_blob(sealed_plaintext(plaintext()), RECORD.secret, HARBOR).kind == 0
    with pytest.raises(SealedDataInvalid):
        open_blob(sealed_plaintext(plaintext(version=2)), RECORD.secret, HARBOR)
    falling = [n.to_bytes(8, "big") for n in reversed(range(FIELD_TAG_SLOTS))]
    with pytest.raises(SealedDataInvalid):
        open_blob(sealed_plaintext(plaintext(tags=falling)), RECORD.secret, HARBOR)


def _ghash_block(value: bytes) -> int:
    """GCM's bit order (NIST SP 800-38D §6.3): bit 0 is the leftmost; reflected, the field is that of §6.2."""
    return int(format(int.from_bytes(value, "big"), "0128b")[::-1], 2)


def _block(value: int) -> bytes:
    return int(format(value, "0128b")[::-1], 2).to_bytes(16, "big")


def _gcm_tag_of_zeros(key: bytes, nonce: bytes, head: bytes, ciphertext: bytes) -> bytes:
    """The GCM tag of `ciphertext`, computed by hand (SP 800-38D §7.1)."""

    def encrypted(block: bytes) -> bytes:
        return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)

    point = _ghash_block(encrypted(bytes(16)))
    state = 0
    padded = head + bytes(-len(head) % 16) + ciphertext + bytes(-len(ciphertext) % 16)
    lengths = (8 * len(head)).to_bytes(8, "big") + (8 * len(ciphertext)).to_bytes(8, "big")
    for at in range(0, len(padded), 16):
        state = multiply_by_public(state ^ _ghash_block(padded[at : at + 16]), point)
    state = multiply_by_public(state ^ _ghash_block(lengths), point)
    pad = encrypted(nonce + (1).to_bytes(4, "big"))
    return bytes(a ^ b for a, b in zip(_block(state), pad, strict=True))


def two_key_ciphertext(
    keys: tuple[bytes, bytes], nonces: tuple[bytes, bytes], head: bytes, octets: int
) -> bytes:
    """A ciphertext with tag that AES-GCM opens under both keys (Dodis et al., CRYPTO 2018): one free block
    is chosen such that the two tags agree."""
    body = bytearray(os.urandom(octets))
    at = 16 * 3

    def difference(block: int) -> int:
        body[at : at + 16] = _block(block)
        tags = [
            _gcm_tag_of_zeros(key, nonce, head, bytes(body)) for key, nonce in zip(keys, nonces, strict=True)
        ]
        return _ghash_block(tags[0]) ^ _ghash_block(tags[1])

    # The difference of the tags is affine in the block: constant + slope × block.
    constant = difference(0)
    slope = difference(1) ^ constant
    block = multiply_by_public(constant, invert_public(slope))
    assert difference(block) == 0
    body[at : at + 16] = _block(block)
    return bytes(body) + _gcm_tag_of_zeros(keys[0], nonces[0], head, bytes(body))


def test_a12_a_blob_that_opens_under_two_keys_is_refused_by_its_commitment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secrets_ = (b"1" * 16, b"2" * 16)
    parts = [sealed_index._label_key(secret, BLOB, HARBOR) for secret in secrets_]
    head = BLOB.value + parts[0][2]
    sealed_part = two_key_ciphertext((parts[0][0], parts[1][0]), (parts[0][1], parts[1][1]), head, 411)
    blob = head + sealed_part
    assert len(blob) == BLOB_OCTETS
    # AES-GCM itself is content with either key ...
    texts = {AESGCM(key).decrypt(nonce, sealed_part, head) for key, nonce, _ in parts}
    assert len(texts) == 2
    # ... and the commitment names one of them, before anything is decrypted.
    monkeypatch.setattr(sealed_index, "AESGCM", lambda key: pytest.fail("decrypted before the commitment"))
    with pytest.raises(SealedDataInvalid, match="another key"):
        open_blob(blob, secrets_[1], HARBOR)


def test_s6_5_markers_and_field_tags_belong_to_one_blob() -> None:
    other = BlobId(bytes(16))
    assert withdrawal_marker(RECORD.secret, BLOB) != withdrawal_marker(RECORD.secret, other)
    assert field_tag(F, BLOB) != field_tag(F, other)


def test_secrets_do_not_print() -> None:
    for value in (RecordSecrets.draw(), LABEL):
        text = repr(value)
        assert "salt" not in text
        assert "secret=" not in text
        assert "tag-1234" not in text


def test_s6_3_everything_drawn_is_fresh() -> None:
    one, other = RecordSecrets.draw(), RecordSecrets.draw()
    assert one.secret != other.secret
    assert one.salt != other.salt
    assert one.blob_id != other.blob_id
    assert one.handle.value != other.handle.value


def test_lengths_of_what_is_sealed_are_checked() -> None:
    with pytest.raises(MalformedMessage):
        seal_blob(replace(LABEL, presence=1 << 32), RECORD.secret, BLOB, HARBOR)


def test_lengths_of_field_tags_are_checked_one_by_one() -> None:
    """Together they have the right length."""
    spoilt = replace(LABEL, field_tags=(bytes(7), bytes(9)))
    with pytest.raises(MalformedMessage):
        seal_blob(spoilt, RECORD.secret, BLOB, HARBOR)


# --- what owners do for many at once --------------------------------------------------------------------


@settings(deadline=None)
@given(
    weights=st.dictionaries(st.integers(0, 15), st.integers(0, 2), max_size=16),
    threshold=st.integers(MIN_THRESHOLD, MAX_THRESHOLD),
)
def test_s6_2_slots_of_a_whole_record_are_those_of_its_labels(
    weights: dict[int, int], threshold: int
) -> None:
    coefficients = polynomial(RECORD.secret, BLOB, threshold)
    slots = record_slots(coefficients, tuple(weights.items()))
    drawn: list[bytes] = []
    for (position, weight), found in zip(weights.items(), slots, strict=True):
        assert [len(slot) for slot in found] == [16, 16, 16]
        assert found[:weight] == share_slots(coefficients, position, weight)[:weight]
        drawn += found[weight:]
    assert len(set(drawn)) == len(drawn)  # random, and none of it used twice


def test_slots_of_a_whole_record_refuse_a_weight_that_has_no_slots() -> None:
    with pytest.raises(LimitExceeded):
        record_slots(polynomial(RECORD.secret, BLOB, 3), ((0, 1), (1, 3)))


@given(segment=st.integers(0, 2**32 - 1), counter=st.integers(0, MAX_CHAIN - 1))
def test_s6_1_keys_for_many_entries_are_the_same_keys(segment: int, counter: int) -> None:
    one, many = EntryKeys(F, HARBOR), EntryKeys(F, HARBOR, many=True)
    assert one.tag(segment, counter) == many.tag(segment, counter)
    slots = (bytes(16), b"\x01" * 16, b"\x02" * 16)
    assert one.open(segment, counter, many.seal(segment, counter, BLOB, slots)) == (BLOB, slots)


@given(outputs=st.lists(st.binary(min_size=64, max_size=64), max_size=4))
def test_s6_3_field_tags_of_a_blob_are_those_of_its_outputs(outputs: list[bytes]) -> None:
    keys = [field_tag_key(output) for output in outputs]
    assert field_tags(keys, BLOB) == tuple(field_tag(output, BLOB) for output in outputs)


# --- vectors -------------------------------------------------------------------------------------------


def described() -> dict[str, object]:
    """What tests/vectors/sealed_index.json holds: everything from fixed seeds."""
    keys = keys_of(HARBOR)
    octets, (mike,) = seal_people([MIKE], keys, random_bytes=drawn_from("sealed_index.json"))
    key = record_keys(normalise(MIKE))[0]
    output = oprf.evaluate(keys[key.label.key_class], key.input)
    chain = EntryKeys(output, HARBOR)
    coefficients = polynomial(mike.secrets.secret, mike.secrets.blob_id, 3)
    return {
        "owner": {"federation": str(HARBOR.federation), "node": str(HARBOR.node), "epoch": HARBOR.epoch},
        "segment_number": 1,
        "threshold": 3,
        "label": key.label.name,
        "input": key.input.hex(),
        "output": output.hex(),
        "tags": [chain.tag(1, counter).hex() for counter in range(3)],
        "secret": mike.secrets.secret.hex(),
        "salt": mike.secrets.salt.hex(),
        "blob_id": mike.secrets.blob_id.hex(),
        "handle": mike.secrets.handle.hex(),
        "coefficients": [coefficient.hex() for coefficient in coefficients],
        "shares": {
            name: [evaluate(coefficients, at).hex() for at in abscissae(position, 2)]
            for name, position in CURRENT.positions.items()
        },
        "entry": mike.entries[0][1].hex(),
        "blob": mike.blob.hex(),
        "kind": mike.label.kind,
        "tier": mike.label.tier,
        "commitment": mike.label.commitment.hex(),
        "presence": mike.label.presence,
        "field_tag": field_tag(output, mike.secrets.blob_id).hex(),
        "marker": withdrawal_marker(mike.secrets.secret, mike.secrets.blob_id).hex(),
        "segment_octets": len(octets),
        "segment_address": address(octets).hex(),
    }


def test_vectors_replay() -> None:
    assert described() == VECTORS
