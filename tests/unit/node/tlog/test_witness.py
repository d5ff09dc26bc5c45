"""A witness: what the specification's races and refusals come to, over HTTP and in the node (§15.3)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from candor_node.store import ALL_MIGRATIONS, Store
from candor_node.tlog import member, witness_store
from candor_node.tlog.member import MemberRules
from candor_node.tlog.witness import PolicyRules, Witness
from candor_node.tlog.witness_folder import StandingWitness, look, make
from candor_node.tlog.witness_http import Listen, serving
from candor_proto.errors import (
    AlreadyExists,
    ConfigInvalid,
    InputInvalid,
    LogInconsistent,
    StoreUnusable,
)
from candor_proto.tlog.checkpoint import SignedCheckpoint, parse_checkpoint
from candor_proto.tlog.policy import parse_policy
from candor_proto.tlog.signatures import verify_signature
from candor_proto.tlog.tiles import consistency_proof
from candor_proto.tlog.witness import MAX_REQUEST_OCTETS, Verdict, parse_response, request_octets
from tests.empty import empty_store
from tests.memory_log import NOW, Log, later
from tests.patience import PATIENCE_SECONDS
from tests.unit.node.tlog.scenes import KEY, OWN, Reader, SetClock, play

NAME = "court.example/witness"


class Tiles:
    """Tiles of the newest shard of a log."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def tile(self, level: int, index: int, width: int) -> bytes:
        from candor_proto.tlog.tiles import tile_path

        octets = self._log.file(f"{self._log.shard}/{tile_path(level, index, width)}")
        assert octets is not None
        return octets


def asked(log: Log, old: int, size: int | None = None) -> bytes:
    """What an honest hub asks with: the head of `size` entries, after one of `old`."""
    signed = log.head(NOW, size=size)
    return request_octets(old, consistency_proof(Tiles(log), old, signed.checkpoint.size), signed)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with empty_store(tmp_path / "witness.db", KEY, ALL_MIGRATIONS) as opened:
        opened.run_sync(lambda db: witness_store.make_keys(db, NAME, NOW))
        yield opened


def witness_of(log: Log, store: Store) -> Witness:
    return Witness(store, PolicyRules(parse_policy(log.policy_without_witnesses)), SetClock())


def answer(witness: Witness, request: bytes) -> Verdict:
    return asyncio.run(witness.add_checkpoint(request))


def test_both_keys_cosign_a_head_that_continues_the_last_one(store: Store) -> None:
    log = Log()
    witness, size = witness_of(log, store), log.size
    assert answer(witness, asked(log, 0)).status == 200
    log.grow(3)
    verdict = answer(witness, asked(log, size))
    assert verdict.status == 200
    keys = store.run_sync(witness_store.keys)
    assert keys is not None
    checkpoint = log.head(NOW).checkpoint
    signatures = parse_response(200, verdict.body).signatures
    assert [verify_signature(*pair) for pair in _with(keys, checkpoint, signatures)] == [NOW, NOW]


def _with(keys: Any, checkpoint: Any, signatures: Any) -> Any:
    return [(key, checkpoint, line) for key, line in zip(keys.verifier_keys, signatures, strict=True)]


@pytest.mark.parametrize("old", [0, 1, 999])
def test_another_old_size_is_told_the_right_one(store: Store, old: int) -> None:
    log = Log()
    witness, size = witness_of(log, store), log.size
    answer(witness, asked(log, 0))
    log.grow(1000)
    verdict = answer(witness, asked(log, old))
    assert (verdict.status, verdict.body, verdict.content_type) == (
        409,
        f"{size}\n".encode(),
        "text/x.tlog.size",
    )


def test_a_fork_is_not_cosigned(store: Store) -> None:
    log = Log()
    witness, fork, size = witness_of(log, store), log.fork(), log.size
    log.grow(2)
    fork.grow(2)
    answer(witness, asked(log, 0))
    assert answer(witness, asked(fork, log.size)).status == 422
    fork.grow(5)
    assert answer(witness, asked(fork, log.size)).status == 422
    assert answer(witness, asked(fork, size)).status == 409


