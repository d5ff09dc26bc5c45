"""Entries and blobs of the sealed index, the gate, withdrawal (docs/protocol.md §6.1-§6.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from candor_proto.ids import BlobId, Digest, FederationName, Handle, NodeId
from candor_proto.sealed_index import (
    EntryKeys,
    IndexOwner,
    Label,
    _label_key,
    field_tag,
    open_blob,
    open_through_gate,
    polynomial,
    seal_blob,
    share_slots,
    withdrawal_marker,
)
from tools.vectors import world
from tools.vectors.book import Book, Given, changed, edit, operation
from tools.vectors.draws import draw
from tools.vectors.parties import EPOCH, FEDERATION, OWNER
from tools.vectors.shapes import OCTETS, U8, U16, U32, fields, fixed, listed
from tools.vectors.shapes import OWNER as OF_OWNER

_LABEL = fields(
    handle=fixed(16),
    kind=U8,
    tier=U8,
    expires_days=U32,
    commitment=fixed(32),
    presence=U32,
    field_tags=listed(fixed(8)),
)
_HIT = fields(position=U8, weight=U8, slots=listed(OCTETS))
_ENTRY = {"output": OCTETS, **OF_OWNER, "segment": U32, "counter": U16}


def index_owner(given: Given) -> IndexOwner:
    return IndexOwner(FederationName(given["federation"]), NodeId(given["node"]), given["epoch"])


def _slots(texts: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(text) for text in texts)


def shown_label(label: Label) -> dict[str, Any]:
    return {
        "handle": label.handle.hex(),
        "kind": label.kind,
        "tier": label.tier,
        "expires_days": label.expires_days,
        "commitment": label.commitment.hex(),
        "presence": label.presence,
        "field_tags": [tag.hex() for tag in label.field_tags],
    }


@operation(
    "entry-keys",
    "6.1",
    "tag, key and nonce of entry `counter` of the output F in this segment",
    _ENTRY,
    {"tag": fixed(16), "key": fixed(32), "nonce": fixed(12)},
)
def _entry_keys(given: Given) -> dict[str, Any]:
    keys = EntryKeys(bytes.fromhex(given["output"]), index_owner(given))
    made = keys._material(given["segment"], given["counter"])
    assert keys.tag(given["segment"], given["counter"]) == made[:16]
    return {"tag": made[:16].hex(), "key": made[16:48].hex(), "nonce": made[48:].hex()}


@operation(
    "seal-entry",
    "6.1",
    "the entry that holds this blob id and these three share slots. Two-way",
    {**_ENTRY, "blob_id": OCTETS, "slots": listed(OCTETS)},
    {"entry": fixed(96)},
)
def _seal_entry(given: Given) -> dict[str, Any]:
    keys, blob = (
        EntryKeys(bytes.fromhex(given["output"]), index_owner(given)),
        bytes.fromhex(given["blob_id"]),
    )
    entry = keys.seal(given["segment"], given["counter"], BlobId(blob), _slots(given["slots"]))
    assert keys.open(given["segment"], given["counter"], entry) == (BlobId(blob), _slots(given["slots"]))
    return {"entry": entry.hex()}


@operation(
    "open-entry",
    "6.1",
    "blob id and share slots of an entry",
    {**_ENTRY, "entry": OCTETS},
    {"blob_id": fixed(16), "slots": listed(fixed(16))},
)
def _open_entry(given: Given) -> dict[str, Any]:
    keys, entry = EntryKeys(bytes.fromhex(given["output"]), index_owner(given)), bytes.fromhex(given["entry"])
    blob, slots = keys.open(given["segment"], given["counter"], entry)
    return {"blob_id": blob.hex(), "slots": [slot.hex() for slot in slots]}


@operation(
    "seal-blob",
    "6.3",
    "key, nonce and commitment of a blob, and the blob of this `label`, all of whose 44 field tags are "
    "given. Two-way",
    {"secret": OCTETS, "blob_id": OCTETS, **OF_OWNER, "label": _LABEL},
    {"key": fixed(32), "nonce": fixed(12), "key_commitment": fixed(32), "blob": fixed(475)},
)
def _seal_blob(given: Given) -> dict[str, Any]:
    secret, blob_id, owner = (
        bytes.fromhex(given["secret"]),
        BlobId(bytes.fromhex(given["blob_id"])),
        index_owner(given),
    )
    shown = given["label"]
    label = Label(
        handle=Handle(bytes.fromhex(shown["handle"])),
        kind=shown["kind"],
        tier=shown["tier"],
        expires_days=shown["expires_days"],
        commitment=Digest(bytes.fromhex(shown["commitment"])),
        presence=shown["presence"],
        field_tags=tuple(map(bytes.fromhex, shown["field_tags"])),
    )
    blob = seal_blob(label, secret, blob_id, owner, random_bytes=_none_drawn)
    assert open_blob(blob, secret, owner) == label
    key, nonce, commitment = _label_key(secret, blob_id, owner)
    return {"key": key.hex(), "nonce": nonce.hex(), "key_commitment": commitment.hex(), "blob": blob.hex()}


def _none_drawn(octets: int) -> bytes:
    raise AssertionError("all field tags are given")


@operation(
    "open-blob",
    "6.3",
    "the label inside a blob",
    {"secret": OCTETS, **OF_OWNER, "blob": OCTETS},
    {"label": _LABEL},
)
def _open_blob(given: Given) -> dict[str, Any]:
    label = open_blob(bytes.fromhex(given["blob"]), bytes.fromhex(given["secret"]), index_owner(given))
    return {"label": shown_label(label)}


@operation(
    "field-tag",
    "6.3",
    "the tag of the output F in a blob",
    {"output": OCTETS, "blob_id": OCTETS},
    {"tag": fixed(8)},
)
def _field_tag(given: Given) -> dict[str, Any]:
    return {"tag": field_tag(bytes.fromhex(given["output"]), BlobId(bytes.fromhex(given["blob_id"]))).hex()}


@operation(
    "withdrawal-marker",
    "6.5",
    "the marker of a blob",
    {"secret": OCTETS, "blob_id": OCTETS},
    {"marker": fixed(16)},
)
def _marker(given: Given) -> dict[str, Any]:
    blob = BlobId(bytes.fromhex(given["blob_id"]))
    return {"marker": withdrawal_marker(bytes.fromhex(given["secret"]), blob).hex()}


@operation(
    "gate",
    "6.4",
    "secret and label of a blob, from the labels hit for it: the position and weight of each in the asker's "
    "own table, "
    "and the share slots found",
    {"blob": OCTETS, "threshold": U8, **OF_OWNER, "hits": listed(_HIT)},
    {"secret": fixed(16), "label": _LABEL},
)
def _gate(given: Given) -> dict[str, Any]:
    hits = {hit["position"]: (hit["weight"], _slots(hit["slots"])) for hit in given["hits"]}
    label, secret = open_through_gate(
        bytes.fromhex(given["blob"]), hits, given["threshold"], index_owner(given)
    )
    return {"secret": secret.hex(), "label": shown_label(label)}


_OWNER = {"federation": str(FEDERATION), "node": OWNER.name, "epoch": EPOCH}


def book() -> Book:
    found = Book(
        "index",
        "Entries and blobs: how they are derived, sealed and opened, what does not open; field tags, "
        "markers, the gate.",
        ("6.1", "6.3", "6.4", "6.5"),
        "The record of the story (README.md), sealed under drawn secrets by candor_proto.sealed_index. The "
        "same derivations "
        "for another record stand in tests/vectors/sealed_index.json; HKDF, AES-GCM and the field are "
        "cross-checked in "
        "tests/unit/proto/test_derive.py, test_sealed_index.py and test_shamir.py.",
    )
    _entries(found)
    _blobs(found)
    _gates(found)
    return found


def _entries(found: Book) -> None:
    output = world.sealed().entries[0][1].hex()
    base = {"output": output, **_OWNER, "segment": 1, "counter": 0}
    changes: dict[str, dict[str, Any]] = {
        "first": {},
        "second_of_the_chain": {"counter": 1},
        "last_of_the_chain": {"counter": 255},
        "another_segment": {"segment": 0x01020304},
        "another_epoch": {"epoch": EPOCH + 1},
        "another_node": {"node": "cedar-post"},
        "another_federation": {"federation": "other.candor.example"},
    }
    for name, change in changes.items():
        found.case(f"keys_{name}", "entry-keys", {**base, **change})
    slots = [draw(f"entry slot {number}", 16).hex() for number in range(3)]
    content = {"blob_id": draw("entry blob", 16).hex(), "slots": slots}
    entry = bytes.fromhex(found.case("entry", "seal-entry", {**base, **content})["entry"])
    found.case("entry_256", "seal-entry", {**base, **content, "counter": 255})
    found.case("entry_257", "seal-entry", {**base, **content, "counter": 256}, refuse="limit_exceeded")
    opening = {**base, "entry": entry.hex()}
    flaws: dict[str, dict[str, Any]] = {
        "tag_changed": {"entry": (bytes([entry[0] ^ 1]) + entry[1:]).hex()},
        "box_changed": {"entry": (entry[:20] + bytes([entry[20] ^ 1]) + entry[21:]).hex()},
        "authentication_tag_changed": {"entry": (entry[:-1] + bytes([entry[-1] ^ 1])).hex()},
        "cut": {"entry": entry[:-1].hex()},
        "longer": {"entry": (entry + b"\0").hex()},
        "another_counter": {"counter": 1},
        "another_output": {"output": world.sealed().entries[1][1].hex()},
        "another_node": {"node": "cedar-post"},
    }
    for flaw, change in flaws.items():
        found.case(f"entry_{flaw}", "open-entry", {**opening, **change}, refuse="sealed_data_invalid")


def _blobs(found: Book) -> None:
    secrets, sealed = world.SECRETS, world.sealed()
    blob = found.keep("blob", sealed.blob)
    opened = open_blob(blob, secrets.secret, world.INDEX_OWNER)
    base = {"secret": secrets.secret.hex(), **_OWNER}
    sealing = {**base, "blob_id": secrets.blob_id.hex(), "label": shown_label(opened)}
    assert found.case("blob", "seal-blob", sealing)["blob"] == blob.hex()
    expiring = replace(opened, expires_days=0xFFFFFFFF, kind=255, tier=0, presence=0xFFFFFFFF)
    found.case("blob_of_extremes", "seal-blob", {**sealing, "label": shown_label(expiring)})
    for flaw, given, comment in (
        ("wrong_secret", {"secret": draw("wrong secret", 16).hex(), "blob": changed("blob")}, ""),
        ("key_commitment_changed", {"blob": changed("blob", edit(16, 1, bytes([blob[16] ^ 1])))}, ""),
        ("id_changed", {"blob": changed("blob", edit(0, 1, bytes([blob[0] ^ 1])))}, ""),
        ("box_changed", {"blob": changed("blob", edit(60, 1, bytes([blob[60] ^ 1])))}, ""),
        ("cut", {"blob": changed("blob", edit(474, 1))}, ""),
        ("longer", {"blob": changed("blob", edit(475, 0, b"\0"))}, ""),
        ("another_epoch", {"epoch": EPOCH + 1, "blob": changed("blob")}, ""),
        (
            "version_two",
            {"blob": _spoiled(secrets.secret, b"\2", 0).hex()},
            "opens, to a version nobody knows",
        ),
        ("field_tags_not_sorted", {"blob": _spoiled(secrets.secret, b"\xff" * 8, 59).hex()}, ""),
    ):
        found.case(
            f"blob_{flaw}", "open-blob", {**base, **given}, comment=comment, refuse="sealed_data_invalid"
        )
    given = {"output": sealed.entries[0][1].hex(), "blob_id": secrets.blob_id.hex()}
    found.case("field_tag", "field-tag", given)
    found.case(
        "marker", "withdrawal-marker", {"secret": secrets.secret.hex(), "blob_id": secrets.blob_id.hex()}
    )


def _spoiled(secret: bytes, octets: bytes, at: int) -> bytes:
    """The blob of the story, its plaintext overwritten at one place and sealed again as an owner could."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    blob = world.sealed().blob
    key, nonce, _ = _label_key(secret, world.SECRETS.blob_id, world.INDEX_OWNER)
    text = AESGCM(key).decrypt(nonce, blob[48:], blob[:48])
    text = text[:at] + octets + text[at + len(octets) :]
    return blob[:48] + AESGCM(key).encrypt(nonce, text, blob[:48])


