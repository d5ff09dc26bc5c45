"""Witness requests and what is answered (C2SP tlog-witness; docs/protocol.md §15.3)."""

from __future__ import annotations

from typing import Any

from candor_proto import merkle
from candor_proto.tlog.checkpoint import Checkpoint, SignedCheckpoint, parse_checkpoint
from candor_proto.tlog.note import VerifierKey, parse_vkey
from candor_proto.tlog.tiles import consistency_proof
from candor_proto.tlog.witness import (
    add_checkpoint,
    cosignature_lines,
    parse_request,
    parse_response,
    request_octets,
)
from tools.vectors.book import Book, Given, changed, edit, operation
from tools.vectors.draws import draw
from tools.vectors.logs import NEXT_KEYS, checkpoint, first_shard
from tools.vectors.merkle import HeldTiles
from tools.vectors.notes import (
    LOG_KEYS,
    ORIGIN,
    ed25519_line,
    ml_dsa_line,
    shown_signatures,
    signed,
    witness_keys,
)
from tools.vectors.parties import HOUR, MINUTE, NOW
from tools.vectors.shapes import FLAG, OCTETS, TEXT, U16, U64, fields, fixed, listed, maybe

_SIGNATURES = listed(fields(name=TEXT, key_id=fixed(4), payload=OCTETS))


@operation(
    "witness-request",
    "15.3",
    "the parts of an add-checkpoint request; the checkpoint as its text. Two-way",
    {"request": OCTETS},
    {"old_size": U64, "hashes": listed(fixed(32)), "checkpoint": TEXT},
)
def _request(given: Given) -> dict[str, Any]:
    made = parse_request(bytes.fromhex(given["request"]))
    assert request_octets(made.old_size, made.hashes, made.signed).hex() == given["request"]
    return {
        "old_size": str(made.old_size),
        "hashes": [piece.hex() for piece in made.hashes],
        "checkpoint": made.signed.encode().decode(),
    }


@operation(
    "witness",
    "15.3",
    "what a witness answers that trusts these keys for `origin` (both of which must have signed, in this "
    "order) and "
    "cosigned the checkpoint `latest` last (null: none). Whether it takes up the checkpoint; then the body, "
    "its own "
    "lines, is empty here. The words of other bodies but that of 409 are free, and empty here, too",
    {"request": OCTETS, "origin": TEXT, "vkeys": listed(TEXT), "latest": maybe(OCTETS)},
    {"status": U16, "body": TEXT, "content_type": TEXT, "accepted": FLAG},
)
def _witness(given: Given) -> dict[str, Any]:
    def keys_of(origin: str) -> list[VerifierKey]:
        return [parse_vkey(text) for text in given["vkeys"]] if origin == given["origin"] else []

    def latest(origin: str) -> SignedCheckpoint | None:
        return parse_checkpoint(bytes.fromhex(given["latest"])) if given["latest"] is not None else None

    verdict = add_checkpoint(bytes.fromhex(given["request"]), keys_of, latest)
    return {
        "status": verdict.status,
        "body": verdict.body.decode() if verdict.status == 409 else "",
        "content_type": verdict.content_type,
        "accepted": verdict.accepted is not None,
    }


@operation(
    "witness-response",
    "15.3",
    "what a hub reads in an answer of a witness: signature lines, not verified, or the size to ask again "
    "from",
    {"status": U16, "body": OCTETS},
    {"signatures": _SIGNATURES, "size": maybe(U64)},
)
def _response(given: Given) -> dict[str, Any]:
    made = parse_response(given["status"], bytes.fromhex(given["body"]))
    size = None if made.size is None else str(made.size)
    return {"signatures": shown_signatures(made.signatures), "size": size}


def _proof(first: int, second: int) -> tuple[bytes, ...]:
    leaves = [merkle.leaf_hash(octets) for _, octets in first_shard()[:second]]
    return consistency_proof(HeldTiles(leaves), first, second)


def book() -> Book:
    found = Book(
        "witnesses",
        "Requests to witnesses, the verdict on each with its HTTP status, and what a hub makes of an answer.",
        ("15.3",),
        "Heads of the story's log (README.md) of 7 and 12 entries; by candor_proto.tlog.witness. Statuses "
        "follow C2SP "
        "tlog-witness in this order: 400 what cannot be read, 404, 403, 400 old size above the new, 409, "
        "422, 200.",
    )
    seven, twelve = signed(checkpoint(7), NOW - HOUR), signed(checkpoint(12), NOW + 2 * MINUTE)
    found.keep("head of 7", seven.encode())
    request = found.keep("request", request_octets(7, _proof(7, 12), twelve))
    found.keep("first request", request_octets(0, (), seven))
    found.case("request_from_7_to_12", "witness-request", {"request": changed("request")})
    found.case("request_from_nothing", "witness-request", {"request": changed("first request")})
    _unreadable(found, request)
    _verdicts(found, seven, twelve)
    _responses(found, twelve)
    return found


