"""Canonical records and the commitment to them (docs/protocol.md §9.4, §6.3)."""

from __future__ import annotations

from typing import Any

from candor_proto.canonical import Writer
from candor_proto.ids import Digest
from candor_proto.record import CanonicalRecord, RecordKind, Tier, commit, open_commitment
from tools.vectors import world
from tools.vectors.book import Book, Given, operation
from tools.vectors.draws import draw
from tools.vectors.shapes import OCTETS, TEXT, U8, fields, fixed, listed

RECORD = {"kind": U8, "tier": U8, "fields": listed(fields(name=TEXT, value=TEXT))}


def shown_record(record: CanonicalRecord) -> dict[str, Any]:
    return {
        "kind": record.kind.value,
        "tier": record.tier.value,
        "fields": [{"name": name, "value": value} for name, value in sorted(record.fields.items())],
    }


@operation(
    "encode-record",
    "9.4",
    "the canonical record of these fields, in whatever order they are given. Two-way",
    RECORD,
    {"record": OCTETS},
)
def _encode_record(given: Given) -> dict[str, Any]:
    pairs = {one["name"]: one["value"] for one in given["fields"]}
    octets = CanonicalRecord(RecordKind(given["kind"]), Tier(given["tier"]), pairs).encode()
    assert CanonicalRecord.decode(octets).encode() == octets
    return {"record": octets.hex()}


@operation("decode-record", "9.4", "the fields of a canonical record", {"record": OCTETS}, RECORD)
def _decode_record(given: Given) -> dict[str, Any]:
    return shown_record(CanonicalRecord.decode(bytes.fromhex(given["record"])))


@operation("record-commitment", "6.3", "com", {"salt": OCTETS, "record": OCTETS}, {"commitment": fixed(32)})
def _commitment(given: Given) -> dict[str, Any]:
    return {"commitment": commit(bytes.fromhex(given["salt"]), bytes.fromhex(given["record"])).hex()}


@operation(
    "open-commitment",
    "9.5",
    "the record, if salt and record open the commitment",
    {"commitment": OCTETS, "salt": OCTETS, "record": OCTETS},
    RECORD,
)
def _open_commitment(given: Given) -> dict[str, Any]:
    commitment = Digest(bytes.fromhex(given["commitment"]))
    return shown_record(
        open_commitment(commitment, bytes.fromhex(given["salt"]), bytes.fromhex(given["record"]))
    )


def _octets(*pairs: tuple[str, str], version: int = 1, kind: int = 3, tier: int = 1) -> Writer:
    writer = Writer("record").integer(version, 1).integer(kind, 1).integer(tier, 1)
    return writer.sequence(pairs, lambda out, pair: out.text(pair[0]).text(pair[1]))


def book() -> Book:
    found = Book(
        "records",
        "Canonical records: encoded, refused, committed to and opened.",
        ("6.3", "9.4", "9.5"),
        "The record of the story (README.md) and others by hand; by candor_proto.record.",
    )
    record = world.RECORD
    for name, given in {
        "of_the_story": shown_record(record),
        "without_fields": {"kind": 7, "tier": 2, "fields": []},
        "fields_in_another_order": {
            "kind": 1,
            "tier": 1,
            "fields": [
                {"name": "b", "value": "2"},
                {"name": "a_1", "value": ""},
                {"name": "a", "value": "1"},
            ],
        },
        "value_decomposed": {"kind": 1, "tier": 1, "fields": [{"name": "a", "value": "Sen\u0303or"}]},
    }.items():
        found.case(f"record_{name}", "encode-record", given)
    for flaw, octets, refuse in (
        ("fields_not_sorted", _octets(("b", "1"), ("a", "2")).finish(), "not_canonical"),
        ("field_twice", _octets(("a", "1"), ("a", "2")).finish(), "not_canonical"),
        ("octet_behind", _octets(("a", "1")).finish() + b"\0", "not_canonical"),
        ("cut", _octets(("a", "1")).finish()[:-1], "malformed_message"),
        ("name_capital", _octets(("A", "1")).finish(), "malformed_message"),
        ("name_empty", _octets(("", "1")).finish(), "malformed_message"),
        ("name_begins_with_a_digit", _octets(("1a", "1")).finish(), "malformed_message"),
        ("name_with_a_hyphen", _octets(("a-b", "1")).finish(), "malformed_message"),
        ("name_of_65", _octets(("a" * 65, "1")).finish(), "limit_exceeded"),
        ("value_over_the_limit", _octets(("a", "x")).finish()[:-5] + b"\0\0\x40\x01x", "limit_exceeded"),
        ("fields_201", _octets(*((f"a{n:03}", "") for n in range(201))).finish(), "limit_exceeded"),
        ("version_2", _octets(version=2).finish(), "unsupported_version"),
        ("kind_8", _octets(kind=8).finish(), "malformed_message"),
        ("kind_0", _octets(kind=0).finish(), "malformed_message"),
        ("tier_3", _octets(tier=3).finish(), "malformed_message"),
    ):
        found.case(f"record_{flaw}", "decode-record", {"record": octets.hex()}, refuse=refuse)
    salt, octets = world.SECRETS.salt, record.encode()
    found.case("commitment", "record-commitment", {"salt": salt.hex(), "record": octets.hex()})
    short = {"salt": salt[:-1].hex(), "record": octets.hex()}
    found.case("commitment_with_a_short_salt", "record-commitment", short, refuse="malformed_message")
    base = {"commitment": commit(salt, octets).hex(), "salt": salt.hex(), "record": octets.hex()}
    found.case("opens", "open-commitment", base)
    other = shown_record(record)["fields"]
    changed = CanonicalRecord(record.kind, record.tier, {one["name"]: one["value"] + "." for one in other})
    for flaw, change in {
        "another_record": {"record": changed.encode().hex()},
        "another_salt": {"salt": draw("another salt", 32).hex()},
        "no_record": {"record": ""},
        "salt_cut_record_longer": {"record": (octets + b"\0").hex()},
    }.items():
        found.case(f"opens_not_{flaw}", "open-commitment", {**base, **change}, refuse="commitment_mismatch")
    return found
