"""Openings that explain a lookup, and ones that do not (docs/protocol.md §7.10, §18.2, §18.3)."""

from __future__ import annotations

from dataclasses import fields as fields_of
from dataclasses import replace
from typing import Any

from candor_proto import merkle, oprf
from candor_proto.accountability.file_form import encode_file
from candor_proto.accountability.opening_file import (
    _bound,
    parse_auditor_key,
    parse_opening,
    parse_sealed_opening,
)
from candor_proto.accountability.trust import Trust
from candor_proto.errors import CandorError
from candor_proto.exchange import AskedPerson, Paperwork, blind_plan, draft_lookup
from candor_proto.ids import KeyClass, LookupId, LookupShape, NodeId, Purpose
from candor_proto.matchkeys import filler_input, octets, plan_lookup
from candor_proto.normalise import Particulars, normalise
from candor_proto.sealing import DisclosureKey, open_unpadded, seal_unpadded
from candor_proto.tlog.checkpoint import Checkpoint
from candor_proto.tlog.entries import Requests, request_commitment
from candor_proto.tlog.policy import parse_policy
from candor_proto.tlog.proof import LogProof
from tools.vectors import logs, world
from tools.vectors.book import Book, Given, changed, operation
from tools.vectors.draws import draw, draw_scalar
from tools.vectors.kept import kept
from tools.vectors.notes import ORIGIN
from tools.vectors.parties import ASKER, FEDERATION, HOUR, NOW, moment, ms
from tools.vectors.receipts import FileValue, Filing
from tools.vectors.shapes import OCTETS, TEXT, TIME, listed
from tools.vectors.slots import MIKE

_FILE = {"type": "object"}
_NAMES = ("case", "consent", "officer", "filler")


@operation(
    "check-opening",
    "18.3",
    "whether the opening of this value explains a logged lookup: the cases of the persons asked about, and "
    "those of them that do not stand in the `register`. Where the comment begins with *plan:*, it is found "
    "by computing the plan anew (matching.md)",
    {"file": _FILE, "policy": OCTETS, "now": TIME, "register": listed(TEXT)},
    {"cases": listed(TEXT), "not_in_the_register": listed(TEXT)},
)
def _check_opening(given: Given) -> dict[str, Any]:
    trust = Trust(parse_policy(bytes.fromhex(given["policy"])), moment(given["now"]))
    checked = parse_opening(encode_file(given["file"])).check(trust)
    return {
        "cases": list(checked.cases()),
        "not_in_the_register": list(checked.cases_not_in(given["register"])),
    }


@operation(
    "open-sealed-opening",
    "18.2",
    "the text inside a sealed opening, whatever it is",
    {"private_key": OCTETS, "file": _FILE},
    {"text": TEXT},
)
def _open_sealed(given: Given) -> dict[str, Any]:
    sealed = parse_sealed_opening(encode_file(given["file"]))
    return {"text": sealed.open(DisclosureKey(bytes.fromhex(given["private_key"]))).decode("utf-8")}


@operation("auditor-key", "18.2", "whether this is an auditor's key file", {"file": _FILE}, {})
def _auditor_key(given: Given) -> dict[str, Any]:
    parse_auditor_key(encode_file(given["file"]))
    return {}


def book() -> Book:
    found = Book(
        "openings",
        "Openings of a logged lookup that are complete, and ones with something else in them; sealed "
        "openings.",
        ("7.10", "18.2", "18.3"),
        "The lookups of the story (README.md), opened; by candor_proto.accountability.opening_file. The "
        "sealed one was made once "
        "by HPKE of `cryptography` and is kept.",
    )
    found.keep("policy", logs.POLICY.text)
    filing = Filing(found)
    _opened(found, filing)
    _filled_up(found, filing)
    _sealed(found)
    return found


def _shown(papers: Paperwork, particulars: Particulars, slots: Any) -> FileValue:
    return {
        "plan_number": 0,
        "case": papers.case,
        "consent": papers.consent,
        "officer": papers.officer,
        "salts": {name: {"base64": papers.salts[name].hex()} for name in _NAMES},
        "filler_seed": {"base64": papers.filler_seed.hex()},
        "particulars": {one.name: getattr(particulars, one.name) for one in fields_of(particulars)},
        "inputs": [{"base64": item.slot.input.hex()} for item in slots],
        "blinds": [{"base64": item.blinded.blind.to_bytes().hex()} for item in slots],
    }


def _file(filing: Filing, lookup: FileValue, persons: list[FileValue], logged: FileValue) -> FileValue:
    return {
        "format": "candor-opening/1",
        "federation": str(FEDERATION),
        "asker": ASKER.name,
        "lookup": lookup,
        "persons": persons,
        "asker_member": filing.logged("member alder-pd"),
        "request_logged": logged,
    }


