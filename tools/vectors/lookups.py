"""The signed lookup (docs/protocol.md §7.1-§7.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from candor_proto.directory import IndexHead, Member
from candor_proto.errors import NotAMember
from candor_proto.exchange import AskedPerson, BlindedSlot, Draft, Paperwork, draft_lookup, verify_lookup
from candor_proto.group import Scalar
from candor_proto.ids import Digest, FederationName, KeyClass, LookupId, LookupShape, NodeId, Purpose
from candor_proto.matchkeys import Slot
from candor_proto.oprf import blind
from candor_proto.signing import SignedStatement, SigningKey, VerifyingKey
from candor_proto.statements import CLASSES, Commitments, Lookup, Target
from tools.vectors import world
from tools.vectors.book import Book, Given, changed, edit, operation
from tools.vectors.curve import CLASSES as BY_LETTER
from tools.vectors.curve import elements
from tools.vectors.draws import draw
from tools.vectors.parties import ASKER, EPOCH, FEDERATION, MINUTE, NOW, OWNER, moment, ms, part
from tools.vectors.shapes import OCTETS, PART, TEXT, TIME, U8, U32, fields, fixed, listed, one_of

TARGETS = listed(fields(node=TEXT, epoch=U32))
LOOKUP = {
    "federation": TEXT,
    "lookup_id": fixed(16),
    "asker": TEXT,
    "purpose": U8,
    "shape": U8,
    "persons": listed(fields(case=fixed(32), consent=fixed(32), officer=fixed(32), filler=fixed(32))),
    "issued": TIME,
    "expires": TIME,
    "targets": TARGETS,
    "W": listed(fixed(32)),
    "M": listed(fixed(32)),
    "C": listed(fixed(32)),
}
_NAMES = ("case", "consent", "officer", "filler")
_SALTS = fields(case=OCTETS, consent=OCTETS, officer=OCTETS, filler=OCTETS)
PERSON = fields(
    case=TEXT,
    consent=TEXT,
    officer=TEXT,
    filler_seed=OCTETS,
    salts=_SALTS,
    slots=listed(fields(**{"class": one_of("W", "M", "C"), "input": OCTETS, "blind": OCTETS})),
)


def shown_lookup(lookup: Lookup) -> dict[str, Any]:
    return {
        "federation": str(lookup.federation),
        "lookup_id": lookup.lookup_id.hex(),
        "asker": str(lookup.asker),
        "purpose": lookup.purpose.value,
        "shape": lookup.shape.value,
        "persons": [{name: getattr(one, name).hex() for name in _NAMES} for one in lookup.commitments],
        "issued": ms(lookup.issued_at),
        "expires": ms(lookup.expires_at),
        "targets": shown_targets(lookup.targets),
        **{
            key_class.letter: [element.to_bytes().hex() for element in lookup.elements.get(key_class, ())]
            for key_class in CLASSES
        },
    }


def shown_targets(targets: Sequence[Target]) -> list[dict[str, Any]]:
    return [{"node": str(one.node), "epoch": one.epoch} for one in targets]


def targets_of(given: Sequence[Any]) -> tuple[Target, ...]:
    return tuple(Target(NodeId(one["node"]), one["epoch"]) for one in given)


def _lookup(given: Given) -> Lookup:
    return Lookup(
        FederationName(given["federation"]),
        LookupId(bytes.fromhex(given["lookup_id"])),
        NodeId(given["asker"]),
        Purpose(given["purpose"]),
        LookupShape(given["shape"]),
        tuple(
            Commitments(**{name: Digest(bytes.fromhex(one[name])) for name in _NAMES})
            for one in given["persons"]
        ),
        moment(given["issued"]),
        moment(given["expires"]),
        targets_of(given["targets"]),
        {key_class: tuple(elements(given[key_class.letter])) for key_class in CLASSES},
    )


@operation(
    "encode-lookup",
    "7.1",
    "the body of a lookup, and its digest (7.4). Two-way",
    LOOKUP,
    {"body": OCTETS, "digest": fixed(32)},
)
def _encode_lookup(given: Given) -> dict[str, Any]:
    lookup = _lookup(given)
    body = lookup.encode()
    assert shown_lookup(Lookup.decode(body)) == dict(given)
    return {"body": body.hex(), "digest": lookup.digest().hex()}


@operation("decode-lookup", "7.1", "the fields of a lookup", {"body": OCTETS}, LOOKUP)
def _decode_lookup(given: Given) -> dict[str, Any]:
    return shown_lookup(Lookup.decode(bytes.fromhex(given["body"])))


@operation(
    "commitment",
    "7.1",
    'H("commitment/<name>", salt, value)',
    {"name": one_of(*_NAMES), "salt": OCTETS, "value": OCTETS},
    {"commitment": fixed(32)},
)
def _commitment(given: Given) -> dict[str, Any]:
    made = Commitments.commit(given["name"], bytes.fromhex(given["salt"]), bytes.fromhex(given["value"]))
    return {"commitment": made.hex()}


def person_of(given: Given) -> AskedPerson:
    slots = []
    for number, one in enumerate(given["slots"]):
        value, scalar = bytes.fromhex(one["input"]), Scalar.parse(bytes.fromhex(one["blind"]))
        slots.append(BlindedSlot(Slot(BY_LETTER[one["class"]], number, None, value), blind(value, scalar)))
    salts = {name: bytes.fromhex(salt) for name, salt in given["salts"].items()}
    papers = Paperwork(
        given["case"], given["consent"], given["officer"], salts, bytes.fromhex(given["filler_seed"])
    )
    return AskedPerson(tuple(slots), papers)


def shown_person(person: AskedPerson) -> dict[str, Any]:
    papers = person.paperwork
    return {
        "case": papers.case,
        "consent": papers.consent,
        "officer": papers.officer,
        "filler_seed": papers.filler_seed.hex(),
        "salts": {name: papers.salts[name].hex() for name in _NAMES},
        "slots": [
            {
                "class": item.slot.key_class.letter,
                "input": item.slot.input.hex(),
                "blind": item.blinded.blind.to_bytes().hex(),
            }
            for item in person.slots
        ],
    }


@operation(
    "make-lookup",
    "7.1",
    "the signed lookup about these persons: what each slot holds, in slot order within a class, and what is "
    "committed "
    "to (texts as UTF-8; the filler's value is the filler seed). It expires after 24 hours",
    {
        "seed": OCTETS,
        "federation": TEXT,
        "lookup_id": fixed(16),
        "asker": TEXT,
        "purpose": U8,
        "shape": U8,
        "persons": listed(PERSON),
        "issued": TIME,
        "targets": TARGETS,
    },
    {"lookup": PART},
)
def _make_lookup(given: Given) -> dict[str, Any]:
    return {"lookup": part(draft_of(given).statement)}


def draft_of(given: Given) -> Draft:
    return draft_lookup(
        [person_of(one) for one in given["persons"]],
        LookupShape(given["shape"]),
        Purpose(given["purpose"]),
        FederationName(given["federation"]),
        NodeId(given["asker"]),
        targets_of(given["targets"]),
        SigningKey(bytes.fromhex(given["seed"])),
        moment(given["issued"]),
        LookupId(bytes.fromhex(given["lookup_id"])),
    )


@dataclass(frozen=True)
class OneMember:
    """A directory of one member."""

    listed: Member
    federation: FederationName
    version: int = 1

    def nodes(self) -> tuple[NodeId, ...]:
        return (self.listed.node,)

    def member(self, node: NodeId) -> Member:
        if node != self.listed.node:
            raise NotAMember(f"{node} is no member.")
        return self.listed

    def head(self, node: NodeId) -> IndexHead | None:
        return None


@operation(
    "accept-lookup",
    "7.3",
    "what a node checks before standing, epoch, purpose, replay and quota: parse, signature under the key "
    "that its "
    "directory has for `member`, federation, time, that it is a target; gives the epoch named for it",
    {
        "lookup": PART,
        "member": TEXT,
        "signing_key": OCTETS,
        "federation": TEXT,
        "node": TEXT,
        "now": TIME,
    },
    {"asker": TEXT, "epoch": U32},
)
def _accept_lookup(given: Given) -> dict[str, Any]:
    key = VerifyingKey(bytes.fromhex(given["signing_key"]))
    member = replace(world.member(ASKER), node=NodeId(given["member"]), signing_key=key)
    statement = SignedStatement(
        bytes.fromhex(given["lookup"]["body"]), bytes.fromhex(given["lookup"]["signature"])
    )
    directory = OneMember(member, FederationName(given["federation"]))
    own = NodeId(given["node"])
    lookup = verify_lookup(statement, directory, own, moment(given["now"]))
    return {"asker": str(lookup.asker), "epoch": lookup.epoch_for(own)}


def making(shape: LookupShape, persons: int) -> dict[str, Any]:
    """What `make-lookup` takes for a lookup of the story."""
    draft = world.draft(shape, persons)
    lookup = draft.lookup
    return {
        "seed": ASKER.signing.seed().hex(),
        "federation": str(FEDERATION),
        "lookup_id": lookup.lookup_id.hex(),
        "asker": ASKER.name,
        "purpose": lookup.purpose.value,
        "shape": shape.value,
        "persons": [
            shown_person(AskedPerson(slots, world.paperwork(number)))
            for number, slots in enumerate(draft.persons)
        ],
        "issued": ms(NOW),
        "targets": shown_targets(lookup.targets),
    }


def book() -> Book:
    found = Book(
        "lookups",
        "Lookups: committed to, blinded, encoded and signed; those that do not parse, and those that a node "
        "refuses.",
        ("5.3", "7.1", "7.3"),
        "Lookups of the story (README.md) about none, one and four persons, with the blinds, salts and seeds "
        "given; by "
        "candor_proto.exchange and candor_proto.statements.",
    )
    for name in _NAMES:
        given = {"name": name, "salt": draw("salt", 32).hex(), "value": "REQ-2026-0417 \u00a7".encode().hex()}
        found.case(f"commitment_{name}", "commitment", given)
    found.case("commitment_to_nothing", "commitment", {"name": "case", "salt": "00" * 32, "value": ""})
    short = {"name": "case", "salt": "00" * 31, "value": ""}
    found.case("commitment_with_a_short_salt", "commitment", short, refuse="malformed_message")
    for name, shape, persons in (
        ("screening", LookupShape.SCREENING, 1),
        ("detailed", LookupShape.DETAILED, 1),
        ("four_persons", LookupShape.SCREENING, 4),
        ("nobody", LookupShape.SCREENING, 0),
    ):
        made = found.case(f"make_{name}", "make-lookup", making(shape, persons))
        assert made["lookup"]["body"] == world.draft(shape, persons).statement.body.hex()
        if name in ("screening", "nobody"):
            found.case(f"encode_{name}", "encode-lookup", shown_lookup(world.draft(shape, persons).lookup))
    _refused(found)
    _accepted(found)
    return found


def _refused(found: Book) -> None:
    lookup = world.draft().lookup
    body = found.keep("screening", lookup.encode())
    shown = shown_lookup(lookup)

    def broken(flaw: str, refuse: str, comment: str = "", **change: Any) -> None:
        octets = _lookup({**shown, **change}).encode()
        found.case(f"lookup_{flaw}", "decode-lookup", {"body": octets.hex()}, comment=comment, refuse=refuse)

    one, two = shown["targets"]
    broken("targets_not_sorted", "not_canonical", targets=[two, one])
    broken("target_twice", "not_canonical", targets=[one, one])
    broken("target_twice_with_two_epochs", "not_canonical", targets=[one, {**one, "epoch": 8}])
    broken("without_target", "not_canonical", targets=[])
    day = timedelta(hours=24)
    broken("longer_than_a_day", "malformed_message", expires=str(int(ms(NOW + day)) + 1))
    broken("expired_when_issued", "malformed_message", expires=shown["issued"])
    broken("expired_before_issued", "malformed_message", expires=ms(NOW - MINUTE))
    broken(
        "two_persons", "malformed_message", "another count than 0, 1, 4, 16, 64", persons=shown["persons"] * 2
    )
    broken("element_too_few", "malformed_message", M=shown["M"][:-1])
    broken("element_too_many", "malformed_message", W=[*shown["W"], shown["W"][0]])
    broken("codes_in_a_screening", "malformed_message", C=shown["W"] * 6)
    broken("shape_of_another", "malformed_message", shape=2)
    broken("four_persons_with_elements_of_one", "malformed_message", persons=shown["persons"] * 4)
    at_asker = 17 + 4 + len(str(FEDERATION)) + 16
    purpose = at_asker + 4 + len(ASKER.name)
    first_element = len(body) - 2 - 12 * 32 - 2 - 4 * 32
    targets = first_element - 2 - sum(8 + len(str(one.node)) for one in lookup.targets) - 4
    for flaw, edits, refuse, comment in (
        ("octet_behind", [edit(len(body), 0, b"\0")], "not_canonical", ""),
        ("cut", [edit(len(body) - 1, 1)], "malformed_message", ""),
        ("empty", [edit(0, len(body))], "malformed_message", ""),
        ("labelled_answer", [edit(0, 17, b"\x10candor/v1/answer")], "malformed_message", ""),
        ("asker_malformed", [edit(at_asker + 4, 1, b"A")], "malformed_message", ""),
        ("purpose_unknown", [edit(purpose, 1, b"\x08")], "malformed_message", ""),
        ("purpose_zero", [edit(purpose, 1, b"\0")], "malformed_message", ""),
        ("shape_unknown", [edit(purpose + 1, 1, b"\3")], "malformed_message", ""),
        ("element_identity", [edit(first_element, 32, bytes(32))], "invalid_element", ""),
        ("element_not_canonical", [edit(first_element, 32, b"\xff" * 32)], "invalid_element", ""),
        ("targets_over_the_limit", [edit(targets, 4, (2001).to_bytes(4, "big"))], "limit_exceeded", ""),
    ):
        given = {"body": changed("screening", *edits)}
        found.case(f"lookup_{flaw}", "decode-lookup", given, comment=comment, refuse=refuse)


def _accepted(found: Book) -> None:
    draft = world.draft()
    base = {
        "lookup": part(draft.statement),
        "member": ASKER.name,
        "signing_key": ASKER.signing.public.value.hex(),
        "federation": str(FEDERATION),
        "node": OWNER.name,
        "now": ms(NOW + MINUTE),
    }
    signed_as_answer = part(ASKER.signing.sign("answer", draft.statement.body))
    for name, change, refuse, comment in (
        ("holds", {}, None, ""),
        ("issued_five_minutes_ahead", {"now": ms(NOW - 5 * MINUTE)}, None, "the clock tolerance"),
        ("in_its_last_millisecond", {"now": str(int(ms(draft.lookup.expires_at)) - 1)}, None, ""),
        ("issued_too_far_ahead", {"now": str(int(ms(NOW - 5 * MINUTE)) - 1)}, "not_yet_valid", ""),
        ("expired", {"now": ms(draft.lookup.expires_at)}, "expired", "at the very time of its expiry"),
        ("not_a_target", {"node": "dogwood-pd"}, "wrong_recipient", ""),
        ("asker_no_member", {"member": "dogwood-pd"}, "not_a_member", ""),
        ("another_federation", {"federation": "other.candor.example"}, "identity_mismatch", ""),
        ("another_key", {"signing_key": OWNER.signing.public.value.hex()}, "signature_invalid", ""),
        ("another_context", {"lookup": signed_as_answer}, "signature_invalid", ""),
    ):
        found.case(f"accept_{name}", "accept-lookup", {**base, **change}, comment=comment, refuse=refuse)
    assert draft.lookup.epoch_for(OWNER.node) == EPOCH
    assert KeyClass.WEAK in draft.lookup.elements
