"""Lookup and answer encodings (docs/protocol.md §7.1, §7.4; attacks A5, A8, A13)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.errors import (
    CandorError,
    Expired,
    LimitExceeded,
    MalformedMessage,
    NotCanonical,
    NotYetValid,
)
from candor_proto.ids import KeyClass, LookupShape, NodeId
from candor_proto.statements import (
    CLOCK_TOLERANCE,
    LOOKUP_LIFE,
    PERSONS,
    Answer,
    AnswerStatus,
    Commitments,
    Lookup,
    Target,
    answer_octets,
    answer_persons,
    elements_in,
    lookup_persons,
)
from tests.parties import MIKE, NOW, Parties

PARTIES = Parties("asker", "owner")
SCREENING = PARTIES.draft("asker").lookup
DETAILED = PARTIES.draft("asker", shape=LookupShape.DETAILED).lookup
ANSWER = PARTIES["owner"].evaluate(SCREENING)


@pytest.mark.parametrize("lookup", [SCREENING, DETAILED], ids=["screening", "detailed"])
def test_a_lookup_decodes_to_itself(lookup: Lookup) -> None:
    assert Lookup.decode(lookup.encode()) == lookup
    assert Lookup.decode(lookup.encode()).encode() == lookup.encode()


def test_a_lookup_has_sixteen_or_forty_elements_and_no_other_number() -> None:
    assert sum(map(len, SCREENING.elements.values())) == elements_in(LookupShape.SCREENING) == 16
    assert sum(map(len, DETAILED.elements.values())) == elements_in(LookupShape.DETAILED) == 40
    for spoilt in (
        replace(
            SCREENING, elements={**SCREENING.elements, KeyClass.WEAK: DETAILED.elements[KeyClass.CODE][:5]}
        ),
        replace(
            SCREENING,
            elements={**SCREENING.elements, KeyClass.MATCH: SCREENING.elements[KeyClass.MATCH][:11]},
        ),
        replace(SCREENING, shape=LookupShape.DETAILED),
        replace(DETAILED, shape=LookupShape.SCREENING),
    ):
        with pytest.raises(MalformedMessage):
            Lookup.decode(spoilt.encode())


@pytest.mark.parametrize("persons", PERSONS)
def test_a_lookup_about_a_public_number_of_persons_decodes_to_itself_and_so_does_its_answer(
    persons: int,
) -> None:
    lookup = PARTIES.draft_all("asker", [MIKE] * persons, LookupShape.DETAILED).lookup
    assert lookup.persons == persons
    assert Lookup.decode(lookup.encode()) == lookup
    assert lookup_persons(lookup.encode()) == persons
    assert sum(lookup.cost.values()) == max(1, elements_in(lookup.shape, persons))
    answer = PARTIES["owner"].evaluate(lookup)
    refusal = replace(answer, status=AnswerStatus.QUOTA, evaluations={})
    for each in (answer, refusal):
        assert Answer.decode(each.encode()) == each
        assert answer_persons(each.encode()) == persons
    assert len(answer.encode()) == len(refusal.encode()) <= answer_octets(lookup.shape, persons)


@pytest.mark.parametrize("persons", [2, 3, 5, 63])
def test_a_lookup_about_any_other_number_of_persons_is_refused(persons: int) -> None:
    """§5.3: a number of its own would say more of a batch than its class."""
    lookup = PARTIES.draft_all("asker", [MIKE] * persons).lookup
    with pytest.raises(MalformedMessage, match="1, 4, 16 or 64 persons"):
        Lookup.decode(lookup.encode())


@given(st.binary(max_size=200))
def test_peeking_at_what_is_no_statement_takes_it_for_a_single_one(body: bytes) -> None:
    assert lookup_persons(body) == answer_persons(body) == 1


def test_two_lookups_for_different_people_have_the_same_size() -> None:
    from candor_proto.normalise import Particulars

    sparse = PARTIES.draft("asker", Particulars(first="Al", last="Ng")).lookup
    assert len(sparse.encode()) == len(SCREENING.encode())


def test_targets_must_be_sorted_unique_and_present() -> None:
    twice = (Target(NodeId("owner"), 1), Target(NodeId("owner"), 1))
    reversed_ = tuple(reversed(SCREENING.targets))
    for targets in (twice, reversed_, ()):
        with pytest.raises(NotCanonical):
            Lookup.decode(replace(SCREENING, targets=targets).encode())


def test_a_lookup_that_lives_longer_than_a_day_is_refused() -> None:
    for life in (LOOKUP_LIFE + timedelta(milliseconds=1), timedelta(0), -timedelta(hours=1)):
        with pytest.raises(MalformedMessage):
            Lookup.decode(replace(SCREENING, expires_at=SCREENING.issued_at + life).encode())


def test_an_expired_lookup_is_refused_from_its_last_moment_on() -> None:
    SCREENING.check_time(SCREENING.expires_at - timedelta(milliseconds=1))
    with pytest.raises(Expired):
        SCREENING.check_time(SCREENING.expires_at)


def test_a_lookup_from_the_future_is_refused_beyond_the_clock_tolerance() -> None:
    SCREENING.check_time(NOW - CLOCK_TOLERANCE)
    with pytest.raises(NotYetValid):
        SCREENING.check_time(NOW - CLOCK_TOLERANCE - timedelta(milliseconds=1))


def test_the_identity_element_in_a_lookup_is_refused() -> None:
    body = SCREENING.encode()
    element = SCREENING.elements[KeyClass.WEAK][0].to_bytes()
    with pytest.raises(MalformedMessage):
        Lookup.decode(body.replace(element, bytes(32)))


def test_an_oversized_lookup_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(LimitExceeded):
        Lookup.decode(bytes(256 * 1024 + 1))


@given(st.data())
def test_no_other_octets_decode_to_a_lookup_silently(data: st.DataObject) -> None:
    body = bytearray(SCREENING.encode())
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))
    try:
        decoded = Lookup.decode(bytes(body))
    except CandorError:
        return
    assert decoded.encode() == bytes(body)
    assert decoded != SCREENING


@given(st.binary(max_size=400))
def test_arbitrary_octets_raise_typed_errors_only(octets: bytes) -> None:
    for kind in (Lookup, Answer):
        with pytest.raises(CandorError):
            kind.decode(octets)


def test_an_answer_decodes_to_itself() -> None:
    assert Answer.decode(ANSWER.encode()) == ANSWER


def test_a_refusal_has_the_size_of_an_answer() -> None:
    for status in AnswerStatus:
        refusal = replace(ANSWER, status=status)
        assert len(refusal.encode()) == len(ANSWER.encode())


def test_a_refusal_that_carries_elements_is_refused() -> None:
    body = bytearray(ANSWER.encode())
    at = body.index(bytes([AnswerStatus.EVALUATED.value]) + (1).to_bytes(4, "big"))
    body[at] = AnswerStatus.QUOTA.value
    with pytest.raises(NotCanonical):
        Answer.decode(bytes(body))


def test_octets_behind_an_answer_are_refused() -> None:
    with pytest.raises(NotCanonical):
        Answer.decode(ANSWER.encode() + b"\x00")


def test_commitments_hide_and_bind() -> None:
    salt = bytes(range(32))
    assert Commitments.commit("case", salt, b"A") != Commitments.commit("case", salt, b"B")
    assert Commitments.commit("case", salt, b"A") != Commitments.commit("consent", salt, b"A")
    assert Commitments.commit("case", bytes(32), b"A") != Commitments.commit("case", salt, b"A")
    with pytest.raises(MalformedMessage):
        Commitments.commit("case", b"short", b"A")