def test_an_unknown_log_and_a_foreign_signature_are_refused(store: Store) -> None:
    log, other = Log(), Log()
    witness = witness_of(log, store)
    assert answer(witness, asked(other, 0)).status == 403
    other.rotate(NOW)
    assert answer(witness, asked(other, 0)).status == 404
    assert answer(witness, b"old 0\n").status == 400
    assert store.run_sync(witness_store.all_cosigned) == []


def test_of_two_requests_at_a_time_none_rolls_the_witness_back(store: Store) -> None:
    """The race of the specification: N and N + K come together, both with the same old size."""
    log = Log()
    witness, first = witness_of(log, store), log.size
    answer(witness, asked(log, 0))
    log.grow(9)

    async def scene() -> list[Verdict]:
        small, large = asked(log, first, first + 4), asked(log, first)
        requests = [small, large] * 4
        return list(await asyncio.gather(*(witness.add_checkpoint(request) for request in requests)))

    verdicts = asyncio.run(scene())
    held = store.run_sync(lambda db: witness_store.cosigned(db, log.keys[0].origin))
    assert held is not None
    accepted = [verdict for verdict in verdicts if verdict.status == 200]
    assert len(accepted) == 1
    assert {verdict.status for verdict in verdicts} == {200, 409}
    assert all(
        verdict.body == f"{held.checkpoint.size}\n".encode() for verdict in verdicts if verdict.status == 409
    )


def test_the_store_itself_never_goes_back(store: Store) -> None:
    log = Log()
    log.grow(5)
    store.run_sync(lambda db: witness_store.keep(db, log.head(NOW), NOW))
    small = log.head(NOW, size=log.size - 1)
    with pytest.raises(Exception, match="does not go back"):
        store.run_sync(lambda db: witness_store.keep(db, small, NOW))


def test_what_was_not_stored_was_not_answered(store: Store) -> None:
    """A crash before the commit: nobody has the signature, and the other head may still be cosigned."""
    log = Log()
    witness, fork = witness_of(log, store), log.fork()
    log.grow()
    fork.grow()
    run = store.run

    async def dies(work: Any) -> Any:
        def undone(db: Any) -> None:
            work(db)
            raise StoreUnusable("The disk is full.")

        return await run(undone)

    store.run = dies  # type: ignore[method-assign]  # the fault
    with pytest.raises(StoreUnusable):
        answer(witness, asked(log, 0))
    store.run = run  # type: ignore[method-assign]
    assert answer(witness, asked(fork, 0)).status == 200


def test_what_was_stored_and_not_answered_binds(tmp_path: Path) -> None:
    """A crash after the commit: the same head is cosigned again, another one never."""
    log = Log()
    fork = log.fork()
    log.grow()
    fork.grow()
    with empty_store(tmp_path / "witness.db", KEY, ALL_MIGRATIONS) as store:
        store.run_sync(lambda db: witness_store.make_keys(db, NAME, NOW))
        witness = witness_of(log, store)
        store.run_sync(lambda db: witness.judge(db, asked(log, 0)))
    with Store.open(tmp_path / "witness.db", KEY, ALL_MIGRATIONS) as store:
        witness = witness_of(log, store)
        assert answer(witness, asked(fork, 0)).status == 409
        assert answer(witness, asked(fork, log.size)).status == 422
        assert answer(witness, asked(log, log.size)).status == 200


# --- over HTTP ---------------------------------------------------------------------------------------


@asynccontextmanager
async def listening(log: Log, store: Store, **given: Any) -> AsyncIterator[int]:
    async with serving(witness_of(log, store), Listen("127.0.0.1", 0), **given) as port:
        yield port


