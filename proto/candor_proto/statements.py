"""The signed lookup and the signed answer (docs/protocol.md §7.1, §7.4).

Values here are parsed and well-formed; who signed them, when, and whether that may be done is decided
in `exchange`, `policy` and the edges. `encode` and `decode` are inverse, octet for octet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import lru_cache

from candor_proto.canonical import Reader, Writer, digest
from candor_proto.errors import (
    CandorError,
    Expired,
    LimitExceeded,
    MalformedMessage,
    NotCanonical,
    NotYetValid,
)
from candor_proto.group import Element
from candor_proto.ids import Digest, FederationName, KeyClass, LookupId, LookupShape, NodeId, Purpose
from candor_proto.oprf import Proof

CLOCK_TOLERANCE = timedelta(minutes=5)
LOOKUP_LIFE = timedelta(hours=24)
MAX_TARGETS = 2_000
MAX_LOOKUP_OCTETS = 256 * 1024
_ELEMENT, _PROOF = 32, 64

# §5.3: how many elements of each class a lookup of each shape holds.
SLOTS: Mapping[LookupShape, Mapping[KeyClass, int]] = {
    LookupShape.SCREENING: {KeyClass.WEAK: 4, KeyClass.MATCH: 12, KeyClass.CODE: 0},
    LookupShape.DETAILED: {KeyClass.WEAK: 4, KeyClass.MATCH: 12, KeyClass.CODE: 24},
}
CLASSES = (KeyClass.WEAK, KeyClass.MATCH, KeyClass.CODE)


# §5.3: how many persons one lookup may ask about. None at all asks what is left of the quota.
PERSONS = (0, 1, 4, 16, 64)
MAX_PERSONS = PERSONS[-1]


# What a question about the quota costs, so that it cannot be asked without end (§11.3).
_QUESTION_COST: Mapping[KeyClass, int] = {KeyClass.WEAK: 0, KeyClass.MATCH: 1, KeyClass.CODE: 0}


def cost(shape: LookupShape, persons: int) -> Mapping[KeyClass, int]:
    """How many elements of each class a lookup about `persons` takes of a quota: those that it holds."""
    if not persons:
        return _QUESTION_COST
    return {key_class: count * persons for key_class, count in SLOTS[shape].items()}


def classes_of(shape: LookupShape) -> tuple[KeyClass, ...]:
    """The classes that a lookup of this shape uses, in wire order."""
    return tuple(key_class for key_class in CLASSES if SLOTS[shape][key_class])


def elements_in(shape: LookupShape, persons: int = 1) -> int:
    """16 or 40 for each person."""
    return sum(SLOTS[shape].values()) * persons


def answer_octets(shape: LookupShape, persons: int) -> int:
    """An upper bound on the octets of an answer: elements, one proof a class, and what names the parties."""
    return elements_in(shape, persons) * _ELEMENT + 3 * _PROOF + 512


@dataclass(frozen=True)
class Commitments:
    """Salted commitments to what an auditor may later demand (§7.1); 32 octets each."""

    case: Digest
    consent: Digest
    officer: Digest
    filler: Digest

    @staticmethod
    def commit(name: str, salt: bytes, value: bytes) -> Digest:
        """The commitment `name` to `value` under a 32-octet salt."""
        if len(salt) != 32:
            raise MalformedMessage("A commitment salt is 32 octets.")
        return Digest(digest(f"commitment/{name}", salt, value))


@dataclass(frozen=True)
class Target:
    """A node asked, and the epoch of the index of it that the asker holds."""

    node: NodeId
    epoch: int


# Every lookup names all members: checking a name once costs a node less than checking it each time.
_node_named = lru_cache(maxsize=4096)(NodeId)


@dataclass(frozen=True)
class Lookup:
    """One blinded lookup about as many persons as it has commitments: what the hub and every node see.

    The elements of a class run person by person, and within a person slot by slot (§7.1).
    """

    federation: FederationName
    lookup_id: LookupId
    asker: NodeId
    purpose: Purpose
    shape: LookupShape
    commitments: tuple[Commitments, ...]
    issued_at: datetime
    expires_at: datetime
    targets: tuple[Target, ...]
    elements: Mapping[KeyClass, tuple[Element, ...]]

    @property
    def persons(self) -> int:
        """How many persons are asked about: one of PERSONS."""
        return len(self.commitments)

    @property
    def cost(self) -> Mapping[KeyClass, int]:
        """What it takes of a quota."""
        return cost(self.shape, self.persons)

    def encode(self) -> bytes:
        writer = Writer("lookup").text(str(self.federation)).fixed(self.lookup_id.value, 16)
        writer.text(str(self.asker)).integer(self.purpose.value, 1).integer(self.shape.value, 1)
        writer.integer(self.persons, 1)
        for made in self.commitments:
            for commitment in (made.case, made.consent, made.officer, made.filler):
                writer.fixed(commitment.value, 32)
        writer.time(self.issued_at).time(self.expires_at)
        writer.sequence(self.targets, lambda out, target: out.text(str(target.node)).integer(target.epoch, 4))
        for key_class in CLASSES:
            elements = self.elements.get(key_class, ())
            writer.integer(len(elements), 2)
            for element in elements:
                writer.fixed(element.to_bytes(), _ELEMENT)
        return writer.finish()

    @classmethod
    def decode(cls, data: bytes) -> Lookup:
        """Parse strictly; raises MalformedMessage, InvalidElement or LimitExceeded."""
        if len(data) > MAX_LOOKUP_OCTETS:
            raise LimitExceeded("A lookup is over its size limit.")
        reader = Reader(data, "lookup")
        federation = FederationName(reader.text(64))
        lookup_id = LookupId(reader.fixed(16))
        asker = NodeId(reader.text(64))
        purpose, shape = reader.choice(1, Purpose), reader.choice(1, LookupShape)
        persons = _read_persons(reader)
        commitments = tuple(
            Commitments(*(Digest(reader.fixed(32)) for _ in range(4))) for _ in range(persons)
        )
        issued_at, expires_at = reader.time(), reader.time()
        targets = reader.sequence(
            MAX_TARGETS, lambda read: Target(_node_named(read.text(64)), read.integer(4))
        )
        names = [target.node.value for target in targets]
        if not names or names != sorted(set(names)):
            raise NotCanonical("The targets of a lookup are not sorted, not unique, or none.")
        if not timedelta(0) < expires_at - issued_at <= LOOKUP_LIFE:
            raise MalformedMessage("A lookup lives at most 24 hours.")
        elements = {}
        for key_class in CLASSES:
            count = reader.integer(2)
            if count != SLOTS[shape][key_class] * persons:
                raise MalformedMessage("A lookup holds exactly 16 or exactly 40 elements a person, by class.")
            elements[key_class] = tuple(Element.parse(reader.fixed(_ELEMENT)) for _ in range(count))
        reader.finish()
        return cls(
            federation,
            lookup_id,
            asker,
            purpose,
            shape,
            commitments,
            issued_at,
            expires_at,
            targets,
            elements,
        )

    def digest(self) -> Digest:
        """What an answer refers to."""
        return lookup_digest(self.encode())

    def check_time(self, now: datetime) -> None:
        """Raises Expired or NotYetValid (§7.3)."""
        if now >= self.expires_at:
            raise Expired("This lookup has expired.", remedy="Ask again with a new one.")
        if self.issued_at > now + CLOCK_TOLERANCE:
            raise NotYetValid(
                "This lookup was issued in the future.", remedy="One of the two clocks is wrong; set it."
            )

    def epoch_for(self, node: NodeId) -> int | None:
        """The epoch named for `node`, or None when it is no target."""
        return next((target.epoch for target in self.targets if target.node == node), None)


def lookup_persons(body: bytes) -> int:
    """How many persons a lookup says it is about, unverified and without parsing it; 1 when unreadable."""
    try:
        reader = Reader(body, "lookup")
        reader.text(64), reader.fixed(16), reader.text(64), reader.fixed(2)
        return _read_persons(reader)
    except CandorError:
        return 1


def answer_persons(body: bytes) -> int:
    """The same of an answer."""
    try:
        reader = Reader(body, "answer")
        reader.text(64), reader.fixed(16 + 32), reader.text(64), reader.text(64)
        reader.fixed(1 + 4 + 8 + 16 + 1)
        return _read_persons(reader)
    except CandorError:
        return 1


def _read_persons(reader: Reader) -> int:
    persons = reader.integer(1)
    if persons not in PERSONS:
        raise MalformedMessage("A lookup is about none, 1, 4, 16 or 64 persons.")
    return persons


def lookup_digest(body: bytes) -> Digest:
    """The digest of a lookup's canonical octets (§7.4)."""
    return Digest(digest("lookup", body))


