"""§17: every misdeed is taken for what it is, nobody who kept the protocol is accused, any change is seen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from candor_verify.errors import Refused
from candor_verify.evidence import verify_evidence
from tests.accountable import Court
from tests.misdeeds import MISDEEDS
from tests.unit.proto.accountability.test_framing import FRAMINGS
from tests.unit.verify.scene import Chain, chained, court_of, judge_of

CHAIN = Chain()


@pytest.fixture
def court() -> Iterator[Court]:
    with chained(CHAIN):
        yield court_of(CHAIN)


@pytest.mark.parametrize("name", MISDEEDS)
def test_a_misdeed_is_evidence(name: str, court: Court) -> None:
    evidence = MISDEEDS[name](court)
    verified, case = verify_evidence(evidence.encode(), judge_of(court), CHAIN.root)
    assert verified.kind == evidence.kind.value
    assert case.accused == evidence.accused


@pytest.mark.parametrize("name", FRAMINGS)
def test_an_honest_party_is_not_accused(name: str, court: Court) -> None:
    evidence = FRAMINGS[name](court)
    with pytest.raises(Refused):
        verify_evidence(evidence.encode(), judge_of(court), CHAIN.root)
