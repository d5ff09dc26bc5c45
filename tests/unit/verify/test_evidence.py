"""§17: every misdeed is taken for what it is, nobody who kept the protocol is accused, any change is seen."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from candor_proto.ids import FederationName, NodeId
from candor_proto.signing import SigningKey
from candor_proto.tlog.entries import member_entry
from candor_proto.tlog.statements import witness_name
from candor_verify.errors import Refused
from candor_verify.evidence import verify_evidence
from candor_verify.policy import parse_policy
from candor_verify.proof import Judge
from tests.accountable import Court
from tests.misdeeds import MISDEEDS, wrong_epoch
from tests.parties import FEDERATION, NOW
from tests.unit.proto.accountability.test_framing import (
    FRAMINGS,
    LogElsewhere,
    a_witness_that_was_restored,
)
from tests.unit.verify.memory_source import remembered_signatures
from tests.unit.verify.scene import Chain, chained, court_of, judge_of

CHAIN = Chain()
SAMPLE = 100


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


def test_a_witness_that_was_restored_is_not_accused_by_its_two_keys(court: Court) -> None:
    evidence, policy = a_witness_that_was_restored(court)
    with pytest.raises(Refused, match="with one key"):
        verify_evidence(evidence.encode(), Judge(parse_policy(policy), NOW), CHAIN.root)


@pytest.mark.parametrize("name", MISDEEDS)
def test_evidence_accuses_nobody_but_whom_it_names(name: str, court: Court) -> None:
    evidence, judge = MISDEEDS[name](court), judge_of(court)
    for somebody in ("asker", "owner", "other", "hub", witness_name(FEDERATION, NodeId("owner")), "", "?"):
        if somebody != evidence.accused:
            with pytest.raises(Refused):
                verify_evidence(replace(evidence, accused=somebody).encode(), judge, CHAIN.root)


@pytest.mark.parametrize("name", MISDEEDS)
def test_evidence_is_of_one_federation(name: str, court: Court) -> None:
    evidence = replace(MISDEEDS[name](court), federation=FederationName("elsewhere.example"))
    with pytest.raises(Refused):
        verify_evidence(evidence.encode(), judge_of(court), CHAIN.root)


@pytest.mark.parametrize("name", MISDEEDS)
def test_a_changed_octet_is_found(name: str, court: Court) -> None:
    octets, judge, chance = MISDEEDS[name](court).encode(), judge_of(court), random.Random(name)
    with remembered_signatures():
        for at in chance.sample(range(len(octets)), SAMPLE):
            other = octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :]
            with pytest.raises(Refused):
                verify_evidence(other, judge, CHAIN.root)


def test_a_namesake_in_another_federation_accuses_nobody(court: Court) -> None:
    """A policy may list logs of two federations; in the other one the accuser is called `owner`."""
    elsewhere, namesake = LogElsewhere(names=()), SigningKey.generate()
    member = court.owner.member(signing_key=namesake.public, head=None)
    elsewhere.append([member_entry(member).encode()])
    keys = (*court.log.keys.verifier_keys, *elsewhere.keys.verifier_keys)
    text = "".join(f"log {key.encode()}\n" for key in keys) + "quorum none\n"
    judge = Judge(parse_policy(text.encode()), NOW)
    court.log.names, court.log.witnesses = (), []
    evidence = wrong_epoch(court)
    verify_evidence(evidence.encode(), judge)
    proof = replace(court.part("head").proof, index=0, hashes=(), signed=elsewhere.signed())
    logged = replace(court.part("head"), entry=elsewhere.entries[0], proof=proof)
    made = replace(court.owner, signing=namesake, seed=bytes(32)).evaluate(court.draft.lookup)
    answer = namesake.sign("answer", replace(made, epoch=2).encode())
    framed = replace(evidence, items={**evidence.items, "answer": answer, "owner_member": logged})
    with pytest.raises(Refused) as refused:
        verify_evidence(framed.encode(), judge)
    assert refused.value.code == "identity_mismatch"


def test_evidence_about_directories_needs_the_root(court: Court) -> None:
    octets = MISDEEDS["two_directories"](court).encode()
    for root in (None, Chain().root):
        with pytest.raises(Refused) as refused:
            verify_evidence(octets, judge_of(court), root)
        assert refused.value.code == "certificate_refused"
