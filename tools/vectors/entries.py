"""Entries of the log, statements in them, commitments, the state (docs/protocol.md §14.3, §14.4, §14.8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from candor_proto.canonical import Writer
from candor_proto.directory import Directory, MemberStatus
from candor_proto.ids import FederationName, NodeId, Ori
from candor_proto.merkle import leaf_hash
from candor_proto.signing import SignedStatement
from candor_proto.tlog.entries import (
    Closed,
    Denied,
    DirectoryEntry,
    Entry,
    HeadEntry,
    MemberEntry,
    Opened,
    PolicyEntry,
    Receipts,
    Requests,
    Rules,
    Statement,
    head_entry,
    parse_entry,
    receipt_commitment,
    request_commitment,
    serial_octets,
)
from candor_proto.tlog.state import directory_state, state_of
from candor_proto.tlog.statements import Heartbeat, PackAdoption, WitnessKeyStatement
from tools.vectors import logs, world
from tools.vectors.book import Book, Given, changed, edit, operation
from tools.vectors.draws import draw
from tools.vectors.parties import ASKER, NOW, OWNER, THIRD, moment, ms, part
from tools.vectors.shapes import FLAG, OCTETS, PART, TEXT, TIME, U8, U32, U64, fields, fixed, listed, maybe

_WITNESS_KEY = {
    "federation": TEXT,
    "node": TEXT,
    "ed25519_key": fixed(32),
    "ml_dsa_44_key": fixed(1312),
    "issued": TIME,
}
_HEARTBEAT = {
    "federation": TEXT,
    "node": TEXT,
    "origin": TEXT,
    "number": U64,
    "from": U64,
    "to": U64,
    "received": OCTETS,
    "answered": U64,
    "refused": U64,
    "ledger_number": U64,
    "ledger_digest": fixed(32),
    "issued": TIME,
}


def _hex(text: str) -> bytes:
    return bytes.fromhex(text)


_READ: Mapping[int, Callable[[Given], Entry]] = {
    1: lambda f: Opened(
        FederationName(f["federation"]),
        f["shard"],
        moment(f["opened"]),
        f["previous_origin"],
        int(f["previous_size"]),
        _hex(f["previous_root"]),
    ),
    2: lambda f: Closed(
        moment(f["closed"]), f["next_origin"], _hex(f["next_ed25519_key"]), _hex(f["next_ml_dsa_44_key"])
    ),
    3: lambda f: MemberEntry(
        NodeId(f["node"]),
        f["name"],
        tuple(Ori(text) for text in f["oris"]),
        f["tls_subject"],
        _hex(f["signing_key"]),
        _hex(f["disclosure_key"]),
        MemberStatus(f["status"]),
        moment(f["joined"]),
        moment(f["answered_from"]),
    ),
    4: lambda f: HeadEntry(
        NodeId(f["node"]),
        int(f["sequence"]),
        f["epoch"],
        (_hex(f["key_weak"]), _hex(f["key_match"]), _hex(f["key_code"])),
        f["threshold"],
        f["scheme_version"],
        f["segments"],
        int(f["octets"]),
        _hex(f["root"]),
        moment(f["issued"]),
        _hex(f["statement"]),
    ),
    5: lambda f: Denied(int(f["serial"], 16), NodeId(f["node"]) if f["node"] else None, moment(f["denied"])),
    6: lambda f: DirectoryEntry(
        int(f["version"]), moment(f["issued"]), _hex(f["chain_digest"]), _hex(f["state"])
    ),
    7: lambda f: PolicyEntry(f["version"], moment(f["issued"]), _hex(f["text"])),
    8: lambda f: Rules(moment(f["stated"]), {one["name"]: int(one["value"]) for one in f["rules"]}),
    9: lambda f: Statement(f["context"], SignedStatement(_hex(f["body"]), _hex(f["signature"]))),
    10: lambda f: Requests(tuple(map(_hex, f["commitments"]))),
    11: lambda f: Receipts(tuple(map(_hex, f["commitments"]))),
}


def shown_entry(entry: Entry) -> dict[str, Any]:
    """The fields of an entry, in the order of §14.3."""
    match entry:
        case Opened():
            return {
                "federation": str(entry.federation),
                "shard": entry.shard,
                "opened": ms(entry.opened_at),
                "previous_origin": entry.previous_origin,
                "previous_size": str(entry.previous_size),
                "previous_root": entry.previous_root.hex(),
            }
        case Closed():
            return {
                "closed": ms(entry.closed_at),
                "next_origin": entry.next_origin,
                "next_ed25519_key": entry.next_ed25519_key.hex(),
                "next_ml_dsa_44_key": entry.next_ml_dsa_key.hex(),
            }
        case MemberEntry():
            return {
                "node": str(entry.node),
                "name": entry.name,
                "oris": [str(ori) for ori in entry.oris],
                "tls_subject": entry.tls_subject,
                "signing_key": entry.signing_key.hex(),
                "disclosure_key": entry.disclosure_key.hex(),
                "status": entry.status.value,
                "joined": ms(entry.joined_at),
                "answered_from": ms(entry.answered_from),
            }
        case HeadEntry():
            return {
                "node": str(entry.node),
                "sequence": str(entry.sequence),
                "epoch": entry.epoch,
                **dict(
                    zip(("key_weak", "key_match", "key_code"), (key.hex() for key in entry.keys), strict=True)
                ),
                "threshold": entry.threshold,
                "scheme_version": entry.scheme_version,
                "segments": entry.segments,
                "octets": str(entry.octets),
                "root": entry.root.hex(),
                "issued": ms(entry.issued_at),
                "statement": entry.statement.hex(),
            }
        case Denied():
            return {
                "serial": serial_octets(entry.serial).hex(),
                "node": str(entry.node) if entry.node else "",
                "denied": ms(entry.denied_at),
            }
        case DirectoryEntry():
            return {
                "version": str(entry.version),
                "issued": ms(entry.issued_at),
                "chain_digest": entry.chain_digest.hex(),
                "state": entry.state.hex(),
            }
        case PolicyEntry():
            return {"version": entry.version, "issued": ms(entry.issued_at), "text": entry.text.hex()}
        case Rules():
            rules = [{"name": name, "value": str(value)} for name, value in sorted(entry.values.items())]
            return {"stated": ms(entry.stated_at), "rules": rules}
        case Statement():
            return {"context": entry.context, **part(entry.signed)}
        case Requests() | Receipts():
            return {"commitments": [one.hex() for one in entry.commitments]}


@operation(
    "encode-log-entry",
    "14.3",
    "the octets of an entry, its fields named as in the vectors of each kind, and its hash. Two-way",
    {"kind": U8, "fields": {"type": "object"}},
    {"entry": OCTETS, "hash": fixed(32)},
)
def _encode_entry(given: Given) -> dict[str, Any]:
    entry = _READ[given["kind"]](given["fields"])
    octets = entry.encode()
    again = parse_entry(octets)
    assert again == entry
    assert shown_entry(again) == given["fields"]
    return {"entry": octets.hex(), "hash": leaf_hash(octets).hex()}


@operation(
    "decode-log-entry",
    "14.3",
    "kind and fields of an entry",
    {"entry": OCTETS},
    {"kind": U8, "fields": {"type": "object"}},
)
def _decode_entry(given: Given) -> dict[str, Any]:
    entry = parse_entry(_hex(given["entry"]))
    return {"kind": entry.KIND, "fields": shown_entry(entry)}


@operation(
    "head-entry",
    "14.3",
    "the `index-head` entry of a published head",
    {"head": PART},
    {"entry": OCTETS},
)
def _head_entry(given: Given) -> dict[str, Any]:
    head = given["head"]
    return {"entry": head_entry(SignedStatement(_hex(head["body"]), _hex(head["signature"]))).encode().hex()}


@operation(
    "request-commitment",
    "14.3",
    "what a `requests` entry says of a lookup",
    {"lookup": PART},
    {"commitment": fixed(32)},
)
def _request_commitment(given: Given) -> dict[str, Any]:
    lookup = given["lookup"]
    made = request_commitment(SignedStatement(_hex(lookup["body"]), _hex(lookup["signature"])))
    return {"commitment": made.hex()}


@operation(
    "receipt-commitment",
    "14.3",
    "what a `receipts` entry says of an envelope of this kind (8.3); the signature is empty where it has "
    "none",
    {"kind": U8, "body": OCTETS, "signature": OCTETS},
    {"commitment": fixed(32)},
)
def _receipt_commitment(given: Given) -> dict[str, Any]:
    made = receipt_commitment(given["kind"], _hex(given["body"]), _hex(given["signature"]))
    return {"commitment": made.hex()}


@operation(
    "encode-witness-key",
    "15.2",
    "the body of a witness-key statement. Two-way",
    _WITNESS_KEY,
    {"body": OCTETS},
)
def _encode_witness_key(given: Given) -> dict[str, Any]:
    made = WitnessKeyStatement(
        FederationName(given["federation"]),
        NodeId(given["node"]),
        _hex(given["ed25519_key"]),
        _hex(given["ml_dsa_44_key"]),
        moment(given["issued"]),
    )
    assert WitnessKeyStatement.decode(made.encode()) == made
    return {"body": made.encode().hex()}


@operation("encode-heartbeat", "14.8", "the body of a heartbeat. Two-way", _HEARTBEAT, {"body": OCTETS})
def _encode_heartbeat(given: Given) -> dict[str, Any]:
    made = Heartbeat(
        FederationName(given["federation"]),
        NodeId(given["node"]),
        given["origin"],
        int(given["number"]),
        int(given["from"]),
        int(given["to"]),
        _hex(given["received"]),
        int(given["answered"]),
        int(given["refused"]),
        int(given["ledger_number"]),
        _hex(given["ledger_digest"]),
        moment(given["issued"]),
    )
    assert Heartbeat.decode(made.encode()) == made
    return {"body": made.encode().hex()}


_ADOPTION = {
    "federation": TEXT,
    "node": TEXT,
    "pack": TEXT,
    "version": U32,
    "pack_digest": fixed(32),
    "adopted": TIME,
}


@operation(
    "encode-pack-adoption", "14.9", "the body of a pack adoption. Two-way", _ADOPTION, {"body": OCTETS}
)
def _encode_adoption(given: Given) -> dict[str, Any]:
    made = PackAdoption(
        FederationName(given["federation"]),
        NodeId(given["node"]),
        given["pack"],
        given["version"],
        _hex(given["pack_digest"]),
        moment(given["adopted"]),
    )
    assert PackAdoption.decode(made.encode()) == made
    return {"body": made.encode().hex()}


def shown_heartbeat(made: Heartbeat) -> dict[str, Any]:
    return {
        "federation": str(made.federation),
        "node": str(made.node),
        "origin": made.origin,
        "number": str(made.number),
        "from": str(made.start),
        "to": str(made.end),
        "received": made.received.hex(),
        "answered": str(made.answered),
        "refused": str(made.refused),
        "ledger_number": str(made.ledger_number),
        "ledger_digest": made.ledger_digest.hex(),
        "issued": ms(made.issued_at),
    }


@operation(
    "heartbeat-bits",
    "14.8",
    "which of the `commitments` in a heartbeat's range it says were received",
    {"body": OCTETS, "commitments": U32},
    {"received": listed(FLAG)},
)
def _heartbeat_bits(given: Given) -> dict[str, Any]:
    made = Heartbeat.decode(_hex(given["body"]))
    made.check_covers(given["commitments"])
    return {"received": [made.has_received(position) for position in range(given["commitments"])]}


@operation(
    "directory-state",
    "14.4",
    "the state that follows from the newest `member` and `index-head` entry of each node (null if none) and "
    "the serials denied",
    {"nodes": listed(fields(node=TEXT, member=OCTETS, head=maybe(OCTETS))), "denied": listed(OCTETS)},
    {"state": fixed(32)},
)
def _directory_state(given: Given) -> dict[str, Any]:
    members = {NodeId(one["node"]): leaf_hash(_hex(one["member"])) for one in given["nodes"]}
    heads = {NodeId(one["node"]): leaf_hash(_hex(one["head"])) for one in given["nodes"] if one["head"]}
    return {"state": directory_state(members, heads, [int(one, 16) for one in given["denied"]]).hex()}


@operation(
    "state-of-directory",
    "14.4",
    "the state that the log must hold for a directory",
    {"body": OCTETS},
    {"state": fixed(32)},
)
def _state_of_directory(given: Given) -> dict[str, Any]:
    return {"state": state_of(Directory.decode(_hex(given["body"]))).hex()}


def book() -> Book:
    found = Book(
        "log_entries",
        "Entries of every kind, the statements in them, commitments, and the state of the directory.",
        ("14.3", "14.4", "14.8", "14.9", "15.2"),
        "The entries of the story's log (README.md); by candor_proto.tlog.",
    )
    for name, octets in logs.first_shard():
        entry = parse_entry(octets)
        given = {"kind": entry.KIND, "fields": shown_entry(entry)}
        found.case(f"entry_{name.replace(' ', '_')}", "encode-log-entry", given)
    head = world.sign_head(OWNER, world.owner_head())
    found.case("entry_of_a_head", "head-entry", {"head": part(head)})
    found.case("request", "request-commitment", {"lookup": part(world.draft().statement)})
    answer = world.sign_answer(OWNER, world.answer(world.draft()))
    found.case("receipt_of_an_answer", "receipt-commitment", {"kind": 2, **part(answer)})
    sealed = draw("sealed envelope", 40).hex()
    found.case(
        "receipt_of_what_is_sealed", "receipt-commitment", {"kind": 3, "body": sealed, "signature": ""}
    )
    _refused(found)
    _statements(found)
    _states(found)
    return found


def _refused(found: Book) -> None:
    entries = dict(logs.first_shard())
    for name in ("opened", "directory 1", "requests", "denied 80", "member cedar-post"):
        found.keep(name, entries[name])

    def broken(name: str, flaw: str, refuse: str, *edits: dict[str, Any]) -> None:
        case = f"{name.replace(' ', '_')}_{flaw}"
        found.case(case, "decode-log-entry", {"entry": changed(name, *edits)}, refuse=refuse)

    label = 20
    broken("opened", "octet_behind", "not_canonical", edit(len(entries["opened"]), 0, b"\0"))
    broken("opened", "cut", "malformed_message", edit(len(entries["opened"]) - 1, 1))
    broken("opened", "of_kind_0", "malformed_message", edit(label, 1, b"\0"))
    broken("opened", "of_kind_12", "malformed_message", edit(label, 1, b"\x0c"))
    broken("opened", "labelled_otherwise", "malformed_message", edit(1, 1, b"C"))
    broken("directory 1", "version_beyond_63_bits", "malformed_message", edit(label + 1, 1, b"\x80"))
    requests = entries["requests"]
    first, second = requests[label + 5 : label + 37], requests[label + 37 : label + 69]
    broken("requests", "not_sorted", "not_canonical", edit(label + 5, 64, second + first))
    broken("requests", "twice", "not_canonical", edit(label + 5, 64, first + first))
    broken("requests", "over_the_limit", "limit_exceeded", edit(label + 1, 4, (257).to_bytes(4, "big")))
    none = Writer("log-entry").integer(10, 1).integer(0, 4).finish()
    found.case("requests_none", "decode-log-entry", {"entry": none.hex()}, refuse="limit_exceeded")
    broken("denied 80", "leading_zero", "not_canonical", edit(label + 1, 5, b"\0\0\0\2\0\x80"))
    for flaw, pairs, refuse in (
        ("rules_not_sorted", [("b", 1), ("a", 2)], "not_canonical"),
        ("rules_twice", [("a", 1), ("a", 2)], "not_canonical"),
        ("rule_in_capitals", [("A", 1)], "malformed_message"),
        ("rule_beyond_63_bits", [("a", 1 << 63)], "malformed_message"),
    ):
        writer = Writer("log-entry").integer(8, 1).time(NOW)
        octets = writer.sequence(pairs, lambda out, pair: out.text(pair[0]).integer(pair[1], 8)).finish()
        found.case(flaw, "decode-log-entry", {"entry": octets.hex()}, refuse=refuse)
    for flaw, context, refuse in (
        ("statement_of_a_lookup", "lookup", "malformed_message"),
        ("statement_of_an_index_head", "index-head", "malformed_message"),
    ):
        writer = Writer("log-entry").integer(9, 1).text(context).octets(b"body").fixed(bytes(64), 64)
        found.case(flaw, "decode-log-entry", {"entry": writer.finish().hex()}, refuse=refuse)
    for flaw, text, refuse in (
        ("policy_that_does_not_parse", b"quorum nobody\n", "malformed_message"),
        ("policy_without_quorum", b"", "malformed_message"),
    ):
        writer = Writer("log-entry").integer(7, 1).integer(1, 4).time(NOW).octets(text)
        found.case(flaw, "decode-log-entry", {"entry": writer.finish().hex()}, refuse=refuse)
    member = entries["member cedar-post"]
    status = member.index(world.member(THIRD).disclosure_key) + 1216
    broken("member cedar-post", "status_0", "malformed_message", edit(status, 1, b"\0"))


def _statements(found: Book) -> None:
    keys = WitnessKeyStatement.decode(logs.witness_statement(OWNER).body)
    given = {
        "federation": str(keys.federation),
        "node": str(keys.node),
        "ed25519_key": keys.ed25519_key.hex(),
        "ml_dsa_44_key": keys.ml_dsa_key.hex(),
        "issued": ms(keys.issued_at),
    }
    found.case("witness_key", "encode-witness-key", given)
    adopted = logs.adoption(ASKER)
    adoption: dict[str, Any] = {
        "federation": str(adopted.federation),
        "node": str(adopted.node),
        "pack": adopted.pack,
        "version": adopted.version,
        "pack_digest": adopted.pack_digest.hex(),
        "adopted": ms(adopted.adopted_at),
    }
    found.case("adoption", "encode-pack-adoption", adoption)
    bits = [True, False, True, True, False, False, False, True, True, False]
    found.case("heartbeat", "encode-heartbeat", shown_heartbeat(logs.heartbeat(1, 0, 40, bits)))
    found.case("heartbeat_about_nothing", "encode-heartbeat", shown_heartbeat(logs.heartbeat(7, 12, 12, [])))
    backwards = shown_heartbeat(logs.heartbeat(1, 13, 12, []))
    found.case("heartbeat_backwards", "encode-heartbeat", backwards, refuse="malformed_message")
    body = logs.heartbeat(1, 0, 40, bits).encode().hex()
    found.case("bits_of_ten", "heartbeat-bits", {"body": body, "commitments": 10})
    eight = logs.heartbeat(1, 0, 40, bits[:8]).encode().hex()
    found.case("bits_of_eight", "heartbeat-bits", {"body": eight, "commitments": 8})
    none = logs.heartbeat(1, 0, 40, []).encode().hex()
    found.case("bits_of_none", "heartbeat-bits", {"body": none, "commitments": 0})
    for flaw, octets, count in (
        ("too_few_octets", body, 17),
        ("too_many_octets", body, 8),
        ("an_unused_bit_set", body, 9),
        ("none_where_one_is_due", none, 1),
        ("one_where_none_is_due", eight, 0),
    ):
        case = {"body": octets, "commitments": count}
        if flaw == "an_unused_bit_set":
            case["body"] = logs.heartbeat(1, 0, 40, [True] * 10).encode().hex()
        found.case(f"bits_{flaw}", "heartbeat-bits", case, refuse="not_canonical")
    found.case(
        "bits_over_the_limit",
        "heartbeat-bits",
        {"body": body, "commitments": 65_537},
        refuse="limit_exceeded",
    )


def _states(found: Book) -> None:
    entries = dict(logs.first_shard())
    for name in ("member alder-pd", "member birch-so", "head birch-so"):
        found.keep(name, entries[name])
    nodes = [
        {"node": "alder-pd", "member": changed("member alder-pd"), "head": None},
        {"node": "birch-so", "member": changed("member birch-so"), "head": changed("head birch-so")},
        {"node": "cedar-post", "member": changed("member cedar-post"), "head": None},
    ]
    made = found.case("state_of_three", "directory-state", {"nodes": nodes, "denied": []})
    assert made["state"] == logs.directory_entry(1).state.hex()
    found.case("state_of_nobody", "directory-state", {"nodes": [], "denied": []})
    denied = ["01", "80", "1234567890abcdef"]
    found.case("state_with_serials_denied", "directory-state", {"nodes": nodes[:1], "denied": denied})
    found.case("state_of_a_directory", "state-of-directory", {"body": logs.directory(2).encode().hex()})