def _opened(found: Book, filing: Filing) -> None:
    draft = world.draft()
    person = _shown(world.paperwork(0), MIKE, draft.persons[0])
    good = _file(filing, filing.part("lookup", draft.statement), [person], filing.logged("requests"))
    base = {"policy": changed("policy"), "now": ms(NOW + HOUR), "register": [world.CASE, "REQ-2026-0001"]}
    found.case("opening", "check-opening", {"file": good, **base})
    found.case(
        "case_not_in_the_register",
        "check-opening",
        {"file": good, **base, "register": ["REQ-2026-0001"]},
        comment="a finding, not a refusal",
    )

    def flaw(name: str, refuse: str, comment: str = "", section: str = "18.3", **change: Any) -> None:
        given = {"file": {**good, "persons": [{**person, **change}]}, **base}
        found.case(
            f"opening_not_{name}", "check-opening", given, comment=comment, refuse=refuse, section=section
        )

    mismatch = "commitment_mismatch"
    for name in ("case", "consent", "officer"):
        flaw(f"another_{name}", mismatch, **{name: "made up afterwards"})
    flaw("another_salt", mismatch, salts={**person["salts"], "case": {"base64": draw("salt", 32).hex()}})
    flaw("another_filler_seed", mismatch, filler_seed={"base64": draw("seed", 32).hex()})
    flaw(
        "another_person",
        mismatch,
        "plan: the inputs are not those of this person",
        particulars={**person["particulars"], "last": "Smith"},
    )
    flaw(
        "another_plan",
        mismatch,
        "plan: of one surname there is one lookup, the others hold fillers",
        plan_number=1,
    )
    flaw("plan_number_too_high", mismatch, "plan:", plan_number=3)
    inputs, blinds = person["inputs"], person["blinds"]
    flaw("inputs_exchanged", mismatch, inputs=[inputs[1], inputs[0], *inputs[2:]])
    flaw("blinds_exchanged", mismatch, blinds=[blinds[1], blinds[0], *blinds[2:]])
    flaw("blind_zero", mismatch, blinds=[{"base64": "00" * 32}, *blinds[1:]])
    flaw("input_missing", mismatch, inputs=inputs[:-1])
    flaw("blind_missing", mismatch, blinds=blinds[:-1])
    flaw(
        "salt_cut",
        "malformed_message",
        section="18.2",
        salts={**person["salts"], "case": {"base64": "00" * 31}},
    )
    flaw(
        "field_missing",
        "malformed_message",
        section="18.2",
        particulars={key: value for key, value in person["particulars"].items() if key != "sex"},
    )
    flaw("remark", "malformed_message", section="18.2", remark="")
    for name, change, refuse in (
        ("no_person", {"persons": []}, mismatch),
        ("a_person_too_many", {"persons": [person, person]}, mismatch),
        ("another_asker", {"asker": "birch-so"}, "identity_mismatch"),
        ("logged_otherwise", {"request_logged": filing.logged("receipts")}, "malformed_message"),
    ):
        given = {"file": {**good, **change}, **base}
        found.case(f"opening_not_{name}", "check-opening", given, refuse=refuse)
    other = world.draft(LookupShape.SCREENING, 4)
    persons = [_shown(world.paperwork(n), _people()[n], slots) for n, slots in enumerate(other.persons)]
    unlogged = _file(
        filing, filing.part("lookup about four", other.statement), persons, filing.logged("requests")
    )
    found.case(
        "opening_of_a_lookup_not_logged", "check-opening", {"file": unlogged, **base}, refuse="not_logged"
    )
    logged = _logging(filing, request_commitment(other.statement))
    four = {**unlogged, "request_logged": logged}
    found.case("opening_of_four", "check-opening", {"file": four, **base})
    exchanged = {**four, "persons": [persons[1], persons[0], *persons[2:]]}
    found.case("opening_not_persons_exchanged", "check-opening", {"file": exchanged, **base}, refuse=mismatch)
    _smuggled(found, filing, base)


def _people() -> list[Particulars]:
    return [MIKE, *(world.other_person(name) for name in ("Ann", "Juan", "Zoe"))]


def _logging(filing: Filing, commitment: bytes, name: str = "four") -> FileValue:
    """A requests entry that commits to another lookup, in a log of its own."""
    entry = Requests((commitment,)).encode()
    head = logs.witnessed(Checkpoint(ORIGIN, 1, merkle.root([entry])), logs.SIGNED_AT)
    return filing.proved(f"requests of {name}", entry, LogProof(0, (), head).encode(), f"head of {name}")


