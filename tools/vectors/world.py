"""The one story of the vectors: an owner's index, a lookup that meets it, and what follows from that.

The record is of an invented person. Everything is made by the production code from drawn values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from candor_proto import oprf
from candor_proto.directory import Directory, IndexHead, Member, MemberStatus, SegmentRef
from candor_proto.exchange import AskedPerson, Draft, Paperwork, blind_plan, draft_lookup
from candor_proto.ids import BlobId, Handle, LookupId, LookupShape, Ori, Purpose
from candor_proto.matchkeys import plan_lookup, record_codes, record_keys
from candor_proto.normalise import Particulars, normalise
from candor_proto.record import CanonicalRecord, RecordKind, Tier, commit
from candor_proto.sealed_index import (
    EntryKeys,
    IndexOwner,
    Label,
    RecordSecrets,
    field_tag,
    polynomial,
    seal_blob,
    share_slots,
    withdrawal_marker,
)
from candor_proto.segment import Segment, address, build
from candor_proto.signing import SignedStatement
from candor_proto.statements import Answer, AnswerStatus, Evaluation, Left, Target, classes_of
from tools.vectors.certificates import chain_digest
from tools.vectors.draws import draw, draw_scalar
from tools.vectors.parties import ASKER, DAY, EPOCH, FEDERATION, HOUR, MINUTE, NOW, OWNER, THIRD, Party
from tools.vectors.slots import MIKE

INDEX_OWNER = IndexOwner(FEDERATION, OWNER.node, EPOCH)
THRESHOLD = 3
CASE, CONSENT, OFFICER = "REQ-2026-0417", "CONSENT-88", "Sgt. A. Example"
CHAIN_DIGEST = chain_digest()

RECORD = CanonicalRecord(
    RecordKind.DECERTIFICATION,
    Tier.ADJUDICATED,
    {
        "case_number": "C-2031",
        "decided_on": "2024-05-17",
        "last_name": "Schmidt",
        "narrative": "Certificate revoked after a hearing; appeal period over. \u00a7 17.",
    },
)
SECRETS = RecordSecrets(
    draw("record secret", 16),
    draw("record salt", 32),
    BlobId(draw("blob id", 16)),
    Handle(draw("handle", 16)),
)


# Of a blob that the owner withdrew before.
WITHDRAWN_BLOB, WITHDRAWN_SECRET = BlobId(draw("withdrawn blob", 16)), draw("withdrawn secret", 16)
MARKER = withdrawal_marker(WITHDRAWN_SECRET, WITHDRAWN_BLOB)


def drawing(name: str) -> Callable[[int], bytes]:
    """A generator of octets for what production code draws by itself, under a name and a count."""
    count = 0

    def random_bytes(octets: int) -> bytes:
        nonlocal count
        count += 1
        return draw(f"{name} {count}", octets)

    return random_bytes


@dataclass(frozen=True)
class Sealed:
    """The owner's record as its segment holds it; `entries` by label, with the output each is made of."""

    label: Label
    entries: tuple[tuple[str, bytes, bytes], ...]
    blob: bytes
    segment: bytes


def seal_record(
    secrets: RecordSecrets = SECRETS,
    particulars: Particulars = MIKE,
    slots_of: Callable[[Sequence[bytes], str], Sequence[bytes]] | None = None,
    label: Label | None = None,
) -> Sealed:
    """Segment 1 of the owner; `slots_of` and `label` spoil it."""
    person = normalise(particulars)
    coefficients = polynomial(secrets.secret, secrets.blob_id, THRESHOLD)
    counters: dict[bytes, int] = {}
    entries: list[tuple[str, bytes, bytes]] = []
    for key in record_keys(person):
        output = oprf.evaluate(OWNER.keys[key.label.key_class], key.input)
        unused = drawing(f"unused slot of {key.label.name} {len(entries)}")
        slots: Sequence[bytes] = share_slots(coefficients, key.label.position, key.label.weight, unused)
        slots = slots_of(slots, key.label.name) if slots_of else slots
        counter = counters.get(output, 0)
        counters[output] = counter + 1
        entry = EntryKeys(output, INDEX_OWNER).seal(1, counter, secrets.blob_id, slots)
        entries.append((key.label.name, output, entry))
    codes = record_codes(person)
    made = label or Label(
        handle=secrets.handle,
        kind=RECORD.kind.value,
        tier=RECORD.tier.value,
        expires_days=0,
        commitment=commit(secrets.salt, RECORD.encode()),
        presence=codes.presence,
        field_tags=tuple(
            field_tag(oprf.evaluate(OWNER.keys[code.label.key_class], code.input), secrets.blob_id)
            for code in codes.codes
        ),
    )
    blob = seal_blob(made, secrets.secret, secrets.blob_id, INDEX_OWNER, drawing("free field tag"))
    octets = build(INDEX_OWNER, 1, [one[2] for one in entries], [blob], [MARKER], drawing("dummy"))
    return Sealed(made, tuple(entries), blob, octets)


