"""The asker's lookup as a state machine without I/O (docs/protocol.md §7).

States and transitions are tables. Bytes and events go in, the next state comes out; whoever drives
this stores it before anything is sent and sends nothing that is not in it.

    DRAFT --store--> STORED --hub accepts--> ACCEPTED --shown--> SHOWN --life ends--> CLOSED
                     STORED --hub denies---> DENIED             SHOWN --late answer--> SHOWN
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from functools import cached_property

from candor_proto import oprf
from candor_proto.directory import DirectoryView, IndexHead
from candor_proto.errors import (
    IdentityMismatch,
    IllegalTransition,
    KeyMismatch,
    MalformedMessage,
    PurposeRefused,
    WrongRecipient,
)
from candor_proto.group import Scalar
from candor_proto.ids import Digest, FederationName, KeyClass, LookupId, LookupShape, NodeId, Purpose
from candor_proto.matchkeys import LookupPlan, Slot
from candor_proto.oprf import Finalize, SliceMap
from candor_proto.result import TargetReport, TargetState
from candor_proto.scheme import SCHEMES
from candor_proto.signing import SignedStatement, SigningKey, VerifyingKey
from candor_proto.statements import (
    LOOKUP_LIFE,
    Answer,
    AnswerStatus,
    Commitments,
    Lookup,
    Target,
    classes_of,
)


class LookupState(Enum):
    DRAFT = "draft"
    STORED = "stored"
    ACCEPTED = "accepted"
    SHOWN = "shown"
    DENIED = "denied"
    CLOSED = "closed"


class LookupEvent(Enum):
    STORE = "store"
    HUB_ACCEPTS = "hub accepts"
    HUB_DENIES = "hub denies"
    SHOW = "show"
    LIFE_ENDS = "life ends"


LOOKUP_TRANSITIONS: Mapping[tuple[LookupState, LookupEvent], LookupState] = {
    (LookupState.DRAFT, LookupEvent.STORE): LookupState.STORED,
    (LookupState.STORED, LookupEvent.HUB_ACCEPTS): LookupState.ACCEPTED,
    (LookupState.STORED, LookupEvent.HUB_DENIES): LookupState.DENIED,
    (LookupState.STORED, LookupEvent.LIFE_ENDS): LookupState.CLOSED,
    (LookupState.ACCEPTED, LookupEvent.HUB_ACCEPTS): LookupState.ACCEPTED,
    (LookupState.ACCEPTED, LookupEvent.SHOW): LookupState.SHOWN,
    (LookupState.ACCEPTED, LookupEvent.LIFE_ENDS): LookupState.CLOSED,
    (LookupState.SHOWN, LookupEvent.SHOW): LookupState.SHOWN,
    (LookupState.SHOWN, LookupEvent.HUB_ACCEPTS): LookupState.SHOWN,
    (LookupState.SHOWN, LookupEvent.LIFE_ENDS): LookupState.CLOSED,
}


class TargetEvent(Enum):
    EVALUATED = "evaluated"
    REFUSED = "refused"
    QUOTA = "quota"
    STALE_EPOCH = "stale epoch"
    INVALID = "invalid"
    EXPIRES = "expires"


_FIRST_ANSWER: Mapping[TargetEvent, TargetState] = {
    TargetEvent.EVALUATED: TargetState.ANSWERED,
    TargetEvent.REFUSED: TargetState.REFUSED,
    TargetEvent.QUOTA: TargetState.QUOTA,
    TargetEvent.STALE_EPOCH: TargetState.STALE_EPOCH,
    TargetEvent.INVALID: TargetState.INVALID,
    TargetEvent.EXPIRES: TargetState.EXPIRED,
}
# An invalid answer does not close the door: the hub, not the node, may have spoilt it.
TRANSITIONS: Mapping[tuple[TargetState, TargetEvent], TargetState] = {
    (state, event): after
    for state in (TargetState.PENDING, TargetState.INVALID)
    for event, after in _FIRST_ANSWER.items()
} | {
    (state, event): state
    for state in TargetState
    if state not in (TargetState.PENDING, TargetState.INVALID)
    for event in TargetEvent
}

_EVENTS: Mapping[AnswerStatus, TargetEvent] = {
    AnswerStatus.EVALUATED: TargetEvent.EVALUATED,
    AnswerStatus.REFUSED_PURPOSE: TargetEvent.REFUSED,
    AnswerStatus.REFUSED_STANDING: TargetEvent.REFUSED,
    AnswerStatus.REFUSED: TargetEvent.REFUSED,
    AnswerStatus.STALE_EPOCH: TargetEvent.STALE_EPOCH,
    AnswerStatus.QUOTA: TargetEvent.QUOTA,
}


def lookup_after(state: LookupState, event: LookupEvent) -> LookupState:
    """The lookup's next state; raises IllegalTransition for what the table does not list."""
    try:
        return LOOKUP_TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"A lookup that is {state.value} does not take: {event.value}.") from None


