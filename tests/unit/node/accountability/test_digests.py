"""§7.6, §17.2: what does not open shows nowhere before a person has read the digest of its month."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from candor_node import ledger
from candor_node.accountability import digests, evidence_store, reviewing
from candor_node.accountability.reviewing import Reviewed
from candor_node.app import Node
from candor_node.cases import SearchView
from candor_node.cli_common import to_dict
from candor_node.store import Database
from candor_proto.accountability.draw import Month
from candor_proto.accountability.evidence import Kind
from candor_proto.errors import AlreadyExists, InputInvalid, UnknownObject
from candor_proto.sealed_index import EntryKeys
from candor_wire.v1 import accountability_pb2, local_pb2
from tests.federation import Federation, local
from tests.indexes import ask as outputs_of
from tests.unit.node.accountability.scenes import (
    NOBODY_KNOWN,
    SCREENING,
    WHOM,
    Planted,
    exported,
    kept,
    move_on,
    play,
)

Plant = Callable[[Planted], bytes]


def honest_about_somebody_else(planted: Planted) -> bytes:
    return planted.segment(planted.people[1:])


def output_of(planted: Planted, name: str) -> bytes:
    asked = outputs_of(WHOM, SCREENING, planted.keys)
    return next(output for slot, output in asked if slot.label is not None and slot.label.name == name)


def changed_entries(planted: Planted, change: Callable[[EntryKeys, bytes], bytes]) -> bytes:
    """The entries of one label of the asked person are not what they should be."""
    first, *others = planted.people
    keys = EntryKeys(output_of(planted, "L3+Dc"), planted.owner)
    tag = keys.tag(1, 0)
    entries = tuple(
        (name, change(keys, entry) if entry[:16] == tag else entry) for name, entry in first.entries
    )
    assert entries != first.entries
    return planted.segment([replace(first, entries=entries), *others])


def garbage_shares(planted: Planted) -> bytes:
    blob_id = planted.people[0].secrets.blob_id
    return changed_entries(planted, lambda keys, _: keys.seal(1, 0, blob_id, [bytes([9]) * 16] * 3))


def malformed_entry(planted: Planted) -> bytes:
    return changed_entries(planted, lambda _, entry: entry[:-1] + bytes([entry[-1] ^ 1]))


def malformed_blob(planted: Planted) -> bytes:
    first, *others = planted.people
    return planted.segment([replace(first, blob=first.blob[:-1] + bytes([first.blob[-1] ^ 1])), *others])


def everything_garbage(planted: Planted) -> bytes:
    """No entry carries a share: nobody learns the secret, and nothing is provable."""
    first, *others = planted.people
    asked = {
        slot.label.name: output for slot, output in outputs_of(WHOM, SCREENING, planted.keys) if slot.label
    }
    entries = []
    for name, entry in first.entries:
        keys = EntryKeys(asked[name], planted.owner) if name in asked else None
        own = keys is not None and entry[:16] == keys.tag(1, 0)
        entries.append(
            (name, keys.seal(1, 0, first.secrets.blob_id, [bytes([9]) * 16] * 3) if own and keys else entry)
        )
    return planted.segment([replace(first, entries=tuple(entries)), *others])


async def asked(fed: Federation, alpha: Node, bravo: Node, plant: Plant) -> SearchView:
    planted = Planted(bravo, [WHOM, NOBODY_KNOWN])
    await planted.give(alpha, plant(planted))
    return await fed.ask(alpha, shape=SCREENING)


async def failures(node: Node) -> list[tuple[str, str]]:
    return await node.store.run(
        lambda db: db.execute("SELECT node, code FROM failure_digest ORDER BY number").fetchall()
    )


async def month_passes(node: Node) -> tuple[Month, datetime]:
    """The month is over, and the house is kept."""
    month = Month.of(node.clock.now())
    later = month.after.start + timedelta(minutes=1)
    await node.store.run(lambda db: digests.make_due(db, later))
    return month, later


async def reviewed(node: Node, month: Month, now: datetime, by: str = "auditor-5") -> Reviewed:
    federation = node.config.federation_name
    return await reviewing.review(node.store, node.accountant.kept, federation, month, now, by, "read")


# --- what can be proved --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        (garbage_shares, Kind.GARBAGE_SHARES),
        (malformed_entry, Kind.MALFORMED_ENTRY),
        (malformed_blob, Kind.MALFORMED_BLOB),
    ],
)
def test_a_review_makes_evidence_that_anybody_accepts(tmp_path: Path, plant: Plant, kind: Kind) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node) -> None:
        view = await asked(fed, alpha, bravo, plant)
        assert view.result is not None
        assert await failures(alpha)
        # Bravo moves on, and nothing of what it planted is served any more.
        await move_on(alpha)
        month, later = await month_passes(alpha)
        assert await kept(alpha) == []
        done = await reviewed(alpha, month, later)
        assert len(done.evidence) == 1
        assert done.unproved == 0
        octets, finding = await exported(alpha, done.evidence[0])
        assert (finding.kind, finding.accused) == (kind, "bravo")
        # It shows one record of bravo's index, and nothing of who was asked about.
        assert not any(word in octets for word in (b"Placeholderson", b"REQ-2026-17", b"lookup"))
        assert await failures(alpha) == []

    play(tmp_path, scene)


def test_what_cannot_be_proved_is_counted(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node) -> None:
        await asked(fed, alpha, bravo, everything_garbage)
        assert await failures(alpha)
        month, later = await month_passes(alpha)
        done = await reviewed(alpha, month, later)
        assert (done.evidence, done.unproved) == ((), 1)

    play(tmp_path, scene)


# --- what shows before: nothing --------------------------------------------------------------------------


# What `candor-node status` says, but for times, addresses and how far the log was read.
STEADY = (
    "attached", "trouble", "records", "inbox_waiting", "inbox_dropped", "outbox_waiting", "dead_letters",
    "requests_waiting", "directory_trouble", "answers_given", "directory_warnings", "approvals_waiting",
    "reviews_due", "overdue", "recalls_unread",
)  # fmt: skip


async def visible(fed: Federation, node: Node) -> dict[str, Any]:
    """All that anybody sees, here or outside, until a person acts."""

    def rows(db: Database) -> Counter[str]:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return Counter(
            {
                name: db.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]
                for name in names
                if name not in ("failure_digest", "sqlite_sequence")
            }
        )

    async with local(node) as stub:
        status = to_dict(await stub.Status(local_pb2.StatusRequest()))
    async with audits(node) as audit:
        summary = to_dict(await audit.AuditStatus(accountability_pb2.AuditStatusRequest()))
        listed = to_dict(await audit.ListEvidence(accountability_pb2.ListEvidenceRequest()))
    entries = await node.store.run(lambda db: [entry.event for entry in ledger.entries(db, limit=500)])
    counted = await node.store.run(rows)
    return {
        "rows": {name: count for name, count in counted.items() if not name.startswith(("tlog_", "logged_"))},
        "status": {name: status[name] for name in STEADY},
        "audit": (summary["digests_waiting"], summary["evidence"], summary["lookups_kept"]),
        "evidence": listed,
        "ledger": Counter(entries),
    }


def audits(node: Node) -> Any:
    """A stub of the service of audits."""
    from contextlib import asynccontextmanager

    import grpc.aio

    from candor_wire.v1 import accountability_pb2_grpc

    @asynccontextmanager
    async def opened() -> Any:
        async with grpc.aio.insecure_channel(f"unix:{node.config.socket}") as channel:
            yield accountability_pb2_grpc.AccountabilityServiceStub(channel)

    return opened()


class Wire:
    """What a node sends to the hub: method, and octets of each message."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []

    def wrap(self, node: Node) -> None:
        outbox, hub = node.outbox, node.hub
        send, segment = hub.submit, hub.get_segment

        async def submit(envelope: Any, *rest: Any) -> Any:
            self.sent.append((envelope.kind.name, len(envelope.body)))
            return await send(envelope, *rest)

        async def get_segment(named: Any) -> Any:
            self.sent.append(("segment", 0))
            return await segment(named)

        hub.submit = submit  # type: ignore[method-assign]  # recorded
        hub.get_segment = get_segment  # type: ignore[method-assign, assignment]  # recorded
        assert outbox is not None


