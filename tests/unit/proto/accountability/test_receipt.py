"""§16.4, §16.5: receipts hold what their parties signed, and nothing that does not belong together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from candor_proto.accountability.receipt import (
    AnswerReceipt,
    DisclosureReceipt,
    parse_receipt,
)
from candor_proto.disclosure import Outcome
from candor_proto.errors import (
    CandorError,
    CommitmentMismatch,
    IdentityMismatch,
    KeyMismatch,
    LogUnwitnessed,
    MalformedMessage,
    NotLogged,
    ProofInvalid,
    SignatureInvalid,
)
from candor_proto.ids import FederationName
from candor_proto.record import commit
from candor_proto.statements import AnswerStatus, Target
from candor_proto.tlog.entries import Receipts, Requests, request_commitment
from tests.accountable import ASKER, OTHER, OWNER, RECORD, VICTIM, Court
from tests.parties import NOW


def test_a_receipt_of_an_answer_holds_for_anybody_with_the_policy() -> None:
    court = Court()
    octets = court.answer_receipt().encode()
    receipt = parse_receipt(octets)
    assert receipt.encode() == octets
    shown = receipt.verify(court.trust(NOW + timedelta(days=700)))
    assert isinstance(receipt, AnswerReceipt)
    assert shown.lookup == court.draft.lookup  # type: ignore[union-attr]  # of an answer
    assert shown.answer == court.answer  # type: ignore[union-attr]
    assert shown.head == court.head  # type: ignore[union-attr]
    assert shown.witnessed_at == NOW  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "status", [status for status in AnswerStatus if status is not AnswerStatus.EVALUATED]
)
def test_a_refusal_has_a_receipt_without_a_head(status: AnswerStatus) -> None:
    court = Court()
    refusal = court.sign_answer(replace(court.answer, status=status, evaluations={}))
    court.enter("refusal", Receipts((court.receipt(refusal),)).encode())
    receipt = court.answer_receipt(
        answer=refusal, head=None, head_logged=None, receipt_logged=court.part("refusal")
    )
    read = parse_receipt(receipt.encode())
    assert read.verify(court.trust()).answer.status is status  # type: ignore[union-attr]
    with pytest.raises(MalformedMessage, match="exactly when"):
        replace(receipt, head=court.signed_head, head_logged=court.part("head")).verify(court.trust())


Change = Callable[[Court], AnswerReceipt]


def _receipt_of(court: Court, **changes: object) -> AnswerReceipt:
    return court.answer_receipt(**changes)


def _answer(court: Court, **changes: object) -> AnswerReceipt:
    """An answer that was changed, signed and logged."""
    answer = court.sign_answer(replace(court.answer, **changes))  # type: ignore[arg-type]  # names checked at run time
    court.enter("changed", Receipts((court.receipt(answer),)).encode())
    return court.answer_receipt(answer=answer, receipt_logged=court.part("changed"))


def _lookup_of_other_targets(court: Court) -> AnswerReceipt:
    lookup = replace(court.draft.lookup, targets=(Target(OTHER, 1),))
    statement = court.asker.signing.sign("lookup", lookup.encode())
    court.enter("other lookup", Requests((request_commitment(statement),)).encode())
    receipt = _answer(court, lookup=lookup.digest())
    return replace(receipt, lookup=statement, request_logged=court.part("other lookup"))


def _lookup_in_anothers_name(court: Court) -> AnswerReceipt:
    """The asker signs it, and it says somebody else asks; the owner answers to that other."""
    lookup = replace(court.draft.lookup, asker=OTHER)
    statement = court.asker.signing.sign("lookup", lookup.encode())
    court.enter("forged", Requests((request_commitment(statement),)).encode())
    receipt = _answer(court, asker=OTHER, lookup=lookup.digest())
    return replace(receipt, lookup=statement, request_logged=court.part("forged"))


WRONG: dict[str, tuple[Change, type[CandorError]]] = {
    "the answer of another owner": (lambda court: _receipt_of(court, owner=OTHER), IdentityMismatch),
    "the lookup of another asker": (lambda court: _receipt_of(court, asker=OTHER), IdentityMismatch),
    "another federation": (
        lambda court: _receipt_of(court, federation=FederationName("elsewhere.example")),
        IdentityMismatch,
    ),
    "members changed about": (
        lambda court: _receipt_of(court, asker_member=court.part("member owner")),
        IdentityMismatch,
    ),
    "an answer to another lookup": (
        lambda court: _receipt_of(court, lookup=court.parties.draft("asker", VICTIM).statement),
        IdentityMismatch,
    ),
    "an answer signed by the asker": (
        lambda court: _receipt_of(court, answer=court.asker.sign_answer(court.answer)),
        SignatureInvalid,
    ),
    "a lookup that is not in the entry": (
        lambda court: _receipt_of(court, request_logged=court.part("others")),
        NotLogged,
    ),
    "an answer that is not in the entry": (
        lambda court: _receipt_of(
            court, answer=court.sign_answer(replace(court.answer, answered_at=NOW + timedelta(seconds=1)))
        ),
        NotLogged,
    ),
    "a receipts entry in place of a requests entry": (
        lambda court: _receipt_of(court, request_logged=court.part("receipt")),
        MalformedMessage,
    ),
    "no head": (lambda court: _receipt_of(court, head=None, head_logged=None), MalformedMessage),
    "a head without its entry": (lambda court: _receipt_of(court, head_logged=None), MalformedMessage),
    "the entry of something else for the head": (
        lambda court: _receipt_of(court, head_logged=court.part("directory")),
        NotLogged,
    ),
    "a head of another epoch": (
        lambda court: _receipt_of(court, head=court.sign_head(replace(court.head, epoch=2))),
        KeyMismatch,
    ),
    "an answer under another epoch": (lambda court: _answer(court, epoch=2), KeyMismatch),
    "an answer under other keys": (
        lambda court: _answer(
            court, evaluations=replace(court.owner, seed=bytes(32)).evaluate(court.draft.lookup).evaluations
        ),
        ProofInvalid,
    ),
    "a lookup in another agency's name": (_lookup_in_anothers_name, IdentityMismatch),
    "an answer in another agency's name": (lambda court: _answer(court, node=OTHER), IdentityMismatch),
    "an answer to another asker": (lambda court: _answer(court, asker=OTHER), IdentityMismatch),
    "an answer in another federation": (
        lambda court: _answer(court, federation=FederationName("elsewhere.example")),
        IdentityMismatch,
    ),
    "an owner that was not asked": (_lookup_of_other_targets, IdentityMismatch),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_receipt_of_an_answer_is_refused_for(name: str) -> None:
    court = Court()
    make, error = WRONG[name]
    with pytest.raises(error):
        make(court).verify(court.trust())


def test_a_receipt_needs_witnesses() -> None:
    court = Court()
    receipt = court.answer_receipt()
    alone = replace(receipt.request_logged.proof, signed=court.log.signed())
    unseen = replace(receipt, request_logged=replace(receipt.request_logged, proof=alone))
    with pytest.raises(LogUnwitnessed):
        unseen.verify(court.trust())


def test_a_receipt_of_a_disclosure_holds_the_record() -> None:
    court = Court()
    octets = court.disclosure_receipt().encode()
    receipt = parse_receipt(octets)
    assert receipt.encode() == octets
    assert isinstance(receipt, DisclosureReceipt)
    assert receipt.verify(court.trust()).record == RECORD
    assert "Mustermann" not in repr(receipt)


def test_a_refusal_to_disclose_has_a_receipt() -> None:
    court = Court()
    request = court.request()
    declined = court.response(request, outcome=Outcome.DECLINED, salt=bytes(32), record=b"")
    receipt = court.disclosure_receipt(
        request=court.sign_request(request), response=court.sign_response(declined)
    )
    shown = parse_receipt(receipt.encode()).verify(court.trust())
    assert shown.response.outcome is Outcome.DECLINED  # type: ignore[union-attr]  # of a disclosure
    assert shown.record is None  # type: ignore[union-attr]


def _disclosure(court: Court, asked: dict[str, object], said: dict[str, object]) -> DisclosureReceipt:
    request = court.request(**asked)
    return court.disclosure_receipt(
        request=court.sign_request(request), response=court.sign_response(court.response(request, **said))
    )


WRONG_DISCLOSURES: dict[str, tuple[Callable[[Court], DisclosureReceipt], type[CandorError]]] = {
    "another record": (lambda court: _disclosure(court, {}, {"record": b"other"}), CommitmentMismatch),
    "another commitment": (
        lambda court: _disclosure(court, {"commitment": commit(bytes(32), RECORD.encode())}, {}),
        CommitmentMismatch,
    ),
    "another owner in the request": (
        lambda court: _disclosure(court, {"owner": OTHER}, {}),
        IdentityMismatch,
    ),
    "another requester in the response": (
        lambda court: _disclosure(court, {}, {"requester": OTHER}),
        IdentityMismatch,
    ),
    "a response to another request": (
        lambda court: court.disclosure_receipt(request=court.sign_request(court.request())),
        CommitmentMismatch,
    ),
    "a request that the owner signed": (
        lambda court: court.disclosure_receipt(
            request=court.owner.signing.sign("disclosure-request", court.request().encode())
        ),
        SignatureInvalid,
    ),
    "parties changed about": (
        lambda court: court.disclosure_receipt(asker=OWNER, owner=ASKER),
        IdentityMismatch,
    ),
}


@pytest.mark.parametrize("name", WRONG_DISCLOSURES)
def test_a_receipt_of_a_disclosure_is_refused_for(name: str) -> None:
    court = Court()
    make, error = WRONG_DISCLOSURES[name]
    with pytest.raises(error):
        make(court).verify(court.trust())
