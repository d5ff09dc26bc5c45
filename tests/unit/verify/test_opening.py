"""§18: openings for audit, and the register of cases."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from candor_proto.ids import LookupShape
from candor_proto.normalise import Particulars
from candor_verify import form, inputs
from candor_verify.errors import Refused
from candor_verify.opening import read_register, verify_opening
from tests.accountable import VICTIM, Court
from tests.parties import MIKE
from tests.unit.proto.accountability.test_opening_file import asked, opened, papers
from tests.unit.verify.scene import judge_of

REGISTER = "REQ-2026-1\n  REQ-2026-2 \n"


@pytest.fixture
def court() -> Court:
    return Court()


@pytest.mark.parametrize("shape", list(LookupShape))
def test_an_honest_opening_opens(shape: LookupShape, court: Court) -> None:
    octets = opened(court, *asked(court, [(MIKE, papers())], shape)).encode()
    found = verify_opening(octets, judge_of(court))
    assert found.cases == ("REQ-2026-1",)
    assert found.not_in(read_register(REGISTER.encode())) == []
    assert not any("Schmidt" in line or "4071" in line for line in found.lines)


def test_an_invented_case_is_not_in_the_register(court: Court) -> None:
    octets = opened(court, *asked(court, [(MIKE, papers("REQ-1999-7"))])).encode()
    found = verify_opening(octets, judge_of(court))
    assert found.not_in(read_register(REGISTER.encode())) == [(1, "REQ-1999-7")]


def test_persons_who_only_fill_a_lookup_up_have_no_case(court: Court) -> None:
    nobody = [(Particulars(), papers("")) for _ in range(2)]
    octets = opened(
        court, *asked(court, [(MIKE, papers()), (VICTIM, papers("REQ-2026-2")), *nobody])
    ).encode()
    found = verify_opening(octets, judge_of(court))
    assert found.cases == ("REQ-2026-1", "REQ-2026-2", None, None)


def changed_person(change: Callable[[dict[str, Any]], None]) -> Callable[[Court], bytes]:
    def make(court: Court) -> bytes:
        value = json.loads(opened(court, *asked(court, [(MIKE, papers())])).encode())
        change(value["persons"][0])
        return form.encode(value)

    return make


def other_input(person: dict[str, Any]) -> None:
    person["inputs"][0] = person["inputs"][1]


def other_blind(person: dict[str, Any]) -> None:
    person["blinds"][0] = person["blinds"][1]


def other_case(person: dict[str, Any]) -> None:
    person["case"] = "REQ-2026-2"


def other_filler_seed(person: dict[str, Any]) -> None:
    person["filler_seed"] = person["salts"]["case"]


def one_input_less(person: dict[str, Any]) -> None:
    person["inputs"].pop()


def unknown_particulars(person: dict[str, Any]) -> None:
    person["particulars"]["nickname"] = "Mickey"


@pytest.mark.parametrize(
    "change", [other_input, other_blind, other_case, other_filler_seed, one_input_less, unknown_particulars]
)
def test_an_opening_of_something_else_is_refused(
    change: Callable[[dict[str, Any]], None], court: Court
) -> None:
    octets = changed_person(change)(court)
    with pytest.raises(Refused):
        verify_opening(octets, judge_of(court))


def test_a_lookup_that_was_never_logged_is_refused(court: Court) -> None:
    file = opened(court, *asked(court, [(MIKE, papers())]))
    with pytest.raises(Refused) as refused:
        verify_opening(replace(file, request_logged=court.part("request")).encode(), judge_of(court))
    assert refused.value.code == "not_logged"


@pytest.mark.parametrize(
    "octets",
    [b"", b"\x00\x06filler\x00", b"\x03\x01X\x00", b"\x03\x03K:P\x01\x00\x01", b"\x03\x03K:P\x00\x00",
     b"\x03\x03K:P\x01\x00\x02\xc3\x28"],
)  # fmt: skip
def test_an_input_that_is_none_is_refused(octets: bytes) -> None:
    with pytest.raises(Refused):
        inputs.read_input(octets)