async def exchange(port: int, octets: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send raw octets; status, headers and body of what comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(octets)
    async with asyncio.timeout(PATIENCE_SECONDS):
        received = await reader.read()
    writer.close()
    head, _, body = received.partition(b"\r\n\r\n")
    first, *others = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in others)
    return int(first.split(" ")[1]), headers, body


async def post(port: int, body: bytes, path: str = "/add-checkpoint") -> tuple[int, dict[str, str], bytes]:
    head = f"POST {path} HTTP/1.1\r\nhost: w\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    return await exchange(port, head.encode() + body)


async def get(port: int, path: str) -> tuple[int, dict[str, str], bytes]:
    return await exchange(port, f"GET {path} HTTP/1.1\r\nhost: w\r\nconnection: close\r\n\r\n".encode())


def test_a_log_is_answered_over_http(store: Store) -> None:
    log = Log()

    async def scene() -> None:
        async with listening(log, store) as port:
            path = f"/{hashlib.sha256(log.keys[0].origin.encode()).hexdigest()}/checkpoint"
            assert (await get(port, path))[0] == 404
            status, headers, body = await post(port, asked(log, 0))
            assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
            lines = parse_response(status, body).signatures
            status, headers, octets = await get(port, path)
            assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
            signed = parse_checkpoint(octets)
            assert signed.checkpoint == log.head(NOW).checkpoint
            # The log's two lines that were verified, and the very cosignatures that were answered.
            assert signed.signatures[2:] == lines
            status, headers, body = await post(port, asked(log, 3))
            assert (status, headers["content-type"]) == (409, "text/x.tlog.size")
            assert body == f"{log.size}\n".encode()

    asyncio.run(scene())


def test_two_requests_at_a_time_over_http(store: Store) -> None:
    log = Log()

    async def scene() -> None:
        async with listening(log, store) as port:
            first = log.size
            await post(port, asked(log, 0))
            log.grow(7)
            requests = [asked(log, first, first + 3), asked(log, first)] * 5
            replies = await asyncio.gather(*(post(port, request) for request in requests))
            assert sorted(status for status, *_ in replies) == [200] + [409] * 9
            sizes = {body for status, _, body in replies if status == 409}
            assert len(sizes) == 1

    asyncio.run(scene())


def test_signatures_of_strangers_are_not_kept(store: Store) -> None:
    log = Log()

    async def scene() -> None:
        async with listening(log, store) as port:
            signed = log.head(NOW, "alpha", "bravo")
            assert (await post(port, request_octets(0, (), signed)))[0] == 200
            path = f"/{hashlib.sha256(log.keys[0].origin.encode()).hexdigest()}/checkpoint"
            kept = parse_checkpoint((await get(port, path))[2])
            assert {line.name for line in kept.signatures} == {log.keys[0].origin, NAME}

    asyncio.run(scene())


def test_what_is_too_large_or_too_slow_is_not_heard(store: Store) -> None:
    log = Log()

    async def scene() -> None:
        async with listening(log, store, body_seconds=0.2, idle_seconds=0.3) as port:
            large = b"POST /add-checkpoint HTTP/1.1\r\nhost: w\r\ncontent-length: %d\r\n\r\n" % (
                MAX_REQUEST_OCTETS + 1
            )
            assert (await exchange(port, large + b"old 0\n"))[0] == 413
            chunk = b"%x\r\n%s\r\n" % (1 << 16, bytes(1 << 16))
            chunked = b"POST /add-checkpoint HTTP/1.1\r\nhost: w\r\ntransfer-encoding: chunked\r\n\r\n"
            assert (await exchange(port, chunked + chunk * 12))[0] == 413
            slow = b"POST /add-checkpoint HTTP/1.1\r\nhost: w\r\ncontent-length: 100\r\n\r\nold"
            assert (await exchange(port, slow))[0] == 408
            # A connection that says nothing, and one that never ends its headers.
            for begun in (b"", b"POST /add-checkpoint HTTP/1.1\r\nhost: w\r\n"):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(begun)
                async with asyncio.timeout(PATIENCE_SECONDS):
                    assert await reader.read() == b""
                writer.close()
            assert (await post(port, asked(log, 0)))[0] == 200

    asyncio.run(scene())


