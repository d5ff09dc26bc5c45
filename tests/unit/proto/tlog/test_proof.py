"""Proofs of logging (C2SP tlog-proof; docs/protocol.md §16.1)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_proto.errors import (
    CandorError,
    LimitExceeded,
    LogUnwitnessed,
    MalformedMessage,
    NotCanonical,
    ProofInvalid,
    SignatureInvalid,
)
from candor_proto.tlog.checkpoint import Checkpoint, SignedCheckpoint
from candor_proto.tlog.policy import parse_policy
from candor_proto.tlog.proof import LogProof, parse_proof
from tests.log_scene import LogScene
from tests.parties import NOW
from tests.thorough import sampled
from tests.unit.proto.tlog.changes import SPARSE, one_octet_changes

SCENE = LogScene(entries=[b"entry %d" % number for number in range(11)])
POLICY = SCENE.policy
SIGNED = SCENE.signed()


def test_a_proof_verifies_with_the_policy_alone() -> None:
    for index in range(11):
        proof = parse_proof(SCENE.proof(index).encode())
        assert proof.verify(SCENE.entries[index], POLICY, NOW) == NOW
    assert SCENE.proof(4, 5).verify(b"entry 4", POLICY, NOW) == NOW


def test_its_text_is_that_of_the_specification() -> None:
    lines = SCENE.proof(10).encode().decode().split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1"
    assert lines[1] == "index 10"
    assert all(len(line) == 44 for line in lines[2:4])
    assert lines[4:7] == ["", SCENE.origin, "11"]


@given(
    st.integers(0, 2**63 - 1),
    st.lists(st.binary(min_size=32, max_size=32), max_size=63).map(tuple),
    st.integers(0, 2**63 - 1),
)
def test_a_proof_parses_to_itself(index: int, hashes: tuple[bytes, ...], size: int) -> None:
    signed = SignedCheckpoint(Checkpoint(SCENE.origin, size, bytes(32)), SIGNED.signatures)
    proof = LogProof(index, hashes, signed)
    assert parse_proof(proof.encode()) == proof


@pytest.mark.slow
def test_every_change_of_one_octet_is_refused_or_does_not_verify() -> None:
    scene = LogScene(entries=[b"a", b"b", b"c"])
    signed = scene.policy.knows(scene.cosigned(witnesses=[0, 1]))
    proof = replace(scene.proof(1), signed=signed)
    octets, policy = proof.encode(), scene.policy
    proof.verify(b"b", policy, NOW)
    for changed in sampled(one_octet_changes(octets, SPARSE), 1_500, "proof"):
        try:
            parsed = parse_proof(changed)
        except (MalformedMessage, LimitExceeded):
            continue
        assert parsed != proof
        assert parsed.encode() == changed
        with pytest.raises(CandorError):
            parsed.verify(b"b", policy, NOW)


def test_a_proof_of_another_entry_place_or_log_is_refused() -> None:
    proof = SCENE.proof(3)
    for entry in (b"entry 4", b"", b"entry 3 "):
        with pytest.raises(ProofInvalid):
            proof.verify(entry, POLICY, NOW)
    for index in (2, 4, 11, 2**63 - 1):
        with pytest.raises(ProofInvalid):
            replace(proof, index=index).verify(b"entry 3", POLICY, NOW)
    for hashes in (proof.hashes[:-1], (*proof.hashes, bytes(32)), tuple(reversed(proof.hashes))):
        with pytest.raises(ProofInvalid):
            replace(proof, hashes=hashes).verify(b"entry 3", POLICY, NOW)
    other = LogScene(entries=SCENE.entries)
    with pytest.raises(SignatureInvalid):
        other.proof(3).verify(b"entry 3", POLICY, NOW)


def test_a_proof_without_the_quorum_is_refused() -> None:
    alone = replace(SCENE.proof(3), signed=POLICY.knows(SCENE.cosigned(witnesses=[1])))
    with pytest.raises(LogUnwitnessed):
        alone.verify(b"entry 3", POLICY, NOW)


def test_a_proof_has_no_room_for_signatures_that_nobody_checks() -> None:
    proof = SCENE.proof(3)
    log, members = proof.signed.signatures[:2], proof.signed.signatures[2:]
    unknown = SCENE.witnesses[0].cosign(proof.signed.checkpoint, NOW)[0]
    for lines in (
        (*log, *members, unknown),
        (*log, unknown, *members),
        (*log, *reversed(members)),
    ):
        with pytest.raises(NotCanonical):
            replace(proof, signed=SignedCheckpoint(proof.signed.checkpoint, lines)).verify(
                b"entry 3", POLICY, NOW
            )
    for lines in (
        (log[1], log[0], *members),
        (log[0], *members),
        (*members, *log),
        (*log[:1], members[0], log[1]),
    ):
        with pytest.raises(SignatureInvalid):
            replace(proof, signed=SignedCheckpoint(proof.signed.checkpoint, lines)).verify(
                b"entry 3", POLICY, NOW
            )


def test_a_policy_with_one_key_of_the_log_verifies_nothing() -> None:
    vkey = SCENE.keys.verifier_keys[0].encode()
    policy = parse_policy(f"log {vkey}\nquorum none\n".encode())
    with pytest.raises(SignatureInvalid):
        replace(SCENE.proof(3), signed=SIGNED).verify(b"entry 3", policy, NOW)


OCTETS = SCENE.proof(3).encode()


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        OCTETS[1:],
        OCTETS.replace(b"@v1", b"@v2"),
        OCTETS.replace(b"index 3", b"extra AAAA\nindex 3"),
        OCTETS.replace(b"index 3", b"index 03"),
        OCTETS.replace(b"index 3", b"index  3"),
        OCTETS.replace(b"index 3", b"index -3"),
        OCTETS.replace(b"index 3", b"Index 3"),
        OCTETS.replace(b"index 3", b"index 9223372036854775808"),
        OCTETS.replace(b"index 3\n", b"index 3\n\n"),
        OCTETS.replace(b"index 3\n", b"index 3\nAAAA\n"),
        OCTETS.replace(b"\n\n", b"\n", 1),
        OCTETS.replace(b"\n\n", b"\n\n\n", 1),
        OCTETS.replace(b"\n", b"\r\n"),
        OCTETS + b"\n",
        OCTETS.split(b"\n\n")[0] + b"\n\n",
        "c2sp.org/tlog-proof@v1\nindex ١\n\n".encode(),
    ],
)
def test_what_is_no_proof_is_refused(octets: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_proof(octets)


def test_a_proof_holds_63_hashes_and_has_a_size() -> None:
    line = b"A" * 43 + b"=\n"
    longer = OCTETS.replace(b"index 3\n", b"index 3\n" + line * 60)
    with pytest.raises(LimitExceeded):
        parse_proof(longer)
    with pytest.raises(LimitExceeded):
        parse_proof(OCTETS + b"\n" * 600_000)
    for index, hashes, error in (
        (-1, (), MalformedMessage),
        (2**63, (), MalformedMessage),
        (0, (bytes(31),), MalformedMessage),
        (0, (bytes(32),) * 64, LimitExceeded),
    ):
        with pytest.raises(error):
            LogProof(index, hashes, SIGNED)


@given(
    st.binary(max_size=120) | st.binary(max_size=60).map(lambda octets: OCTETS[:60] + octets + OCTETS[60:])
)
def test_reading_a_proof_raises_nothing_else(octets: bytes) -> None:
    try:
        assert parse_proof(octets).encode() == octets
    except CandorError as error:
        assert isinstance(error, MalformedMessage | LimitExceeded)
