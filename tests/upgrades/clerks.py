"""Clerks at work while their nodes and the hub are replaced: what they were told, and what failed.

with at_work(scene) as clerks:
    ...                                replace whatever there is
check_history(clerks, hub_file)        what they were told, held against every database

A clerk types commands, as people do: lookups without a pause, and for every third a request for the record.
While the own node is away a command may be refused, and is typed again; at any other time nothing may fail.
But nodes of 0.1.0 do not wait for a hub, or a replica, that they lost a moment ago: what they refuse for that
is typed again too, and counted. Nodes after it wait, and nothing of theirs may fail.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

from candor_hub.config import load_config as load_hub_config
from candor_node.config import load_config as load_node_config
from candor_proto.canonical import to_milliseconds
from tests.history import Fault, History, check, read_hub, read_node
from tests.patience import PATIENCE_SECONDS
from tests.postgres import unsafe
from tests.upgrades.scene import OFFICERS, Scene, until
from tests.upgrades.versions import ENVIRONMENT, Done

PAUSE_SECONDS = 0.05
RECORD_EVERY = 3
# Refuses a lookup while it is on its way to another replica, or its one hub is not there, in these words.
IMPATIENT = "0.1.0"
LOST = (
    "connection refused",
    "broke off",
    "breaks off",
    "fell silent",
    "did not answer in time",
    "no answer within",
)
# How long a lookup waits for answers: a node that is being replaced answers when it is back.
LOOKUP_SECONDS = 60


@dataclass
class Clerk:
    """Asks about the other agency's officer, again and again; one thread runs it, others set `away`."""

    scene: Scene
    name: str
    history: History = field(default_factory=History)
    failed: list[str] = field(default_factory=list)
    # What commands said that came while the own node was away, and how often.
    again: dict[str, int] = field(default_factory=dict)
    lookups: int = 0
    records: int = 0
    # Lookups whose wait was over before everybody had answered; they have to be complete in the end.
    incomplete: int = 0
    slowest_seconds: float = 0.0
    away: bool = False
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def other(self) -> str:
        (other,) = set(self.scene.nodes) - {self.name}
        return other

    def run(self) -> None:
        try:
            number = 0
            while not self.over.is_set():
                number += 1
                found = self._lookup(f"ROLL-{self.name}-{number}")
                if found is not None and number % RECORD_EVERY == 0:
                    self._record(found["lookup_id"], found["hits"][0]["number"])
                self.over.wait(PAUSE_SECONDS)
        except Exception as error:
            self.failed.append(repr(error))

    # --- what they do -----------------------------------------------------------------------------------

    def _lookup(self, case: str) -> Any:
        """The result that names the officer; None if it has to be asked again."""
        person = self.scene.folder / f"{self.name}-load.json"
        person.write_text(json.dumps(OFFICERS[self.other]))
        asked, began = self.history.invoke("lookup", self.name, case=case, expect="MATCH"), time.monotonic()
        said = self._say(
            *("lookup", "--person", person, "--purpose", "J_APPLICANT", "--case", case),
            *("--consent", "C-1", "--officer", "Inv. Roe", "--wait", LOOKUP_SECONDS),
        )
        if said is None:
            self.history.unknown(asked)
            return None
        self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
        self.lookups += 1
        self.history.ok(asked, search_id=said["lookup_id"], overall=said["overall"])
        if said["overall"] == "INCOMPLETE" or not said["coverage"]["complete"]:
            self.incomplete += 1
            return None
        if said["overall"] != "MATCH":
            self.failed.append(f"{case}: {said['overall']}")
            return None
        return said

    def _record(self, lookup_id: str, hit: int) -> None:
        asked = self.history.invoke("disclosure", self.name, search_id=lookup_id, hit=hit)
        sent = self._say("requests", "send", lookup_id, hit, "--by", "Inv. Roe")
        if sent is None:
            self.history.unknown(asked)
            return
        self.history.ok(asked, request_id=sent["request_id"])
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            shown = self._say("requests", "show", sent["request_id"])
            view = (shown or {}).get("request", shown) or {}
            if view.get("state") == "opened":
                assert view["record"]["commitment_verified"], view
                self.records += 1
                return
            time.sleep(PAUSE_SECONDS)
        self.failed.append(f"the record of {lookup_id} never came")

    def _say(self, *words: object) -> Any:
        """What a command printed; None when it came while the own node was away."""
        was_away, version = self.away, self.scene.nodes[self.name].number
        settings = self.scene.node_file(self.name)
        done = self.scene.nodes[self.name].run(
            "candor-node", *words, "--config", settings, "--json", status=None
        )
        if done.status in (0, 3) and done.out.strip():
            return done.json
        lost = version == IMPATIENT and "he hub at " in done.err and any(how in done.err for how in LOST)
        if was_away or self.away or lost:
            told = _sentence(done)
            self.again[told] = self.again.get(told, 0) + 1
            time.sleep(4 * PAUSE_SECONDS)
        else:
            self.failed.append(f"{words[0]}: {done.status}: {done.out[-300:]} {done.err[-600:]}")
        return None


def _sentence(done: Done) -> str:
    """The message of a command that failed, without places."""
    line = done.err.strip().partition("\n")[0].removeprefix("candor-node: ")
    return f"{done.status}: {line.partition(': nothing answers')[0]}"


@contextmanager
def at_work(scene: Scene) -> Iterator[list[Clerk]]:
    """A clerk at each node, from here to the end of the block; fails if anything failed for one."""
    clerks = [Clerk(scene, name) for name in scene.nodes]
    threads = [threading.Thread(target=clerk.run, name=clerk.name, daemon=True) for clerk in clerks]
    for thread in threads:
        thread.start()
    try:
        yield clerks
    finally:
        for clerk in clerks:
            clerk.over.set()
        for thread in threads:
            thread.join(2 * PATIENCE_SECONDS)
    failed = [f"{clerk.name}: {line}" for clerk in clerks for line in clerk.failed]
    assert not failed, failed[:3]


def some_more(clerks: Iterable[Clerk], lookups: int = 2) -> None:
    """Wait until each clerk has had so many more lookups answered, or one has failed."""
    wanted = {clerk.name: clerk.lookups + lookups for clerk in clerks}

    def enough() -> bool:
        return any(clerk.failed for clerk in clerks) or all(
            clerk.lookups >= wanted[clerk.name] for clerk in clerks
        )

    until(enough, "lookups go on", PATIENCE_SECONDS)


def check_history(clerks: Iterable[Clerk], hub_file: Path) -> None:
    """Hold what the clerks were told against every database, once everything has come to rest.

    Every lookup is there once, is answered by everybody, was charged once; so is each record.
    """
    clerks = list(clerks)
    operations = [operation for clerk in clerks for operation in clerk.history.operations]
    with patch.dict("os.environ", ENVIRONMENT), unsafe():
        hub = load_hub_config(hub_file)
        nodes = [load_node_config(clerk.scene.node_file(clerk.name)) for clerk in clerks]

        def found() -> list[Fault]:
            now = to_milliseconds(datetime.now(UTC))
            return check(operations, map(read_node, nodes), read_hub(hub), now, settled=True)

        deadline = time.monotonic() + PATIENCE_SECONDS
        while (faults := found()) and time.monotonic() < deadline:
            time.sleep(0.5)
    assert not faults, "\n".join(map(str, faults[:10]))
