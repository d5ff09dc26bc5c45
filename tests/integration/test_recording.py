"""What passes the hub and every node says nothing of who was asked about (docs/leakage.md; P1, A5, A5c).

Real nodes and a real hub over mTLS; every message and all metadata of hub and nodes are recorded, decrypted.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from candor_node import epochs, lookup_store
from candor_node.app import Node
from candor_node.cases import SearchView
from candor_node.channel import WrapChannel
from candor_node.store import Database
from candor_proto import oprf, sealed_index
from candor_proto.ids import KeyClass
from candor_proto.result import Overall
from candor_proto.sealed_index import EntryKeys, IndexOwner
from tests.federation import NAMES, OFFICER, Federation, federation, question
from tests.patience import PATIENCE_SECONDS
from tests.records import make_row
from tools.recording import (
    Finding,
    Frame,
    Recorder,
    RecordingServerInterceptor,
    load,
    recorded_channel,
    search,
)

AGENCIES = 3
STRANGER = {
    "first": "Wilhelmina",
    "middle": "",
    "last": "Nobodyknowsher",
    "birth_date": "1991-12-30",
    "ssn4": "9377",
    "sex": "F",
}
AIMED_AT = {
    "first": "Bartholomew",
    "middle": "Quill",
    "last": "Aimedatperson",
    "birth_date": "1979-05-17",
    "ssn4": "6045",
    "sex": "M",
}


class Tape:
    """The recordings of the hub and of every node."""

    def __init__(self, folder: Path) -> None:
        self._paths = {name: folder / f"{name}.jsonl" for name in ("hub", *NAMES[:AGENCIES])}
        self.recorders = {name: Recorder(path, name) for name, path in self._paths.items()}

    def channel(self, name: str) -> WrapChannel:
        """What records the channel of the node `name`."""
        return recorded_channel(self.recorders[name])

    def frames(self) -> dict[str, list[Frame]]:
        return {name: load(path) for name, path in self._paths.items()}


def observable(frames: Iterable[Frame]) -> Counter[tuple[str, str, str, int]]:
    """What an observer of one party's traffic can count: direction, method, kind, size.

    Heartbeats come by the clock. How many deliveries one acknowledgement names depends on what arrived
    in the same millisecond; that each is acknowledged is seen from no redelivery. How often witnesses are
    asked depends on which commitments fell into one append, and the size of a proof on that of the log.
    """
    by_the_clock = ("heartbeat", "acknowledged", "cosign")
    return Counter(frame.shape for frame in frames if not any(each in frame.what for each in by_the_clock))


async def taped_lookup(
    fed: Federation, tape: Tape, person: dict[str, str]
) -> tuple[SearchView, dict[str, list[Frame]]]:
    """One lookup by the first agency, and what passed every party from its start until all is quiet."""
    before = {name: len(frames) for name, frames in tape.frames().items()}
    asked = question(case=f"REQ-{person['last']}", person=person)
    view = await fed.nodes[0].searcher.ask(asked, PATIENCE_SECONDS)
    await quiet(tape)  # late acknowledgements belong to this lookup
    return view, {name: frames[before[name] :] for name, frames in tape.frames().items()}


async def quiet(tape: Tape) -> None:
    """Wait until nothing but what comes by the clock has passed for a while."""

    def counted() -> int:
        return sum(observable(frames).total() for frames in tape.frames().values())

    before, now = -1, counted()
    while before != now:
        await asyncio.sleep(0.5)
        before, now = now, counted()


async def secrets_of(fed: Federation, view: SearchView) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """(what may stand in no message at all, the tags of this person: in no message of a lookup)."""
    asker = fed.nodes[0]
    asks = await asker.store.run(lambda db: lookup_store.asks(db, view.row.search_id))
    never: dict[str, bytes] = {"case": view.row.case.encode(), "officer": view.row.officer.encode()}
    tags: dict[str, bytes] = {}
    for ask in asks:
        for number, value in enumerate(ask.opening.inputs):
            never[f"input {number}"] = value
            never[f"blind {number}"] = ask.opening.blinds[number]
        never["seed"] = ask.opening.paperwork.filler_seed
        never |= {f"salt {name}": salt for name, salt in ask.opening.paperwork.salts.items()}
        for node in fed.nodes:
            keys, owner = await owner_keys(fed, node)
            for number, (key_class, value) in enumerate(classed(ask.opening.inputs)):
                output = oprf.evaluate(keys[key_class], value)
                never[f"output {node.config.node} {number}"] = output
                tags[f"tag {node.config.node} {number}"] = EntryKeys(output, owner).tag(0, 0)
    return never, tags


def classed(inputs: tuple[bytes, ...]) -> Iterable[tuple[KeyClass, bytes]]:
    """A detailed lookup's inputs with their classes: 4 W, 12 M, 24 C."""
    classes = [KeyClass.WEAK] * 4 + [KeyClass.MATCH] * 12 + [KeyClass.CODE] * 24
    return zip(classes, inputs, strict=True)


