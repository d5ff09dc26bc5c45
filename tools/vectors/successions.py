"""Consents, and whether a shard is the successor of one that was not closed (docs/protocol.md §19)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from candor_proto.directory import MemberStatus
from candor_proto.errors import LogInconsistent
from candor_proto.ids import FederationName, NodeId
from candor_proto.tlog.entries import (
    Entry,
    MemberEntry,
    Opened,
    PolicyEntry,
    Statement,
    member_entry,
    parse_entry,
)
from candor_proto.tlog.statements import SUCCESSION, SuccessionConsent
from candor_proto.tlog.succession import check_succeeds, read_successor
from tools.vectors import logs, world
from tools.vectors.book import Book, Given, changed, operation
from tools.vectors.draws import draw
from tools.vectors.logs import NEXT_KEYS, policy_text
from tools.vectors.notes import LOG_KEYS, ORIGIN
from tools.vectors.parties import ASKER, FEDERATION, HOUR, NOW, OWNER, THIRD, Party, moment, ms
from tools.vectors.shapes import OCTETS, TEXT, TIME, U32, U64, fields, fixed, listed

SIZE, ROOT = 17, draw("root of the shard that was not closed", 32)
CERTIFICATE = draw("digest of the successor's root", 32)
_CONSENT = {
    "federation": TEXT,
    "node": TEXT,
    "shard": U32,
    "size": U64,
    "root": fixed(32),
    "root_certificate": fixed(32),
    "ed25519_key": fixed(32),
    "ml_dsa_44_key": OCTETS,
    "policy": fixed(32),
    "issued": TIME,
}


@operation(
    "encode-succession", "19.3", "the body of a consent to a successor. Two-way", _CONSENT, {"body": OCTETS}
)
def _encode(given: Given) -> dict[str, Any]:
    octets = {name: bytes.fromhex(given[name]) for name in ("root", "root_certificate", "ed25519_key")}
    made = SuccessionConsent(
        FederationName(given["federation"]),
        NodeId(given["node"]),
        given["shard"],
        int(given["size"]),
        octets["root"],
        octets["root_certificate"],
        octets["ed25519_key"],
        bytes.fromhex(given["ml_dsa_44_key"]),
        bytes.fromhex(given["policy"]),
        moment(given["issued"]),
    )
    assert SuccessionConsent.decode(made.encode()) == made
    return {"body": made.encode().hex()}


@operation(
    "succession",
    "19.5",
    "whether the shard after `shard`, which begins with these entries, is its successor for those who were "
    "not asked; `shard` has `size` entries with this root, and names these signing keys. Expected: who "
    "consented, how many members are active, the keys of the successor's shard, the version of its first "
    "policy",
    {
        "federation": TEXT,
        "shard": U32,
        "size": U64,
        "root": fixed(32),
        "members": listed(fields(node=TEXT, signing_key=fixed(32))),
        "entries": listed(OCTETS),
    },
    {
        "consents": listed(TEXT),
        "active": U32,
        "ed25519_key": fixed(32),
        "ml_dsa_44_key": OCTETS,
        "policy_version": U32,
    },
)
def _succession(given: Given) -> dict[str, Any]:
    entries = [parse_entry(bytes.fromhex(text)) for text in given["entries"]]
    successor = read_successor(FederationName(given["federation"]), given["shard"] + 1, entries)
    if (successor.previous_size, successor.previous_root.hex()) != (int(given["size"]), given["root"]):
        raise LogInconsistent("It continues another head.")
    keys = {NodeId(one["node"]): bytes.fromhex(one["signing_key"]) for one in given["members"]}
    found = check_succeeds(successor, entries, keys.get)
    ed25519, ml_dsa = successor.keys
    return {
        "consents": sorted(map(str, found)),
        "active": len(successor.active),
        "ed25519_key": ed25519.key.hex(),
        "ml_dsa_44_key": ml_dsa.key.hex(),
        "policy_version": successor.policy.version,
    }


def opening(*, suspended: bool = False, text: bytes = b"") -> list[Entry]:
    """What the successor's shard begins with, up to the directory that it repeats."""
    third = member_entry(world.member(THIRD))
    if suspended:
        third = replace(third, status=MemberStatus.SUSPENDED)
    members: list[MemberEntry] = [member_entry(world.member(party)) for party in (ASKER, OWNER)]
    return [
        Opened(FEDERATION, 2, NOW + HOUR, ORIGIN, SIZE, ROOT),
        PolicyEntry(4, NOW + HOUR, text or policy_text(LOG_KEYS, NEXT_KEYS)),
        *members,
        third,
        logs.directory_entry(1),
    ]


def consent(party: Party, by: Party | None = None, **changes: Any) -> Statement:
    ed25519, ml_dsa = NEXT_KEYS.verifier_keys
    said = SuccessionConsent(
        FEDERATION, party.node, 1, SIZE, ROOT, CERTIFICATE, ed25519.key, ml_dsa.key,
        hashlib.sha256(policy_text(LOG_KEYS, NEXT_KEYS)).digest(), NOW + HOUR,
    )  # fmt: skip
    return Statement(SUCCESSION, (by or party).signing.sign(SUCCESSION, replace(said, **changes).encode()))


