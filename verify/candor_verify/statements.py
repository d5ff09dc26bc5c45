"""Signed statements (§4.1): lookup (§7.1), answer (§7.4), witness key (§15.2), heartbeat (§14.8).

Parsers check the form alone; who signed, and what belongs to what, is for whoever uses them.
"""

from __future__ import annotations

from dataclasses import dataclass

from candor_verify import names, ristretto
from candor_verify.errors import LimitExceeded, Malformed, NotCanonical
from candor_verify.note import verify_ed25519
from candor_verify.octets import Reader, ascending, digest, domain_label, sized, text

MAX_LOOKUP_OCTETS = 256 * 1024
MAX_ANSWER_OCTETS = 128 * 1024
MAX_LOOKUP_LIFE = 24 * 3600 * 1000
MAX_TARGETS = 2_000
MAX_HEARTBEAT_BITS = 65_536
PERSONS = (0, 1, 4, 16, 64)
SCREENING, DETAILED = 1, 2
SLOTS = {SCREENING: (4, 12, 0), DETAILED: (4, 12, 24)}
EVALUATED = 1


@dataclass(frozen=True)
class Part:
    """A body and its signature, as they travelled."""

    body: bytes
    signature: bytes

    def verify(self, context: str, key: bytes, signer: str) -> None:
        """That `key` signed the body in this context. Raises SignatureInvalid."""
        message = domain_label("signature") + text(context) + sized(self.body)
        verify_ed25519(key, self.signature, message, f"{signer} ({context})")


@dataclass(frozen=True)
class Lookup:
    """A lookup; `elements` are those of the classes W, M and C, person by person."""

    federation: str
    lookup_id: bytes
    asker: str
    purpose: int
    shape: int
    persons: int
    commitments: tuple[tuple[bytes, bytes, bytes, bytes], ...]
    issued: int
    expires: int
    targets: tuple[tuple[str, int], ...]
    elements: tuple[tuple[bytes, ...], ...]

    def epoch_of(self, node: str) -> int | None:
        """The epoch that the lookup names for a target."""
        return dict(self.targets).get(node)


@dataclass(frozen=True)
class Answer:
    """An answer; elements and proofs of the classes of its shape, all zeros unless evaluated."""

    federation: str
    lookup_id: bytes
    lookup_digest: bytes
    node: str
    asker: str
    status: int
    epoch: int
    answered: int
    left: tuple[int, int, int, int]
    shape: int
    persons: int
    elements: tuple[tuple[bytes, ...], ...]
    proofs: tuple[bytes, ...]


@dataclass(frozen=True)
class WitnessKey:
    """The keys under which a member cosigns."""

    federation: str
    node: str
    ed25519: bytes
    ml_dsa: bytes
    issued: int


@dataclass(frozen=True)
class PackAdoption:
    """A member took a policy pack into force (packs.md)."""

    federation: str
    node: str
    pack: str
    version: int
    pack_digest: bytes
    adopted: int


