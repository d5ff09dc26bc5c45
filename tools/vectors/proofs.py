"""Proofs that something is logged (C2SP tlog-proof; docs/protocol.md §16.1)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from candor_proto.tlog.checkpoint import SignedCheckpoint
from candor_proto.tlog.policy import parse_policy
from candor_proto.tlog.proof import LogProof, parse_proof
from tools.vectors import logs
from tools.vectors.book import Book, Given, changed, edit, operation
from tools.vectors.notes import ed25519_line, seconds_of, signed, witness_keys
from tools.vectors.parties import HOUR, NOW, moment, ms
from tools.vectors.shapes import OCTETS, TEXT, TIME, U64, fixed, listed


@operation(
    "log-proof",
    "16.1",
    "the parts of a proof; the checkpoint as its text. Two-way",
    {"proof": OCTETS},
    {"index": U64, "hashes": listed(fixed(32)), "checkpoint": TEXT},
)
def _log_proof(given: Given) -> dict[str, Any]:
    made = parse_proof(bytes.fromhex(given["proof"]))
    assert made.encode().hex() == given["proof"]
    return {
        "index": str(made.index),
        "hashes": [piece.hex() for piece in made.hashes],
        "checkpoint": made.signed.encode().decode(),
    }


@operation(
    "verify-log-proof",
    "16.1",
    "whether the entry is logged under a head that the policy accepts; the time of witness in seconds since "
    "1970",
    {"proof": OCTETS, "entry": OCTETS, "policy": OCTETS, "now": TIME},
    {"seconds": U64},
)
def _verify_log_proof(given: Given) -> dict[str, Any]:
    proof, policy = parse_proof(bytes.fromhex(given["proof"])), parse_policy(bytes.fromhex(given["policy"]))
    return {
        "seconds": str(seconds_of(proof.verify(bytes.fromhex(given["entry"]), policy, moment(given["now"]))))
    }


def book() -> Book:
    found = Book(
        "log_proofs",
        "Proofs of logging: parsed, refused, and verified under a policy.",
        ("16.1",),
        "Of entries of the story's log (README.md) under its head of 12 entries, cosigned by one witness "
        "outside; by "
        "candor_proto.tlog.proof.",
    )
    proof = logs.log_proof("requests")
    octets = found.keep("proof", proof.encode())
    found.keep("policy", logs.POLICY.text)
    entry = dict(logs.first_shard())["requests"]
    found.case("proof_of_requests", "log-proof", {"proof": changed("proof")})
    alone = LogProof(0, (), signed(replace(proof.signed.checkpoint, size=1)))
    found.case("proof_in_a_log_of_one", "log-proof", {"proof": alone.encode().hex()})
    _refused(found, octets)
    base = {
        "proof": changed("proof"),
        "entry": entry.hex(),
        "policy": changed("policy"),
        "now": ms(NOW + HOUR),
    }
    found.case("logged", "verify-log-proof", base)
    for name in ("opened", "receipts"):
        other = {"proof": logs.log_proof(name).encode().hex(), "entry": dict(logs.first_shard())[name].hex()}
        found.case(f"logged_{name}", "verify-log-proof", {**base, **other})
    _not_verified(found, proof, base)
    return found


def _refused(found: Book, octets: bytes) -> None:
    header = octets.index(b"\n") + 1
    index_end = octets.index(b"\n", header) + 1
    empty = octets.index(b"\n\n")
    for flaw, edits, refuse in (
        ("nothing", [edit(0, len(octets))], "malformed_message"),
        ("another_version", [edit(header - 2, 1, b"2")], "malformed_message"),
        ("extra_line", [edit(header, 0, b"extra AAAA\n")], "malformed_message"),
        ("no_index", [edit(header, index_end - header)], "malformed_message"),
        ("index_with_leading_zero", [edit(header + 6, 0, b"0")], "malformed_message"),
        ("hash_cut", [edit(index_end + 40, 4)], "malformed_message"),
        ("empty_line_missing", [edit(empty, 1)], "malformed_message"),
        ("line_behind", [edit(len(octets), 0, b"remark\n")], "malformed_message"),
        ("carriage_return", [edit(header - 1, 0, b"\r")], "malformed_message"),
        (
            "hashes_over_the_limit",
            [edit(index_end, 0, octets[index_end : index_end + 45] * 63)],
            "limit_exceeded",
        ),
    ):
        found.case(f"proof_{flaw}", "log-proof", {"proof": changed("proof", *edits)}, refuse=refuse)


def _not_verified(found: Book, proof: LogProof, base: dict[str, Any]) -> None:
    head, made = proof.signed, proof.signed.checkpoint
    log, witness = head.signatures[:2], head.signatures[2]
    unknown = ed25519_line(witness_keys("w1"), made, NOW)

    def of(signed_head: SignedCheckpoint, **change: Any) -> str:
        return replace(proof, signed=signed_head, **change).encode().hex()

    def headed(*lines: Any) -> SignedCheckpoint:
        return SignedCheckpoint(made, lines)

    flaws: dict[str, tuple[dict[str, Any], str]] = {
        "another_entry": ({"entry": dict(logs.first_shard())["receipts"].hex()}, "proof_invalid"),
        "another_index": ({"proof": of(head, index=proof.index + 1)}, "proof_invalid"),
        "index_beyond_the_log": ({"proof": of(head, index=12)}, "proof_invalid"),
        "hash_too_few": ({"proof": of(head, hashes=proof.hashes[:-1])}, "proof_invalid"),
        "hash_too_many": ({"proof": of(head, hashes=(*proof.hashes, bytes(32)))}, "proof_invalid"),
        "hashes_reversed": ({"proof": of(head, hashes=proof.hashes[::-1])}, "proof_invalid"),
        "unwitnessed": ({"proof": of(headed(*log))}, "log_unwitnessed"),
        "unknown_signature_besides": ({"proof": of(headed(*log, witness, unknown))}, "not_canonical"),
        "unknown_signature_alone": ({"proof": of(headed(*log, unknown))}, "not_canonical"),
        "one_log_signature": ({"proof": of(headed(log[0], witness))}, "signature_invalid"),
        "log_signatures_swapped": ({"proof": of(headed(log[1], log[0], witness))}, "signature_invalid"),
        "witness_first": ({"proof": of(headed(witness, *log))}, "signature_invalid"),
        "policy_of_another_log": ({"policy": logs.policy_text(logs.NEXT_KEYS).hex()}, "signature_invalid"),
        "witnessed_in_the_future": ({"now": ms(NOW - HOUR)}, "log_unwitnessed"),
    }
    for flaw, (change, refuse) in flaws.items():
        found.case(f"logged_not_{flaw}", "verify-log-proof", {**base, **change}, refuse=refuse)
