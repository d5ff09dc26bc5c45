"""Every change of a single octet in a receipt, a piece of evidence or an opening is found (§16.2)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.accountability.evidence import parse_evidence
from candor_proto.accountability.file_form import encode_file, parse_file
from candor_proto.accountability.judgement import verify_evidence
from candor_proto.accountability.opening_file import parse_opening
from candor_proto.accountability.receipt import parse_receipt
from candor_proto.accountability.trust import Trust
from candor_proto.errors import CandorError, LimitExceeded, MalformedMessage, NotCanonical
from tests.accountable import Court
from tests.misdeeds import MISDEEDS
from tests.parties import MIKE
from tests.thorough import sampled
from tests.unit.proto.accountability.test_opening_file import asked, opened, papers

SAMPLE, MORE = 50, 300
OTHER_VALUES: tuple[Any, ...] = (None, "", 0, [], {}, True, 1.5, [None], "A" * 5000)


def check_receipt(octets: bytes, trust: Trust) -> None:
    parse_receipt(octets).verify(trust)


def check_evidence(octets: bytes, trust: Trust) -> None:
    verify_evidence(parse_evidence(octets), trust)


def check_opening(octets: bytes, trust: Trust) -> None:
    """Of the particulars what changes no input is the asker's word (§18.3): here it counts as changed too."""
    (opening,) = parse_opening(octets).check(trust).openings
    if opening.particulars != MIKE:
        raise NotCanonical("Other particulars that give the same plan.")


def evidence_file(name: str, court: Court) -> bytes:
    return MISDEEDS[name](court).encode()


Check = Callable[[bytes, Trust], None]


def small_court() -> Court:
    """Without witnesses proofs are short."""
    court = Court()
    court.log.names, court.log.witnesses = (), []
    return court


FILES: dict[str, tuple[Callable[[Court], bytes], Check]] = {
    "answer": (lambda court: court.answer_receipt().encode(), check_receipt),
    "disclosure": (lambda court: court.disclosure_receipt().encode(), check_receipt),
    "opening": (lambda court: opened(court, *asked(court, [(MIKE, papers())])).encode(), check_opening),
    **{name: (partial(evidence_file, name), check_evidence) for name in MISDEEDS},
}


def changes(octets: bytes, places: list[int]) -> Iterator[bytes]:
    """The octets with another one at each place: such that a digit stays one, and a letter mostly too."""
    for at in places:
        yield octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :]


def assert_found(octets: bytes, changed: Iterator[bytes], check: Check, trust: Trust) -> None:
    check(octets, trust)
    for number, other in enumerate(changed):
        try:
            check(other, trust)
        except CandorError:
            continue
        pytest.fail(f"a change was not noticed ({number})")


@pytest.mark.parametrize("name", FILES)
def test_a_changed_octet_is_found(name: str) -> None:
    court = small_court() if name != "two_cosignatures" else Court()
    make, check = FILES[name]
    octets = make(court)
    places = sampled(range(len(octets)), SAMPLE, name)
    assert_found(octets, changes(octets, places), check, court.trust())


@pytest.mark.parametrize("name", ["disclosure", "two_lookups", "opening"])
def test_every_changed_octet_is_found(name: str) -> None:
    """One file of each form; the thorough campaign takes each octet of it."""
    court = small_court()
    make, check = FILES[name]
    octets = make(court)
    assert_found(octets, changes(octets, sampled(range(len(octets)), MORE, name)), check, court.trust())


@pytest.mark.parametrize("name", FILES)
def test_what_is_cut_off_added_or_turned_about_is_found(name: str) -> None:
    court = Court()
    make, check = FILES[name]
    octets = make(court)
    lines = octets.split(b"\n")
    others = [
        octets[:-1],
        octets[: len(octets) // 2],
        octets + b"\n",
        b" " + octets,
        octets + octets,
        b"\n".join([lines[0], lines[2], lines[1], *lines[3:]]),
        octets.replace(b'": ', b'":'),
        octets.replace(b"\n ", b"\n  "),
        json.dumps(json.loads(octets)).encode(),
        encode_file({**json.loads(octets), "remark": "found in the archive"}),
    ]
    assert_found(octets, iter(others), check, court.trust())


@pytest.mark.parametrize("name", FILES)
def test_every_key_is_needed_and_none_may_be_null_or_something_else(name: str) -> None:
    court = Court()
    make, check = FILES[name]
    whole = json.loads(make(court))

    def spoilt() -> Iterator[bytes]:
        for key in whole:
            yield encode_file({other: value for other, value in whole.items() if other != key})
            for value in OTHER_VALUES:
                if value != whole[key]:
                    yield encode_file({**whole, key: value})

    assert_found(make(court), spoilt(), check, court.trust())


# --- the form itself -------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.text(max_size=20) | st.integers(-(10**20), 10**20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=5))
def test_a_file_has_one_spelling(value: dict[str, Any]) -> None:
    octets = encode_file(value)
    fields = parse_file(octets)
    assert {name: fields.take(name) for name in value} == value
    fields.finish()


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_arbitrary_octets_raise_typed_errors_only(octets: bytes) -> None:
    for check in (parse_receipt, parse_evidence, parse_opening):
        with pytest.raises(CandorError):
            check(octets)


@pytest.mark.parametrize(
    ("octets", "error"),
    [
        (b"", MalformedMessage),
        (b"\xff\n", MalformedMessage),
        (b"[" * 100_000, MalformedMessage),
        (b'{\n "a": 1,\n "a": 1\n}\n', NotCanonical),
        (b'{"a": 1}\n', NotCanonical),
        ('{\n "a": "é"\n}\n'.encode(), MalformedMessage),
        (b'{\n "a": NaN\n}\n', None),
        (b"[]\n", MalformedMessage),
        (b"1" * 5000 + b"\n", MalformedMessage),
    ],
)
def test_what_is_no_file_is_refused(octets: bytes, error: type[CandorError] | None) -> None:
    if error is None:
        with pytest.raises(MalformedMessage):
            parse_file(octets).number("a", 10)
        return
    with pytest.raises(error):
        parse_file(octets)


def test_a_file_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("candor_proto.accountability.file_form.MAX_FILE_OCTETS", 100)
    with pytest.raises(LimitExceeded):
        encode_file({"a": "x" * 100})
    with pytest.raises(LimitExceeded):
        parse_file(b"x" * 101)