@dataclass(frozen=True)
class Heartbeat:
    """What a member says that it received of the entries start ≤ index < end of a shard."""

    federation: str
    node: str
    origin: str
    number: int
    start: int
    end: int
    received: bytes
    answered: int
    refused: int
    ledger_number: int
    ledger_digest: bytes
    issued: int

    def bit(self, number: int) -> bool:
        """Whether the commitment of this number in the range was received.

        Raises Malformed beyond the last octet.
        """
        if number >= 8 * len(self.received):
            raise Malformed("A heartbeat has no bit for a lookup in its range.")
        return bool(self.received[number // 8] >> (7 - number % 8) & 1)

    def check_bits(self, commitments: int) -> None:
        """That there is one bit for each of so many commitments (§14.8).

        Raises LimitExceeded or NotCanonical.
        """
        if commitments > MAX_HEARTBEAT_BITS:
            raise LimitExceeded("A heartbeat is about too many lookups.")
        if len(self.received) != -(-commitments // 8):
            raise NotCanonical("A heartbeat has not one bit for each lookup of its range.")
        if commitments % 8 and self.received[-1] & (1 << 8 - commitments % 8) - 1:
            raise NotCanonical("A heartbeat has bits behind its last one.")


def lookup_digest(body: bytes) -> bytes:
    """By which an answer names its lookup (§7.4)."""
    return digest("lookup", body)


def classes_of(shape: int) -> tuple[int, ...]:
    """Slots a person of each class that the shape has, in the order W, M, C."""
    return tuple(slots for slots in SLOTS[shape] if slots)


def parse_lookup(body: bytes, *, check_elements: bool = True) -> Lookup:
    """Raises Malformed, NotCanonical, InvalidElement or LimitExceeded."""
    if len(body) > MAX_LOOKUP_OCTETS:
        raise LimitExceeded(f"A lookup of {len(body)} octets; at most {MAX_LOOKUP_OCTETS} are read.")
    reader = Reader(body, "lookup")
    federation, lookup_id, asker = names.federation(reader), reader.exactly(16), names.node(reader)
    purpose = reader.choice(range(1, 8), "The purpose")
    shape = reader.choice((SCREENING, DETAILED), "The shape")
    persons = reader.choice(PERSONS, "The number of persons")
    commitments = []
    for _ in range(persons):
        case, consent, officer, filler = (reader.exactly(32) for _ in range(4))
        commitments.append((case, consent, officer, filler))
    issued, expires = reader.time(), reader.time()
    if not issued < expires <= issued + MAX_LOOKUP_LIFE:
        raise Malformed("A lookup lives longer than 24 hours, or not at all.")
    targets = reader.items(lambda each: (names.node(each), each.u32()), MAX_TARGETS)
    if not targets:
        raise Malformed("A lookup has no target.")
    ascending(targets, "The targets of a lookup", lambda target: target[0].encode())
    elements = []
    for slots in SLOTS[shape]:
        count = reader.u16()
        if count != slots * persons:
            raise Malformed("A lookup holds another number of elements than its shape.")
        elements.append(tuple(reader.exactly(32) for _ in range(count)))
    reader.end()
    if check_elements:
        for element in (each for group in elements for each in group):
            ristretto.decode(element)
    return Lookup(
        federation=federation,
        lookup_id=lookup_id,
        asker=asker,
        purpose=purpose,
        shape=shape,
        persons=persons,
        commitments=tuple(commitments),
        issued=issued,
        expires=expires,
        targets=tuple(targets),
        elements=tuple(elements),
    )


def parse_answer(body: bytes) -> Answer:
    """Raises Malformed, NotCanonical, InvalidElement, InvalidScalar or LimitExceeded."""
    if len(body) > MAX_ANSWER_OCTETS:
        raise LimitExceeded(f"An answer of {len(body)} octets; at most {MAX_ANSWER_OCTETS} are read.")
    reader = Reader(body, "answer")
    federation, lookup_id, digest_of_lookup = names.federation(reader), reader.exactly(16), reader.exactly(32)
    node, asker = names.node(reader), names.node(reader)
    status = reader.choice(range(1, 7), "The status")
    epoch, answered = reader.u32(), reader.time()
    left = (reader.u32(), reader.u32(), reader.u32(), reader.u32())
    shape = reader.choice((SCREENING, DETAILED), "The shape")
    persons = reader.choice(PERSONS, "The number of persons")
    elements, proofs = [], []
    for slots in classes_of(shape) if persons else ():
        elements.append(tuple(reader.exactly(32) for _ in range(slots * persons)))
        proofs.append(reader.exactly(64))
    reader.end()
    if status != EVALUATED and any(map(any, (*proofs, *(each for group in elements for each in group)))):
        raise NotCanonical("An answer that evaluates nothing holds elements or proofs.")
    if status == EVALUATED:
        for element in (each for group in elements for each in group):
            ristretto.decode(element)
        for proof in proofs:
            ristretto.decode_scalar(proof[:32])
            ristretto.decode_scalar(proof[32:])
    return Answer(
        federation=federation,
        lookup_id=lookup_id,
        lookup_digest=digest_of_lookup,
        node=node,
        asker=asker,
        status=status,
        epoch=epoch,
        answered=answered,
        left=left,
        shape=shape,
        persons=persons,
        elements=tuple(elements),
        proofs=tuple(proofs),
    )


def parse_witness_key(body: bytes) -> WitnessKey:
    """Raises Malformed or NotCanonical."""
    reader = Reader(body, "witness-key")
    statement = WitnessKey(
        federation=names.federation(reader),
        node=names.node(reader),
        ed25519=reader.exactly(32),
        ml_dsa=reader.exactly(1312),
        issued=reader.time(),
    )
    reader.end()
    return statement


def parse_pack_adoption(body: bytes) -> PackAdoption:
    """Raises Malformed or NotCanonical."""
    reader = Reader(body, "pack-adoption")
    statement = PackAdoption(
        federation=names.federation(reader),
        node=names.node(reader),
        pack=reader.text(256),
        version=reader.u32(),
        pack_digest=reader.exactly(32),
        adopted=reader.time(),
    )
    reader.end()
    return statement


@dataclass(frozen=True)
class Succession:
    """A member's consent to the successor of a shard (§19.3)."""

    federation: str
    node: str
    shard: int
    size: int
    root: bytes
    root_certificate: bytes
    ed25519: bytes
    ml_dsa: bytes
    policy: bytes
    issued: int


def parse_succession(body: bytes) -> Succession:
    """Raises Malformed or NotCanonical."""
    reader = Reader(body, "succession")
    statement = Succession(
        federation=names.federation(reader),
        node=names.node(reader),
        shard=reader.u32(),
        size=reader.count(),
        root=reader.exactly(32),
        root_certificate=reader.exactly(32),
        ed25519=reader.exactly(32),
        ml_dsa=reader.exactly(1312),
        policy=reader.exactly(32),
        issued=reader.time(),
    )
    reader.end()
    return statement


def parse_heartbeat(body: bytes) -> Heartbeat:
    """Raises Malformed, NotCanonical or LimitExceeded."""
    reader = Reader(body, "heartbeat")
    statement = Heartbeat(
        federation=names.federation(reader),
        node=names.node(reader),
        origin=reader.text(255),
        number=reader.count(),
        start=reader.count(),
        end=reader.count(),
        received=reader.octets(MAX_HEARTBEAT_BITS // 8),
        answered=reader.count(),
        refused=reader.count(),
        ledger_number=reader.count(),
        ledger_digest=reader.exactly(32),
        issued=reader.time(),
    )
    reader.end()
    names.shard_of(statement.origin)
    if statement.start > statement.end:
        raise Malformed("A heartbeat ends before it begins.")
    return statement


def person_slots(elements: tuple[bytes, ...], persons: int) -> list[tuple[bytes, ...]]:
    """The elements of one class, cut person by person."""
    width = len(elements) // persons
    return [elements[width * person : width * (person + 1)] for person in range(persons)]
