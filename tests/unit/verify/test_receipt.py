"""§16: receipts, and every change of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from candor_proto.directory import MemberStatus
from candor_proto.disclosure import Outcome
from candor_proto.statements import AnswerStatus
from candor_proto.tlog.entries import Receipts
from candor_verify import form
from candor_verify.errors import LimitExceeded, Malformed, NotCanonical, Refused
from candor_verify.receipt import verify_receipt
from tests.accountable import Court
from tests.parties import NOW
from tests.thorough import sampled
from tests.unit.verify.memory_source import remembered_signatures
from tests.unit.verify.scene import judge_of

SAMPLE = 80


@pytest.fixture(scope="module")
def court() -> Court:
    return Court()


@pytest.fixture(scope="module", autouse=True)
def quick_signatures() -> Iterator[None]:
    with remembered_signatures():
        yield


def test_a_receipt_of_an_answer_verifies(court: Court) -> None:
    found = verify_receipt(court.answer_receipt().encode(), judge_of(court))
    assert found.kind == "answer"
    assert found.status == 1
    assert found.logged_by == NOW
    assert "owner answered asker" in found.lines[0]


def test_a_receipt_of_a_refusal_has_no_head(court: Court) -> None:
    refusal = court.sign_answer(replace(court.answer, status=AnswerStatus.REFUSED, evaluations={}))
    court.enter("refusal", Receipts((court.receipt(refusal),)).encode())
    receipt = court.answer_receipt(
        answer=refusal, head=None, head_logged=None, receipt_logged=court.part("refusal")
    )
    assert verify_receipt(receipt.encode(), judge_of(court)).status == 6


def test_a_receipt_of_a_disclosure_verifies(court: Court) -> None:
    found = verify_receipt(court.disclosure_receipt().encode(), judge_of(court))
    assert found.kind == "disclosure"
    assert any("opens the commitment" in line for line in found.lines)
    assert not any("Mustermann" in line for line in found.lines)


def test_a_receipt_of_a_declined_request_verifies(court: Court) -> None:
    request = court.request()
    declined = court.response(request, outcome=Outcome.DECLINED, salt=bytes(32), record=b"")
    receipt = court.disclosure_receipt(
        request=court.sign_request(request), response=court.sign_response(declined)
    )
    assert "declined" in verify_receipt(receipt.encode(), judge_of(court)).lines[0]


def test_a_receipt_of_a_log_that_nobody_witnessed_does_not_count(court: Court) -> None:
    with pytest.raises(Refused) as refused:
        verify_receipt(court.answer_receipt().encode(), judge_of(court, NOW - timedelta(hours=1)))
    assert refused.value.code == "log_unwitnessed"


def test_another_record_does_not_open_the_commitment(court: Court) -> None:
    request = court.request()
    response = court.response(request, salt=bytes(32))
    receipt = court.disclosure_receipt(
        request=court.sign_request(request), response=court.sign_response(response)
    )
    with pytest.raises(Refused) as refused:
        verify_receipt(receipt.encode(), judge_of(court))
    assert refused.value.code == "commitment_mismatch"


def test_parts_of_two_lookups_do_not_belong_together(court: Court) -> None:
    other = court.parties.draft("asker")
    with pytest.raises(Refused) as refused:
        verify_receipt(court.answer_receipt(lookup=other.statement).encode(), judge_of(court))
    assert refused.value.code == "identity_mismatch"


def test_a_suspended_members_key_still_verifies_what_it_signed(court: Court) -> None:
    from candor_proto.tlog.entries import member_entry

    suspended = court.parties["owner"].member(status=MemberStatus.SUSPENDED)
    court.enter("suspended owner", member_entry(suspended).encode())
    receipt = court.answer_receipt(owner_member=court.part("suspended owner"))
    verify_receipt(receipt.encode(), judge_of(court))


@pytest.mark.parametrize("kind", ["answer", "disclosure"])
def test_a_changed_octet_is_found(kind: str, court: Court) -> None:
    octets = (court.answer_receipt() if kind == "answer" else court.disclosure_receipt()).encode()
    judge = judge_of(court)
    verify_receipt(octets, judge)
    for at in sampled(range(len(octets)), SAMPLE, kind):
        other = octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :]
        with pytest.raises(Refused):
            verify_receipt(other, judge)


def test_every_value_of_a_receipt_is_compared_with_something_signed(court: Court) -> None:
    """Each field in turn gets the value of another receipt of the same form."""
    judge = judge_of(court)
    mine = json.loads(court.answer_receipt().encode())
    theirs = json.loads(Court().answer_receipt().encode())
    for key in mine:
        if mine[key] != theirs[key]:
            with pytest.raises(Refused):
                verify_receipt(form.encode({**mine, key: theirs[key]}), judge)
    for key in ("federation", "asker", "owner"):
        with pytest.raises(Refused):
            verify_receipt(form.encode({**mine, key: "elsewhere.example"}), judge)


@pytest.mark.parametrize(
    ("octets", "error"),
    [
        (b"", Malformed),
        (b"[]\n", Malformed),
        (b'{"a":1}\n', NotCanonical),
        (b'{\n "a": 1,\n "a": 1\n}\n', Malformed),
        (b'{\n "a": 1.0\n}\n', Malformed),
        (b'{\n "a": NaN\n}\n', Malformed),
        (b'{\n "a": ' + b"9" * 5_000 + b"\n}\n", Malformed),
        (b"[" * 90_000, Malformed),
        (b'{"a":' * 90_000, Malformed),
        ("{\n \"a\": \"é\"\n}\n".encode(), Malformed),
        (b'{\n "a": "\\u0041"\n}\n', NotCanonical),
    ],
)  # fmt: skip
def test_a_file_of_another_form_is_refused(octets: bytes, error: type[Refused]) -> None:
    with pytest.raises(error):
        form.parse_file(octets)


def test_a_file_too_long_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "MAX_FILE_OCTETS", 10)
    with pytest.raises(LimitExceeded):
        form.parse_file(b'{\n "a": 1\n}\n')


def test_an_unknown_or_a_missing_key_is_refused(court: Court) -> None:
    value = json.loads(court.disclosure_receipt().encode())
    with pytest.raises(Malformed):
        verify_receipt(form.encode({**value, "remark": "true"}), judge_of(court))
    for key in value:
        with pytest.raises(Malformed):
            verify_receipt(
                form.encode({name: each for name, each in value.items() if name != key}), judge_of(court)
            )
