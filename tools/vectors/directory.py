"""The directory (docs/protocol.md §10)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from candor_proto.canonical import Writer
from candor_proto.directory import (
    Directory,
    IndexHead,
    Member,
    MemberKeys,
    MemberStatus,
    Seen,
    SeenHead,
    statement_digest,
    verify_directory,
)
from candor_proto.ids import Digest, FederationName, NodeId, Ori
from candor_proto.signing import SignedStatement, VerifyingKey
from tools.vectors import world
from tools.vectors.book import Book, Given, changed, edit, operation
from tools.vectors.draws import draw
from tools.vectors.parties import (
    ASKER,
    DIRECTORY_KEY,
    FEDERATION,
    HOUR,
    MINUTE,
    NOW,
    OWNER,
    THIRD,
    moment,
    ms,
    part,
)
from tools.vectors.shapes import OCTETS, PART, TEXT, TIME, U8, U64, fields, fixed, listed, maybe

MEMBER = fields(
    node=TEXT,
    name=TEXT,
    oris=listed(TEXT),
    tls_subject=TEXT,
    signing_key=fixed(32),
    disclosure_key=OCTETS,
    status=U8,
    joined=TIME,
    answered_from=TIME,
    head=maybe(PART),
)
DIRECTORY = {
    "federation": TEXT,
    "version": U64,
    "issued": TIME,
    "members": listed(MEMBER),
    "denied": listed(OCTETS),
    "chain_digest": fixed(32),
}
_TROUBLES = listed(fields(node=TEXT, code=TEXT))


def shown_member(member: Member) -> dict[str, Any]:
    return {
        "node": str(member.node),
        "name": member.name,
        "oris": [str(ori) for ori in member.oris],
        "tls_subject": member.tls_subject,
        "signing_key": member.signing_key.value.hex(),
        "disclosure_key": member.disclosure_key.hex(),
        "status": member.status.value,
        "joined": ms(member.joined_at),
        "answered_from": ms(member.answered_from),
        "head": None if member.head is None else part(member.head),
    }


def member_of(given: Given) -> Member:
    head = given["head"]
    return Member(
        NodeId(given["node"]),
        given["name"],
        tuple(Ori(text) for text in given["oris"]),
        given["tls_subject"],
        VerifyingKey(bytes.fromhex(given["signing_key"])),
        bytes.fromhex(given["disclosure_key"]),
        MemberStatus(given["status"]),
        moment(given["joined"]),
        moment(given["answered_from"]),
        None
        if head is None
        else SignedStatement(bytes.fromhex(head["body"]), bytes.fromhex(head["signature"])),
    )


def shown_directory(directory: Directory) -> dict[str, Any]:
    return {
        "federation": str(directory.federation),
        "version": str(directory.version),
        "issued": ms(directory.issued_at),
        "members": [shown_member(member) for member in directory.members],
        "denied": [
            serial.to_bytes((serial.bit_length() + 7) // 8 or 1, "big").hex()
            for serial in directory.denied_serials
        ],
        "chain_digest": directory.chain_digest.hex(),
    }


@operation("encode-directory", "10.1", "the body of a directory. Two-way", DIRECTORY, {"body": OCTETS})
def _encode_directory(given: Given) -> dict[str, Any]:
    made = Directory(
        FederationName(given["federation"]),
        int(given["version"]),
        moment(given["issued"]),
        tuple(member_of(one) for one in given["members"]),
        tuple(int(serial, 16) for serial in given["denied"]),
        Digest(bytes.fromhex(given["chain_digest"])),
    )
    assert Directory.decode(made.encode()) == made
    return {"body": made.encode().hex()}


@operation("decode-directory", "10.1", "the fields of a directory", {"body": OCTETS}, DIRECTORY)
def _decode_directory(given: Given) -> dict[str, Any]:
    return shown_directory(Directory.decode(bytes.fromhex(given["body"])))


@operation(
    "verify-directory",
    "10.2",
    "what a receiver takes from a directory that came with a verified chain of this digest, whose key is "
    "`directory_key`, "
    "when it has `seen` others (null at first): the active members, those whose head counts, those whose "
    "head does not and "
    "those whose keys are not the ones seen first, with the code of what is wrong",
    {
        "directory": PART,
        "directory_key": OCTETS,
        "chain_digest": fixed(32),
        "federation": TEXT,
        "now": TIME,
        "seen": maybe(
            fields(
                version=U64,
                body=maybe(OCTETS),
                heads=listed(OCTETS),
                keys=listed(fields(node=TEXT, signing_key=fixed(32), disclosure_key=OCTETS)),
            )
        ),
    },
    {"active": listed(TEXT), "heads": listed(TEXT), "head_troubles": _TROUBLES, "key_troubles": _TROUBLES},
)
def _verify_directory(given: Given) -> dict[str, Any]:
    statement = SignedStatement(
        bytes.fromhex(given["directory"]["body"]), bytes.fromhex(given["directory"]["signature"])
    )
    verified = verify_directory(
        statement,
        VerifyingKey(bytes.fromhex(given["directory_key"])),
        Digest(bytes.fromhex(given["chain_digest"])),
        FederationName(given["federation"]),
        moment(given["now"]),
        None if given["seen"] is None else _seen(given["seen"]),
    )
    nodes = [member.node for member in verified.directory.members]
    return {
        "active": [str(node) for node in verified.nodes()],
        "heads": [str(node) for node in nodes if verified.head(node) is not None],
        "head_troubles": [
            {"node": str(node), "code": error.code} for node, error in verified.head_troubles.items()
        ],
        "key_troubles": [
            {"node": str(node), "code": error.code} for node, error in verified.key_troubles.items()
        ],
    }


def _seen(given: Given) -> Seen:
    heads = {}
    for octets in map(bytes.fromhex, given["heads"]):
        head = IndexHead.decode(octets)
        heads[head.node] = SeenHead(head.sequence, statement_digest(SignedStatement(octets, b"")))
    keys = {
        NodeId(one["node"]): MemberKeys(
            VerifyingKey(bytes.fromhex(one["signing_key"])), bytes.fromhex(one["disclosure_key"])
        )
        for one in given["keys"]
    }
    body = (
        None
        if given["body"] is None
        else statement_digest(SignedStatement(bytes.fromhex(given["body"]), b""))
    )
    return Seen(int(given["version"]), body, heads, keys)


def book() -> Book:
    found = Book(
        "directory",
        "Directories: encoded, refused, and what a receiver takes from one after what it has seen.",
        ("10.1", "10.2"),
        "The federation of the story (README.md); by candor_proto.directory. The chain of certificates is "
        "not part of it: its "
        "digest is drawn.",
    )
    directory = world.directory()
    found.case("of_the_story", "encode-directory", shown_directory(directory))
    found.case(
        "of_nobody", "encode-directory", shown_directory(replace(directory, members=(), denied_serials=()))
    )
    _refused(found, directory)
    _verified(found, directory)
    return found


def _refused(found: Book, directory: Directory) -> None:
    body = found.keep("directory", directory.encode())
    first, second, _ = directory.members
    head = second.head
    assert head is not None

    def broken(flaw: str, refuse: str, **change: Any) -> None:
        octets = replace(directory, **change).encode()
        found.case(f"directory_{flaw}", "decode-directory", {"body": octets.hex()}, refuse=refuse)

    broken("members_not_sorted", "not_canonical", members=(second, first))
    broken("member_twice", "not_canonical", members=(first, first))
    broken("serials_not_sorted", "not_canonical", members=(), denied_serials=(2, 1))
    broken("serial_twice", "not_canonical", members=(), denied_serials=(2, 2))
    broken("member_without_ori", "not_canonical", members=(replace(first, oris=()),))
    broken(
        "oris_not_sorted",
        "not_canonical",
        members=(replace(first, oris=(Ori("ZZ0000200"), Ori("ZZ0000100"))),),
    )
    broken(
        "head_without_signature",
        "not_canonical",
        members=(replace(second, head=SignedStatement(head.body, b"")),),
    )
    broken(
        "signature_without_head",
        "not_canonical",
        members=(replace(second, head=SignedStatement(b"", bytes(64))),),
    )
    broken("version_beyond_63_bits", "malformed_message", members=(), version=1 << 63)
    keys = body.index(first.signing_key.value)
    status = keys + 32 + 1216
    members = 20 + 4 + len(str(FEDERATION)) + 16
    for flaw, edits, refuse in (
        ("octet_behind", [edit(len(body), 0, b"\0")], "not_canonical"),
        ("cut", [edit(len(body) - 1, 1)], "malformed_message"),
        ("signing_key_of_small_order", [edit(keys, 32, b"\1" + bytes(31))], "malformed_message"),
        ("status_0", [edit(status, 1, b"\0")], "malformed_message"),
        ("status_3", [edit(status, 1, b"\3")], "malformed_message"),
        ("members_over_the_limit", [edit(members, 4, (2001).to_bytes(4, "big"))], "limit_exceeded"),
        ("label_of_a_head", [edit(0, 20, b"\x14candor/v1/index-head")], "malformed_message"),
    ):
        found.case(
            f"directory_{flaw}", "decode-directory", {"body": changed("directory", *edits)}, refuse=refuse
        )
    serials = Writer("directory").text(str(FEDERATION)).integer(1, 8).time(NOW).integer(0, 4)
    for flaw, serial, refuse in (
        ("serial_with_a_leading_zero", b"\0\2", "not_canonical"),
        ("serial_empty", b"", "not_canonical"),
        ("serial_of_21_octets", b"\1" * 21, "limit_exceeded"),
    ):
        octets = serials.finish() + Writer().sequence([serial], Writer.octets).fixed(bytes(32), 32).finish()
        found.case(f"directory_{flaw}", "decode-directory", {"body": octets.hex()}, refuse=refuse)


def _verified(found: Book, directory: Directory) -> None:
    def signed(made: Directory, name: str = "directory") -> dict[str, Any]:
        statement = DIRECTORY_KEY.sign("directory", made.encode())
        found.keep(name, statement.body)
        return {"body": changed(name), "signature": statement.signature.hex()}

    keys = [
        {
            "node": str(member.node),
            "signing_key": member.signing_key.value.hex(),
            "disclosure_key": member.disclosure_key.hex(),
        }
        for member in directory.members
    ]
    head = world.owner_head()
    seen: dict[str, Any] = {"version": "40", "body": None, "heads": [head.encode().hex()], "keys": []}
    base = {
        "directory": signed(directory),
        "directory_key": DIRECTORY_KEY.public.value.hex(),
        "chain_digest": world.CHAIN_DIGEST.hex(),
        "federation": str(FEDERATION),
        "now": ms(NOW),
        "seen": None,
    }
    other_head = replace(head, issued_at=NOW).encode().hex()
    spoilt = replace(directory.members[1], head=THIRD.signing.sign("index-head", head.encode()))
    borrowed = replace(directory.members[0], head=directory.members[1].head)
    bad_head = signed(replace(directory, members=(borrowed, spoilt)), "directory with heads spoilt")
    other_keys = [{**keys[1], "signing_key": ASKER.signing.public.value.hex()}]
    good: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("at_first", {}, ""),
        ("the_same_again", {"seen": {**seen, "version": "41", "body": changed("directory")}}, ""),
        ("newer_than_seen", {"seen": {**seen, "keys": keys}}, ""),
        (
            "head_older_than_seen",
            {"seen": {**seen, "heads": [replace(head, sequence=6).encode().hex()]}},
            "counts as none",
        ),
        ("head_another_than_seen", {"seen": {**seen, "heads": [other_head]}}, "of the same sequence"),
        (
            "heads_spoilt",
            {"directory": bad_head},
            "one signed by another, one of another member: nobody else is concerned",
        ),
        (
            "other_keys_than_seen_first",
            {"seen": {**seen, "heads": [], "keys": other_keys}},
            "the keys seen first stay in force, and the head does not verify under them",
        ),
    )
    for name, change, comment in good:
        found.case(f"verify_{name}", "verify-directory", {**base, **change}, comment=comment)
    flaws: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("older_than_seen", {"seen": {**seen, "version": "42"}}, "rollback"),
        ("another_of_this_version", {"seen": {**seen, "version": "41", "body": "00"}}, "rollback"),
        ("another_federation", {"federation": "other.candor.example"}, "identity_mismatch"),
        ("another_chain", {"chain_digest": draw("another chain", 32).hex()}, "identity_mismatch"),
        ("another_key", {"directory_key": OWNER.signing.public.value.hex()}, "signature_invalid"),
        ("issued_too_far_ahead", {"now": ms(NOW - HOUR - 6 * MINUTE)}, "not_yet_valid"),
    )
    for flaw, change, refuse in flaws:
        found.case(f"verify_not_{flaw}", "verify-directory", {**base, **change}, refuse=refuse)
