"""§14, §15: a log from its files, whatever was done to them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from candor_proto.ids import NodeId
from candor_proto.sealing import DisclosureKey
from candor_proto.signing import SigningKey
from candor_proto.tlog import tiles
from candor_proto.tlog.checkpoint import Checkpoint, SignedCheckpoint
from candor_proto.tlog.entries import (
    Closed,
    DirectoryEntry,
    PolicyEntry,
    Requests,
    Statement,
    head_entry,
    log_origin,
    member_entry,
    parse_entry,
)
from candor_proto.tlog.signatures import WitnessKeys
from candor_proto.tlog.state import state_of
from candor_proto.tlog.statements import WitnessKeyStatement
from candor_verify.checkpoint import LogKeys, parse_checkpoint, verify_log
from candor_verify.draw import WantedDraw
from candor_verify.errors import FindingClass, SignatureInvalid
from candor_verify.log import Wish, check_log
from candor_verify.note import VerifierKey
from candor_verify.policy import parse_policy
from candor_verify.report import Report
from candor_verify.source import FolderSource, Source
from tests.parties import FEDERATION, NOW, Party
from tests.thorough import sampled
from tests.unit.verify.memory_source import MemorySource, remembered_signatures
from tests.unit.verify.served import ServedLog, small, tiny

LATER = NOW + timedelta(hours=1)
SAMPLE = 10


def check(source: Source, policy: bytes, now: datetime = LATER, wish: Wish | None = None) -> Report:
    report = Report("log")
    check_log(source, parse_policy(policy), now, report, wish)
    return report


def kinds(report: Report) -> set[FindingClass]:
    return {finding.kind for finding in report.findings}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> ServedLog:
    return small(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def tiny_log(tmp_path_factory: pytest.TempPathFactory) -> ServedLog:
    return tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module", autouse=True)
def quick_signatures() -> Iterator[None]:
    with remembered_signatures():
        yield


# --- what is honest ------------------------------------------------------------------------------------


def test_an_honest_log_verifies(log: ServedLog) -> None:
    report = check(FolderSource(log.folder), log.first_policy)
    assert report.findings == []
    assert report.not_checked == []
    assert report.counts["entries"] == 39
    assert "Policies: followed up to version 3, now 2 of 3 (members)" in report.checked


def test_a_log_of_the_reviewers_own_policy_verifies(log: ServedLog) -> None:
    """A policy that is none of the log's own is used for every head."""
    own = log.policy.replace(b"members", b"my-own")
    report = check(FolderSource(log.folder), own)
    # The heads before there were witnesses are no part of what a reader takes up.
    assert report.findings == []
    assert any("none of the log's own" in line for line in report.checked)


def test_the_newest_policy_verifies_the_shards_that_it_names(log: ServedLog) -> None:
    report = check(FolderSource(log.folder), log.policy)
    assert report.findings == []


# --- every change of a file ----------------------------------------------------------------------------


PARTS = 6
# Of each file, in each part.
MOST = 40


def changed(octets: bytes, at: int, mask: int = 1) -> bytes:
    return octets[:at] + bytes([octets[at] ^ mask]) + octets[at + 1 :]


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_every_changed_octet_of_a_log_is_found(part: int, tiny_log: ServedLog) -> None:
    """And the file is named; the thorough campaign takes each octet of each file."""
    source = MemorySource.of(tiny_log.folder)
    assert check(source, tiny_log.first_policy).findings == []
    for path, octets in source.held.items():
        for at in sampled(range(part, len(octets), PARTS), MOST, path):
            report = check(source.changed(path, changed(octets, at)), tiny_log.first_policy)
            if path == "shards" and not report.findings:
                # It is signed by nobody. A smaller size hides nothing: the heads are read besides.
                assert any("shards" in line for line in report.not_checked), (path, at)
                continue
            assert report.findings, f"{path}: octet {at}"
            assert any(path in (each.where, *each.what.split()) for each in report.findings), (path, at)


def test_changed_octets_of_a_log_with_witnesses_are_found(log: ServedLog) -> None:
    source, chance = MemorySource.of(log.folder), random.Random(1)
    for path, octets in source.held.items():
        for at in chance.sample(range(len(octets)), min(SAMPLE, len(octets))):
            other = changed(octets, at, chance.choice((0x01, 0x20, 0x80)))
            report = check(source.changed(path, other), log.first_policy)
            assert report.findings or (path == "shards" and report.not_checked), f"{path}: octet {at}"