def event_of(status: AnswerStatus) -> TargetEvent:
    """The event that a verified answer of this status is."""
    return _EVENTS[status]


# --- drafting ----------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class BlindedSlot:
    """A slot of the plan with its blind: never leaves the asker but in an audit opening."""

    slot: Slot
    blinded: oprf.Blinded


@dataclass(frozen=True, repr=False)
class Paperwork:
    """What the lookup commits to and an auditor may demand: values and their 32-octet salts."""

    case: str
    consent: str
    officer: str
    salts: Mapping[str, bytes] = field(default_factory=dict)
    filler_seed: bytes = b""

    @classmethod
    def draw(cls, case: str, consent: str, officer: str) -> Paperwork:
        salts = {name: secrets.token_bytes(32) for name in ("case", "consent", "officer", "filler")}
        return cls(case, consent, officer, salts, secrets.token_bytes(32))

    def check_complete(self) -> None:
        """Raises PurposeRefused unless case, consent and officer are there; only fillers have none."""
        if not (self.case.strip() and self.consent.strip() and self.officer.strip()):
            raise PurposeRefused(
                "A lookup needs its case number, consent reference and officer in charge.",
                remedy="Nothing was asked; add what is missing and ask again.",
            )

    def commitments(self) -> Commitments:
        values = {
            "case": self.case.encode(),
            "consent": self.consent.encode(),
            "officer": self.officer.encode(),
            "filler": self.filler_seed,
        }
        return Commitments(
            **{name: Commitments.commit(name, self.salts[name], value) for name, value in values.items()}
        )

    def __repr__(self) -> str:
        return "Paperwork(<redacted>)"


@dataclass(frozen=True, repr=False)
class AskedPerson:
    """One person of a lookup: every slot of its plan, blinded, and the papers that are committed to."""

    slots: tuple[BlindedSlot, ...]
    paperwork: Paperwork

    def __repr__(self) -> str:
        return "AskedPerson(<redacted>)"


@dataclass(frozen=True, repr=False)
class Draft:
    """A lookup ready to be stored, then sent: the signed statement and, person by person, its secrets."""

    lookup: Lookup
    statement: SignedStatement
    persons: tuple[tuple[BlindedSlot, ...], ...]

    def __repr__(self) -> str:
        return f"Draft({self.lookup.lookup_id})"

    @cached_property
    def scheme_version(self) -> int | None:
        """The version that every input names; None for a lookup about nobody."""
        return self.persons[0][0].slot.input[0] if self.persons else None

    @cached_property
    def batches(self) -> Mapping[KeyClass, oprf.BlindedBatch]:
        """What was sent of each class, in wire order: person by person."""
        return {
            key_class: oprf.BlindedBatch.of([item.blinded for item in _of_class(self.persons, key_class)])
            for key_class in KeyClass
        }


def _of_class(persons: Sequence[Sequence[BlindedSlot]], key_class: KeyClass) -> tuple[BlindedSlot, ...]:
    return tuple(item for slots in persons for item in slots if item.slot.key_class is key_class)


def blind_plan(plan: LookupPlan, blinds: Sequence[Scalar] | None = None) -> tuple[BlindedSlot, ...]:
    """Blind every slot of a plan (§7.1). Blinds may be given so that vectors replay."""
    return tuple(
        BlindedSlot(slot, oprf.blind(slot.input, blinds[number] if blinds else None))
        for number, slot in enumerate(plan.slots)
    )