def test_nothing_else_is_served(store: Store) -> None:
    log = Log()

    async def scene() -> None:
        async with listening(log, store) as port:
            assert (await get(port, "/add-checkpoint"))[0] == 405
            assert (await get(port, "/"))[0] == 404
            assert (await get(port, "/../etc/passwd/checkpoint"))[0] == 404
            assert (await post(port, b"", "/sign-subtree"))[0] == 404

    asyncio.run(scene())


def test_a_full_disk_signs_nothing_and_says_so(store: Store) -> None:
    log = Log()

    async def full(work: Any) -> Any:
        raise StoreUnusable("The disk is full.")

    async def scene() -> None:
        async with listening(log, store) as port:
            run, store.run = store.run, full  # type: ignore[method-assign]  # the fault
            assert (await post(port, asked(log, 0)))[0] == 503
            store.run = run  # type: ignore[method-assign]
            assert (await post(port, asked(log, 0)))[0] == 200

    asyncio.run(scene())


# --- a folder of its own -------------------------------------------------------------------------------


def test_a_witness_is_made_once_and_remembers(tmp_path: Path) -> None:
    log, folder = Log(), tmp_path / "witness"
    keys = make(folder, NAME, log.policy_without_witnesses, NOW)
    with pytest.raises(AlreadyExists):
        make(folder, NAME, log.policy_without_witnesses, NOW)
    standing = StandingWitness.open(folder, SetClock())
    try:
        assert standing.keys.verifier_keys == keys.verifier_keys
        assert asyncio.run(standing.witness.add_checkpoint(asked(log, 0))).status == 200
        shown = look(folder)
        assert [signed.checkpoint.size for signed, _ in shown.cosigned] == [log.size]
    finally:
        standing.close()
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_a_witness_of_several_logs_keeps_them_apart(tmp_path: Path) -> None:
    log = Log()
    first = log.fork()
    log.rotate(NOW, "alpha", "bravo")
    policy = b"".join(f"log {key.encode()}\n".encode() for keys in log.keys for key in keys.verifier_keys)
    make(tmp_path / "witness", NAME, policy + b"quorum none\n", NOW)
    standing = StandingWitness.open(tmp_path / "witness", SetClock())
    try:
        assert asyncio.run(standing.witness.add_checkpoint(asked(first, 0))).status == 200
        assert asyncio.run(standing.witness.add_checkpoint(asked(log, 0))).status == 200
        assert len(look(tmp_path / "witness").cosigned) == 2
    finally:
        standing.close()


@pytest.mark.parametrize(
    ("name", "policy", "error"),
    [
        ("two words", b"", InputInvalid),
        (NAME, b"quorum\n", InputInvalid),
        (NAME, b"quorum none\n", InputInvalid),
    ],
)
def test_a_wrong_name_or_policy_leaves_nothing_behind(
    tmp_path: Path, name: str, policy: bytes, error: type[Exception]
) -> None:
    with pytest.raises(error):
        make(tmp_path / "witness", name, policy or Log().policy_without_witnesses, NOW)
    assert not (tmp_path / "witness").exists()


def test_a_folder_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"log-policy.txt cannot be read"):
        look(tmp_path)


# --- a member ------------------------------------------------------------------------------------------


def of_member(reader: Reader) -> Witness:
    return Witness(reader.store, MemberRules(), reader.clock)


async def with_keys(reader: Reader) -> Witness:
    from tests.memory_log import FEDERATION

    await reader.store.run(lambda db: member.own_keys(db, FEDERATION, OWN, NOW))
    return of_member(reader)


BOTH = ("alpha", "bravo")


