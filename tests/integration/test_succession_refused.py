"""A successor that is none, and what a member, a hub and a stranger say to it (docs/protocol.md §19)."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from candor_hub.tlog.files import LogFiles
from candor_node.config import load_config
from candor_node.founding import open_store
from candor_node.moving import Accepted, Prospect, move
from candor_node.tlog import succession_store, witness_store
from candor_proto.directory_file import DirectoryFile
from candor_proto.errors import (
    AlreadyExists,
    CandorError,
    InputInvalid,
    KeyMismatch,
    LogInconsistent,
    LogUnwitnessed,
    MalformedMessage,
    NotCanonical,
    Rollback,
    WrongStanding,
)
from candor_proto.ids import NodeId
from candor_proto.signing import SignedStatement
from candor_proto.tlog.checkpoint import SignedCheckpoint, parse_checkpoint
from candor_proto.tlog.statements import SUCCESSION
from candor_proto.tlog.tiles import decode_bundle, encode_bundle
from tests.federation import Federation, federation, until
from tests.hubs import ShiftedClock, running_hub
from tests.successions import (
    copy_log,
    directory_of,
    found_successor,
    go_over,
    hub_is_gone,
    invitation,
    read_copy,
)

Scene = Callable[[Federation, Path, ShiftedClock], Awaitable[None]]


def play(folder: Path, scene: Scene) -> None:
    """A federation of three with a quorum; `scene` gets it, its folder and its clock."""

    async def whole() -> None:
        clock = ShiftedClock(datetime.now(UTC) - timedelta(hours=3))
        async with federation(folder, 3, clock=clock) as fed:
            await until(
                lambda: all(
                    node.follower.view is not None and node.follower.view.policy.quorum == "members"
                    for node in fed.nodes
                )
            )
            await scene(fed, folder, clock)

    asyncio.run(whole())


def bundle_file(copy: Path) -> Path:
    """The only bundle of shard 1, the widest of its partial files."""
    return max((copy / "1/tile/entries/000.p").iterdir(), key=lambda path: int(path.name))


def test_a_copy_with_any_changed_entry_head_or_directory_founds_nothing(tmp_path: Path) -> None:
    async def scene(fed: Federation, folder: Path, clock: ShiftedClock) -> None:
        node = fed.nodes[0]
        copy = folder / "copy"
        await copy_log(node, copy)
        whole, directory = bundle_file(copy), directory_of(node)
        octets = whole.read_bytes()
        entries = decode_bundle(octets, int(whole.name))
        for index, entry in enumerate(entries):
            changed = list(entries)
            changed[index] = entry[:-1] + bytes([entry[-1] ^ 1])
            whole.write_bytes(encode_bundle(changed))
            with pytest.raises((LogInconsistent, MalformedMessage, NotCanonical)):
                read_copy(copy, clock)
        whole.write_bytes(encode_bundle([*entries[:-2], entries[-1], entries[-2]]))
        with pytest.raises(CandorError):
            read_copy(copy, clock)
        whole.unlink()
        with pytest.raises(InputInvalid, match="not whole"):
            read_copy(copy, clock)
        whole.write_bytes(octets)

        # A directory that the hub signed, and that the log does not end with; one that somebody changed.
        good = directory.directory
        member = replace(good.members[0], name="Another agency")
        forged = replace(good, members=(member, *good.members[1:]))
        older = replace(good, version=good.version - 1)
        for wrong in (forged, older):
            file = DirectoryFile(
                directory.federation, SignedStatement(wrong.encode(), bytes(64)), directory.chain
            )
            with pytest.raises(InputInvalid, match=r"does not vouch|ends with version"):
                await asyncio.to_thread(found_successor, folder / "never", copy, file, clock)
        assert not (folder / "never").exists()

    play(tmp_path, scene)


def test_a_member_goes_over_to_nobody_who_takes_back_what_it_has_seen(tmp_path: Path) -> None:
    async def scene(fed: Federation, folder: Path, clock: ShiftedClock) -> None:
        alpha, bravo, charlie = fed.nodes
        await copy_log(charlie, folder / "old-copy")
        old_directory = directory_of(charlie)
        seen = bravo.indexes.version
        # Everybody has seen more than the copy holds when the hub goes.
        await alpha.publishing.publish(rotate=True)
        await until(lambda: all(node.indexes.version > seen for node in fed.nodes))
        await copy_log(charlie, folder / "copy")
        directory = directory_of(charlie)
        await hub_is_gone(fed)

        config = await asyncio.to_thread(
            found_successor, folder / "too-old", folder / "old-copy", old_directory, clock
        )
        async with running_hub(folder / "unused", config=config, clock=clock) as hub:
            with pytest.raises(Rollback, match="entries"):
                await go_over(hub, alpha)
            settings = load_config(alpha.config.data_folder.parent / "node.toml")
            assert settings.hub_address == alpha.config.hub_address
            with open_store(settings) as store:
                assert await store.run(succession_store.newest) is None

        config = await asyncio.to_thread(
            found_successor, folder / "successor", folder / "copy", directory, clock
        )
        async with running_hub(folder / "unused", config=config, clock=clock) as hub:
            # Who does not agree has changed nothing, and can agree later.
            def refuse(prospect: Prospect) -> None:
                raise InputInvalid("no")

            path = alpha.config.data_folder.parent / "node.toml"
            invited = await asyncio.to_thread(invitation, hub, alpha)
            with pytest.raises(InputInvalid):
                await move(path, invited, clock, refuse)
            assert load_config(path).hub_address == alpha.config.hub_address
            moved = await move(path, invited, clock, lambda prospect: None)
            assert moved is not None
            assert moved.size == moved.seen_before
            assert load_config(path).hub_address == hub.address

            # Consented, and interrupted before the settings changed: it goes on there, and asks nobody again.
            settings = load_config(bravo.config.data_folder.parent / "node.toml")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("candor_node.moving._settle", lambda *parts: None)
                await go_over(hub, bravo)
            path = bravo.config.data_folder.parent / "node.toml"
            assert load_config(path).hub_address == settings.hub_address
            invited = await asyncio.to_thread(invitation, hub, bravo)
            assert await move(path, invited, clock, refuse) is None
            assert load_config(path).hub_address == hub.address

        # Another successor of the same shard gets nobody who consented to the first one.
        config = await asyncio.to_thread(
            found_successor, folder / "second", folder / "copy", directory, clock
        )
        async with running_hub(folder / "unused", config=config, clock=clock) as hub:
            with pytest.raises((AlreadyExists, WrongStanding, LogInconsistent)):
                await go_over(hub, bravo)

    play(tmp_path, scene)


def test_a_quorum_that_is_gone_for_good_is_replaced_by_those_who_are_left(tmp_path: Path) -> None:
    async def scene(fed: Federation, folder: Path, clock: ShiftedClock) -> None:
        alpha, bravo, charlie = fed.nodes
        await copy_log(alpha, folder / "copy")
        directory = directory_of(alpha)
        issuing = folder / "issuing"
        await asyncio.to_thread(shutil.copytree, fed.hub.config.issuing, issuing)
        await hub_is_gone(fed)
        for lost in (bravo, charlie):
            await asyncio.to_thread(shutil.rmtree, lost.config.data_folder)

        # The same operator, the same authority; the witnesses that are gone are left out.
        config = await asyncio.to_thread(
            found_successor,
            folder / "successor",
            folder / "copy",
            directory,
            clock,
            ("bravo", "charlie"),
            issuing,
        )
        async with running_hub(folder / "unused", config=config, clock=clock) as hub:
            prospect = await go_over(hub, alpha)
            assert prospect.witnesses == ("member/alpha",)
            assert prospect.quorum == "none"
            assert prospect.active == 3

    play(tmp_path, scene)


def test_a_last_head_without_its_quorum_needs_everybodys_word(tmp_path: Path) -> None:
    async def scene(fed: Federation, folder: Path, clock: ShiftedClock) -> None:
        alpha = fed.nodes[0]
        copy = folder / "copy"
        await copy_log(alpha, copy)
        directory = directory_of(alpha)
        # As if the quorum had never come: the log's own two lines, and nobody's behind them.
        files = LogFiles(copy)
        head = files.read("1/checkpoint").decode()
        text, _, lines = head.partition("\n\n")
        bare = f"{text}\n\n" + "".join(f"{line}\n" for line in lines.splitlines()[:2])
        await hub_is_gone(fed)
        files.write({"1/checkpoint": bare.encode()})
        assert "witnesses" in read_copy(copy, clock).unwitnessed or read_copy(copy, clock).unwitnessed
        config = await asyncio.to_thread(found_successor, folder / "successor", copy, directory, clock)
        async with running_hub(folder / "unused", config=config, clock=clock) as hub:
            with pytest.raises(LogUnwitnessed):
                await go_over(hub, alpha)
            prospect = await go_over(hub, alpha, Accepted(unwitnessed=True))
            assert prospect.unwitnessed

    play(tmp_path, scene)


def test_a_successor_that_gives_a_member_another_key_is_refused(tmp_path: Path) -> None:
    async def scene(fed: Federation, folder: Path, clock: ShiftedClock) -> None:
        alpha = fed.nodes[0]
        await copy_log(alpha, folder / "copy")
        directory = directory_of(alpha)
        await hub_is_gone(fed)
        config = await asyncio.to_thread(
            found_successor, folder / "successor", folder / "copy", directory, clock
        )
        async with running_hub(folder / "unused", config=config, clock=clock) as hub:
            # What this node has seen of bravo is not what the log says: one of the two lies.
            settings = load_config(alpha.config.data_folder.parent / "node.toml")
            signed = parse_checkpoint((folder / "copy/1/checkpoint").read_bytes())
            head = replace(signed.checkpoint, size=signed.checkpoint.size + 1)
            beyond = SignedCheckpoint(head, signed.signatures)
            with open_store(settings) as store:
                await store.run(lambda db: db.execute("DELETE FROM witness_cosigned"))
                await store.run(lambda db: witness_store.keep(db, beyond, clock.now()))
            with pytest.raises(Rollback, match="witness has signed"):
                await go_over(hub, alpha)
            with open_store(settings) as store:
                await store.run(lambda db: db.execute("DELETE FROM witness_cosigned"))
                await store.run(
                    lambda db: db.execute(
                        "UPDATE member_keys SET disclosure_key = zeroblob(1216) WHERE node = ?",
                        [str(NodeId("bravo"))],
                    )
                )
            with pytest.raises(KeyMismatch, match="bravo"):
                await go_over(hub, alpha)

    play(tmp_path, scene)


def test_a_hub_logs_no_consent_to_another_successor(tmp_path: Path) -> None:
    async def scene(fed: Federation, folder: Path, clock: ShiftedClock) -> None:
        alpha = fed.nodes[0]
        await copy_log(alpha, folder / "copy")
        directory = directory_of(alpha)
        await hub_is_gone(fed)
        config = await asyncio.to_thread(
            found_successor, folder / "successor", folder / "copy", directory, clock
        )
        async with running_hub(folder / "unused", config=config, clock=clock) as hub:
            await go_over(hub, alpha)
            settings = load_config(alpha.config.data_folder.parent / "node.toml")
            with open_store(settings) as store:
                kept = await store.run(succession_store.newest)
            assert kept is not None
            member = hub.hub.directory.latest().view.member(alpha.config.node_id)
            statements = hub.hub.servicer()._statements
            for changes in (
                {"size": kept.consent.size - 1},
                {"root": bytes(32)},
                {"ed25519_key": bytes(32)},
                {"policy_digest": bytes(32)},
                {"shard": kept.consent.shard + 1},
            ):
                other = replace(kept.consent, **changes)
                signed = alpha.keys.signing.sign(SUCCESSION, other.encode())
                with pytest.raises(WrongStanding, match="another successor"):
                    await asyncio.to_thread(statements.put, SUCCESSION, signed, member, clock.now())
            await asyncio.to_thread(statements.put, SUCCESSION, kept.statement, member, clock.now())

    play(tmp_path, scene)
