"""No leaf holds, or lets anybody confirm by guessing, a datum of a person or a case (docs/protocol.md §14.3).

Lookups, answers, disclosures and recalls about made-up persons go into a log with every other kind of
entry; then a guesser who knows all public data and the very person and case looks for them. That it would
find what is there shows a log with a bad leaf planted in it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from candor_proto.canonical import Writer, digest
from candor_proto.disclosure import (
    DisclosureRequest,
    DisclosureResponse,
    Outcome,
    seal_request,
    seal_response,
)
from candor_proto.exchange import AskedPerson, Draft, Paperwork, blind_plan, draft_lookup
from candor_proto.group import hash_to_group
from candor_proto.ids import (
    Digest,
    Handle,
    KeyClass,
    LookupId,
    LookupShape,
    NodeId,
    Purpose,
    RecallId,
    RequestId,
)
from candor_proto.matchkeys import plan_lookup, record_codes, record_keys
from candor_proto.normalise import Particulars, normalise
from candor_proto.oprf import evaluate
from candor_proto.recall import AckLevel, Done, RecallAck, RecallKind, RecallNotice, seal_ack, seal_notice
from candor_proto.record import CanonicalRecord, DisputeStatus, RecordKind, Tier, commit
from candor_proto.sealing import DisclosureKey
from candor_proto.signing import SignedStatement
from candor_proto.statements import Answer, Commitments
from candor_proto.tlog.entries import (
    Denied,
    DirectoryEntry,
    Entry,
    Opened,
    PolicyEntry,
    Receipts,
    Requests,
    Rules,
    Statement,
    head_entry,
    log_origin,
    member_entry,
    receipt_commitment,
    request_commitment,
)
from candor_proto.tlog.signatures import WitnessKeys
from candor_proto.tlog.state import LogState, directory_state
from candor_proto.tlog.statements import Heartbeat, WitnessKeyStatement, received_bits, witness_name
from tests.log_scene import LogScene
from tests.parties import FEDERATION, NOW, Parties, Party
from tests.thorough import examples
from tests.unit.proto.tlog.guesser import Guesser, Leaves

PARTIES = Parties("asker", "owner")
ASKER, OWNER = PARTIES["asker"], PARTIES["owner"]
SCENE = LogScene(names=("asker", "owner"))
NAMES = st.text(string.ascii_lowercase, min_size=5, max_size=9).map(str.title)


@dataclass(frozen=True)
class Secrets:
    """The person and the case: what must stay hidden, and what an asker and an owner make of it."""

    particulars: Particulars
    case: str
    consent: str
    officer: str
    statement: str
    dispatched: str

    @property
    def values(self) -> list[str]:
        known = self.particulars
        normal = normalise(known)
        return [
            *(known.first, known.middle, known.last, known.birth_date, known.ssn4, known.sex, known.post_id),
            *(normal.first, normal.last, normal.post_id),
            *(self.case, self.consent, self.officer, self.statement, self.dispatched),
        ]


SECRETS = st.builds(
    Secrets,
    st.builds(
        Particulars,
        first=NAMES,
        middle=NAMES,
        last=NAMES,
        birth_date=st.dates().map(str).map(lambda date: "19" + date[2:]),
        ssn4=st.from_regex(r"\A[0-9]{3}[1-9]\Z"),
        sex=st.sampled_from("MF"),
        post_state=st.just("AZ"),
        post_id=st.from_regex(r"\AP[0-9]{6}\Z"),
    ),
    case=st.from_regex(r"\A20[0-9]{2}-REQ-[0-9]{5}\Z"),
    consent=st.from_regex(r"\ACONSENT-[0-9]{6}\Z"),
    officer=NAMES.map("Lt. {} Example".format),
    statement=NAMES.map("I was never heard, says {}.".format),
    dispatched=st.from_regex(r"\AIA-[0-9]{6}\Z"),
)


class Log:
    """What one asked, answered and disclosed lookup leaves in the log, and what it was made of."""

    def __init__(self, secret: Secrets) -> None:
        self.secret = secret
        self.paperwork = Paperwork.draw(secret.case, secret.consent, secret.officer)
        self.draft = self._lookup()
        self.answer = OWNER.evaluate(self.draft.lookup)
        self.signed_answer = OWNER.sign_answer(self.answer)
        self.reply = DisclosureKey.generate()
        self.salt = hashlib.sha256(repr(self.paperwork.salts).encode()).digest()
        self.record = CanonicalRecord(
            RecordKind.TERMINATION_FOR_CAUSE,
            Tier.ADJUDICATED,
            {"dcn": secret.dispatched, "first": secret.particulars.first, "last": secret.particulars.last},
        )
        self.request = self._request()
        self.response = DisclosureResponse(
            FEDERATION,
            self.request.request_id,
            self.request.digest(),
            OWNER.node,
            ASKER.node,
            Outcome.RELEASED,
            self.salt,
            self.record.encode(),
            DisputeStatus.NONE,
            secret.statement,
            NOW,
        )
        self.notice = RecallNotice(
            FEDERATION,
            RecallId(self.salt[:16]),
            OWNER.node,
            ASKER.node,
            self.request.request_id,
            self.request.digest(),
            RecallKind.CORRECTED,
            self.record.encode(),
            ("last",),
            DisputeStatus.NONE,
            secret.statement,
            NOW,
            NOW,
        )
        self.ack = RecallAck(
            FEDERATION,
            self.notice.recall_id,
            self.notice.digest(),
            ASKER.node,
            OWNER.node,
            Done.REPLACED,
            AckLevel.ACTED,
            NOW,
            NOW,
        )
        self.envelopes = [
            (3, seal_request(self.request, ASKER.signing, OWNER.disclosure.public)),
            (4, seal_response(self.response, OWNER.signing, self.reply.public)),
            (5, seal_notice(self.notice, OWNER.signing, ASKER.disclosure.public, self.salt[16:])),
            (6, seal_ack(self.ack, ASKER.signing, OWNER.disclosure.public, self.salt[16:])),
        ]
        self.leaves = self._leaves()

    def _lookup(self) -> Draft:
        person = normalise(self.secret.particulars)
        plan = plan_lookup(person, LookupShape.DETAILED, self.paperwork.filler_seed)[0]
        asked = [AskedPerson(blind_plan(plan), self.paperwork)]
        return draft_lookup(
            asked,
            LookupShape.DETAILED,
            Purpose.J_APPLICANT,
            FEDERATION,
            ASKER.node,
            PARTIES.targets(),
            ASKER.signing,
            NOW,
        )

    def _request(self) -> DisclosureRequest:
        return DisclosureRequest(
            FEDERATION,
            RequestId(self.salt[:16]),
            ASKER.node,
            OWNER.node,
            1,
            Handle(self.salt[16:]),
            commit(self.salt, self.record.encode()),
            Purpose.J_APPLICANT,
            self.secret.case,
            Digest(hashlib.sha256(self.secret.consent.encode()).digest()),
            self.secret.officer,
            self.draft.lookup.lookup_id,
            self.reply.public,
            NOW,
            NOW + timedelta(days=30),
        )

    def _leaves(self) -> list[bytes]:
        """One entry of every kind but `closed`."""
        receipts = [receipt_commitment(2, self.signed_answer.body, self.signed_answer.signature)]
        receipts += [receipt_commitment(kind, sealed) for kind, sealed in self.envelopes]
        keys = WitnessKeys.generate(witness_name(FEDERATION, ASKER.node)).verifier_keys
        witness_key = WitnessKeyStatement(FEDERATION, ASKER.node, keys[0].key, keys[1].key, NOW)
        heartbeat = Heartbeat(
            FEDERATION,
            OWNER.node,
            SCENE.origin,
            number=1,
            start=0,
            end=9,
            received=received_bits([True]),
            answered=1,
            refused=0,
            ledger_number=12,
            ledger_digest=hashlib.sha256(b"ledger").digest(),
            issued_at=NOW,
        )
        state = directory_state({}, {}, [])
        made: list[Entry] = [
            Opened(FEDERATION, 1, NOW),
            PolicyEntry(1, NOW, SCENE.policy.text),
            Rules(NOW, {"quota_elements": 40_000}),
            DirectoryEntry(1, NOW, bytes(32), state),
            *(member_entry(party.member()) for party in (ASKER, OWNER)),
            *(head_entry(party.signed_head()) for party in (ASKER, OWNER)),
            Requests((request_commitment(self.draft.statement),)),
            Statement("heartbeat", OWNER.signing.sign("heartbeat", heartbeat.encode())),
            Statement("witness-key", ASKER.signing.sign("witness-key", witness_key.encode())),
            Receipts(tuple(sorted(receipts))),
            Denied(77, ASKER.node, NOW),
        ]
        state_machine = LogState.first(FEDERATION)
        leaves = [entry.encode() for entry in made]
        for index, leaf in enumerate(leaves):
            state_machine.apply(index, leaf)
        return leaves


def _shown(party: Party) -> list[str]:
    member = party.member()
    return [member.name, member.tls_subject, *map(str, member.oris)]


def public() -> list[bytes]:
    """What everybody knows and might use as a key or beside a value."""
    return [
        str(FEDERATION).encode(),
        *(str(party.node).encode() for party in (ASKER, OWNER)),
        SCENE.origin.encode(),
        *(text.encode() for party in (ASKER, OWNER) for text in _shown(party)),
        *(party.signing.public.value for party in (ASKER, OWNER)),
        *(party.disclosure.public for party in (ASKER, OWNER)),
        *(pair.public.to_bytes() for party in (ASKER, OWNER) for pair in party.keys().values()),
        OWNER.head().encode(),
        NOW.isoformat().encode(),
        Writer().time(NOW).finish(),
    ]


def guesser(log: Log) -> Guesser:
    """Knows also what becomes of the right person on the curve before any secret is applied."""
    person = normalise(log.secret.particulars)
    inputs = {key.input for key in record_keys(person)} | {code.input for code in record_codes(person).codes}
    # What a lookup asks but for its fillers, whose seed is a secret.
    inputs |= {item.slot.input for item in log.draft.persons[0] if item.slot.label is not None}
    elements = [hash_to_group(item).to_bytes() for item in inputs]
    return Guesser(log.secret.values, public(), [*inputs, *elements, log.record.encode()])


def recreations(log: Log) -> Iterator[bytes]:
    """Commitments that somebody can make who lacks one secret of a statement and knows all others."""
    lookup, zeros = log.draft.lookup, bytes(64)
    salted = lookup.commitments[0]
    unsalted = Commitments(
        **{
            name: Digest(digest(f"commitment/{name}", bytes(32), value.encode()))
            for name, value in (
                ("case", log.secret.case),
                ("consent", log.secret.consent),
                ("officer", log.secret.officer),
                ("filler", ""),
            )
        }
    )
    unblinded = {
        key_class: tuple(
            hash_to_group(item.slot.input)
            for item in log.draft.persons[0]
            if item.slot.key_class is key_class
        )
        for key_class in KeyClass
    }
    lookups = [
        replace(lookup, lookup_id=LookupId(bytes(16))),
        replace(lookup, elements=unblinded),
        replace(lookup, commitments=(unsalted,)),
        *(
            replace(lookup, commitments=(replace(salted, **{name: getattr(unsalted, name)}),))
            for name in vars(salted)
        ),
    ]
    answer = log.answer
    answers = [
        replace(answer, lookup_id=LookupId(bytes(16))),
        replace(answer, lookup=Digest(bytes(32))),
    ]
    for body, context, key, kind in (
        *((each.encode(), "lookup", ASKER.signing, 1) for each in lookups),
        *((each.encode(), "answer", OWNER.signing, 2) for each in answers),
    ):
        for signature in (b"", zeros, key.sign(context, body).signature):
            yield request_commitment(SignedStatement(body, signature))
            yield receipt_commitment(kind, body, signature)
    # The right body without the signature: whoever saw a plaintext of it somewhere.
    for body, kind in ((lookup.encode(), 1), (answer.encode(), 2)):
        for signature in (b"", zeros):
            yield request_commitment(SignedStatement(body, signature))
            yield receipt_commitment(kind, body, signature)
        yield hashlib.sha256(body).digest()
        yield digest("lookup", body)
    # Everything inside of an envelope, signature included, and the envelope sealed once more.
    for kind, context, body, key in (
        (3, "disclosure-request", log.request.encode(), ASKER.signing),
        (4, "disclosure-response", log.response.encode(), OWNER.signing),
        (5, "recall-notice", log.notice.encode(), OWNER.signing),
        (6, "recall-ack", log.ack.encode(), ASKER.signing),
    ):
        signed = key.sign(context, body)
        yield receipt_commitment(kind, body)
        yield receipt_commitment(kind, signed.body, signed.signature)
        yield digest(context, body)
        yield hashlib.sha256(body).digest()
    yield receipt_commitment(3, seal_request(log.request, ASKER.signing, OWNER.disclosure.public))
    yield receipt_commitment(4, seal_response(log.response, OWNER.signing, log.reply.public))
    # Match keys under the owner's epoch key: the asker and the owner know these, the log must not.
    for key_class, pair in OWNER.keys().items():
        for item in log.draft.persons[0]:
            if item.slot.key_class is key_class:
                yield evaluate(pair, item.slot.input)


@settings(max_examples=examples(2, thorough=12), phases=(Phase.generate,))
@given(SECRETS)
def test_no_leaf_holds_or_confirms_anything_of_a_person_or_a_case(secret: Secrets) -> None:
    log = Log(secret)
    assert guesser(log).confirms(Leaves(log.leaves), recreations(log)) == ""


@settings(max_examples=examples(2, thorough=5), phases=(Phase.generate,))
@given(SECRETS)
def test_what_follows_from_a_lookup_is_commitments_and_nothing_else(secret: Secrets) -> None:
    """Entries about lookups and envelopes are label, kind, count and 32 octets each, to the last octet."""
    first, second = Log(secret), Log(secret)
    label = bytes([19]) + b"candor/v1/log-entry"
    for leaf, other, kind, count in (
        (first.leaves[8], second.leaves[8], 10, 1),
        (first.leaves[11], second.leaves[11], 11, 5),
    ):
        head = label + bytes([kind]) + count.to_bytes(4, "big")
        assert leaf.startswith(head)
        assert len(leaf) == len(other) == len(head) + 32 * count
        # The very same question asked again shares no commitment with the first.
        assert not {leaf[at : at + 32] for at in range(len(head), len(leaf), 32)} & {
            other[at : at + 32] for at in range(len(head), len(other), 32)
        }


def test_whoever_holds_a_statement_recognises_its_commitment() -> None:
    log = Log(SECRET)
    leaves = Leaves(log.leaves)
    assert leaves.hold_hash(request_commitment(log.draft.statement))
    assert leaves.hold_hash(receipt_commitment(2, log.signed_answer.body, log.signed_answer.signature))


# --- the control: bad leaves that the same guesser finds --------------------------------------------

SECRET = Secrets(
    Particulars(
        first="Rosalind",
        middle="Quince",
        last="Featherstone",
        birth_date="1981-07-19",
        ssn4="4071",
        sex="F",
        post_state="AZ",
        post_id="P123456",
    ),
    "2026-REQ-00017",
    "CONSENT-004711",
    "Lt. Marlowe Example",
    "I was never heard, says Rosalind.",
    "IA-008815",
)


def _leaf(octets: bytes) -> bytes:
    """A kind of entry that nobody should ever add."""
    return Writer("log-entry").integer(12, 1).octets(octets).finish()


def _case(log: Log) -> bytes:
    return log.secret.case.encode()


PLANTED: dict[str, Callable[[Log], bytes]] = {
    "the case number": _case,
    "the consent reference": lambda log: log.secret.consent.encode(),
    "the officer": lambda log: log.secret.officer.encode(),
    "a surname in capitals": lambda log: log.secret.particulars.last.upper().encode(),
    "a date of birth without dashes": lambda log: b"19810719",
    "four digits": lambda log: b"4071",
    "H of the case": lambda log: digest("log-entry", _case(log)),
    "H of the case under the commitment's label": lambda log: digest("commitment/case", _case(log)),
    "the commitment with an empty salt": lambda log: digest("commitment/case", b"", _case(log)),
    "the commitment with a zero salt": lambda log: digest("commitment/case", bytes(32), _case(log)),
    "the commitment salted with the node": lambda log: digest(
        "commitment/officer", b"asker", log.secret.officer.encode()
    ),
    "SHA-256 of the case": lambda log: hashlib.sha256(_case(log)).digest(),
    "SHA-1 of the digits": lambda log: hashlib.sha1(b"4071").digest(),
    "SHA-256 of the case, cut off": lambda log: hashlib.sha256(_case(log)).digest()[:8],
    "SHA-256 of the case in hex": lambda log: hashlib.sha256(_case(log)).hexdigest().encode(),
    "SHA-256 of the case in base64": lambda log: base64.b64encode(hashlib.sha256(_case(log)).digest()),
    "HMAC under the federation's name": lambda log: hmac.digest(
        str(FEDERATION).encode(), _case(log), "sha256"
    ),
    "HMAC under a public key": lambda log: hmac.digest(OWNER.signing.public.value, b"4071", "sha256"),
    "a hash of name and birth": lambda log: hashlib.sha256(b"featherstone|1981-07-19").digest(),
    "a hash of name, name and birth": lambda log: hashlib.sha256(
        b"Rosalind|Featherstone|1981-07-19"
    ).digest(),
    "a match key input": lambda log: log.draft.persons[0][0].slot.input,
    "a hash of a match key input": lambda log: hashlib.sha256(log.draft.persons[0][0].slot.input).digest(),
    "an unblinded element": lambda log: hash_to_group(log.draft.persons[0][0].slot.input).to_bytes(),
    "an output of the owner's key": lambda log: evaluate(
        OWNER.keys()[KeyClass.WEAK], log.draft.persons[0][0].slot.input
    ),
    "H of the record": lambda log: hashlib.sha256(log.record.encode()).digest(),
    "a lookup's commitment without its id": lambda log: request_commitment(
        ASKER.signing.sign("lookup", replace(log.draft.lookup, lookup_id=LookupId(bytes(16))).encode())
    ),
    "a lookup's commitment without its signature": lambda log: request_commitment(
        SignedStatement(log.draft.lookup.encode(), b"")
    ),
    "a commitment to a plaintext": lambda log: receipt_commitment(3, log.request.encode()),
    "the digest of a request": lambda log: log.request.digest().value,
}


@pytest.mark.parametrize("bad", PLANTED.values(), ids=PLANTED.keys())
def test_the_guesser_finds_a_bad_leaf(bad: Callable[[Log], bytes]) -> None:
    log = Log(SECRET)
    assert guesser(log).confirms(Leaves([*log.leaves, _leaf(bad(log))]), recreations(log)) != ""


def test_the_log_of_the_control_hides_everything_without_the_bad_leaf() -> None:
    log = Log(SECRET)
    assert isinstance(log.answer, Answer)
    assert NodeId("asker") in {target.node for target in log.draft.lookup.targets}
    assert log.leaves[0] == Opened(FEDERATION, 1, NOW).encode()
    assert log_origin(FEDERATION, 1) == SCENE.origin
    assert guesser(log).confirms(Leaves(log.leaves), recreations(log)) == ""
