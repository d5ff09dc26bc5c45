"""§18.2, §18.3: an opening explains a logged lookup to one auditor, and an invented case shows either way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from candor_proto.accountability.opening_file import (
    AuditorKey,
    OpeningFile,
    parse_auditor_key,
    parse_opening,
    parse_sealed_opening,
    seal_opening,
)
from candor_proto.errors import (
    CommitmentMismatch,
    IdentityMismatch,
    MalformedMessage,
    NotLogged,
    SealedDataInvalid,
    SignatureInvalid,
)
from candor_proto.exchange import AskedPerson, Draft, Paperwork, blind_plan, draft_lookup
from candor_proto.ids import FederationName, LookupId, LookupShape, NodeId, Purpose
from candor_proto.matchkeys import plan_lookup
from candor_proto.normalise import Particulars, normalise
from candor_proto.opening import Opening
from candor_proto.sealing import DisclosureKey
from candor_proto.tlog.entries import Requests, request_commitment
from tests.accountable import ASKER, OTHER, VICTIM, Court
from tests.parties import FEDERATION, MIKE, NOW

REGISTER = ["REQ-2026-1", " REQ-2026-2 ", "REQ-2026-3"]


def asked(
    court: Court, people: Sequence[tuple[Particulars, Paperwork]], shape: LookupShape = LookupShape.SCREENING
) -> tuple[Draft, tuple[Opening, ...]]:
    """A lookup about these people, and what the asker keeps of it."""
    persons, openings = [], []
    for particulars, papers in people:
        slots = blind_plan(plan_lookup(normalise(particulars), shape, papers.filler_seed)[0])
        persons.append(AskedPerson(slots, papers))
        inputs = tuple(item.slot.input for item in slots)
        openings.append(
            Opening(particulars, papers, 0, inputs, tuple(item.blinded.blind.to_bytes() for item in slots))
        )
    draft = draft_lookup(
        persons,
        shape,
        Purpose.J_APPLICANT,
        FEDERATION,
        ASKER,
        court.parties.targets(),
        court.asker.signing,
        NOW,
    )
    return draft, tuple(openings)


def papers(case: str = "REQ-2026-1") -> Paperwork:
    return Paperwork.draw(case, "CONSENT-1", "Sgt. Example") if case else Paperwork.draw("", "", "")


def opened(court: Court, draft: Draft, openings: Sequence[Opening]) -> OpeningFile:
    """The file, once the lookup was logged."""
    court.enter("asked", Requests((request_commitment(draft.statement),)).encode())
    return OpeningFile(
        FEDERATION, ASKER, draft.statement, tuple(openings), court.part("member asker"), court.part("asked")
    )


@pytest.mark.parametrize("shape", list(LookupShape))
def test_an_honest_opening_explains_every_slot(shape: LookupShape) -> None:
    court = Court()
    file = opened(court, *asked(court, [(MIKE, papers())], shape))
    octets = file.encode()
    read = parse_opening(octets)
    assert read.encode() == octets
    checked = read.check(court.trust())
    assert checked.cases() == ("REQ-2026-1",)
    assert checked.cases_not_in(REGISTER) == ()
    assert checked.witnessed_at == NOW
    assert not any(word in repr((file, checked)) for word in ("Schmidt", "REQ-2026", "4071"))


def test_a_lookup_about_several_is_opened_whole_and_fillers_have_no_case() -> None:
    court = Court()
    people = [
        (MIKE, papers()),
        (VICTIM, papers("REQ-2026-2")),
        *((Particulars(), papers("")) for _ in range(2)),
    ]
    checked = parse_opening(opened(court, *asked(court, people)).encode()).check(court.trust())
    assert checked.cases() == ("REQ-2026-1", "REQ-2026-2")
    assert checked.cases_not_in(REGISTER) == ()


def test_another_case_number_than_the_committed_one_is_refused() -> None:
    """The invented number was committed to; the asker shows one that stands in the register."""
    court = Court()
    draft, (kept,) = asked(court, [(MIKE, papers("INVENTED-7"))])
    shown = replace(kept, paperwork=replace(kept.paperwork, case="REQ-2026-1"))
    with pytest.raises(CommitmentMismatch, match="The case shown is not the one"):
        opened(court, draft, [shown]).check(court.trust())


def test_an_invented_case_number_is_not_in_the_register() -> None:
    """The asker shows what was committed to."""
    court = Court()
    checked = opened(court, *asked(court, [(MIKE, papers("INVENTED-7"))])).check(court.trust())
    assert checked.cases_not_in(REGISTER) == ("INVENTED-7",)


def test_nobody_is_asked_about_without_a_case() -> None:
    """Without papers stand fillers only: whoever signs refuses anything else, and so does an auditor."""
    court = Court()
    person = papers("")
    slots = blind_plan(plan_lookup(normalise(MIKE), LookupShape.SCREENING, person.filler_seed)[0])
    honest, _ = asked(court, [(MIKE, papers())])
    lookup = replace(
        honest.lookup,
        lookup_id=LookupId(bytes(16)),
        commitments=(person.commitments(),),
        elements={
            key_class: tuple(item.blinded.element for item in slots if item.slot.key_class is key_class)
            for key_class in honest.lookup.elements
        },
    )
    draft = replace(honest, lookup=lookup, statement=court.asker.signing.sign("lookup", lookup.encode()))
    inputs = tuple(item.slot.input for item in slots)
    blinds = tuple(item.blinded.blind.to_bytes() for item in slots)
    checked = opened(court, draft, [Opening(MIKE, person, 0, inputs, blinds)]).check(court.trust())
    assert checked.cases_not_in(REGISTER) == ("",)
    assert checked.cases_not_in([*REGISTER, ""]) == ("",)


def test_another_person_than_asked_about_is_refused() -> None:
    court = Court()
    draft, (kept,) = asked(court, [(VICTIM, papers())])
    with pytest.raises(CommitmentMismatch, match="Slot"):
        opened(court, draft, [replace(kept, particulars=MIKE)]).check(court.trust())


def test_particulars_count_by_the_plan_they_give() -> None:
    """What a screening lookup does not ask for is the asker's word (§18.3)."""
    court = Court()
    draft, (kept,) = asked(court, [(MIKE, papers())])
    told = replace(kept, particulars=replace(MIKE, sex="F"))
    plans = opened(court, draft, [told]).check(court.trust()).plans
    assert plans == opened(court, draft, [kept]).check(court.trust()).plans


