"""The fold of a log: its state entry by entry, and a log for each rule broken (docs/protocol.md §14.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from candor_proto.directory import IndexHead
from candor_proto.group import Element
from candor_proto.ids import FederationName, KeyClass
from candor_proto.merkle import CompactRange, leaf_hash
from candor_proto.signing import SignedStatement
from candor_proto.tlog.entries import (
    Closed,
    Denied,
    DirectoryEntry,
    Entry,
    Opened,
    PolicyEntry,
    Statement,
    head_entry,
    member_entry,
    parse_entry,
)
from candor_proto.tlog.state import LogState
from tools.vectors import logs, world
from tools.vectors.book import Book, Given, changed, operation
from tools.vectors.draws import draw
from tools.vectors.logs import heartbeat, sign_heartbeat, witness_statement
from tools.vectors.notes import LOG_KEYS, ORIGIN
from tools.vectors.parties import ASKER, DAY, EPOCH, FEDERATION, HOUR, NOW, OWNER, THIRD, Party, ms
from tools.vectors.shapes import OCTETS, TEXT, TIME, U64, fields, fixed, listed

_SHARD = fields(size=U64, root=fixed(32), states=listed(fixed(32)))


@operation(
    "fold-log",
    "14.5",
    "what the entries of shard 1, and of the shards after it, add up to: size and root of each, and the "
    "state (14.4) after "
    "each entry; and, at the end, the newest witness keys by node",
    {"federation": TEXT, "shards": listed(listed(OCTETS))},
    {
        "shards": listed(_SHARD),
        "witness_keys": listed(fields(node=TEXT, ed25519_key=fixed(32), issued=TIME)),
    },
)
def _fold_log(given: Given) -> dict[str, Any]:
    state = LogState.first(FederationName(given["federation"]))
    made: list[dict[str, Any]] = []
    for number, texts in enumerate(given["shards"]):
        if number:
            state = state.successor(bytes.fromhex(made[-1]["root"]))
        known, states = CompactRange.EMPTY, []
        for index, text in enumerate(texts):
            octets = bytes.fromhex(text)
            state.apply(index, octets)
            assert LogState.decode(state.encode()).encode() == state.encode()
            known = known.extend([leaf_hash(octets)])
            states.append(state.directory_state().hex())
        made.append({"size": str(known.size), "root": known.root().hex(), "states": states})
    keys = [
        {"node": str(node), "ed25519_key": key.ed25519_key.hex(), "issued": ms(key.issued_at)}
        for node, key in sorted(state.witness_keys().items())
    ]
    return {"shards": made, "witness_keys": keys}


def book() -> Book:
    found = Book(
        "log_state",
        "A small whole log of two shards with its state after each entry, and a log for each rule of 14.5 "
        "that breaks it.",
        ("14.4", "14.5", "14.7", "14.8", "15.2"),
        "The log of the story (README.md); each refused one is a beginning of it and one entry that breaks "
        "one rule. By "
        "candor_proto.tlog.state.",
    )
    _Folding(found).all()
    return found


class _Folding:
    """Cases under construction; `kept` says which entries stand in the material."""

    def __init__(self, found: Book) -> None:
        self.found = found
        self.first = dict(logs.first_shard())
        self.second = dict(logs.second_shard())
        self.order = list(self.first)

    def named(self, *names: str) -> list[Any]:
        for name in names:
            self.found.keep(name, self.first.get(name) or self.second[name])
        return [changed(name) for name in names]

    def whole(self) -> list[Any]:
        return self.named(*self.order)

    def case(
        self,
        name: str,
        *shards: Sequence[Any],
        comment: str = "",
        refuse: str | None = None,
        section: str = "",
    ) -> None:
        given = {"federation": str(FEDERATION), "shards": [list(shard) for shard in shards]}
        self.found.case(name, "fold-log", given, comment=comment, refuse=refuse, section=section)

    def broken(
        self, flaw: str, after: str, *entries: Entry | bytes, comment: str = "", section: str = ""
    ) -> None:
        """The log up to and with the entry `after`, then these; the last one breaks a rule."""
        octets = [(one if isinstance(one, bytes) else one.encode()).hex() for one in entries]
        beginning = self.named(*self.order[: self.order.index(after) + 1])
        if octets[:-1]:
            self.case(f"before_{flaw}", [*beginning, *octets[:-1]], section=section)
        self.case(flaw, [*beginning, *octets], comment=comment, refuse="log_inconsistent", section=section)

    def broken_in_second(self, flaw: str, after: str | None, entry: Entry | bytes, comment: str = "") -> None:
        order = list(self.second)
        beginning = self.named(*order[: order.index(after) + 1]) if after else []
        octets = (entry if isinstance(entry, bytes) else entry.encode()).hex()
        shards = [self.whole(), [*beginning, octets]]
        self.case(f"shard_2_{flaw}", *shards, comment=comment, refuse="log_inconsistent", section="14.7")

    def all(self) -> None:
        self.case("shard_1", self.whole())
        self.case("both_shards", self.whole(), self.named(*self.second), section="14.7")
        self.case("nothing", [])
        self.case("opened_only", self.named("opened"))
        self.opened_and_closed()
        self.members()
        self.heads()
        self.directories_and_policies()
        self.statements()
        self.rotation()

    def opened_and_closed(self) -> None:
        opened = Opened(FEDERATION, 1, NOW)
        self.broken("does_not_parse", "opened", self.first["rules"] + b"\0")
        self.broken("of_no_kind", "opened", b"\x13candor/v1/log-entry\x0c")
        self.broken("opened_twice", "opened", self.first["opened"])
        rules = self.first["rules"].hex()
        self.case("opened_missing", [rules], refuse="log_inconsistent")
        for flaw, entry in {
            "opened_of_another_federation": replace(
                opened, federation=FederationName("other.candor.example")
            ),
            "opened_of_another_shard": replace(opened, shard=2),
            "opened_behind_a_shard": replace(opened, previous_size=7),
            "opened_behind_an_origin": replace(opened, previous_origin=f"{FEDERATION}/log/0"),
            "opened_behind_a_root": replace(opened, previous_root=b"\1" * 32),
        }.items():
            self.case(flaw, [entry.encode().hex()], refuse="log_inconsistent")
        closed = parse_entry(self.first["closed"])
        assert isinstance(closed, Closed)
        for flaw, origin in {"itself": ORIGIN, "the_one_after": f"{FEDERATION}/log/3"}.items():
            self.broken(f"closed_names_{flaw}", "opened", replace(closed, next_origin=origin))
        self.broken("behind_closed", "closed", self.first["rules"])

    def members(self) -> None:
        member = member_entry(world.member(OWNER))
        for flaw, change in {
            "signing_key": replace(member, signing_key=THIRD.signing.public.value),
            "disclosure_key": replace(member, disclosure_key=THIRD.disclosure.public),
            "time_joined": replace(member, joined_at=NOW),
        }.items():
            self.broken(f"member_changes_{flaw}", "member birch-so", change)
        renamed = replace(member, name="Birch County Sheriff's Office")
        beginning = self.named(*self.order[: self.order.index("member birch-so") + 1])
        self.case("member_changes_its_name", [*beginning, renamed.encode().hex()])
        self.broken("denied_twice", "denied 80", Denied(0x80, None, NOW + 2 * HOUR))

    def heads(self) -> None:
        good = world.owner_head()

        def entry(head: IndexHead, party: Party = OWNER) -> Entry:
            return head_entry(world.sign_head(party, head))

        self.broken("head_of_no_member", "member alder-pd", entry(good))
        self.broken("head_of_the_same_sequence", "head birch-so", entry(replace(good, issued_at=NOW)))
        self.broken("head_of_a_lower_sequence", "head birch-so", entry(replace(good, sequence=4)))
        earlier = world.head_of(OWNER, [], 6, EPOCH - 1)
        self.broken("head_of_a_lower_epoch", "head birch-so", entry(earlier))
        later = world.head_of(OWNER, [], 6, EPOCH + 1)
        keys: dict[KeyClass, Element] = {**later.keys, KeyClass.WEAK: good.keys[KeyClass.WEAK]}
        self.broken("head_of_other_keys", "head birch-so", entry(replace(later, epoch=EPOCH, keys=keys)))
        beginning = self.named(*self.order[: self.order.index("head birch-so") + 1])
        self.case(
            "head_of_the_next_epoch", [*beginning, entry(later).encode().hex()], comment="with other keys"
        )

    def directories_and_policies(self) -> None:
        first = parse_entry(self.first["directory 1"])
        assert isinstance(first, DirectoryEntry)
        beginning = self.named(*self.order[: self.order.index("head birch-so") + 1])
        older = replace(first, version=41).encode().hex()
        self.case(
            "directory_version_41_first", [*beginning, older], comment="of a federation older than its log"
        )
        self.broken("directory_version_0_first", "head birch-so", replace(first, version=0))
        self.broken("directory_version_repeated", "directory 1", first)
        self.broken("directory_version_left_out", "directory 1", replace(first, version=3))
        self.broken("directory_of_another_state", "head birch-so", replace(first, state=draw("state", 32)))
        self.broken(
            "directory_before_its_head",
            "member cedar-post",
            first,
            comment="the state is that of the head to come",
        )
        policy = PolicyEntry(1, NOW, logs.policy_text(LOG_KEYS))
        self.broken("policy_version_2_first", "opened", replace(policy, version=2))
        self.broken("policy_version_repeated", "policy 1", policy)
        self.broken("policy_version_left_out", "policy 1", replace(policy, version=3))

    def statements(self) -> None:
        good = heartbeat(1, 0, 12, [True] * 3)
        forged = SignedStatement(good.encode(), THIRD.signing.sign("heartbeat", good.encode()).signature)
        other_context = OWNER.signing.sign("witness-key", good.encode())
        self.broken("heartbeat_signed_by_another", "receipts", Statement("heartbeat", forged))
        self.broken("heartbeat_signed_as_a_witness_key", "receipts", Statement("heartbeat", other_context))
        keys = Statement("heartbeat", witness_statement(OWNER))
        self.broken("witness_key_in_place_of_a_heartbeat", "receipts", keys)
        self.broken("statement_of_no_member", "opened", Statement("witness-key", witness_statement(OWNER)))
        foreign = replace(good, federation=FederationName("other.candor.example"))
        self.broken("heartbeat_of_another_federation", "receipts", sign_heartbeat(foreign))
        for flaw, made in {
            "of_another_shard": replace(good, origin=logs.NEXT_ORIGIN),
            "beyond_its_own_index": replace(good, end=13),
            "with_a_bit_too_few": heartbeat(1, 0, 12, []),
            "with_an_octet_too_many": replace(good, received=good.received + b"\0"),
            "with_an_unused_bit": replace(good, received=b"\xf0"),
            "backwards": None,
        }.items():
            entry = Statement("heartbeat", _backwards()) if made is None else sign_heartbeat(made)
            self.broken(f"heartbeat_{flaw}", "receipts", entry, section="14.8")
        for flaw, made in {
            "of_the_same_number": heartbeat(1, 12, 13, []),
            "of_a_number_left_out": heartbeat(3, 12, 13, []),
            "with_a_gap": heartbeat(2, 13, 13, []),
            "that_overlaps": heartbeat(2, 11, 13, []),
        }.items():
            self.broken(f"heartbeat_{flaw}", "heartbeat 1", sign_heartbeat(made), section="14.8")
        beginning = self.named(*self.order[: self.order.index("receipts") + 1])
        free = sign_heartbeat(heartbeat(900, 11, 11, [])).encode().hex()
        self.case("first_heartbeat_of_any_number", [*beginning, free], section="14.8")
        again = Statement("witness-key", witness_statement(OWNER))
        older = Statement("witness-key", witness_statement(OWNER, NOW - 2 * DAY))
        taken = Statement("witness-key", witness_statement(ASKER, NOW, keys_of=OWNER.name))
        for flaw, entry in {"repeated": again, "older": older, "of_another_member": taken}.items():
            self.broken(f"witness_key_{flaw}", "witness birch-so", entry, section="15.2")
        newer = Statement("witness-key", witness_statement(OWNER, NOW, keys_of="birch-so-later"))
        beginning = self.named(*self.order[: self.order.index("witness cedar-post") + 1])
        self.case("witness_key_newer", [*beginning, newer.encode().hex()], section="15.2")
        stolen = Statement("witness-key", witness_statement(ASKER, NOW, keys_of=OWNER.name))
        self.broken("witness_key_that_another_had", "witness cedar-post", newer, stolen, section="15.2")

    def rotation(self) -> None:
        opened = parse_entry(self.second["opened 2"])
        assert isinstance(opened, Opened)
        for flaw, entry in {
            "opened_behind_another_root": replace(opened, previous_root=draw("root", 32)),
            "opened_behind_another_size": replace(opened, previous_size=opened.previous_size - 1),
            "opened_behind_another_origin": replace(opened, previous_origin=logs.NEXT_ORIGIN),
            "opened_as_shard_3": replace(opened, shard=3),
        }.items():
            self.broken_in_second(flaw, None, entry)
        policy = parse_entry(self.second["policy 2"])
        listing = parse_entry(self.second["directory 2"])
        assert isinstance(policy, PolicyEntry)
        assert isinstance(listing, DirectoryEntry)
        self.broken_in_second(
            "policy_counts_on", "opened 2", replace(policy, version=3), "the first repeats the last version"
        )
        self.broken_in_second("directory_counts_on", "denied 1234567890abcdef", replace(listing, version=3))
        self.broken_in_second("directory_before_all_is_said", "denied 80", listing, "a serial is missing")
        without = DirectoryEntry(2, listing.issued_at, listing.chain_digest, world_state_without_members())
        self.broken_in_second(
            "directory_of_another_state",
            "opened 2",
            without,
            "right for what this shard says, not for what ended the last",
        )
        closed = self.order[:-1]
        self.case(
            "shard_2_of_a_log_that_goes_on",
            self.named(*closed),
            self.named("opened 2"),
            refuse="log_inconsistent",
            section="14.7",
        )


def _backwards() -> SignedStatement:
    made = heartbeat(1, 5, 5, []).encode()
    five = (5).to_bytes(8, "big") * 2
    spoilt = made.replace(five, (5).to_bytes(8, "big") + (4).to_bytes(8, "big"))
    assert spoilt != made
    return OWNER.signing.sign("heartbeat", spoilt)


def world_state_without_members() -> bytes:
    state = LogState.first(FEDERATION)
    return state.directory_state()