@pytest.mark.parametrize("cut", [0, 1, -1])
def test_a_file_cut_off_or_longer_is_found(log: ServedLog, cut: int) -> None:
    source = MemorySource.of(log.folder)
    for path, octets in source.held.items():
        other = octets + octets[-1:] if cut == 1 else octets[: cut or None] if cut else b""
        assert check(source.changed(path, other), log.first_policy).findings, path


def test_a_missing_file_is_found(log: ServedLog) -> None:
    """But for the parts that a log need not keep, and draws, which nothing but a folder tells of."""
    source = MemorySource.of(log.folder)
    for path in source.held:
        if path == "shards":
            continue
        kept_by_nobody = ".p/" in path and not any(
            path.endswith(f".p/{size}") for size in (len(log.entries), 23)
        )
        found = check(source.changed(path, None), log.first_policy).findings
        assert bool(found) is not (kept_by_nobody or "draw" in path), path


# --- what a dishonest log can do -----------------------------------------------------------------------


def grown(folder: Path, *, honest: bool = True) -> ServedLog:
    """A log with witnesses that goes on from what `small` shows of its first shard."""
    log = ServedLog(folder)
    log.make_policy()
    log.keep("policy/2", log.publish(witnesses=()))
    log.mail(3)
    log.publish()
    return log


def test_a_log_rolled_back_behind_a_kept_checkpoint_is_found(tmp_path: Path) -> None:
    log = grown(tmp_path)
    before = log.sign()
    log.mail(1)
    kept = log.publish().encode()
    log.show(before)
    report = check(FolderSource(tmp_path), log.first_policy, wish=Wish(kept=(kept,)))
    assert kinds(report) == {FindingClass.CONSISTENCY}
    assert report.status == 5


def test_a_log_that_grew_honestly_from_a_kept_checkpoint_verifies(tmp_path: Path) -> None:
    log = grown(tmp_path)
    kept = log.sign().encode()
    log.mail(1)
    log.publish()
    report = check(FolderSource(tmp_path), log.first_policy, wish=Wish(kept=(kept,)))
    assert report.findings == []
    assert any("the checkpoint kept (1)" in line for line in report.checked)


@pytest.mark.parametrize("more", [0, 1, 3])
def test_a_fork_from_a_kept_checkpoint_is_found(tmp_path: Path, more: int) -> None:
    """The same size, or a larger one, over another entry."""
    log = grown(tmp_path)
    log.mail(1, 0)
    kept = log.sign().encode()
    log.entries.pop()
    log.state = None  # type: ignore[assignment]  # nothing is judged by it any more
    log.append([entry_like(log, number) for number in range(1 + more)], judged=False)
    log.publish()
    report = check(FolderSource(tmp_path), log.first_policy, wish=Wish(kept=(kept,)))
    assert kinds(report) == {FindingClass.CONSISTENCY}


def entry_like(log: ServedLog, number: int) -> bytes:
    return Requests((bytes([number]) * 32,)).encode()


def test_two_heads_of_the_log_that_do_not_agree_are_a_fork(tmp_path: Path) -> None:
    """A split view: the head with a quorum and the newest one signed are of two logs."""
    log = grown(tmp_path)
    log.mail(1)
    honest = log.publish()
    other = log.keys.sign(Checkpoint(log.origin, honest.checkpoint.size, bytes(32)), log.now)
    log.write("1/signed", other.encode())
    report = check(FolderSource(tmp_path), log.first_policy)
    assert [(each.kind, each.where) for each in report.findings] == [(FindingClass.CONSISTENCY, "1/signed")]


def test_a_smaller_head_signed_later_is_a_roll_back(tmp_path: Path) -> None:
    log = grown(tmp_path)
    newest = log.publish()
    log.now += timedelta(minutes=1)
    log.write("1/draw/2026-03", log.sign(size=newest.checkpoint.size - 1).encode())
    report = check(FolderSource(tmp_path), log.first_policy)
    assert kinds(report) == {FindingClass.CONSISTENCY}