def test_a_lookup_that_was_not_drawn_cannot_stand_for_the_one_that_was() -> None:
    court = Court()
    drawn, _ = asked(court, [(VICTIM, papers("INVENTED-7"))])
    shown, kept = asked(court, [(MIKE, papers())])
    court.enter("asked", Requests((request_commitment(drawn.statement),)).encode())
    file = OpeningFile(
        FEDERATION, ASKER, shown.statement, kept, court.part("member asker"), court.part("asked")
    )
    with pytest.raises(NotLogged):
        file.check(court.trust())


def test_an_opening_names_its_asker_and_federation() -> None:
    court = Court()
    file = opened(court, *asked(court, [(MIKE, papers())]))
    with pytest.raises(IdentityMismatch):
        replace(file, asker=OTHER).check(court.trust())
    with pytest.raises(SignatureInvalid):
        replace(file, asker=OTHER, asker_member=court.part("member other")).check(court.trust())
    with pytest.raises(IdentityMismatch):
        replace(file, federation=FederationName("elsewhere.example")).check(court.trust())


def test_every_person_is_shown_once() -> None:
    court = Court()
    file = opened(court, *asked(court, [(MIKE, papers())]))
    for persons in ((), file.persons * 2):
        with pytest.raises(CommitmentMismatch, match="needs an opening for each"):
            replace(file, persons=persons).check(court.trust())


# --- for one auditor ---------------------------------------------------------------------------------------


def test_only_the_auditor_it_was_made_for_opens_it() -> None:
    court = Court()
    file = opened(court, *asked(court, [(MIKE, papers())]))
    private = DisclosureKey.generate()
    key = parse_auditor_key(AuditorKey(FEDERATION, NodeId("auditor-5"), private.public).encode())
    octets = seal_opening(file, key).encode()
    sealed = parse_sealed_opening(octets)
    assert sealed.encode() == octets
    assert b"Schmidt" not in octets
    assert parse_opening(sealed.open(private)).check(court.trust()).cases() == ("REQ-2026-1",)
    with pytest.raises(SealedDataInvalid):
        sealed.open(DisclosureKey.generate())
    for changed in (
        replace(sealed, auditor=NodeId("auditor-6")),
        replace(sealed, asker=OTHER),
        replace(sealed, lookup_id=LookupId(bytes(16))),
        replace(sealed, federation=FederationName("elsewhere.example")),
    ):
        with pytest.raises(SealedDataInvalid):
            changed.open(private)


def test_a_key_that_is_no_good_seals_nothing() -> None:
    court = Court()
    file = opened(court, *asked(court, [(MIKE, papers())]))
    with pytest.raises(MalformedMessage):
        seal_opening(file, AuditorKey(FEDERATION, NodeId("auditor-5"), bytes(1216)))