@lru_cache(maxsize=1)
def sealed() -> Sealed:
    return seal_record()


def head_of(party: Party, segments: Sequence[bytes], sequence: int = 5, epoch: int = EPOCH) -> IndexHead:
    refs = tuple(SegmentRef(Segment(one).header.number, address(one), len(one)) for one in segments)
    keys = {key_class: pair.public for key_class, pair in party.keys_of(epoch).items()}
    return IndexHead(FEDERATION, party.node, sequence, epoch, keys, THRESHOLD, 3, refs, NOW - 2 * HOUR)


@lru_cache(maxsize=1)
def owner_head() -> IndexHead:
    return head_of(OWNER, [sealed().segment])


def sign_head(party: Party, head: IndexHead) -> SignedStatement:
    return party.signing.sign("index-head", head.encode())


TARGETS = (Target(OWNER.node, EPOCH), Target(THIRD.node, EPOCH))


def paperwork(number: int) -> Paperwork:
    salts = {name: draw(f"salt of {name} {number}", 32) for name in ("case", "consent", "officer", "filler")}
    return Paperwork(CASE, CONSENT, OFFICER, salts, draw(f"filler seed of person {number}", 32))


def asked(number: int, shape: LookupShape, particulars: Particulars) -> AskedPerson:
    papers = paperwork(number)
    plan = plan_lookup(normalise(particulars), shape, papers.filler_seed)[0]
    blinds = [draw_scalar(f"blind {shape.value} {number} {slot}") for slot in range(len(plan.slots))]
    return AskedPerson(blind_plan(plan, blinds), papers)


def other_person(first: str) -> Particulars:
    """Of whom the owner has no record."""
    return replace(MIKE, first=first, ssn4="")


@lru_cache(maxsize=8)
def draft(shape: LookupShape = LookupShape.SCREENING, persons: int = 1) -> Draft:
    """The lookup of the story: about the record's person, and others who have none."""
    others = [other_person(name) for name in ("Ann", "Juan", "Zoe")]
    people = [asked(number, shape, who) for number, who in enumerate([MIKE, *others][:persons])]
    lookup_id = LookupId(draw(f"lookup id {shape.value} {persons}", 16))
    return draft_lookup(
        people, shape, Purpose.J_APPLICANT, FEDERATION, ASKER.node, TARGETS, ASKER.signing, NOW, lookup_id
    )


def answer(made: Draft, party: Party = OWNER, status: AnswerStatus = AnswerStatus.EVALUATED) -> Answer:
    """An honest answer, a minute later."""
    lookup = made.lookup
    evaluations = {}
    for key_class in classes_of(lookup.shape) if lookup.persons else ():
        nonce = draw_scalar(f"proof nonce {party.name} {lookup.lookup_id} {key_class.value}")
        elements, proof = oprf.blind_evaluate(party.keys[key_class], lookup.elements[key_class], r=nonce)
        evaluations[key_class] = Evaluation(elements, proof)
    return Answer(
        federation=FEDERATION,
        lookup_id=lookup.lookup_id,
        lookup=lookup.digest(),
        node=party.node,
        asker=lookup.asker,
        status=status,
        epoch=EPOCH,
        answered_at=NOW + MINUTE,
        left=Left(3_984, 996, 2_988, 2_400),
        shape=lookup.shape,
        persons=lookup.persons,
        evaluations=evaluations if status is AnswerStatus.EVALUATED else {},
    )


def sign_answer(party: Party, made: Answer) -> SignedStatement:
    return party.signing.sign("answer", made.encode())


def member(party: Party, head: SignedStatement | None = None) -> Member:
    """How the directory lists a party."""
    number = (ASKER, OWNER, THIRD).index(party) if party in (ASKER, OWNER, THIRD) else 9
    oris = tuple(Ori(f"ZZ000{number}{ending}00") for ending in range(1, 2 + number % 2))
    return Member(
        node=party.node,
        name={0: "Alder Police Department", 1: "Se\u00f1or Birch County Sheriff", 2: "Cedar POST"}.get(
            number, "X"
        ),
        oris=oris,
        tls_subject=f"spiffe://{FEDERATION}/node/{party.node}",
        signing_key=party.signing.public,
        disclosure_key=party.disclosure.public,
        status=MemberStatus.ACTIVE,
        joined_at=NOW - 30 * DAY,
        answered_from=NOW - 29 * DAY,
        head=head,
    )


def directory() -> Directory:
    members = (
        member(ASKER),
        member(OWNER, sign_head(OWNER, owner_head())),
        replace(member(THIRD), status=MemberStatus.SUSPENDED),
    )
    return Directory(FEDERATION, 41, NOW - HOUR, members, (1, 0x80, 0x1234567890ABCDEF), CHAIN_DIGEST)
