"""With the whole log as ground: files of any policy's time count, and none of another history (§17.1)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from candor_proto.accountability.evidence import Evidence, Item, Kind
from candor_proto.accountability.file_form import LoggedPart
from candor_proto.signing import SigningKey
from candor_proto.tlog import tiles
from candor_proto.tlog.checkpoint import SignedCheckpoint
from candor_proto.tlog.entries import member_entry
from candor_proto.tlog.policy import parse_policy as read_policy
from candor_proto.tlog.proof import LogProof
from candor_verify import cli
from tests.parties import FEDERATION
from tests.unit.verify.served import ServedLog


def part(log: ServedLog, index: int, signed: SignedCheckpoint | None = None) -> LoggedPart:
    """The entry with a proof under the newest head, in the form of the policy in force."""
    signed = signed or log.sign()
    known = read_policy(log.policy).knows(signed)
    hashes = tiles.inclusion_proof(log.tiles, index, signed.checkpoint.size)
    return LoggedPart(log.entries[index], LogProof(index, hashes, known))


def two_heads(log: ServedLog, owner_member: LoggedPart, key: SigningKey | None = None) -> bytes:
    """Evidence against alpha, of heads that were signed with its key, or another one."""
    party = log.parties["alpha"]
    signing = key or party.signing
    heads = [replace(party.head(), sequence=9), replace(party.head(), sequence=9, issued_at=log.now)]
    first, second = (signing.sign("index-head", head.encode()) for head in heads)
    items: dict[str, Item] = {"first": first, "second": second, "owner_member": owner_member}
    return Evidence(Kind.TWO_HEADS, FEDERATION, "alpha", items).encode()


def judged(log: ServedLog, octets: bytes, tmp_path: Path, *more: str) -> tuple[int, str]:
    (tmp_path / "evidence").write_bytes(octets)
    (tmp_path / "policy").write_bytes(log.first_policy)
    said: list[str] = []
    arguments = ["evidence", str(tmp_path / "evidence"), "--policy", str(tmp_path / "policy"), *more]
    return cli.run(arguments, log.now, said.append), "\n".join(said)


@pytest.fixture
def log(tmp_path: Path) -> ServedLog:
    log = ServedLog(tmp_path / "log")
    log.make_policy()
    log.keep("policy/2", log.publish(witnesses=()))
    log.mail(1)
    log.publish()
    return log


def place_of_alpha(log: ServedLog) -> int:
    entry = member_entry(log.parties["alpha"].member()).encode()
    return log.entries.index(entry)


def test_a_file_of_another_policys_time_counts_by_the_log(log: ServedLog, tmp_path: Path) -> None:
    octets = two_heads(log, part(log, place_of_alpha(log)))
    log.make_policy(witnesses=2)
    log.keep("policy/3", log.publish())
    log.mail(1)
    log.publish()
    status, said = judged(log, octets, tmp_path)
    assert status == 9
    assert "the policy does not know" in said
    status, said = judged(log, octets, tmp_path, "--log", str(log.folder))
    assert status == 0, said


def test_a_proof_of_another_history_is_refused(log: ServedLog, tmp_path: Path) -> None:
    """The hub makes alpha up in a log that only the accuser is shown: all signatures are good."""
    framed = SigningKey.generate()
    shown = ServedLog(tmp_path / "shown")
    shown.keys, shown.witnesses, shown.policy = log.keys, log.witnesses, log.policy
    index = place_of_alpha(shown)
    shown.entries[index] = member_entry(log.parties["alpha"].member(signing_key=framed.public)).encode()
    shown.tiles.held.clear()
    shown.written = 0
    signed = shown.publish()
    octets = two_heads(log, part(shown, index, signed), framed)
    (tmp_path / "policy-in-force").write_bytes(log.policy)
    said: list[str] = []
    arguments = ["evidence", str(tmp_path / "evidence"), "--policy", str(tmp_path / "policy-in-force")]
    judged(log, octets, tmp_path)
    assert cli.run(arguments, log.now, said.append) == 0, "witnesses that follow such a log vouch for it"
    status, text = judged(log, octets, tmp_path, "--log", str(log.folder))
    assert status == 9
    assert "does not hold this entry" in text


def test_a_key_that_the_log_names_once_more_frames_nobody(log: ServedLog, tmp_path: Path) -> None:
    """As above, in the one log that everybody reads: then the log is refused, and says so."""
    framed = SigningKey.generate()
    log.append([member_entry(log.parties["alpha"].member(signing_key=framed.public)).encode()], judged=False)
    log.publish()
    octets = two_heads(log, part(log, len(log.entries) - 1), framed)
    status, said = judged(log, octets, tmp_path, "--log", str(log.folder))
    assert status == 6
    assert "the signing key of alpha changed" in said
    assert "[evidence does not hold]" in said


def test_an_entry_that_no_quorum_has_witnessed_yet_is_no_ground(log: ServedLog, tmp_path: Path) -> None:
    """The hub's own signature over it is in `signed`: it may still be written otherwise (§14.6)."""
    renamed = replace(log.parties["alpha"].member(), name="Alpha, renamed")
    witnessed = log.publish()
    log.append([member_entry(renamed).encode()])
    signed = log.publish(witnesses=())
    log.show(witnessed)
    log.keep("signed", signed)
    octets = two_heads(log, part(log, len(log.entries) - 1, log.sign(witnesses=())))
    status, said = judged(log, octets, tmp_path, "--log", str(log.folder))
    assert status == 9, said
    assert "does not hold this entry" in said
    log.publish()
    status, said = judged(log, octets, tmp_path, "--log", str(log.folder))
    assert status == 0, said


def test_a_cosignature_of_nobody_known_is_refused(log: ServedLog, tmp_path: Path) -> None:
    logged = part(log, place_of_alpha(log))
    lines = logged.proof.signed.signatures
    stranger = replace(lines[-1], name="zz.example/w")
    spoilt = replace(
        logged,
        proof=replace(
            logged.proof, signed=SignedCheckpoint(logged.proof.signed.checkpoint, (*lines, stranger))
        ),
    )
    status, said = judged(log, two_heads(log, spoilt), tmp_path, "--log", str(log.folder))
    assert status == 9, said
