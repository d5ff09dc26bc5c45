"""Openings for audit (§18.2, §18.3): what one asker shows an auditor of one logged lookup.

What is opened names people: nothing of it is repeated in a report but case numbers.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from candor_verify import entries, inputs, voprf
from candor_verify.errors import CommitmentMismatch, Malformed, Refused
from candor_verify.form import Fields, parse_file, same
from candor_verify.names import at, say_time
from candor_verify.octets import digest
from candor_verify.proof import Judge
from candor_verify.receipt import check_logged_commitment, signed_lookup
from candor_verify.statements import Lookup, Part, classes_of, parse_lookup, person_slots

FORMAT = "candor-opening/1"
PARTICULARS = (
    *("birth_date", "first", "former_last", "last", "middle"),
    *("post_id", "post_state", "sex", "ssn4", "suffix"),
)
MAX_PLAN = 64


@dataclass(frozen=True)
class Opened:
    """A verified opening: the cases named, position by position; None where a person only fills it up."""

    lines: tuple[str, ...]
    cases: tuple[str | None, ...]
    place: tuple[str, int, int]  # origin, entry, position: compare with the draw

    def not_in(self, register: frozenset[str]) -> list[tuple[int, str]]:
        """Persons (from 1) whose case the register does not know."""
        return [
            (number, case)
            for number, case in enumerate(self.cases, 1)
            if case is not None and case not in register
        ]


def read_register(octets: bytes) -> frozenset[str]:
    """The agency's cases, one a line. Raises Malformed."""
    try:
        text = octets.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Malformed("The register of cases is not UTF-8.") from None
    return frozenset(unicodedata.normalize("NFC", line.strip()) for line in text.splitlines()) - {""}


def verify_opening(octets: bytes, judge: Judge) -> Opened:
    """Raises a Refused that names the person and what does not open."""
    fields = Fields(parse_file(octets), "The opening")
    fields.exactly("format", FORMAT)
    federation, asker = fields.federation(), fields.node("asker")
    part = fields.part("lookup")
    lookup = _own_lookup(fields, part, federation, asker, judge)
    logged = fields.logged("request_logged")
    persons = [Fields(value, "A person") for value in fields.list_of("persons", 64)]
    fields.done()
    commitment = entries.request_commitment(part)
    position = check_logged_commitment(logged, commitment, entries.Requests, judge, federation)
    if len(persons) != lookup.persons:
        raise CommitmentMismatch("The opening shows another number of persons than the lookup has.")
    versions: set[int] = set()
    cases = []
    for number, person in enumerate(persons):
        try:
            cases.append(_person(person, lookup, number, versions))
        except Refused as error:
            raise type(error)(f"Person {number + 1}: {error}") from None
    if len(versions) > 1:
        raise Malformed("The inputs of one lookup are of different scheme versions.")
    filled = sum(case is None for case in cases)
    lines = (
        f"Lookup {lookup.lookup_id.hex()} of {asker} in {federation}, {say_time(at(lookup.issued))}",
        f"  logged at {logged.place}, position {position}",
        f"  {lookup.persons} person(s), {filled} of them only to fill it up",
        "  every element and every commitment opens",
    )
    return Opened(lines, tuple(cases), (logged.proof.checkpoint.origin, logged.proof.index, position))


def _own_lookup(fields: Fields, part: Part, federation: str, asker: str, judge: Judge) -> Lookup:
    same("asker", parse_lookup(part.body, check_elements=False).asker, asker)
    return signed_lookup(part, federation, fields.logged("asker_member").member(asker, federation, judge))


def _person(person: Fields, lookup: Lookup, number: int, versions: set[int]) -> str | None:
    """Check one person; returns the case, None for one that only fills the lookup up."""
    person.number("plan_number", MAX_PLAN)
    texts = {name: person.text(name) for name in ("case", "consent", "officer")}
    seed = person.octets("filler_seed", 32)
    _check_commitments(person.object("salts"), lookup.commitments[number], texts, seed)
    particulars = person.object("particulars")
    known = [particulars.text(name) for name in PARTICULARS]
    particulars.done()
    widths = classes_of(lookup.shape)
    slots = inputs.slots_of(widths)
    strings = person.list_of_octets("inputs", len(slots))
    blinds = person.list_of_octets("blinds", len(slots), 32)
    person.done()
    if len(strings) != len(slots) or len(blinds) != len(slots):
        raise CommitmentMismatch("The opening has not one input and one blind for each slot.")
    asked = [
        each for group in lookup.elements if group for each in person_slots(group, lookup.persons)[number]
    ]
    only_fillers = True
    for (letter, slot), octets, blind, element in zip(slots, strings, blinds, asked, strict=True):
        is_filler, version = _check_slot(octets, letter, slot, seed)
        only_fillers &= is_filler
        versions.add(version)
        if not any(blind) or voprf.blinded(octets, blind) != element:
            raise CommitmentMismatch(f"slot {letter} {slot}: the element is not the input under the blind")
    if only_fillers and not any(known) and not any(texts.values()):
        return None
    return texts["case"]


def _check_commitments(
    salts: Fields, commitments: tuple[bytes, bytes, bytes, bytes], texts: dict[str, str], seed: bytes
) -> None:
    values = {name: text.encode() for name, text in texts.items()} | {"filler": seed}
    for (name, value), commitment in zip(values.items(), commitments, strict=True):
        if digest(f"commitment/{name}", salts.octets(name, 32), value) != commitment:
            raise CommitmentMismatch(f"the commitment to the {name} does not open")
    salts.done()


def _check_slot(octets: bytes, letter: str, slot: int, seed: bytes) -> tuple[bool, int]:
    """Whether an input is a filler, and its scheme version.

    Raises a Refused if it does not belong in its slot.
    """
    version, label, _ = inputs.read_input(octets)
    if label == inputs.FILLER:
        if octets != inputs.filler(version, seed, letter, slot):
            raise CommitmentMismatch(f"slot {letter} {slot}: the filler is not that slot's")
        return True, version
    if label.startswith("C:") is not (letter == "C"):
        raise CommitmentMismatch(f"slot {letter} {slot}: holds an input of another class")
    return False, version