async def owner_keys(fed: Federation, node: Node) -> tuple[dict[KeyClass, oprf.KeyPair], IndexOwner]:
    federation_name, own = node.config.federation_name, node.config.node_id

    def work(db: Database) -> tuple[dict[KeyClass, oprf.KeyPair], IndexOwner]:
        epoch = epochs.latest(db)
        assert epoch is not None
        assert epoch.seed is not None
        keys = dict(epochs.keys_for(epoch.seed, federation_name, own, epoch.number))
        return keys, IndexOwner(federation_name, own, epoch.number)

    return await node.store.run(work)


def test_a_hit_a_miss_and_a_malformed_answer_pass_alike_and_name_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(folder: Path) -> list[Finding]:
        """What was found of needles of four digits; everything else is asserted."""
        folder.mkdir()
        tape, by_chance = Tape(folder), list[Finding]()
        async with federation(
            folder / "fed",
            AGENCIES,
            hub_interceptors=[RecordingServerInterceptor(tape.recorders["hub"])],
            node_channel=tape.channel,
        ) as fed:
            await fed.file(fed.nodes[1], [make_row()])
            await file_malformed(fed, monkeypatch)
            # Everybody has read the log up to the last publication, and does so again in a minute only.
            await asyncio.sleep(1.0)
            hit, hit_frames = await taped_lookup(fed, tape, OFFICER)
            miss, miss_frames = await taped_lookup(fed, tape, STRANGER)
            aimed, aimed_frames = await taped_lookup(fed, tape, AIMED_AT)
            assert hit.result is not None
            assert miss.result is not None
            assert aimed.result is not None
            assert hit.result.overall is Overall.MATCH
            assert miss.result.overall is aimed.result.overall is Overall.NO_RECORD
            # The spoilt blob was met: it is in the sealed digest, and nowhere else.
            digest = await fed.nodes[0].store.run(
                lambda db: db.execute("SELECT count(*) FROM failure_digest").fetchone()
            )
            assert digest[0] > 0
            # What the asker's screen is made of: nothing tells the aimed-at person from a stranger.
            assert aimed.hits == miss.hits == ()
            assert [(r.node, r.state, r.reason) for r in aimed.result.coverage.reports] == [
                (r.node, r.state, r.reason) for r in miss.result.coverage.reports
            ]
            for name in hit_frames:
                assert observable(hit_frames[name]) == observable(miss_frames[name]), name
                assert observable(aimed_frames[name]) == observable(miss_frames[name]), name
                assert observable(miss_frames[name]), name
                # Fetching depends on the calendar and on announcements, never on an outcome.
                fetched = ("Segment", "Directory", "GetLog")
                for frames in (hit_frames[name], miss_frames[name], aimed_frames[name]):
                    assert not any(each in f.what for f in frames for each in fetched)
            everything = [frame for frames in tape.frames().values() for frame in frames]
            lookups = [
                f for taped in (hit_frames, miss_frames, aimed_frames) for fs in taped.values() for f in fs
            ]
            for view, person in ((hit, OFFICER), (miss, STRANGER), (aimed, AIMED_AT)):
                fields = {f"field {key}": value.encode() for key, value in person.items() if len(value) > 3}
                never, tags = await secrets_of(fed, view)
                # Four digits stand by chance in a long recording, seldom in the messages of three lookups.
                short = {name: value for name, value in fields.items() if len(value) < 6}
                long = {name: value for name, value in fields.items() if len(value) >= 6}
                assert search(everything, {**never, **long}) == []
                assert search(lookups, tags) == []
                by_chance += search(lookups, short)
            assert_the_search_bites(lookups, await secrets_of(fed, hit))
        return by_chance

    found = asyncio.run(story(tmp_path / "once"))
    if found:  # the base64 of some signature may hold four digits; what leaks stands there each time
        found = asyncio.run(story(tmp_path / "again"))
    assert found == []


async def file_malformed(fed: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third agency publishes a record whose blob it has spoilt, to watch for one person (A5c)."""
    honest = sealed_index.seal_blob

    def spoilt(*arguments: object, **options: object) -> bytes:
        blob = bytearray(honest(*arguments, **options))  # type: ignore[arg-type]  # passed through
        blob[-1] ^= 1
        return bytes(blob)

    row = make_row(agency_record_id="C-2", **AIMED_AT)
    with monkeypatch.context() as patch:
        patch.setattr("candor_proto.sealed_index.seal_blob", spoilt)
        patch.setattr("candor_node.packing.seal_blob", spoilt)
        await fed.file(fed.nodes[2], [row])


def assert_the_search_bites(lookups: list[Frame], secrets: tuple[dict[str, bytes], dict[str, bytes]]) -> None:
    """Planted in any spelling, a field, an input, an output and a tag are each found."""
    import base64

    never, tags = secrets
    for name, value in (
        ("field", b"Placeholderson"),
        ("short field", b"4821"),
        ("input", never["input 0"]),
        ("output", never["output bravo 0"]),
        ("tag", tags["tag bravo 0"]),
    ):
        for spelling in (
            value,
            value.hex().encode(),
            value.hex().upper().encode(),
            base64.b64encode(value),
            base64.b64encode(b"ab" + value + b"c"),
            base64.urlsafe_b64encode(value),
        ):
            planted = Frame("hub", "in", "x", "", "planted", b"noise" + spelling + b"noise")
            assert search([*lookups[:3], planted], {name: value}), (name, spelling)
