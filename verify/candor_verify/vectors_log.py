"""Vectors of §14.1, §14.2, §14.6, §15.4 to §16.1: trees, notes, checkpoints, policies, proofs."""

from __future__ import annotations

from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from candor_verify import checkpoint, merkle, note, policy, proof, tiles
from candor_verify.errors import ProofInvalid, SignatureInvalid
from candor_verify.names import at
from candor_verify.vectors_basic import Given, Outcome, hexes

AGES = ((3_600_000, "current"), (24 * 3_600_000, "late"))


# --- trees and tiles -----------------------------------------------------------------------------------


def merkle_root(given: Given) -> Outcome:
    leaves = list(map(merkle.leaf_hash, given.octets_list("entries")))
    border = merkle.CompactRange()
    border.extend(leaves)
    return {"leaves": hexes(leaves), "root": border.root().hex(), "compact": hexes(border.hashes)}


def _split(size: int) -> int:
    return 1 << (size - 1).bit_length() - 1


def _path(leaves: list[bytes], index: int) -> list[bytes]:
    """PATH (RFC 6962 §2.1.1)."""
    if len(leaves) == 1:
        return []
    middle = _split(len(leaves))
    if index < middle:
        return [*_path(leaves[:middle], index), _root(leaves[middle:])]
    return [*_path(leaves[middle:], index - middle), _root(leaves[:middle])]


def _root(leaves: list[bytes]) -> bytes:
    border = merkle.CompactRange()
    border.extend(leaves)
    return border.root()


def _subproof(first: int, leaves: list[bytes], *, whole: bool) -> list[bytes]:
    """SUBPROOF (RFC 6962 §2.1.2)."""
    if first == len(leaves):
        return [] if whole else [_root(leaves)]
    middle = _split(len(leaves))
    if first <= middle:
        return [*_subproof(first, leaves[:middle], whole=whole), _root(leaves[middle:])]
    return [*_subproof(first - middle, leaves[middle:], whole=False), _root(leaves[:middle])]


def inclusion_proof(given: Given) -> Outcome:
    leaves = list(map(merkle.leaf_hash, given.octets_list("entries")))
    return {"proof": hexes(_path(leaves, given.number("index")))}


def consistency_proof(given: Given) -> Outcome:
    leaves = list(map(merkle.leaf_hash, given.octets_list("entries")))
    first = given.number("first")
    return {"proof": hexes(_subproof(first, leaves, whole=True) if first else [])}


def verify_inclusion(given: Given) -> Outcome:
    hashes = given.octets_list("proof")
    merkle.verify_inclusion(
        given.octets("leaf"), given.number("index"), given.number("size"), hashes, given.octets("root")
    )
    return {}


def verify_consistency(given: Given) -> Outcome:
    first, hashes = given.number("first"), given.octets_list("proof")
    roots = given.octets("first_root"), given.octets("second_root")
    if first == 0:
        # Nothing follows from an empty log: evidence never rests on this (§17.1).
        if hashes or roots[0] != merkle.EMPTY_ROOT or (given.number("second") == 0 and roots[1] != roots[0]):
            raise ProofInvalid("An empty log has an empty proof, and one root.")
        return {}
    merkle.verify_consistency(first, given.number("second"), hashes, *roots)
    return {}


def tile_path(given: Given) -> Outcome:
    return {"path": tiles.tile_path(given.raw("level"), given.number("index"), given.number("width"))}


def read_tile_path(given: Given) -> Outcome:
    level, index, width = tiles.parse_tile_path(given.text("path"))
    return {"level": level, "index": str(index), "width": width}