def test_entries_in_another_order_are_found(tmp_path: Path) -> None:
    log = grown(tmp_path)
    source = MemorySource.of(tmp_path)
    path = f"1/{tiles.bundle_path(0, len(log.entries))}"
    held = [*log.entries[:-2], log.entries[-1], log.entries[-2]]
    report = check(source.changed(path, tiles.encode_bundle(held)), log.first_policy)
    assert [(each.kind, each.where) for each in report.findings] == [(FindingClass.INCLUSION, path)]


def test_a_damaged_tile_and_a_damaged_bundle_are_told_apart(tmp_path: Path) -> None:
    """By the tile above them, in a log of more than one."""
    log = grown(tmp_path)
    for _ in range(400):
        log.mail(1, 0)
    log.publish()
    source = MemorySource.of(tmp_path)
    assert check(source, log.first_policy).findings == []
    for path in ("1/tile/entries/000", "1/tile/0/000", "1/tile/1/000.p/1"):
        report = check(source.changed(path, changed(source.held[path], 20)), log.first_policy)
        assert {each.where for each in report.findings} == {path}, report.text()
    lost = source.changed("1/tile/entries/000", None).changed("1/tile/0/000", None)
    where = {each.where for each in check(lost, log.first_policy).findings}
    assert {"1/tile/entries/000", "1/tile/0/000"} <= where


def test_a_head_without_its_quorum_is_found(tmp_path: Path) -> None:
    log = grown(tmp_path)
    log.mail(1)
    log.publish(witnesses=[1])
    report = check(FolderSource(tmp_path), log.first_policy)
    assert kinds(report) == {FindingClass.QUORUM}
    assert report.status == 7


def test_cosignatures_of_the_future_do_not_count(tmp_path: Path) -> None:
    log = grown(tmp_path)
    signed = log.sign(witnesses=[0])
    for witness in log.witnesses[1:]:
        signed = signed.with_signatures(witness.cosign(signed.checkpoint, log.now + timedelta(hours=1)))
    log.show(signed)
    report = check(FolderSource(tmp_path), log.first_policy, now=log.now)
    assert kinds(report) == {FindingClass.QUORUM}
    assert "in the future" in report.findings[0].what
    assert check(FolderSource(tmp_path), log.first_policy, now=log.now + timedelta(hours=1)).findings == []


def test_a_log_signed_in_the_future_does_not_count(tmp_path: Path) -> None:
    log = grown(tmp_path)
    report = check(FolderSource(tmp_path), log.first_policy, now=NOW - timedelta(hours=1))
    assert kinds(report) == {FindingClass.QUORUM}


def test_an_old_head_is_found_where_an_age_is_asked_for(tmp_path: Path) -> None:
    log = grown(tmp_path)
    source, wish = FolderSource(tmp_path), Wish(max_age=timedelta(hours=24))
    assert check(source, log.first_policy, NOW + timedelta(hours=23), wish).findings == []
    assert kinds(check(source, log.first_policy, NOW + timedelta(hours=25), wish)) == {FindingClass.QUORUM}


def test_a_policy_that_no_quorum_brought_into_force_is_found(tmp_path: Path) -> None:
    """The hub takes two witnesses away by a policy that only it knows of."""
    log = grown(tmp_path)
    log.make_policy(witnesses=0)
    log.keep("policy/3", log.publish(witnesses=()))
    report = check(FolderSource(tmp_path), log.first_policy)
    assert kinds(report) == {FindingClass.QUORUM}
    (tmp_path / "1/policy/3").unlink()
    assert kinds(check(FolderSource(tmp_path), log.first_policy)) == {FindingClass.QUORUM}


def test_a_line_of_nobody_known_is_found(tmp_path: Path) -> None:
    log = grown(tmp_path)
    stranger = WitnessKeys.generate("stranger.example/w")
    signed = log.sign()
    log.show(signed.with_signatures(stranger.cosign(signed.checkpoint, log.now)))
    report = check(FolderSource(tmp_path), log.first_policy)
    assert kinds(report) == {FindingClass.SIGNATURE}


