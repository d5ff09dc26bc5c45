"""A day of an agency, at level DEBUG: nothing of a person, case, token or key in logs, metrics and health.

Everything is real: hub, nodes, sockets, commands. Marked values are searched for in every line that was
written, in several spellings.
"""

from __future__ import annotations

import asyncio
import base64
import io
import re
import sys
import urllib.parse
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from candor_node import importer, request_store
from candor_node.app import Node
from candor_node.doctor import examine
from candor_node.findings.catalogue import CATALOGUE
from candor_node.metrics import Watched
from candor_proto.errors import CandorError
from candor_proto.ids import Ori
from candor_watch import logs
from candor_watch.listener import Readiness
from candor_wire.v1 import local_pb2
from tests.federation import OFFICER, Federation, federation, local, until
from tests.records import csv_bytes, make_row
from tests.unit.watch.test_deployed import QUERIES, queried

CASE, CONSENT, CHIEF = "REQ-XYLOPHONE-7731", "CONS-ZITHER-9902", "Inv. Thaddeus Quibblesworth"
TOKEN = "cn-marked-token-Vq81xW0pLr55"
MARKED = (
    OFFICER["first"],
    OFFICER["middle"],
    OFFICER["last"],
    OFFICER["birth_date"],
    CASE,
    CONSENT,
    "Quibblesworth",
    TOKEN,
    "Grudgewick",
    "not-a-date-1899-13-41",
)


def spellings(value: str) -> Iterator[str]:
    """How a value could stand in a text: forwards, backwards, in any case, encoded."""
    for text in {value, value[::-1], value.replace("-", ""), value.upper(), value.lower()}:
        octets = text.encode()
        yield text.casefold()
        yield octets.hex()
        yield urllib.parse.quote(text).casefold()
        for cut in range(3):
            # Whatever stands before it: base64 has three alignments, whose middle is fixed.
            encoded = base64.b64encode(b"\0" * cut + octets).decode()
            yield encoded[4 if cut else 0 : -4].casefold()


def found_in(text: str, values: tuple[str, ...]) -> list[str]:
    """Which of `values` stand in `text`, in any spelling of at least six characters."""
    folded = text.casefold()
    return sorted(
        {
            value
            for value in values
            for spelling in spellings(value)
            if len(spelling) >= 6 and spelling in folded
        }
    )


@pytest.mark.parametrize(
    "text",
    [
        "xx Placeholderson",
        "nosredlohecalP",
        b"1984-07-23".hex(),
        base64.b64encode(b"a: " + CASE.encode()).decode(),
    ],
    ids=["plain", "backwards", "hex", "base64"],
)
def test_the_search_bites(text: str) -> None:
    assert found_in(text, MARKED)


async def day(node: Node, other: Node, fed: Federation) -> None:
    """A filing, an import of mistakes, lookups with a hit and without, a request and its release."""
    await fed.file(other, [make_row(sharing="YELLOW")])
    wrong, now = make_row(last="Grudgewick", birth_date="not-a-date-1899-13-41"), other.clock.now()
    with suppress(CandorError):
        # Its report quotes the row, to the clerk alone.
        await other.store.run(
            lambda db: importer.import_csv(
                db, csv_bytes([wrong]), now, Ori(other.config.oris[0]), other.config.node_id, CHIEF
            )
        )
    view = await fed.ask(node, case=CASE)
    assert view.hits, "a day without a hit shows nothing"
    await fed.ask(node, last="Nonexistentsen", case=CASE)
    async with local(node) as stub:
        metadata = (("candor-token", TOKEN), ("authorization", f"Bearer {TOKEN}"))
        with suppress(grpc.aio.AioRpcError):
            await stub.GetLookup(local_pb2.GetLookupRequest(lookup_id="zz-not-hex"), metadata=metadata)
        asked = local_pb2.LookupRequest(purpose="J_NOTHING", case_number=CASE, consent=CONSENT, officer=CHIEF)
        asked.person.last, asked.person.birth_date = OFFICER["last"], "not-a-date-1899-13-41"
        with suppress(grpc.aio.AioRpcError):
            async for _ in stub.Lookup(asked, metadata=metadata):
                pass
    request = await node.requester.send(view.row.search_id, 1, CHIEF)
    await until(lambda: bool(received(other)))
    with suppress(CandorError):
        await other.owner.approve(request, CHIEF, f"approved for {OFFICER['last']}")
    await fed.settled()


def received(node: Node) -> list[object]:
    return list(node.store.run_sync(lambda db: request_store.list_received(db, 9)))


class Fails:
    """An exception that quotes a person, out of the middle of the node's work."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, *_: object) -> None:
        self.calls += 1
        raise ValueError(f"cannot parse {OFFICER['last']}, born {OFFICER['birth_date']}")


def test_a_day_of_an_agency_leaves_nothing_in_logs_metrics_and_health(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import logging
    import threading

    import structlog

    kept = structlog.get_config(), logging.getLogger().handlers[:], sys.excepthook, threading.excepthook
    unraisable = sys.unraisablehook
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    logs.set_up(json_lines=True, level="debug")
    shown: list[str] = []
    secrets: list[bytes] = []

    async def scene() -> None:
        async with federation(tmp_path, 2) as fed:
            alpha, bravo = fed.nodes
            watched = Watched(alpha)
            await day(alpha, bravo, fed)
            fails = Fails()
            for box in (*alpha._inbox.values(), *bravo._inbox.values()):
                monkeypatch.setattr(box, "_process", fails)
                monkeypatch.setattr(box, "_together", fails)
            with suppress(CandorError, AssertionError, TimeoutError):
                await asyncio.wait_for(fed.ask(alpha, case=CASE, last=OFFICER["last"]), 2)
            shown.append((await watched.show()).decode())
            ready: Readiness = await watched.look()
            shown.append(repr(ready))
            shown.append((await fed.hub.hub.watched._show()).decode())
            shown.append(repr(await fed.hub.hub.watched.health.look()))
            report = await examine(tmp_path / "alpha/node.toml", fed.hub.clock)
            shown.append("\n".join(report.lines()) + repr(report.as_json()))
            assert fails.calls, "the mistake that quotes a person was never made"
            for fed_node in fed.nodes:
                for name in ("database.key", "signing.key", "disclosure.key"):
                    secrets.append((tmp_path / fed_node.config.node / "keys" / name).read_bytes())
            assert set(CATALOGUE) == {finding.key for finding in report.findings}

    try:
        asyncio.run(scene())
    finally:
        logging.captureWarnings(False)
        logging.getLogger().handlers[:] = kept[1]
        structlog.configure(**kept[0])
        sys.excepthook, threading.excepthook, sys.unraisablehook = kept[2], kept[3], unraisable
    lines = written.getvalue()
    assert len(lines.splitlines()) > 20, "a day without a log shows nothing"
    assert "ValueError at tests." in lines, "what nobody foresaw is told by class and place"
    assert found_in(lines, MARKED) == []
    everything = "\n".join([lines, *shown]).casefold()
    assert len(secrets) == 6
    for secret in secrets:
        octets = secret[:32]
        assert octets.hex() not in everything
        assert base64.b64encode(octets).decode().casefold()[:40] not in everything
    for text in shown:
        assert found_in(text, MARKED) == []
    # What alerts and dashboards ask for is what a node and a hub that run do show.
    told = set(re.findall(r"^# HELP (\S+)", "\n".join(shown), re.MULTILINE))
    asked = set().union(*(queried(query) for query in QUERIES.values()))
    assert sorted(asked - told) == []
