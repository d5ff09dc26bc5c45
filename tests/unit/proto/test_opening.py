"""§7.10, attack A5b: an audit opening explains every slot, and whatever was hidden in one shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candor_proto.errors import CandorError, CommitmentMismatch, UnsupportedVersion
from candor_proto.exchange import AskedPerson, Draft, Paperwork, blind_plan, draft_lookup
from candor_proto.group import Scalar
from candor_proto.ids import KeyClass, LookupShape, NodeId, Purpose
from candor_proto.matchkeys import LookupPlan, Slot, plan_lookup
from candor_proto.normalise import Particulars, normalise
from candor_proto.opening import Opening, open_lookup
from candor_proto.signing import SigningKey
from candor_proto.statements import Lookup, Target
from tests.parties import FEDERATION, MIKE, NOW
from tests.schemes import NEXT, both_known

SHAPES = pytest.mark.parametrize("shape", list(LookupShape))
KEY = SigningKey.generate()
VICTIM = Particulars(first="Erika", last="Mustermann", birth_date="1970-08-12", ssn4="5151", sex="F")
# No last four and no certificate: six of the sixteen slots are fillers.
APPLICANT = replace(MIKE, ssn4="")
MANY = replace(MIKE, last="Schmidt-Meyer Lopez", former_last="Garcia Perez")


def drafted(plan: LookupPlan, paperwork: Paperwork) -> Draft:
    return draft_lookup(
        [AskedPerson(blind_plan(plan), paperwork)],
        plan.shape,
        Purpose.J_APPLICANT,
        FEDERATION,
        NodeId("asker-pd"),
        (Target(NodeId("harbor-pd"), 1),),
        KEY,
        NOW,
    )


def opening_of(draft: Draft, paperwork: Paperwork, particulars: Particulars, number: int = 0) -> Opening:
    return Opening(
        particulars,
        paperwork,
        number,
        tuple(item.slot.input for item in draft.persons[0]),
        tuple(item.blinded.blind.to_bytes() for item in draft.persons[0]),
    )


def honest(
    shape: LookupShape, particulars: Particulars = APPLICANT, number: int = 0
) -> tuple[Lookup, Opening]:
    paperwork = Paperwork.draw("REQ-1", "CONSENT-1", "Sgt. Example")
    plan = plan_lookup(normalise(particulars), shape, paperwork.filler_seed)[number]
    draft = drafted(plan, paperwork)
    return draft.lookup, opening_of(draft, paperwork, particulars, number)


def smuggled(shape: LookupShape, changes: Mapping[int, bytes]) -> tuple[Lookup, Opening]:
    """A lookup for the applicant in which some slots (counted over all classes) ask something else."""
    paperwork = Paperwork.draw("REQ-1", "CONSENT-1", "Sgt. Example")
    plan = plan_lookup(normalise(APPLICANT), shape, paperwork.filler_seed)[0]
    slots = tuple(
        replace(slot, input=changes[number]) if number in changes else slot
        for number, slot in enumerate(plan.slots)
    )
    draft = drafted(replace(plan, slots=slots), paperwork)
    return draft.lookup, opening_of(draft, paperwork, APPLICANT)


def plan_of(shape: LookupShape, particulars: Particulars) -> tuple[Slot, ...]:
    return plan_lookup(normalise(particulars), shape, bytes(32))[0].slots


def fillers(shape: LookupShape) -> list[int]:
    return [number for number, slot in enumerate(plan_of(shape, APPLICANT)) if slot.label is None]


# --- what is in order ------------------------------------------------------------------------------------


@SHAPES
@pytest.mark.parametrize("particulars", [APPLICANT, MIKE, VICTIM, Particulars(last="Xu"), Particulars()])
def test_s7_10_an_honest_opening_explains_every_slot(shape: LookupShape, particulars: Particulars) -> None:
    lookup, opening = honest(shape, particulars)
    (plan,) = open_lookup(lookup, [opening])
    assert len(plan.slots) == {LookupShape.SCREENING: 16, LookupShape.DETAILED: 40}[shape]
    assert [slot.input for slot in plan.slots] == list(opening.inputs)


@SHAPES
def test_s7_10_further_lookups_of_a_person_open_as_what_they_are(shape: LookupShape) -> None:
    lookup, opening = honest(shape, MANY, 1)
    assert open_lookup(lookup, [opening])[0].number == 1
    with pytest.raises(CommitmentMismatch):
        open_lookup(lookup, [replace(opening, plan_number=0)])
    with pytest.raises(CommitmentMismatch):
        open_lookup(lookup, [replace(opening, plan_number=99)])
    with pytest.raises(CommitmentMismatch):
        open_lookup(lookup, [replace(opening, plan_number=-1)])


def test_the_lookup_as_received_opens_as_well() -> None:
    lookup, opening = honest(LookupShape.DETAILED)
    assert open_lookup(Lookup.decode(lookup.encode()), [opening])


def test_a_lookup_about_several_persons_needs_the_opening_of_each_in_order() -> None:
    papers = [Paperwork.draw(f"REQ-{number}", "CONSENT-1", "Sgt. Example") for number in range(4)]
    people = [APPLICANT, MIKE, VICTIM, Particulars()]
    plans = [
        plan_lookup(normalise(person), LookupShape.DETAILED, paper.filler_seed)[0]
        for person, paper in zip(people, papers, strict=True)
    ]
    asked = [AskedPerson(blind_plan(plan), paper) for plan, paper in zip(plans, papers, strict=True)]
    targets = (Target(NodeId("harbor-pd"), 1),)
    draft = draft_lookup(
        asked, LookupShape.DETAILED, Purpose.J_APPLICANT, FEDERATION, NodeId("asker-pd"), targets, KEY, NOW
    )
    openings = [
        Opening(
            person,
            paper,
            0,
            tuple(item.slot.input for item in slots),
            tuple(item.blinded.blind.to_bytes() for item in slots),
        )
        for person, paper, slots in zip(people, papers, draft.persons, strict=True)
    ]
    assert list(open_lookup(draft.lookup, openings)) == plans
    for spoilt in (openings[:3], openings[::-1], [openings[0], *openings[:3]], []):
        with pytest.raises(CommitmentMismatch):
            open_lookup(draft.lookup, spoilt)
    hidden = [*openings[:3], replace(openings[3], inputs=openings[2].inputs)]
    with pytest.raises(CommitmentMismatch):
        open_lookup(draft.lookup, hidden)


# --- what was hidden -------------------------------------------------------------------------------------


@SHAPES
def test_a5b_a_guess_hidden_as_a_filler_shows(shape: LookupShape) -> None:
    """Shown as it was asked it is no filler; shown as a filler it is not what was sent."""
    where = fillers(shape)[0]
    guess = plan_of(shape, VICTIM)[where].input
    lookup, opening = smuggled(shape, {where: guess})
    with pytest.raises(CommitmentMismatch, match="neither this person's key nor that slot's filler"):
        open_lookup(lookup, [opening])
    seed = opening.paperwork.filler_seed
    shown = list(opening.inputs)
    shown[where] = plan_lookup(normalise(APPLICANT), shape, seed)[0].slots[where].input
    with pytest.raises(CommitmentMismatch, match="holds something else than what is shown"):
        open_lookup(lookup, [replace(opening, inputs=tuple(shown))])


@SHAPES
def test_a5b_every_single_slot_is_explained(shape: LookupShape) -> None:
    """One foreign value in any slot, key or filler, shown truly or falsely."""
    _, truth = honest(shape)
    for where in range(len(truth.inputs)):
        lookup, opening = smuggled(shape, {where: b"foreign"})
        with pytest.raises(CommitmentMismatch):
            open_lookup(lookup, [opening])
        seed = opening.paperwork.filler_seed
        cover = tuple(slot.input for slot in plan_lookup(normalise(APPLICANT), shape, seed)[0].slots)
        with pytest.raises(CommitmentMismatch, match=r"^Slot \d+ of class [WMC] holds something else"):
            open_lookup(lookup, [replace(opening, inputs=cover)])


@SHAPES
def test_a5b_a_second_persons_keys_in_free_slots_show(shape: LookupShape) -> None:
    other = plan_of(shape, VICTIM)
    lookup, opening = smuggled(shape, {where: other[where].input for where in fillers(shape)})
    with pytest.raises(CommitmentMismatch):
        open_lookup(lookup, [opening])
    for excuse in (VICTIM, replace(APPLICANT, former_last=VICTIM.last)):
        with pytest.raises(CommitmentMismatch):
            open_lookup(lookup, [replace(opening, particulars=excuse)])


@SHAPES
def test_a5b_a_whole_lookup_for_another_person_shows(shape: LookupShape) -> None:
    lookup, opening = honest(shape, VICTIM)
    with pytest.raises(CommitmentMismatch):
        open_lookup(lookup, [replace(opening, particulars=APPLICANT)])
    _, cover = honest(shape, APPLICANT)
    with pytest.raises(CommitmentMismatch):
        open_lookup(lookup, [replace(cover, paperwork=opening.paperwork)])


@SHAPES
def test_a5b_swapped_slots_show(shape: LookupShape) -> None:
    """Two of the person's own keys, each in the other's slot."""
    own = [number for number, slot in enumerate(plan_of(shape, APPLICANT)) if slot.label is not None]
    slots = plan_of(shape, APPLICANT)
    one, other = own[1], own[2]
    lookup, opening = smuggled(shape, {one: slots[other].input, other: slots[one].input})
    with pytest.raises(CommitmentMismatch):
        open_lookup(lookup, [opening])
    inputs, blinds = list(opening.inputs), list(opening.blinds)
    inputs[one], inputs[other] = inputs[other], inputs[one]
    blinds[one], blinds[other] = blinds[other], blinds[one]
    with pytest.raises(CommitmentMismatch):
        open_lookup(lookup, [replace(opening, inputs=tuple(inputs), blinds=tuple(blinds))])


@SHAPES
def test_a5b_a_wrong_blind_shows(shape: LookupShape) -> None:
    lookup, opening = honest(shape)
    for where in range(0, len(opening.blinds), 5):
        for wrong in (Scalar.random().to_bytes(), bytes(32), b"\xff" * 32, b"", bytes(31), bytes(33)):
            blinds = (*opening.blinds[:where], wrong, *opening.blinds[where + 1 :])
            with pytest.raises(CommitmentMismatch, match=r"^Slot \d+ of class"):
                open_lookup(lookup, [replace(opening, blinds=blinds)])


@SHAPES
@pytest.mark.parametrize("lists", ["inputs", "blinds"])
@pytest.mark.parametrize("change", [-1, 1])
def test_a5b_missing_and_surplus_values_show(shape: LookupShape, lists: str, change: int) -> None:
    lookup, opening = honest(shape)
    values: tuple[bytes, ...] = getattr(opening, lists)
    longer = values[:-1] if change < 0 else (*values, values[-1])
    shown = replace(opening, inputs=longer) if lists == "inputs" else replace(opening, blinds=longer)
    with pytest.raises(CommitmentMismatch):
        open_lookup(lookup, [shown])


@SHAPES
@pytest.mark.parametrize("name", ["case", "consent", "officer"])
def test_a17_an_invented_case_number_shows(shape: LookupShape, name: str) -> None:
    lookup, opening = honest(shape)
    papers = opening.paperwork
    for paperwork in (
        Paperwork(**{**vars(papers), name: "REQ-2"}),
        replace(papers, salts={**papers.salts, name: bytes(32)}),
    ):
        with pytest.raises(CommitmentMismatch, match=f"^The {name} shown"):
            open_lookup(lookup, [replace(opening, paperwork=paperwork)])


@SHAPES
def test_a5b_another_filler_seed_shows(shape: LookupShape) -> None:
    """The seed is committed to, or a seed could be sought that makes a filler of a guess."""
    lookup, opening = honest(shape)
    paperwork = replace(opening.paperwork, filler_seed=bytes(32))
    with pytest.raises(CommitmentMismatch, match=r"^The filler shown"):
        open_lookup(lookup, [replace(opening, paperwork=paperwork)])


# --- only typed errors -----------------------------------------------------------------------------------


def _spoilt(papers: Paperwork) -> Sequence[Paperwork]:
    return (
        replace(papers, salts={}),
        replace(papers, salts={name: salt for name, salt in papers.salts.items() if name != "officer"}),
        replace(papers, salts={**papers.salts, "case": b"short"}),
        replace(papers, case="\ud800"),
        replace(papers, officer="\udfff"),
        replace(papers, filler_seed=b""),
    )


def test_paperwork_that_commits_to_nothing_raises_only_typed_errors() -> None:
    lookup, opening = honest(LookupShape.SCREENING)
    for paperwork in _spoilt(opening.paperwork):
        with pytest.raises(CommitmentMismatch):
            open_lookup(lookup, [replace(opening, paperwork=paperwork)])


def test_a_seed_of_the_wrong_length_that_was_committed_to_raises_only_typed_errors() -> None:
    lookup, opening = honest(LookupShape.SCREENING)
    paperwork = replace(opening.paperwork, filler_seed=b"short")
    committed = replace(lookup, commitments=(paperwork.commitments(),))
    with pytest.raises(CandorError):
        open_lookup(committed, [replace(opening, paperwork=paperwork)])


@settings(max_examples=100, deadline=None)
@given(
    texts=st.lists(st.text(max_size=220), min_size=10, max_size=10),
    inputs=st.lists(st.binary(max_size=40), max_size=20),
    blinds=st.lists(st.binary(max_size=40), max_size=20),
    number=st.integers(-3, 3),
)
def test_arbitrary_openings_raise_only_typed_errors(
    texts: list[str], inputs: list[bytes], blinds: list[bytes], number: int
) -> None:
    lookup, opening = LOOKUP_AND_OPENING
    shown = Opening(Particulars(*texts), opening.paperwork, number, tuple(inputs), tuple(blinds))
    with pytest.raises(CandorError):
        open_lookup(lookup, [shown])


LOOKUP_AND_OPENING = honest(LookupShape.SCREENING)


def test_an_error_names_a_slot_and_never_a_value() -> None:
    lookup, opening = smuggled(LookupShape.DETAILED, {0: b"foreign"})
    with pytest.raises(CommitmentMismatch) as caught:
        open_lookup(lookup, [opening])
    text = f"{caught.value} {opening!r}"
    for value in (MIKE.first, MIKE.last, MIKE.birth_date, "schmidt", "foreign", "REQ-1"):
        assert value not in text
    assert KeyClass.WEAK.name in text


# --- under which scheme ----------------------------------------------------------------------------------


@SHAPES
def test_s7_10_a_lookup_opens_under_the_scheme_that_it_was_made_under(shape: LookupShape) -> None:
    paperwork = Paperwork.draw("REQ-1", "CONSENT-1", "Sgt. Example")
    plan = plan_lookup(normalise(APPLICANT), shape, paperwork.filler_seed, NEXT)[0]
    draft = drafted(plan, paperwork)
    opening = opening_of(draft, paperwork, APPLICANT)
    with both_known():
        assert open_lookup(draft.lookup, [opening]) == (plan,)
    with pytest.raises(UnsupportedVersion, match="version 77 is not known"):
        open_lookup(draft.lookup, [opening])


@SHAPES
def test_a5b_another_scheme_is_no_excuse(shape: LookupShape) -> None:
    """Shown under a scheme that was not used, nothing is what was sent; a slot under another one shows."""
    lookup, opening = honest(shape)
    seed = opening.paperwork.filler_seed
    other = plan_lookup(normalise(APPLICANT), shape, seed, NEXT)[0]
    with both_known():
        shown = replace(opening, inputs=tuple(slot.input for slot in other.slots))
        with pytest.raises(CommitmentMismatch, match="holds something else than what is shown"):
            open_lookup(lookup, [shown])
        hidden = other.slots[0].input
        lookup, opening = smuggled(shape, {0: hidden})
        with pytest.raises(CommitmentMismatch, match="Slot 0 of class WEAK"):
            open_lookup(lookup, [opening])