def test_a_known_line_that_fails_is_found_though_the_quorum_stands(tmp_path: Path) -> None:
    log = grown(tmp_path)
    signed = log.sign()
    *lines, last = signed.signatures
    spoilt = replace(last, payload=changed(last.payload, 100))
    log.show(SignedCheckpoint(signed.checkpoint, (*lines, spoilt)))
    report = check(FolderSource(tmp_path), log.first_policy)
    assert kinds(report) == {FindingClass.SIGNATURE}


def test_both_signatures_of_the_log_stand_in_their_places(tiny_log: ServedLog) -> None:
    head = parse_checkpoint((tiny_log.folder / "1/checkpoint").read_bytes())
    keys = LogKeys(*(VerifierKey(key.name, key.kind, key.key) for key in tiny_log.keys.verifier_keys))
    verify_log(head, keys)
    ed25519, ml_dsa = head.signatures
    for lines in (
        (replace(ed25519, payload=changed(ed25519.payload, 5)), ml_dsa),
        (ed25519, replace(ml_dsa, payload=changed(ml_dsa.payload, 500))),
        (ed25519, replace(ml_dsa, payload=bytes(8) + ml_dsa.payload[8:])),
        (ml_dsa, ed25519),
        (ed25519,),
        (ml_dsa,),
    ):
        with pytest.raises(SignatureInvalid):
            verify_log(replace(head, signatures=lines), keys)


def test_another_logs_keys_are_not_taken(tmp_path: Path, log: ServedLog) -> None:
    other = grown(tmp_path)
    report = check(FolderSource(tmp_path), log.first_policy)
    assert kinds(report) == {FindingClass.SIGNATURE}
    assert other.first_policy != log.first_policy


def test_a_size_beyond_all_files_ends_at_once(tmp_path: Path) -> None:
    log = grown(tmp_path)
    huge = log.keys.sign(Checkpoint(log.origin, 2**62, bytes(32)), log.now)
    log.write("1/signed", huge.encode())
    report = check(FolderSource(tmp_path), log.first_policy)
    assert FindingClass.INCLUSION in kinds(report)
    assert len(report.findings) < 100


def test_a_draw_is_of_the_month_of_the_logs_own_time(tmp_path: Path) -> None:
    """A witness's clock may be a little behind it, and the month just begun (§18.1)."""
    log = ServedLog(tmp_path)
    log.make_policy()
    log.keep("policy/2", log.publish(witnesses=()))
    log.mail(1)
    checkpoint = log.publish().checkpoint
    drawn = log.keys.sign(checkpoint, log.now)
    for witness in log.witnesses:
        drawn = drawn.with_signatures(witness.cosign(checkpoint, log.now - timedelta(days=3)))
    log.keep("draw/2026-03", drawn)
    assert check(FolderSource(tmp_path), log.first_policy).findings == []
    log.keep("draw/2026-02", drawn)
    assert kinds(check(FolderSource(tmp_path), log.first_policy)) == {FindingClass.RULE}


def test_a_head_signed_beyond_what_is_shown_is_a_roll_back(tmp_path: Path) -> None:
    log = grown(tmp_path)
    log.mail(1)
    log.keep("draw/2026-03", log.sign())
    report = check(FolderSource(tmp_path), log.first_policy)
    assert kinds(report) == {FindingClass.CONSISTENCY}


@pytest.mark.parametrize(
    "octets",
    [b"", b"\n", b"x 1\n", b"test.candor.example/log/1 1", b"test.candor.example/log/1 01\n",
     b"test.candor.example/log/2 1\n", b"test.candor.example/log/1 99999999999999999999\n", b"\xff\n"],
)  # fmt: skip
def test_a_list_of_shards_that_is_none_is_refused(tiny_log: ServedLog, octets: bytes) -> None:
    report = check(MemorySource.of(tiny_log.folder).changed("shards", octets), tiny_log.first_policy)
    assert kinds(report) == {FindingClass.INCLUSION}


def test_a_further_shard_whose_forerunner_is_not_closed_is_found(log: ServedLog, tmp_path: Path) -> None:
    other = grown(tmp_path)
    files = MemorySource.of(log.folder).held
    files = {path: octets for path, octets in files.items() if path.startswith("2/")}
    source = MemorySource({**MemorySource.of(tmp_path).held, **files})
    source.held["shards"] = f"{other.origin} {len(other.entries)}\n{log.origin} {len(log.entries)}\n".encode()
    report = check(source, other.first_policy)
    assert FindingClass.RULE in kinds(report)


