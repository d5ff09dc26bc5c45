"""§17.1: each kind of misbehaviour yields a file that anybody accepts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from candor_proto.accountability.evidence import Evidence, Kind, parse_evidence
from candor_proto.accountability.judgement import verify_evidence
from candor_proto.accountability.trust import Trust
from candor_proto.errors import CertificateRefused
from tests.accountable import Court
from tests.misdeeds import MISDEEDS, false_directory, two_directories
from tests.parties import FEDERATION, NOW


@pytest.mark.parametrize("name", MISDEEDS)
def test_evidence_of_a_misdeed_is_accepted_from_its_file_alone(name: str) -> None:
    court = Court()
    evidence = MISDEEDS[name](court)
    octets = evidence.encode()
    read = parse_evidence(octets)
    assert read == evidence
    assert read.encode() == octets
    # A week later, when nobody remembers: the file, the policy and the root are enough.
    finding = verify_evidence(read, court.trust(NOW + timedelta(days=7)))
    assert (finding.kind, finding.accused, finding.federation) == (
        evidence.kind,
        evidence.accused,
        FEDERATION,
    )
    assert len(finding.words) > 20
    assert not any(personal in finding.words for personal in ("Mustermann", "Schmidt", "Erika", "REQ-1"))


def test_every_kind_has_a_misdeed() -> None:
    court = Court()
    assert {make(court).kind for make in MISDEEDS.values()} == set(Kind)


@pytest.mark.parametrize("make", [false_directory, two_directories])
def test_a_directory_needs_the_root(make: Callable[[Court], Evidence]) -> None:
    court = Court()
    with pytest.raises(CertificateRefused, match="root certificate"):
        verify_evidence(make(court), Trust(court.log.policy, NOW))
