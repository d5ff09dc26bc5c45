"""Vectors of §14 to §16.1: trees, notes, checkpoints, policies, proofs, entries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from candor_verify import checkpoint, entries, heads, merkle, note, policy, proof, statements, tiles
from candor_verify.errors import Malformed, ProofInvalid, SignatureInvalid
from candor_verify.names import at
from candor_verify.vectors_basic import Given, Outcome

AGES = ((3_600_000, "current"), (24 * 3_600_000, "late"))


def _hexes(values: Any) -> list[str]:
    return [each.hex() for each in values]


# --- trees and tiles -----------------------------------------------------------------------------------


def merkle_root(given: Given) -> Outcome:
    leaves = list(map(merkle.leaf_hash, given.octets_list("entries")))
    border = merkle.CompactRange()
    border.extend(leaves)
    return {"leaves": _hexes(leaves), "root": border.root().hex(), "compact": _hexes(border.hashes)}


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
    return {"proof": _hexes(_path(leaves, given.number("index")))}


def consistency_proof(given: Given) -> Outcome:
    leaves = list(map(merkle.leaf_hash, given.octets_list("entries")))
    first = given.number("first")
    return {"proof": _hexes(_subproof(first, leaves, whole=True) if first else [])}


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
    return {"entries": _hexes(tiles.decode_bundle(given.octets("bundle"), given.number("count")))}


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
            {"vkey": key.encode(), "url": url.decode()}
            for key, url in zip(found.logs, found.log_urls, strict=True)
        ],
        "witnesses": [
            {"name": name.decode(), "vkey": key.encode(), "url": found.witness_urls[name].decode()}
            for name, key in found.witnesses.items()
        ],
        "groups": [
            {
                "name": name.decode(),
                "threshold": group.threshold,
                "members": [each.decode() for each in group.members],
            }
            for name, group in found.groups.items()
        ],
        "quorum": found.quorum.decode(),
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
        "hashes": _hexes(found.hashes),
        "checkpoint": found.checkpoint.encode().decode(),
    }


def verify_proof(given: Given) -> Outcome:
    judge = proof.Judge(policy.parse_policy(given.octets("policy")), at(given.number("now")))
    moment = proof.parse_proof(given.octets("proof")).verify(given.octets("entry"), judge)
    return {"seconds": str(int(moment.timestamp()))}


# --- entries and statements ----------------------------------------------------------------------------


def decode_entry(given: Given) -> Outcome:
    entry = entries.parse_entry(given.octets("entry"))
    kind, fields = _fields(entry)
    return {"kind": kind, "fields": fields}


def _fields(entry: entries.Entry) -> tuple[int, Outcome]:
    match entry:
        case entries.Opened():
            return 1, {
                "federation": entry.federation,
                "shard": entry.shard,
                "opened": str(entry.opened),
                "previous_origin": entry.previous_origin,
                "previous_size": str(entry.previous_size),
                "previous_root": entry.previous_root.hex(),
            }
        case entries.Closed():
            return 2, {
                "closed": str(entry.closed),
                "next_origin": entry.next_origin,
                "next_ed25519_key": entry.next_ed25519.hex(),
                "next_ml_dsa_44_key": entry.next_ml_dsa.hex(),
            }
        case heads.Member():
            return 3, {
                "node": entry.node,
                "name": entry.name,
                "oris": list(entry.oris),
                "tls_subject": entry.tls_subject,
                "signing_key": entry.signing_key.hex(),
                "disclosure_key": entry.disclosure_key.hex(),
                "status": entry.status,
                "joined": str(entry.joined),
                "answered_from": str(entry.answered_from),
            }
        case entries.HeadEntry():
            weak, match, code = _hexes(entry.keys)
            return 4, {
                "node": entry.node,
                "sequence": str(entry.sequence),
                "epoch": entry.epoch,
                "key_weak": weak,
                "key_match": match,
                "key_code": code,
                "threshold": entry.threshold,
                "scheme_version": entry.scheme,
                "segments": entry.segments,
                "octets": str(entry.octets),
                "root": entry.root.hex(),
                "issued": str(entry.issued),
                "statement": entry.statement.hex(),
            }
        case entries.Denied():
            return 5, {"serial": entry.serial.hex(), "node": entry.node, "denied": str(entry.denied)}
        case entries.DirectoryEntry():
            return 6, {
                "version": str(entry.version),
                "issued": str(entry.issued),
                "chain_digest": entry.chain_digest.hex(),
                "state": entry.state.hex(),
            }
        case entries.PolicyEntry():
            return 7, {"version": entry.version, "issued": str(entry.issued), "text": entry.text.hex()}
        case entries.Rules():
            rules = [{"name": name, "value": str(value)} for name, value in entry.limits]
            return 8, {"stated": str(entry.since), "rules": rules}
        case entries.Statement():
            part = entry.part
            return 9, {
                "context": entry.context,
                "body": part.body.hex(),
                "signature": part.signature.hex(),
            }
        case entries.Requests():
            return 10, {"commitments": _hexes(entry.commitments)}
        case entries.Receipts():
            return 11, {"commitments": _hexes(entry.commitments)}


def encode_entry_back(expected: Given, given: Given) -> Outcome:
    if merkle.leaf_hash(expected.octets("entry")) != expected.octets("hash"):
        raise Malformed("The hash of the entry is another one.")
    return decode_entry(expected)


def head_entry(given: Given) -> Outcome:
    return {"entry": entries.head_entry(given.part("head")).hex()}


def request_commitment(given: Given) -> Outcome:
    return {"commitment": entries.request_commitment(given.part("lookup")).hex()}


def receipt_commitment(given: Given) -> Outcome:
    part = statements.Part(given.octets("body"), given.octets("signature"))
    return {"commitment": entries.receipt_commitment(given.number("kind"), part).hex()}


def directory_state(given: Given) -> Outcome:
    hashes = {
        node["node"]: (
            merkle.leaf_hash(bytes.fromhex(node["member"])),
            entries.NO_HEAD if node["head"] is None else merkle.leaf_hash(bytes.fromhex(node["head"])),
        )
        for node in given.raw("nodes")
    }
    return {"state": entries.directory_state(hashes, given.octets_list("denied")).hex()}


def state_of_directory(given: Given) -> Outcome:
    return {"state": entries.state_of(heads.parse_directory(given.octets("body"))).hex()}


def decode_witness_key(given: Given) -> Outcome:
    found = statements.parse_witness_key(given.octets("body"))
    return {
        "federation": found.federation,
        "node": found.node,
        "ed25519_key": found.ed25519.hex(),
        "ml_dsa_44_key": found.ml_dsa.hex(),
        "issued": str(found.issued),
    }


def decode_heartbeat(given: Given) -> Outcome:
    beat = statements.parse_heartbeat(given.octets("body"))
    return {
        "federation": beat.federation,
        "node": beat.node,
        "origin": beat.origin,
        "number": str(beat.number),
        "from": str(beat.start),
        "to": str(beat.end),
        "received": beat.received.hex(),
        "answered": str(beat.answered),
        "refused": str(beat.refused),
        "ledger_number": str(beat.ledger_number),
        "ledger_digest": beat.ledger_digest.hex(),
        "issued": str(beat.issued),
    }


def heartbeat_bits(given: Given) -> Outcome:
    beat = statements.parse_heartbeat(given.octets("body"))
    number = given.number("commitments")
    beat.check_bits(number)
    return {"received": [beat.bit(each) for each in range(number)]}


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
    "decode-log-entry": decode_entry,
    "head-entry": head_entry,
    "request-commitment": request_commitment,
    "receipt-commitment": receipt_commitment,
    "directory-state": directory_state,
    "state-of-directory": state_of_directory,
    "heartbeat-bits": heartbeat_bits,
}
BACKWARD: dict[str, Callable[[Given, Given], object]] = {
    "tile-path": lambda expected, _: read_tile_path(expected),
    "verifier-key": lambda expected, _: read_verifier_key(expected),
    "encode-log-entry": encode_entry_back,
    "encode-witness-key": lambda expected, _: decode_witness_key(expected),
    "encode-heartbeat": lambda expected, _: decode_heartbeat(expected),
}