def _unreadable(found: Book, request: bytes) -> None:
    empty = request.index(b"\n\n")
    line = request.index(b"\n") + 1
    many = edit(line, 0, b"".join([request[line : line + 45]] * 63))
    for flaw, edits, refuse in (
        ("nothing", [edit(0, len(request))], "malformed_message"),
        ("old_size_with_leading_zero", [edit(4, 0, b"0")], "malformed_message"),
        ("old_size_missing", [edit(0, line)], "malformed_message"),
        ("old_in_capitals", [edit(0, 1, b"O")], "malformed_message"),
        ("empty_line_missing", [edit(empty, 1)], "malformed_message"),
        ("hash_cut", [edit(line + 40, 4)], "malformed_message"),
        ("checkpoint_missing", [edit(empty + 2, len(request) - empty - 2)], "malformed_message"),
        ("hashes_over_the_limit", [many], "limit_exceeded"),
        ("carriage_return", [edit(line - 1, 0, b"\r")], "malformed_message"),
    ):
        octets = changed("request", *edits)
        found.case(f"request_{flaw}", "witness-request", {"request": octets}, refuse=refuse)


def _verdicts(found: Book, seven: SignedCheckpoint, twelve: SignedCheckpoint) -> None:
    vkeys = [key.encode() for key in LOG_KEYS.verifier_keys]
    base = {"request": changed("request"), "origin": ORIGIN, "vkeys": vkeys, "latest": changed("head of 7")}

    def asking(old: int, proof: tuple[bytes, ...], head: SignedCheckpoint) -> str:
        return request_octets(old, proof, head).hex()

    forked = Checkpoint(ORIGIN, 12, draw("another root of twelve", 32))
    fork = signed(forked, NOW + 2 * MINUTE)
    nothing = signed(Checkpoint(ORIGIN, 0, merkle.EMPTY_ROOT), NOW - 2 * HOUR)
    other_root = signed(Checkpoint(ORIGIN, 7, draw("another root of seven", 32)), NOW - HOUR)
    mixed = SignedCheckpoint(twelve.checkpoint, (twelve.signatures[0], fork.signatures[1]))
    proof = _proof(7, 12)
    statuses: dict[str, tuple[int, dict[str, Any]]] = {
        "continues": (200, {}),
        "first_ever": (200, {"request": changed("first request"), "latest": None}),
        "empty_log": (200, {"request": asking(0, (), nothing), "latest": None}),
        "the_same_again": (200, {"request": asking(7, (), seven)}),
        "signed_by_others_besides": (
            200,
            {
                "request": asking(
                    7,
                    proof,
                    twelve.with_signatures([ed25519_line(witness_keys("w1"), twelve.checkpoint, NOW)]),
                )
            },
        ),
        "cannot_be_read": (400, {"request": changed("request", edit(4, 0, b"0"))}),
        "unknown_origin": (404, {"origin": f"{ORIGIN}0"}),
        "unknown_keys": (403, {"vkeys": [key.encode() for key in NEXT_KEYS.verifier_keys]}),
        "one_signature_of_two": (
            403,
            {"request": asking(7, proof, SignedCheckpoint(twelve.checkpoint, twelve.signatures[:1]))},
        ),
        "one_signature_of_another_head": (403, {"request": asking(7, proof, mixed)}),
        "old_size_above_the_new": (400, {"request": asking(13, (), twelve)}),
        "old_size_unknown": (409, {"request": asking(6, _proof(6, 12), twelve)}),
        "old_size_zero_though_it_knows_more": (409, {"request": asking(0, (), twelve)}),
        "knows_nothing": (409, {"latest": None}),
        "smaller_than_cosigned": (
            409,
            {"request": asking(5, (), signed(checkpoint(5), NOW - 2 * HOUR))},
        ),
        "proof_missing": (422, {"request": asking(7, (), twelve)}),
        "proof_of_another_size": (422, {"request": asking(7, _proof(6, 12), twelve)}),
        "fork": (422, {"request": asking(7, proof, fork)}),
        "same_size_another_root": (422, {"request": asking(7, (), other_root)}),
        "proof_from_nothing": (422, {"request": asking(0, proof, twelve), "latest": None}),
        "empty_log_with_a_root": (
            422,
            {"request": asking(0, (), signed(Checkpoint(ORIGIN, 0, bytes(32)), NOW)), "latest": None},
        ),
    }
    for name, (status, change) in statuses.items():
        made = found.case(f"witness_{name}", "witness", {**base, **change})
        assert made["status"] == status, (name, made)


def _responses(found: Book, head: SignedCheckpoint) -> None:
    keys = witness_keys("birch-so")
    lines = [ed25519_line(keys, head.checkpoint, NOW), ml_dsa_line(keys, head.checkpoint, NOW)]
    found.keep("cosignatures", cosignature_lines(lines))
    found.case("response_of_a_member", "witness-response", {"status": 200, "body": changed("cosignatures")})
    short = cosignature_lines(lines[:1])
    found.case("response_conflict", "witness-response", {"status": 409, "body": b"7\n".hex()})
    for flaw, status, body, refuse in (
        ("nothing", 200, b"", "malformed_message"),
        ("no_newline", 200, short[:-1], "malformed_message"),
        ("text_before", 200, b"hello\n" + short, "malformed_message"),
        ("one_key_twice", 200, short + short, "not_canonical"),
        ("no_size", 409, b"seven\n", "malformed_message"),
        ("size_without_newline", 409, b"7", "malformed_message"),
        ("size_with_leading_zero", 409, b"07\n", "malformed_message"),
        ("bad_request", 400, b"", "malformed_message"),
        ("forbidden", 403, b"", "signature_invalid"),
        ("not_found", 404, b"", "unknown_object"),
        ("unprocessable", 422, b"", "log_inconsistent"),
        ("broken", 500, b"", "unreachable"),
        ("moved", 302, b"", "unreachable"),
    ):
        found.case(
            f"response_{flaw}", "witness-response", {"status": status, "body": body.hex()}, refuse=refuse
        )