def draft_lookup(
    persons: Sequence[AskedPerson],
    shape: LookupShape,
    purpose: Purpose,
    federation: FederationName,
    asker: NodeId,
    targets: Sequence[Target],
    key: SigningKey,
    now: datetime,
    lookup_id: LookupId | None = None,
) -> Draft:
    """Sign a lookup about `persons`, one of PERSONS in number, each blinded under a plan of `shape`.

    Raises PurposeRefused for a person without papers: whatever path a lookup took, it is signed here.
    """
    for person in persons:
        if any(item.slot.label is not None for item in person.slots):
            person.paperwork.check_complete()
    slots = tuple(person.slots for person in persons)
    elements = {
        key_class: tuple(item.blinded.element for item in _of_class(slots, key_class))
        for key_class in KeyClass
    }
    lookup = Lookup(
        federation=federation,
        lookup_id=lookup_id or LookupId(secrets.token_bytes(16)),
        asker=asker,
        purpose=purpose,
        shape=shape,
        commitments=tuple(person.paperwork.commitments() for person in persons),
        issued_at=now,
        expires_at=now + LOOKUP_LIFE,
        targets=tuple(sorted(targets, key=lambda target: target.node)),
        elements=elements,
    )
    return Draft(lookup, key.sign("lookup", lookup.encode()), slots)


# --- checking what arrives ---------------------------------------------------------------------------


def verify_lookup(statement: SignedStatement, directory: DirectoryView, own: NodeId, now: datetime) -> Lookup:
    """A lookup as a node accepts it: parsed, signed by a member, current, and addressed to `own` (§7.3).

    Standing, epoch, purpose, replay and quota are the caller's next steps, in that order. Raises
    MalformedMessage, NotAMember, SignatureInvalid, IdentityMismatch, WrongRecipient, Expired, NotYetValid.
    """
    lookup = verify_lookup_signature(statement, directory)
    lookup.check_time(now)
    if lookup.epoch_for(own) is None:
        raise WrongRecipient(f"This lookup does not name {own} among its targets.")
    return lookup


def verify_lookup_signature(statement: SignedStatement, directory: DirectoryView) -> Lookup:
    """Parse, then check signature and federation; used by the hub as well (§7.2)."""
    lookup = Lookup.decode(statement.body)
    member = directory.member(lookup.asker)
    statement.verify("lookup", member.signing_key, str(lookup.asker))
    if lookup.federation != directory.federation:
        raise IdentityMismatch("A lookup made for another federation.")
    return lookup


def verify_answer(
    statement: SignedStatement,
    lookup: Lookup,
    lookup_digest: Digest,
    node: NodeId,
    node_key: VerifyingKey,
) -> Answer:
    """The answer of `node` to `lookup`, proofs still unchecked (§7.5).

    Raises MalformedMessage, SignatureInvalid, IdentityMismatch or KeyMismatch.
    """
    answer = Answer.decode(statement.verify("answer", node_key, str(node)))
    if answer.node != node or answer.asker != lookup.asker or answer.federation != lookup.federation:
        raise IdentityMismatch(f"An answer of {node} that names other parties.")
    if answer.lookup_id != lookup.lookup_id or answer.lookup != lookup_digest:
        raise IdentityMismatch(f"An answer of {node} to another lookup.")
    if (answer.shape, answer.persons) != (lookup.shape, lookup.persons):
        raise MalformedMessage(f"An answer of {node} in another shape.")
    if answer.status is AnswerStatus.EVALUATED and answer.epoch != lookup.epoch_for(node):
        raise KeyMismatch(f"{node} evaluated under another epoch than the one named.")
    return answer


Outputs = tuple[tuple[Slot, bytes], ...]