def every_tile(given: Given) -> Outcome:
    size, found = given.number("size"), []
    for level in range(tiles.MAX_LEVEL + 1):
        for index in range(-(-(size >> 8 * level) // tiles.WIDTH)):
            width = tiles.width_of(level, index, size)
            found.append({"level": level, "index": str(index), "width": width})
    return {"tiles": found}


def tile_hash(given: Given) -> Outcome:
    return {"hash": merkle.full_root(tiles.decode_tile(given.octets("tile"), tiles.WIDTH)).hex()}


def bundle(given: Given) -> Outcome:
    held = given.octets_list("entries")
    return {"bundle": b"".join(len(each).to_bytes(2, "big") + each for each in held).hex()}


def read_bundle(given: Given) -> Outcome:
    return {"entries": hexes(tiles.decode_bundle(given.octets("bundle"), given.number("count")))}


# --- notes, checkpoints, policies, proofs --------------------------------------------------------------


def _lines(signatures: tuple[note.NoteSignature, ...]) -> list[Outcome]:
    return [
        {"name": each.name, "key_id": each.key_id.hex(), "payload": each.payload.hex()} for each in signatures
    ]


def verifier_key(given: Given) -> Outcome:
    key = note.VerifierKey(given.text("name"), given.number("kind"), given.octets("key"))
    note.parse_vkey(key.encode())
    return {"vkey": key.encode(), "key_id": key.key_id.hex()}


def read_verifier_key(given: Given) -> Outcome:
    key = note.parse_vkey(given.text("vkey"))
    return {"name": key.name, "kind": key.kind, "key": key.key.hex()}


def read_note(given: Given) -> Outcome:
    found = note.parse_note(given.octets("note"))
    return {"text": found.text, "signatures": _lines(found.signatures)}


def read_checkpoint(given: Given) -> Outcome:
    found = checkpoint.parse_checkpoint(given.octets("checkpoint"))
    return {
        "origin": found.origin,
        "size": str(found.size),
        "root": found.root.hex(),
        "signatures": _lines(found.signatures),
    }


def _stated(given: Given) -> checkpoint.Checkpoint:
    return checkpoint.Checkpoint(given.text("origin"), given.number("size"), given.octets("root"), ())


def signed_octets(given: Given) -> Outcome:
    head = _stated(given)
    octets = note.signed_octets(
        given.text("name"),
        given.number("kind"),
        head.text,
        head.origin,
        head.size,
        head.root,
        given.number("seconds"),
    )
    return {"octets": octets.hex()}


def signature_line(given: Given) -> Outcome:
    key = Ed25519PrivateKey.from_private_bytes(given.octets("seed"))
    name, kind = given.text("name"), given.number("kind")
    time = b"" if kind == note.ED25519 else given.number("seconds").to_bytes(8, "big")
    signature = key.sign(bytes.fromhex(str(signed_octets(given)["octets"])))
    public = note.VerifierKey(name, kind, key.public_key().public_bytes_raw())
    return {"line": note.NoteSignature(name, public.key_id, time + signature).encode()}


def verify_checkpoint_signature(given: Given) -> Outcome:
    head = checkpoint.parse_checkpoint(given.octets("checkpoint"))
    key = note.parse_vkey(given.text("vkey"))
    line = note.find_line(key, head.signatures)
    if line is None:
        raise SignatureInvalid("The key has not signed.")
    seconds = head.verify(key, line)
    return {"seconds": None if seconds is None else str(seconds)}


def verify_log(given: Given) -> Outcome:
    head = checkpoint.parse_checkpoint(given.octets("checkpoint"))
    if len(given.raw("vkeys")) != 2:
        raise SignatureInvalid("A log has two keys.")
    ed25519, ml_dsa = map(note.parse_vkey, given.raw("vkeys"))
    signed_at = checkpoint.verify_log(head, checkpoint.LogKeys(ed25519, ml_dsa))
    return {"seconds": str(int(signed_at.timestamp()))}


def read_policy(given: Given) -> Outcome:
    found = policy.parse_policy(given.octets("policy"))
    return {
        "logs": [
            {"vkey": key.encode(), "url": url.decode("utf-8", "backslashreplace")}
            for key, url in zip(found.logs, found.log_urls, strict=True)
        ],
        "witnesses": [
            {
                "name": name.decode("utf-8", "backslashreplace"),
                "vkey": key.encode(),
                "url": found.witness_urls[name].decode("utf-8", "backslashreplace"),
            }
            for name, key in found.witnesses.items()
        ],
        "groups": [
            {
                "name": name.decode("utf-8", "backslashreplace"),
                "threshold": group.threshold,
                "members": [each.decode("utf-8", "backslashreplace") for each in group.members],
            }
            for name, group in found.groups.items()
        ],
        "quorum": found.quorum.decode("utf-8", "backslashreplace"),
    }


def quorum(given: Given) -> Outcome:
    found = policy.parse_policy(given.octets("policy"))
    times = {name.encode(): 1 for name in given.raw("witnesses")}
    return {"quorum": found.quorum == policy.NONE or found.reached(times) is not None}


def time_of_witness(given: Given) -> Outcome:
    found = policy.parse_policy(given.octets("policy"))
    head = checkpoint.parse_checkpoint(given.octets("checkpoint"))
    moment = found.time_of_witness(head, found.log_keys(head.origin), at(given.number("now")))
    return {"seconds": str(int(moment.timestamp()))}


def log_age(given: Given) -> Outcome:
    age = given.number("now") - given.number("time_of_witness")
    return {"age": next((word for limit, word in AGES if age <= limit), "closed")}


def read_proof(given: Given) -> Outcome:
    found = proof.parse_proof(given.octets("proof"))
    return {
        "index": str(found.index),
        "hashes": hexes(found.hashes),
        "checkpoint": found.checkpoint.encode().decode(),
    }


def verify_proof(given: Given) -> Outcome:
    judge = proof.Judge(policy.parse_policy(given.octets("policy")), at(given.number("now")))
    moment = proof.parse_proof(given.octets("proof")).verify(given.octets("entry"), judge)
    return {"seconds": str(int(moment.timestamp()))}


FORWARD: dict[str, Callable[[Given], object]] = {
    "merkle-root": merkle_root,
    "inclusion-proof": inclusion_proof,
    "consistency-proof": consistency_proof,
    "verify-inclusion": verify_inclusion,
    "verify-consistency": verify_consistency,
    "tile-path": tile_path,
    "read-tile-path": read_tile_path,
    "tiles": every_tile,
    "tile-hash": tile_hash,
    "bundle": bundle,
    "read-bundle": read_bundle,
    "verifier-key": verifier_key,
    "read-verifier-key": read_verifier_key,
    "note": read_note,
    "checkpoint": read_checkpoint,
    "signed-octets": signed_octets,
    "signature-line": signature_line,
    "verify-checkpoint-signature": verify_checkpoint_signature,
    "verify-log": verify_log,
    "policy": read_policy,
    "quorum": quorum,
    "time-of-witness": time_of_witness,
    "log-age": log_age,
    "log-proof": read_proof,
    "verify-log-proof": verify_proof,
}
BACKWARD: dict[str, Callable[[Given, Given], object]] = {
    "tile-path": lambda expected, _: read_tile_path(expected),
    "verifier-key": lambda expected, _: read_verifier_key(expected),
}