def test_one_shard_alone(log: ServedLog) -> None:
    report = check(FolderSource(log.folder), log.policy, wish=Wish(only_shard=2))
    assert report.findings == []
    assert report.not_checked == ["shard 1"]


def test_a_draw_is_computed_by_everybody(log: ServedLog) -> None:
    wanted = WantedDraw("2026-03", 10_000)
    report = check(FolderSource(log.folder), log.first_policy, wish=Wish(draw=wanted))
    assert report.findings == []
    assert wanted.covered == len(wanted.found) == 3
    few = WantedDraw("2026-04", 100)
    assert kinds(check(FolderSource(log.folder), log.first_policy, wish=Wish(draw=few))) == {
        FindingClass.UNREADABLE
    }


# --- the rules of §14.5 --------------------------------------------------------------------------------

RULES: dict[str, Callable[[ServedLog], None]] = {}


def rule(break_it: Callable[[ServedLog], None]) -> Callable[[ServedLog], None]:
    RULES[break_it.__name__] = break_it
    return break_it


def put(log: ServedLog, *entries: bytes) -> None:
    log.append(entries, judged=False)


@rule
def an_entry_does_not_parse(log: ServedLog) -> None:
    put(log, Requests((b"\1" * 32,)).encode() + b"\0")


@rule
def opened_stands_elsewhere(log: ServedLog) -> None:
    put(log, log.entries[0])


@rule
def something_follows_closed(log: ServedLog) -> None:
    put(log, Closed(log.now, log_origin(FEDERATION, 2), bytes(32), bytes(1312)).encode())
    put(log, Requests((b"\1" * 32,)).encode())


@rule
def closed_names_another_origin(log: ServedLog) -> None:
    put(log, Closed(log.now, log_origin(FEDERATION, 3), bytes(32), bytes(1312)).encode())


@rule
def a_member_gets_another_signing_key(log: ServedLog) -> None:
    key = SigningKey.generate().public
    put(log, member_entry(log.parties["alpha"].member(signing_key=key)).encode())


@rule
def a_member_gets_another_disclosure_key(log: ServedLog) -> None:
    key = DisclosureKey.generate().public
    put(log, member_entry(log.parties["alpha"].member(disclosure_key=key)).encode())


@rule
def a_member_joined_at_another_time(log: ServedLog) -> None:
    put(log, member_entry(log.parties["alpha"].member(joined_at=NOW)).encode())


@rule
def a_head_of_nobody(log: ServedLog) -> None:
    put(log, head_entry(Party(NodeId("delta")).signed_head()).encode())


@rule
def a_head_again(log: ServedLog) -> None:
    put(log, head_entry(log.heads["alpha"]).encode())


@rule
def a_head_of_an_earlier_epoch(log: ServedLog) -> None:
    put(log, head_entry(replace(log.parties["alpha"], sequence=9, epoch=0).signed_head()).encode())


@rule
def a_head_of_other_keys_in_one_epoch(log: ServedLog) -> None:
    put(log, head_entry(replace(log.parties["alpha"], sequence=9, seed=bytes(32)).signed_head()).encode())


@rule
def a_serial_is_denied_twice(log: ServedLog) -> None:
    log.deny(77)
    put(log, log.entries[-1])


@rule
def a_directory_leaves_a_version_out(log: ServedLog) -> None:
    directory = log.directory(log.directory_version + 2)
    put(log, DirectoryEntry(directory.version, log.now, bytes(32), state_of(directory)).encode())


@rule
def a_directory_of_another_state(log: ServedLog) -> None:
    put(log, DirectoryEntry(log.directory_version + 1, log.now, bytes(32), bytes(32)).encode())


@rule
def a_policy_again(log: ServedLog) -> None:
    put(log, PolicyEntry(2, log.now, log.policy).encode())


@rule
def a_statement_of_another_key(log: ServedLog) -> None:
    log.beat("alpha", 5, [])
    body = parse_entry(log.entries.pop())
    assert isinstance(body, Statement)
    forged = log.parties["beta"].signing.sign("heartbeat", body.signed.body)
    put(log, Statement("heartbeat", forged).encode())