def unblind(
    draft: Draft,
    answer: Answer,
    head: IndexHead,
    *,
    threads: int = 1,
    map: SliceMap = map,
    finalize: Finalize = oprf.finalize,
) -> tuple[Outputs, ...]:
    """Check the proofs under the keys of `head`; for each person, each slot with its 64-octet output F.

    `threads` and `map` cut a large batch into slices, as in `oprf`; `finalize` may be its like in another
    process. Raises KeyMismatch when `head` is of another epoch or scheme, ProofInvalid when a proof does not
    verify.
    """
    if draft.scheme_version not in (None, head.scheme_version):
        raise KeyMismatch(f"The index held of {answer.node} is of another scheme than the lookup.")
    if head.epoch != answer.epoch or head.node != answer.node:
        raise KeyMismatch(f"The index held of {answer.node} is of another epoch than its answer.")
    outputs: list[list[tuple[Slot, bytes]]] = [[] for _ in draft.persons]
    for key_class in classes_of(draft.lookup.shape) if draft.persons else ():
        evaluation = answer.evaluations[key_class]
        values = iter(
            finalize(
                draft.batches[key_class],
                evaluation.elements,
                head.keys[key_class],
                evaluation.proof,
                threads=threads,
                map=map,
            )
        )
        for number, slots in enumerate(draft.persons):
            own = [item.slot for item in slots if item.slot.key_class is key_class]
            outputs[number].extend((slot, next(values)) for slot in own)
    return tuple(tuple(found) for found in outputs)


# --- the exchange ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Progress:
    """Where a lookup stands: its own state and that of each target. Immutable; `after_*` return the next."""

    state: LookupState
    targets: Mapping[NodeId, TargetState]

    @classmethod
    def start(cls, lookup: Lookup) -> Progress:
        return cls(LookupState.DRAFT, {target.node: TargetState.PENDING for target in lookup.targets})

    def after(self, event: LookupEvent) -> Progress:
        return replace(self, state=lookup_after(self.state, event))

    def after_target(self, node: NodeId, event: TargetEvent) -> Progress:
        """Raises WrongRecipient when `node` was never asked."""
        if node not in self.targets:
            raise WrongRecipient(f"{node} answered a lookup that it was not asked.")
        return replace(self, targets={**self.targets, node: TRANSITIONS[self.targets[node], event]})

    @property
    def pending(self) -> tuple[NodeId, ...]:
        return tuple(sorted(node for node, state in self.targets.items() if state is TargetState.PENDING))


@dataclass(frozen=True)
class TargetPlan:
    """Whom to ask, by the scheme version of their index, the newest first; and who cannot be asked, and why.

    Each group is asked by a lookup of its own, for one has the inputs of one version.
    """

    groups: Mapping[int, tuple[Target, ...]]
    unasked: tuple[TargetReport, ...]

    @property
    def targets(self) -> tuple[Target, ...]:
        """All of them, sorted."""
        found = (target for targets in self.groups.values() for target in targets)
        return tuple(sorted(found, key=lambda target: target.node))


def plan_targets(
    directory: DirectoryView, heads: Mapping[NodeId, IndexHead], chosen: Sequence[NodeId] | None = None
) -> TargetPlan:
    """Targets with the epochs held; `heads` are those of the indexes held.

    Members of which no index is held, or one of a scheme that this build does not know, are asked nothing.
    The default is all active members: a chosen subset reveals a suspicion (§7.1).
    """
    nodes = tuple(sorted(set(chosen))) if chosen is not None else directory.nodes()
    groups: dict[int, list[Target]] = {}
    unasked: list[TargetReport] = []
    for node in nodes:
        directory.member(node)
        head = heads.get(node)
        if head is None:
            unasked.append(TargetReport(node, TargetState.NO_INDEX))
        elif head.scheme_version not in SCHEMES:
            reason = unknown_scheme(head)
            unasked.append(TargetReport(node, TargetState.UNKNOWN_SCHEME, reason=reason))
        else:
            groups.setdefault(head.scheme_version, []).append(Target(node, head.epoch))
    newest_first = sorted(groups, reverse=True)
    return TargetPlan({version: tuple(groups[version]) for version in newest_first}, tuple(unasked))


def unknown_scheme(head: IndexHead) -> str:
    """Why a member cannot be asked, in plain words."""
    return (
        f"this node's index uses scheme version {head.scheme_version}, which this version of Candor does not "
        "know: update Candor"
    )
