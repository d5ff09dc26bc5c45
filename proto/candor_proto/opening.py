"""Audit by opening: the asker shows what a logged lookup asked (docs/protocol.md §7.10; attack A5b).

The auditor holds the signed body and gets particulars, blinds, seed, salts and values. Every slot is
recomputed under the scheme that the inputs name: a guess hidden as a filler, a second person in free slots,
or an invented case number shows.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from candor_proto import oprf
from candor_proto.errors import CommitmentMismatch, InvalidScalar, MalformedMessage
from candor_proto.exchange import Paperwork
from candor_proto.group import Scalar
from candor_proto.matchkeys import LookupPlan, check_plan
from candor_proto.normalise import Particulars, normalise
from candor_proto.scheme import scheme_of_inputs
from candor_proto.statements import SLOTS, Lookup


@dataclass(frozen=True, repr=False)
class Opening:
    """What the asker keeps sealed for two years and shows to an auditor on demand.

    One opening explains one person of a lookup. `inputs` and `blinds` (32 octets each) run in the order of
    the plan's slots; `plan_number` says which of the person's plans this is.
    """

    particulars: Particulars
    paperwork: Paperwork
    plan_number: int
    inputs: tuple[bytes, ...]
    blinds: tuple[bytes, ...]

    def __repr__(self) -> str:
        return "Opening(<redacted>)"


def open_lookup(lookup: Lookup, openings: Sequence[Opening]) -> tuple[LookupPlan, ...]:
    """The plans that `lookup` asked, person by person, once `openings` explain every slot of it.

    Raises CommitmentMismatch naming the first commitment or slot that differs, never a value, and
    UnsupportedVersion for inputs of a scheme that this build does not know.
    """
    if len(openings) != lookup.persons:
        raise CommitmentMismatch(f"A lookup about {lookup.persons} persons needs an opening for each.")
    return tuple(_open_person(lookup, number, opening) for number, opening in enumerate(openings))


def _open_person(lookup: Lookup, number: int, opening: Opening) -> LookupPlan:
    try:
        stated, shown = lookup.commitments[number], opening.paperwork.commitments()
    except (KeyError, UnicodeEncodeError, MalformedMessage):
        # A salt that is missing or too short, or a text that no encoding holds.
        raise CommitmentMismatch("The paperwork shown cannot be committed to.") from None
    for name in ("case", "consent", "officer", "filler"):
        if not hmac.compare_digest(getattr(stated, name).value, getattr(shown, name).value):
            raise CommitmentMismatch(f"The {name} shown is not the one that the lookup committed to.")
    plan = check_plan(
        normalise(opening.particulars),
        lookup.shape,
        opening.paperwork.filler_seed,
        opening.inputs,
        opening.plan_number,
        scheme_of_inputs(opening.inputs),
    )
    _check_elements(lookup, number, plan, opening.blinds)
    return plan


def _check_elements(lookup: Lookup, number: int, plan: LookupPlan, blinds: Sequence[bytes]) -> None:
    if len(blinds) != len(plan.slots):
        raise CommitmentMismatch("An opening shows one blind for each slot.")
    slots = SLOTS[lookup.shape]
    for slot, octets in zip(plan.slots, blinds, strict=True):
        where = f"Slot {slot.position} of class {slot.key_class.letter}"
        try:
            recomputed = oprf.blind(slot.input, Scalar.parse_nonzero(octets)).element
        except InvalidScalar:
            raise CommitmentMismatch(f"{where} is shown with no usable blind.") from None
        sent = lookup.elements[slot.key_class][number * slots[slot.key_class] + slot.position]
        if sent != recomputed:
            raise CommitmentMismatch(f"{where} holds something else than what is shown.")
