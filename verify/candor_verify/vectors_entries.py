"""Vectors of §14.3 to §14.9 and §15.2: entries, states, members' statements."""

from __future__ import annotations

from collections.abc import Callable

from candor_verify import entries, heads, merkle, statements
from candor_verify.errors import Malformed
from candor_verify.vectors_basic import Given, Outcome, hexes


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
            weak, match, code = hexes(entry.keys)
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
            return 10, {"commitments": hexes(entry.commitments)}
        case entries.Receipts():
            return 11, {"commitments": hexes(entry.commitments)}


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
    "decode-log-entry": decode_entry,
    "head-entry": head_entry,
    "request-commitment": request_commitment,
    "receipt-commitment": receipt_commitment,
    "directory-state": directory_state,
    "state-of-directory": state_of_directory,
    "heartbeat-bits": heartbeat_bits,
}
BACKWARD: dict[str, Callable[[Given, Given], object]] = {
    "encode-log-entry": encode_entry_back,
    "encode-witness-key": lambda expected, _: decode_witness_key(expected),
    "encode-heartbeat": lambda expected, _: decode_heartbeat(expected),
}