def _gates(found: Book) -> None:
    secrets = world.SECRETS
    coefficients = polynomial(secrets.secret, secrets.blob_id, world.THRESHOLD)

    def hit(position: int, weight: int, shares: int | None = None) -> dict[str, Any]:
        own = share_slots(
            coefficients, position, weight if shares is None else shares, lambda n: draw("unused", n)
        )
        return {"position": position, "weight": weight, "slots": [slot.hex() for slot in own]}

    spoilt = {**hit(1, 1), "slots": [draw("garbage", 16).hex(), *hit(1, 1)["slots"][1:]]}
    base = {"blob": changed("blob"), "threshold": world.THRESHOLD, **_OWNER}
    for name, hits, refuse, comment in (
        ("two_labels_of_weight_2", [hit(0, 2), hit(2, 2)], None, ""),
        ("weight_2_and_1", [hit(0, 2), hit(1, 1)], None, ""),
        ("three_of_weight_1", [hit(1, 1), hit(8, 1), hit(11, 1)], None, ""),
        ("one_label", [hit(0, 2)], "gate_closed", ""),
        ("two_of_weight_1", [hit(1, 1), hit(8, 1)], "gate_closed", ""),
        ("none", [], "gate_closed", ""),
        (
            "more_shares_than_weight",
            [hit(1, 1, 2), hit(8, 1, 2)],
            "gate_closed",
            "what an entry carries beyond the weight in the asker's own table does not count",
        ),
        ("a_share_is_garbage", [hit(0, 2), spoilt], "sealed_data_invalid", "one of the three lowest"),
        (
            "a_share_beyond_the_lowest_is_garbage",
            [hit(0, 2), hit(2, 2), {**hit(8, 1), "slots": spoilt["slots"]}],
            "sealed_data_invalid",
            "every share held is recomputed",
        ),
    ):
        found.case(f"gate_{name}", "gate", {**base, "hits": hits}, comment=comment, refuse=refuse)
    hits = [hit(0, 2), hit(2, 2)]
    found.case(
        "gate_threshold_of_the_head_higher",
        "gate",
        {**base, "threshold": 4, "hits": hits},
        comment="four shares give another polynomial than the owner's of three",
        refuse="sealed_data_invalid",
    )
    found.case("gate_threshold_2", "gate", {**base, "threshold": 2, "hits": hits}, refuse="limit_exceeded")
    found.case(
        "gate_another_blob",
        "gate",
        {**base, "blob": changed("blob", edit(0, 1, b"\0")), "hits": hits},
        refuse="sealed_data_invalid",
    )