def without_the_entry(planted: Planted) -> bytes:
    """As if the record had no such key."""
    first, *others = planted.people
    tag = EntryKeys(output_of(planted, "L3+Dc"), planted.owner).tag(1, 0)
    entries = tuple((name, entry) for name, entry in first.entries if entry[:16] != tag)
    return planted.segment([replace(first, entries=entries), *others])


@pytest.mark.parametrize(
    ("plant", "honest"),
    [
        (garbage_shares, honest_about_somebody_else),
        (malformed_blob, honest_about_somebody_else),
        (everything_garbage, honest_about_somebody_else),
        (malformed_entry, without_the_entry),
    ],
)
def test_until_a_person_acts_a_failure_is_a_miss(tmp_path: Path, plant: Plant, honest: Plant) -> None:
    """The same lookup, in an index that holds nothing of the person and in one that aims at it."""

    def seen(folder: Path, planted: Plant) -> tuple[dict[str, Any], list[tuple[str, int]], Any]:
        wire, found = Wire(), list[Any]()

        async def scene(fed: Federation, alpha: Node, bravo: Node) -> None:
            view = await asked(fed, alpha, bravo, planted)
            assert view.result is not None
            await alpha.accountant.keep_house()
            await month_passes(alpha)
            found.append(await visible(fed, alpha))
            hits = [(hit.labels, hit.explanation) for hit in view.result.hits]
            found.append((view.result.overall, hits, view.result.coverage.answered))

        folder.mkdir()
        play(folder, scene, wrap=wire.wrap)
        return found[0], wire.sent, found[1]

    miss = seen(tmp_path / "miss", honest)
    aimed = seen(tmp_path / "aimed", plant)
    assert aimed[2] == miss[2]
    assert aimed[0] == miss[0]
    assert Counter(aimed[1]) == Counter(miss[1])


