"""Index heads (docs/protocol.md §6.7)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from candor_proto.directory import (
    IndexHead,
    SeenHead,
    SegmentRef,
    check_progress,
    statement_digest,
    verify_head,
)
from candor_proto.group import Element
from candor_proto.ids import Digest, FederationName, KeyClass, NodeId
from candor_proto.signing import SignedStatement, VerifyingKey
from tools.vectors import world
from tools.vectors.book import Book, Given, operation
from tools.vectors.draws import draw
from tools.vectors.parties import ASKER, FEDERATION, HOUR, NOW, OWNER, moment, ms, part
from tools.vectors.shapes import FLAG, OCTETS, PART, TEXT, TIME, U8, U32, U64, fields, fixed, listed, maybe

HEAD = {
    "federation": TEXT,
    "node": TEXT,
    "sequence": U64,
    "epoch": U32,
    "key_weak": fixed(32),
    "key_match": fixed(32),
    "key_code": fixed(32),
    "threshold": U8,
    "scheme_version": U8,
    "segments": listed(fields(number=U32, address=fixed(32), octets=U32)),
    "issued": TIME,
}


def shown_head(head: IndexHead) -> dict[str, Any]:
    return {
        "federation": str(head.federation),
        "node": str(head.node),
        "sequence": str(head.sequence),
        "epoch": head.epoch,
        "key_weak": head.keys[KeyClass.WEAK].to_bytes().hex(),
        "key_match": head.keys[KeyClass.MATCH].to_bytes().hex(),
        "key_code": head.keys[KeyClass.CODE].to_bytes().hex(),
        "threshold": head.threshold,
        "scheme_version": head.scheme_version,
        "segments": [
            {"number": one.number, "address": one.address.hex(), "octets": one.octets}
            for one in head.segments
        ],
        "issued": ms(head.issued_at),
    }


def _head(given: Given) -> IndexHead:
    names = {KeyClass.WEAK: "key_weak", KeyClass.MATCH: "key_match", KeyClass.CODE: "key_code"}
    return IndexHead(
        FederationName(given["federation"]),
        NodeId(given["node"]),
        int(given["sequence"]),
        given["epoch"],
        {key_class: Element.parse(bytes.fromhex(given[name])) for key_class, name in names.items()},
        given["threshold"],
        given["scheme_version"],
        tuple(
            SegmentRef(one["number"], Digest(bytes.fromhex(one["address"])), one["octets"])
            for one in given["segments"]
        ),
        moment(given["issued"]),
    )


@operation(
    "encode-index-head",
    "6.7",
    "the body of an index head, and its root. Two-way",
    HEAD,
    {"body": OCTETS, "root": fixed(32)},
)
def _encode_head(given: Given) -> dict[str, Any]:
    body = _head(given).encode()
    assert shown_head(IndexHead.decode(body)) == dict(given)
    return {"body": body.hex(), "root": _head(given).root().hex()}


@operation("decode-index-head", "6.7", "the fields of an index head", {"body": OCTETS}, HEAD)
def _decode_head(given: Given) -> dict[str, Any]:
    return shown_head(IndexHead.decode(bytes.fromhex(given["body"])))


@operation(
    "verify-index-head",
    "10.2",
    "whether this is the head of that member of the federation",
    {"head": PART, "signing_key": OCTETS, "federation": TEXT, "node": TEXT},
    {},
)
def _verify_head(given: Given) -> dict[str, Any]:
    statement = SignedStatement(
        bytes.fromhex(given["head"]["body"]), bytes.fromhex(given["head"]["signature"])
    )
    member = replace(
        world.member(OWNER),
        node=NodeId(given["node"]),
        signing_key=VerifyingKey(bytes.fromhex(given["signing_key"])),
    )
    verify_head(statement, member, FederationName(given["federation"]))
    return {}


@operation(
    "head-progress",
    "10.2",
    "whether a head may follow the one seen last of its node (`seen`, its body; null if none)",
    {"body": OCTETS, "seen": maybe(OCTETS)},
    {},
)
def _head_progress(given: Given) -> dict[str, Any]:
    body = bytes.fromhex(given["body"])
    seen = SeenHead(0)
    if given["seen"] is not None:
        before = bytes.fromhex(given["seen"])
        seen = SeenHead(IndexHead.decode(before).sequence, statement_digest(SignedStatement(before, b"")))
    check_progress(IndexHead.decode(body), seen, statement_digest(SignedStatement(body, b"")))
    return {}


@operation(
    "head-age",
    "6.7",
    "whether a head is too old to count as an answer",
    {"issued": TIME, "now": TIME},
    {"stale": FLAG},
)
def _head_age(given: Given) -> dict[str, Any]:
    head = replace(world.owner_head(), issued_at=moment(given["issued"]))
    return {"stale": head.is_stale(moment(given["now"]))}


def book() -> Book:
    found = Book(
        "heads",
        "Index heads: encoded, refused, signed, their progress and their age.",
        ("6.7", "10.2"),
        "The head of the story's owner (README.md) and changes of it, by candor_proto.directory.",
    )
    head = world.owner_head()
    shown = shown_head(head)
    refs = [{"number": n, "address": draw(f"address {n}", 32).hex(), "octets": 32_768 + n} for n in (1, 2, 7)]
    changes: dict[str, dict[str, Any]] = {
        "one_segment": {},
        "no_segment": {"segments": []},
        "three_segments": {"segments": refs},
        "scheme_nobody_knows": {"scheme_version": 255},
        "threshold_8": {"threshold": 8},
        "highest_sequence": {"sequence": str(2**63 - 1)},
    }
    for name, change in changes.items():
        found.case(f"head_{name}", "encode-index-head", {**shown, **change})
    _refused(found, head, refs)
    _progress(found, head)
    signed = world.sign_head(OWNER, head)
    base = {
        "head": part(signed),
        "signing_key": OWNER.signing.public.value.hex(),
        "federation": str(FEDERATION),
        "node": OWNER.name,
    }
    found.case("verify_holds", "verify-index-head", base)
    other = OWNER.signing.sign("lookup", head.encode())
    for flaw, change, refuse in (
        ("another_member", {"node": ASKER.name}, "identity_mismatch"),
        ("another_federation", {"federation": "other.candor.example"}, "identity_mismatch"),
        ("another_key", {"signing_key": ASKER.signing.public.value.hex()}, "signature_invalid"),
        ("another_context", {"head": part(other)}, "signature_invalid"),
    ):
        found.case(f"verify_{flaw}", "verify-index-head", {**base, **change}, refuse=refuse)
    for name, age in (("36_hours", 36 * HOUR), ("in_the_future", -HOUR)):
        found.case(f"age_{name}", "head-age", {"issued": ms(NOW - age), "now": ms(NOW)})
    late = {"issued": ms(NOW - 36 * HOUR), "now": str(int(ms(NOW)) + 1)}
    found.case("age_36_hours_and_a_millisecond", "head-age", late)
    return found


def _refused(found: Book, head: IndexHead, refs: list[dict[str, Any]]) -> None:
    body = head.encode()
    text = len(str(FEDERATION)) + len(OWNER.name) + 8 + 21
    sequence, keys = text, text + 12
    threshold = keys + 96
    root = len(body) - 8 - 32

    def changed(at: int, octets: bytes) -> str:
        return (body[:at] + octets + body[at + len(octets) :]).hex()

    out_of_order = _head({**shown_head(head), "segments": [refs[1], refs[0]]}).encode()
    twice = _head({**shown_head(head), "segments": [refs[0], refs[0]]}).encode()
    for flaw, octets, refuse, comment in (
        ("octet_behind", body.hex() + "00", "not_canonical", ""),
        ("cut", body[:-1].hex(), "malformed_message", ""),
        ("label_of_a_lookup", (b"\x10candor/v1/lookup" + body[21:]).hex(), "malformed_message", ""),
        ("threshold_2", changed(threshold, b"\2"), "malformed_message", ""),
        ("threshold_9", changed(threshold, b"\x09"), "malformed_message", ""),
        ("scheme_version_0", changed(threshold + 1, b"\0"), "malformed_message", ""),
        ("key_identity", changed(keys, bytes(32)), "invalid_element", ""),
        ("key_no_element", changed(keys + 32, b"\xff" * 32), "invalid_element", ""),
        ("sequence_beyond_63_bits", changed(sequence, b"\x80"), "malformed_message", ""),
        ("root_of_others", changed(root, bytes(32)), "not_canonical", ""),
        ("segments_out_of_order", out_of_order.hex(), "not_canonical", ""),
        ("segment_number_twice", twice.hex(), "not_canonical", ""),
        ("segments_over_the_limit", changed(threshold + 2, (4097).to_bytes(4, "big")), "limit_exceeded", ""),
    ):
        found.case(f"head_{flaw}", "decode-index-head", {"body": octets}, comment=comment, refuse=refuse)


def _progress(found: Book, head: IndexHead) -> None:
    body = head.encode().hex()
    for name, seen, refuse in (
        ("first", None, None),
        ("higher_sequence", replace(head, sequence=4), None),
        ("the_same_again", head, None),
        ("lower_sequence", replace(head, sequence=6), "rollback"),
        ("another_of_the_same_sequence", replace(head, issued_at=NOW), "rollback"),
    ):
        before = None if seen is None else seen.encode().hex()
        found.case(f"progress_{name}", "head-progress", {"body": body, "seen": before}, refuse=refuse)