@rule
def a_heartbeat_that_leaves_a_number_out(log: ServedLog) -> None:
    log.beat("alpha", 5, [])
    log.beats["alpha"] = (1, 5)
    beat_unjudged(log, 6)


@rule
def a_heartbeat_that_leaves_entries_out(log: ServedLog) -> None:
    log.beat("alpha", 5, [])
    log.beats["alpha"] = (0, 6)
    beat_unjudged(log, 7)


@rule
def a_heartbeat_about_entries_to_come(log: ServedLog) -> None:
    beat_unjudged(log, len(log.entries) + 1, [True] * 3)


@rule
def a_heartbeat_with_too_few_bits(log: ServedLog) -> None:
    log.mail(9)
    beat_unjudged(log, len(log.entries), [True] * 8)


@rule
def a_heartbeat_with_bits_behind_its_last(log: ServedLog) -> None:
    beat_unjudged(log, len(log.entries), [True] * 4)


@rule
def a_heartbeat_about_another_shard(log: ServedLog) -> None:
    beat_unjudged(log, 5, [], origin=log_origin(FEDERATION, 2))


def beat_unjudged(log: ServedLog, end: int, bits: list[bool] | None = None, **changes: object) -> None:
    judged, log.state = log.state, Anything()  # type: ignore[assignment]  # takes whatever comes
    log.beat("alpha", end, bits or [], **changes)
    log.state = judged


class Anything:
    def apply(self, index: int, entry: bytes) -> None:
        pass


@rule
def a_witness_key_that_is_not_later(log: ServedLog) -> None:
    put(log, next(entry for entry in log.entries if b"witness-key" in entry))


@rule
def a_witness_key_of_another_member(log: ServedLog) -> None:
    alpha, beta = log.witnesses[0], log.parties["beta"]
    keys = WitnessKeyStatement(
        FEDERATION, beta.node, alpha.verifier_keys[0].key, alpha.verifier_keys[1].key, log.now
    )
    put(log, Statement("witness-key", beta.signing.sign("witness-key", keys.encode())).encode())


@pytest.mark.parametrize("name", RULES)
def test_a_log_that_breaks_a_rule_is_refused(name: str, tmp_path: Path) -> None:
    log = grown(tmp_path)
    RULES[name](log)
    log.publish()
    report = check(FolderSource(tmp_path), log.first_policy)
    assert kinds(report) == {FindingClass.RULE}, report.text()
    assert report.status == 6
    assert f"entry {len(log.entries) - 1} " in report.findings[0].what


def test_heads_older_than_the_policy_given_are_left_aside(tmp_path: Path) -> None:
    """A reviewer who has today's policy alone is not told that a log without witnesses lacked them."""
    log = ServedLog(tmp_path)
    log.keep("draw/2026-03", log.publish(witnesses=()))
    log.make_policy()
    log.keep("policy/2", log.publish(witnesses=()))
    log.mail(1)
    log.publish()
    report = check(FolderSource(tmp_path), log.policy)
    assert report.findings == []
    assert report.not_checked == ["1/draw/2026-03: its quorum; it is older than the policy given"]
    assert check(FolderSource(tmp_path), log.first_policy).not_checked == []


def test_a_policy_of_a_later_shard_leaves_the_heads_of_earlier_ones_aside(tmp_path: Path) -> None:
    log = grown(tmp_path)
    before = log.keys
    log.rotate()
    later = log.make_policy(witnesses=1, also=[before])
    log.keep(f"policy/{log.policy_version}", log.publish())
    report = check(FolderSource(tmp_path), later)
    assert report.findings == [], report.text()
    assert "1/checkpoint: its quorum; it is older than the policy given" in report.not_checked


def test_a_log_copied_while_it_grew_verifies_up_to_its_head(tmp_path: Path) -> None:
    """The head was copied first, wider files later; those of its own size are gone."""
    log = grown(tmp_path)
    source = MemorySource.of(tmp_path)
    size = len(log.entries)
    log.mail(1)
    log.publish()
    later = MemorySource.of(tmp_path).held
    heads = {path: source.held[path] for path in ("shards", "1/checkpoint", "1/signed")}
    files = {path: octets for path, octets in later.items() if not path.endswith(f".p/{size}")}
    report = check(MemorySource({**files, **heads}), log.first_policy)
    assert report.findings == []
    assert report.counts["entries"] == size