def book() -> Book:
    found = Book(
        "succession",
        "Consents to a successor, and shards that are one, are none, or do not have enough of them.",
        ("19.2", "19.3", "19.5"),
        "The three members of the story (README.md); one of them is suspended where it is said. By "
        "candor_proto.tlog.succession.",
    )
    said = SuccessionConsent.decode(consent(ASKER).signed.body)
    found.case("consent", "encode-succession", _shown(said))
    found.case("consent_to_an_empty_shard", "encode-succession", _shown(replace(said, size=0)))
    _judged(found)
    return found


def _shown(said: SuccessionConsent) -> dict[str, Any]:
    return {
        "federation": str(said.federation),
        "node": str(said.node),
        "shard": said.shard,
        "size": str(said.size),
        "root": said.root.hex(),
        "root_certificate": said.root_certificate_digest.hex(),
        "ed25519_key": said.ed25519_key.hex(),
        "ml_dsa_44_key": said.ml_dsa_key.hex(),
        "policy": said.policy_digest.hex(),
        "issued": ms(said.issued_at),
    }


def _judged(found: Book) -> None:
    def named(entry: Entry) -> Any:
        """An entry, by a name in the material: most cases hold the same ones."""
        octets = entry.encode()
        name = f"entry {hashlib.sha256(octets).hexdigest()[:8]}"
        found.keep(name, octets)
        return changed(name)

    def case(name: str, entries: Sequence[Entry], refuse: str | None = None, **changes: Any) -> None:
        given = {
            "federation": str(FEDERATION),
            "shard": 1,
            "size": str(SIZE),
            "root": ROOT.hex(),
            "members": [
                {"node": str(party.node), "signing_key": party.signing.public.value.hex()}
                for party in (ASKER, OWNER, THIRD)
            ],
            "entries": [named(entry) for entry in entries],
            **changes,
        }
        found.case(name, "succession", given, refuse=refuse)

    begun, suspended, closed = opening(), opening(suspended=True), "log_unwitnessed"
    case("all_three", [*begun, *map(consent, (ASKER, OWNER, THIRD))])
    case("two_of_three", [*begun, consent(ASKER), consent(OWNER)])
    case("behind_other_entries", [*begun, logs.directory_entry(2), consent(ASKER), consent(OWNER)])
    # Members that are named twice, and one that joined later.
    out = replace(member_entry(world.member(OWNER)), status=MemberStatus.SUSPENDED)
    alone: list[Entry] = [*suspended[:3], out, suspended[4], consent(ASKER), *begun[3:]]
    case("alone_by_naming_others_twice", alone, closed)
    later = replace(member_entry(world.member(OWNER)), node=NodeId("dogwood-pd"))
    case("of_two_who_are_there_from_the_beginning", [*suspended, later, consent(ASKER), consent(OWNER)])
    case("without_a_directory", [*begun[:-1], consent(ASKER), consent(OWNER)], "malformed_message")
    case("one_of_three", [*begun, consent(ASKER)], closed)
    case("nobody", begun, closed)
    case("one_twice", [*begun, consent(ASKER), consent(ASKER, issued_at=NOW)], closed)
    case("of_two_active_both", [*suspended, consent(ASKER), consent(OWNER)])
    case("of_two_active_one", [*suspended, consent(ASKER), consent(THIRD)], closed)
    case("by_another_key", [*begun, consent(ASKER), consent(OWNER, by=THIRD)], closed)
    others: dict[str, dict[str, Any]] = {
        "shard": {"shard": 2},
        "size": {"size": SIZE - 1},
        "root": {"root": bytes(32)},
        "ed25519_key": {"ed25519_key": bytes(32)},
        "ml_dsa_44_key": {"ml_dsa_key": bytes(1312)},
        "policy": {"policy_digest": bytes(32)},
        "federation": {"federation": FederationName("other.candor.example")},
    }
    for name, change in others.items():
        case(f"to_another_{name}", [*begun, consent(ASKER), consent(OWNER, **change)], closed)
    case(
        "another_root_certificate",
        [*begun, consent(ASKER), consent(OWNER, root_certificate_digest=bytes(32))],
    )
    case("unknown_before", [*begun, consent(ASKER), consent(OWNER)], closed, members=[])
    case("another_head", [*begun, consent(ASKER), consent(OWNER)], "log_inconsistent", size=str(SIZE + 1))
    without = opening(text=policy_text(LOG_KEYS))
    case("policy_without_its_keys", [*without, consent(ASKER), consent(OWNER)], "malformed_message")
    case("without_a_policy", [begun[0], *begun[2:]], "malformed_message")
    case("not_opened", begun[1:], "malformed_message")