class AnswerStatus(Enum):
    """What a node says to a lookup (§7.4); the value is the wire code."""

    EVALUATED = 1
    REFUSED_PURPOSE = 2
    REFUSED_STANDING = 3
    STALE_EPOCH = 4
    QUOTA = 5
    REFUSED = 6


@dataclass(frozen=True)
class Evaluation:
    """The evaluated elements of one class and their batch proof."""

    elements: tuple[Element, ...]
    proof: Proof


@dataclass(frozen=True)
class Left:
    """What a node lets the asker use after this answer, in elements: in all, and of each class (§11.3)."""

    total: int
    weak: int
    match: int
    code: int

    def of(self, key_class: KeyClass | None) -> int:
        if key_class is None:
            return self.total
        return {KeyClass.WEAK: self.weak, KeyClass.MATCH: self.match, KeyClass.CODE: self.code}[key_class]


@dataclass(frozen=True)
class Answer:
    """A node's answer: one size for every status, so that sizes say nothing."""

    federation: FederationName
    lookup_id: LookupId
    lookup: Digest
    node: NodeId
    asker: NodeId
    status: AnswerStatus
    epoch: int
    answered_at: datetime
    left: Left
    shape: LookupShape
    persons: int
    evaluations: Mapping[KeyClass, Evaluation]

    def encode(self) -> bytes:
        writer = Writer("answer").text(str(self.federation)).fixed(self.lookup_id.value, 16)
        writer.fixed(self.lookup.value, 32).text(str(self.node)).text(str(self.asker))
        writer.integer(self.status.value, 1).integer(self.epoch, 4).time(self.answered_at)
        for elements in (self.left.total, self.left.weak, self.left.match, self.left.code):
            writer.integer(elements, 4)
        writer.integer(self.shape.value, 1).integer(self.persons, 1)
        for key_class in classes_of(self.shape) if self.persons else ():
            count = SLOTS[self.shape][key_class] * self.persons
            if self.status is not AnswerStatus.EVALUATED:
                writer.fixed(bytes(count * _ELEMENT + _PROOF), count * _ELEMENT + _PROOF)
                continue
            evaluation = self.evaluations[key_class]
            if len(evaluation.elements) != count:
                raise MalformedMessage("An answer evaluates every element of the lookup.")
            for element in evaluation.elements:
                writer.fixed(element.to_bytes(), _ELEMENT)
            writer.fixed(evaluation.proof.to_bytes(), _PROOF)
        return writer.finish()

    @classmethod
    def decode(cls, data: bytes) -> Answer:
        """Parse strictly; raises MalformedMessage, InvalidElement or InvalidScalar."""
        reader = Reader(data, "answer")
        federation = FederationName(reader.text(64))
        lookup_id, lookup = LookupId(reader.fixed(16)), Digest(reader.fixed(32))
        node, asker = NodeId(reader.text(64)), NodeId(reader.text(64))
        status, epoch, answered_at = reader.choice(1, AnswerStatus), reader.integer(4), reader.time()
        left = Left(*(reader.integer(4) for _ in range(4)))
        shape, persons = reader.choice(1, LookupShape), _read_persons(reader)
        evaluations = {}
        for key_class in classes_of(shape) if persons else ():
            count = SLOTS[shape][key_class] * persons
            raw = reader.fixed(count * _ELEMENT + _PROOF)
            if status is not AnswerStatus.EVALUATED:
                if any(raw):
                    raise NotCanonical("A refusal carries zeros where an answer carries elements.")
                continue
            elements = tuple(
                Element.parse(raw[at : at + _ELEMENT]) for at in range(0, count * _ELEMENT, _ELEMENT)
            )
            evaluations[key_class] = Evaluation(elements, Proof.parse(raw[count * _ELEMENT :]))
        reader.finish()
        return cls(
            federation,
            lookup_id,
            lookup,
            node,
            asker,
            status,
            epoch,
            answered_at,
            left,
            shape,
            persons,
            evaluations,
        )
