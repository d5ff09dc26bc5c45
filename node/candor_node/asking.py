"""Lookups about one person: may it be asked, in how many lookups, and the drafts (docs/protocol.md §7.1).

Rules of this file:
- it does no I/O and touches no database: a question and whom to ask go in, lookups to be stored come out;
- members whose indexes are of one scheme are asked together, those of another by a lookup of its own: in as
  many lookups, of as many elements;
- two lookups for one person share nothing: each has its own id, blinds, salts and filler seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from candor_node.lookup_store import Ask
from candor_node.targets import TargetRow
from candor_proto.directory import IndexHead
from candor_proto.errors import Unreachable, UnsupportedVersion
from candor_proto.exchange import (
    AskedPerson,
    Draft,
    LookupState,
    Paperwork,
    TargetPlan,
    blind_plan,
    draft_lookup,
)
from candor_proto.ids import FederationName, LookupShape, NodeId, Purpose
from candor_proto.matchkeys import SEED_BYTES, LookupPlan, plan_lookup, plans_needed
from candor_proto.normalise import Particulars, Person, normalise
from candor_proto.opening import Opening
from candor_proto.policy import check_askable, check_paperwork
from candor_proto.result import TargetState
from candor_proto.scheme import SCHEMES, find_scheme
from candor_proto.signing import SigningKey
from candor_proto.statements import Target


@dataclass(frozen=True, repr=False)
class Question:
    """What a person asks: about whom, why, and under which papers."""

    particulars: Particulars
    purpose: Purpose
    shape: LookupShape
    case: str
    consent: str
    officer: str
    # Who asks; "" where that is the officer in charge.
    user: str = ""


@dataclass(frozen=True, repr=False)
class Checked:
    """A question that may be asked: the person, in how many lookups, and whether they leave surnames out.

    `planned` are the plans under the seed given and each scheme asked for.
    """

    question: Question
    person: Person
    plans: int
    incomplete: bool
    planned: Mapping[int, tuple[LookupPlan, ...]] = field(default_factory=dict)


def check_question(question: Question, versions: Iterable[int], seed: bytes = bytes(SEED_BYTES)) -> Checked:
    """Whether this may be asked under each of these schemes; raises PurposeRefused or InputInvalid.

    It is asked in as many lookups as the scheme needs that needs the most, of all that this build knows: a
    node may move to any of them before the last lookup is sent.
    """
    check_paperwork(question.purpose, question.case, question.consent, question.officer)
    person, shape = normalise(question.particulars), question.shape
    planned = {version: plan_lookup(person, shape, seed, find_scheme(version)) for version in versions}
    for plans in planned.values():
        check_askable(plans)
    others = [scheme for version, scheme in SCHEMES.items() if version not in planned]
    return Checked(
        question,
        person,
        max(plans_needed(person, shape, others), *map(len, planned.values())),
        any(plans[0].incomplete for plans in planned.values()),
        planned,
    )


def check_targets(planned: TargetPlan) -> None:
    """Whether there is anybody to ask; raises Unreachable, or UnsupportedVersion if all are newer."""
    if planned.groups:
        return
    unknown = [report for report in planned.unasked if report.state is TargetState.UNKNOWN_SCHEME]
    if unknown:
        raise UnsupportedVersion(
            f"{unknown[0].node} cannot be asked: {unknown[0].reason}.", remedy="Install the newest release."
        )
    raise Unreachable(
        "No member's index is held yet, so there is nothing to ask.",
        remedy="Wait until `candor-node status` shows indexes.",
    )


def has_moved(draft: Draft, head: IndexHead | None) -> bool:
    """Whether the index of a target is of another epoch or scheme by now than it was asked under (§7.9)."""
    if head is None:
        return False
    asked = draft.lookup.epoch_for(head.node), draft.scheme_version
    return asked != (head.epoch, head.scheme_version)


def plans_under(
    person: Person, shape: LookupShape, seed: bytes, version: int, count: int
) -> tuple[LookupPlan, ...]:
    """The `count` plans of a person under a scheme.

    Raises UnsupportedVersion for a scheme under which there are more: it was not known when this was planned,
    and with as few lookups not every surname would be asked about.
    """
    plans = plan_lookup(person, shape, seed, find_scheme(version), least=count)
    if len(plans) > count:
        raise UnsupportedVersion(
            f"This lookup was planned without scheme version {version}.", remedy="Ask anew."
        )
    return plans


class Drafts:
    """Drafts and signs lookups of one asker."""

    def __init__(self, federation: FederationName, own: NodeId, key: SigningKey) -> None:
        self._federation = federation
        self._own = own
        self._key = key

    def draft(
        self, checked: Checked, number: int, attempt: int, planned: TargetPlan, now: datetime
    ) -> list[Ask]:
        """Lookup `number` of a person, one for each group of targets. Raises UnsupportedVersion."""
        return [
            self._draft(checked, number, attempt, version, targets, now)
            for version, targets in planned.groups.items()
        ]

    def _draft(
        self,
        checked: Checked,
        number: int,
        attempt: int,
        version: int,
        targets: tuple[Target, ...],
        now: datetime,
    ) -> Ask:
        question = checked.question
        paperwork = Paperwork.draw(question.case, question.consent, question.officer)
        seed = paperwork.filler_seed
        slots = blind_plan(plans_under(checked.person, question.shape, seed, version, checked.plans)[number])
        draft = draft_lookup(
            [AskedPerson(slots, paperwork)],
            question.shape,
            question.purpose,
            self._federation,
            self._own,
            targets,
            self._key,
            now,
        )
        opening = Opening(
            question.particulars,
            paperwork,
            number,
            tuple(item.slot.input for item in slots),
            tuple(item.blinded.blind.to_bytes() for item in slots),
        )
        pending = {target.node: TargetRow(TargetState.PENDING) for target in targets}
        return Ask(draft, opening, attempt, LookupState.STORED, pending)