def test_a_member_cosigns_only_the_log_that_it_reads(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        log, witness = reader.log, await with_keys(reader)
        assert (await witness.add_checkpoint(asked(log, 0))).status == 404
        log.publish(NOW, *BOTH)
        await reader.follower.follow()
        size = log.size
        # It has cosigned nothing, but it knows the log: what it cosigns continues that.
        assert (await witness.add_checkpoint(asked(log, 0))).body == f"{size}\n".encode()
        fork = log.fork()
        fork.entries[0][-1] = log.entries[0][-2]
        fork.grow(3)
        assert (await witness.add_checkpoint(asked(fork, size))).status == 422
        log.grow(2)
        assert (await witness.add_checkpoint(asked(log, size))).status == 200

    play(tmp_path, scene)


def test_a_member_does_not_cosign_over_an_entry_that_breaks_the_rules(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        log, witness = reader.log, await with_keys(reader)
        log.publish(NOW, *BOTH)
        await reader.follower.follow()
        size = log.size
        log.grow(2)
        log.force(log.entries[0][0])
        log.publish(later(minutes=1), *BOTH)
        await reader.refused()
        assert (await witness.add_checkpoint(asked(log, size, size + 2))).status == 200
        verdict = await witness.add_checkpoint(asked(log, size + 2))
        assert verdict.status == 422
        assert b"breaks its rules" in verdict.body

    play(tmp_path, scene)


@pytest.mark.parametrize("more", [0, 4], ids=["same size", "larger"])
def test_a_member_is_not_led_past_what_it_cosigned_itself(tmp_path: Path, more: int) -> None:
    """The hub has one branch cosigned, and serves another one with enough other witnesses (§15.5)."""

    async def scene(reader: Reader) -> None:
        log, witness = reader.log, await with_keys(reader)
        log.publish(NOW, *BOTH)
        await reader.follower.follow()
        fork, size = log.fork(), log.size
        fork.grow(2)
        assert (await witness.add_checkpoint(asked(fork, size))).status == 200
        log.grow(2 + more)
        log.publish(later(minutes=1), "bravo", "charlie")
        assert isinstance(await reader.refused(), LogInconsistent)
        (kept,) = await reader.contradictions()
        assert kept.kind == "forked-log"
        # What it cosigned is what it goes on with.
        reader.log = fork
        fork.grow()
        fork.publish(later(minutes=2), *BOTH)
        assert (await reader.follower.follow()).size == fork.size

    play(tmp_path, scene)


def test_a_member_cosigns_the_shard_that_the_closed_one_names(tmp_path: Path) -> None:
    """It must, before it can follow it: the new shard's first head needs its quorum."""

    async def scene(reader: Reader) -> None:
        log, witness = reader.log, await with_keys(reader)
        log.rotate(NOW, *BOTH)
        log.files["2/checkpoint"] = None
        assert (await witness.add_checkpoint(asked(log, 0))).status == 404
        await reader.follower.follow()
        assert (await witness.add_checkpoint(asked(log, 0))).status == 200

    play(tmp_path, scene)


def test_a_restored_node_cosigns_with_new_keys_what_it_reads(tmp_path: Path) -> None:
    async def scene(reader: Reader) -> None:
        log, witness = reader.log, await with_keys(reader)
        before = await reader.store.run(witness_store.keys)
        log.publish(NOW, *BOTH)
        await reader.follower.follow()
        log.grow(2)
        await witness.add_checkpoint(asked(log, log.size - 2))
        await reader.store.run(witness_store.retire)
        witness = await with_keys(reader)
        after = await reader.store.run(witness_store.keys)
        assert before is not None
        assert after is not None
        assert before.verifier_keys != after.verifier_keys
        assert (await witness.add_checkpoint(asked(log, 0))).body == f"{log.size - 2}\n".encode()

    play(tmp_path, scene)


def test_signed_checkpoint_of_the_witness_parses() -> None:
    """What a witness keeps is canonical, whoever asked (§14.2)."""
    signed = Log().head(NOW, "alpha")
    assert isinstance(parse_checkpoint(signed.encode()), SignedCheckpoint)