def _smuggled(found: Book, filing: Filing, base: dict[str, Any]) -> None:
    """Attack A5: a guess in a slot that should hold a filler."""
    papers = world.paperwork(7)
    nobody = Particulars(last="Schmidt")
    plan = plan_lookup(normalise(nobody), LookupShape.SCREENING, papers.filler_seed)[0]
    blinds = [draw_scalar(f"smuggling blind {number}") for number in range(len(plan.slots))]
    slots = list(blind_plan(plan, blinds))
    guess = next(number for number, item in enumerate(slots) if item.slot.label is None)
    value = octets("K:F+S", ["mike", "4071"])
    slots[guess] = replace(
        slots[guess],
        slot=replace(slots[guess].slot, input=value),
        blinded=oprf.blind(value, blinds[guess]),
    )
    made = draft_lookup(
        [AskedPerson(tuple(slots), papers)],
        LookupShape.SCREENING,
        Purpose.J_APPLICANT,
        FEDERATION,
        ASKER.node,
        world.TARGETS,
        ASKER.signing,
        NOW,
        LookupId(draw("smuggling lookup", 16)),
    )
    logged = _logging(filing, request_commitment(made.statement), "a guess")
    file = _file(
        filing, filing.part("lookup with a guess", made.statement), [_shown(papers, nobody, slots)], logged
    )
    found.case(
        "opening_not_with_a_guess_in_a_free_slot",
        "check-opening",
        {"file": file, **base},
        comment="plan: the slot holds neither this person's key nor its filler",
        refuse="commitment_mismatch",
    )


def _filled_up(found: Book, filing: Filing) -> None:
    """A person that only fills a lookup up."""
    papers = Paperwork("", "", "", world.paperwork(8).salts, world.paperwork(8).filler_seed)
    plan = plan_lookup(normalise(Particulars()), LookupShape.SCREENING, papers.filler_seed)[0]
    blinds = [draw_scalar(f"filling blind {number}") for number in range(len(plan.slots))]
    slots = blind_plan(plan, blinds)
    assert slots[0].slot.input == filler_input(papers.filler_seed, KeyClass.WEAK, 0)
    made = draft_lookup(
        [AskedPerson(slots, papers)],
        LookupShape.SCREENING,
        Purpose.J_APPLICANT,
        FEDERATION,
        ASKER.node,
        world.TARGETS,
        ASKER.signing,
        NOW,
        LookupId(draw("filling lookup", 16)),
    )
    logged = _logging(filing, request_commitment(made.statement), "fillers")
    file = _file(
        filing,
        filing.part("lookup of fillers", made.statement),
        [_shown(papers, Particulars(), slots)],
        logged,
    )
    given = {"file": file, "policy": changed("policy"), "now": ms(NOW + HOUR), "register": []}
    found.case("opening_of_fillers", "check-opening", given, comment="nobody was asked about: no case is due")


def _sealed(found: Book) -> None:
    auditor = DisclosureKey(draw("auditor key", 96))
    lookup = world.draft().lookup.lookup_id
    text = "what an opening says\n"
    bound = _bound(FEDERATION, ASKER.node, NodeId("state-auditor"), lookup)

    def holds(sealed: bytes) -> bool:
        try:
            return open_unpadded(sealed, auditor, bound) == text.encode()
        except CandorError:
            return False

    sealed = kept(1136 + len(text), holds, lambda: seal_unpadded(text.encode(), auditor.public, bound))
    found.keep("sealed", sealed)
    good = {
        "format": "candor-sealed-opening/1",
        "federation": str(FEDERATION),
        "asker": ASKER.name,
        "auditor": "state-auditor",
        "lookup": lookup.hex(),
        "sealed": {"base64": changed("sealed")},
    }
    private = auditor.octets().hex()
    found.case("sealed_opening", "open-sealed-opening", {"private_key": private, "file": good})
    for flaw, change, refuse in (
        ("another_auditor", {"auditor": "county-auditor"}, "sealed_data_invalid"),
        ("another_asker", {"asker": "birch-so"}, "sealed_data_invalid"),
        ("another_lookup", {"lookup": "00" * 16}, "sealed_data_invalid"),
        ("lookup_in_capitals", {"lookup": "AA" * 16}, "malformed_message"),
        ("remark", {"remark": ""}, "malformed_message"),
    ):
        given = {"private_key": private, "file": {**good, **change}}
        found.case(f"sealed_opening_not_{flaw}", "open-sealed-opening", given, refuse=refuse)
    key = {
        "format": "candor-auditor-key/1",
        "federation": str(FEDERATION),
        "auditor": "state-auditor",
        "key": {"base64": auditor.public.hex()},
    }
    found.case("auditor_key", "auditor-key", {"file": key})
    found.case(
        "auditor_key_of_no_name", "auditor-key", {"file": {**key, "auditor": ""}}, refuse="malformed_message"
    )