def test_a_segment_that_comes_back_is_fetched_again_whatever_was_found_in_it(tmp_path: Path) -> None:
    """Else an owner takes a segment out and puts it back, and sees at the hub who had stumbled over it."""

    async def scene(fed: Federation, alpha: Node, bravo: Node) -> None:
        planted = Planted(bravo, [WHOM, NOBODY_KNOWN])
        await planted.give(alpha, garbage_shares(planted))
        await fed.ask(alpha, shape=SCREENING)
        assert await failures(alpha)
        ref = alpha.indexes.indexes[bravo.config.node_id].head.segments[0]
        await asyncio.to_thread(alpha.indexes._forget, set[str]())
        assert alpha.indexes._read(ref) is None
        assert alpha.accountant.kept.read(ref.address.value) is not None

    play(tmp_path, scene)


# --- the calendar ----------------------------------------------------------------------------------------


def store_scene(tmp_path: Path, work: Callable[[Node], Awaitable[None]]) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node) -> None:
        await work(alpha)

    play(tmp_path, scene)


def test_every_month_has_one_digest_and_a_person_reviews_it_once(tmp_path: Path) -> None:
    async def work(node: Node) -> None:
        month = Month.of(node.clock.now())
        three_later = month.after.after.after.start
        for _ in range(2):
            await node.store.run(lambda db: digests.make_due(db, three_later))
        waiting = await node.store.run(digests.waiting)
        assert waiting == [str(month), str(month.after), str(month.after.after)]
        with pytest.raises(UnknownObject):
            await reviewed(node, month.after.after.after, three_later)
        done = await reviewed(node, month, three_later)
        assert done.digest.reviewed_by == "auditor-5"
        with pytest.raises(AlreadyExists, match="reviewed by auditor-5"):
            await reviewed(node, month, three_later)
        with pytest.raises(InputInvalid):
            await reviewing.review(
                node.store,
                node.accountant.kept,
                node.config.federation_name,
                month.after,
                three_later,
                "a",
                "x" * 3000,
            )
        events = await node.store.run(lambda db: [one.event for one in ledger.entries(db, event="digest")])
        assert events == ["digest.made"] * 3 + ["digest.reviewed"]

    store_scene(tmp_path, work)


def test_what_failed_is_read_by_owner_and_never_by_person(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node) -> None:
        await asked(fed, alpha, bravo, garbage_shares)
        month, later = await month_passes(alpha)
        digest, failed = await alpha.store.run(lambda db: digests.open_digest(db, month, later, "auditor-5"))
        assert digest.reviewed_at is None
        assert [(str(one.node), one.code, one.count, one.searches) for one in failed] == [
            ("bravo", "sealed_data_invalid", 1, 1)
        ]
        (entry,) = await alpha.store.run(lambda db: ledger.entries(db, event="digest.opened"))
        assert entry.details == {"by": "auditor-5"}
        assert await alpha.store.run(evidence_store.kept) == []
        assert later.tzinfo is UTC

    play(tmp_path, scene)
