"""A federation in which both versions run: one hub, on either database, and a node of each version.

scene = Scene(folder, hub=old, nodes={"elder": old, "newer": new}, database_url="")
scene.found(); scene.begin()
scene.exchange("REQ-1")        each asks for the other's record, finds it, and is given it
scene.end()
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from candor_certs.store import read_identity
from candor_node.config import load_config
from tests.records import csv_bytes, make_row
from tests.upgrades.versions import Running, Version
from tools.demo import free_ports

T = TypeVar("T")
FEDERATION = "upgrade.example"
WAIT_SECONDS = 45.0
# One officer for each agency, and what an applicant of that name writes.
OFFICERS = {
    "elder": {
        "first": "Quentin",
        "middle": "Zebulon",
        "last": "Placeholderson",
        "ssn4": "4821",
        "birth_date": "1984-07-23",
    },
    "newer": {
        "first": "Wilhelmina",
        "middle": "Ottoline",
        "last": "Exampleworth",
        "ssn4": "7733",
        "birth_date": "1979-02-11",
    },
}
ORIS = {"elder": "ZZ0010000", "newer": "ZZ0020000"}


def until(look: Callable[[], T], what: str, seconds: float = WAIT_SECONDS) -> T:
    """What `look` returns, once it is true; fails when it takes too long."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)
    return found


class Scene:
    """Folders that outlive the programs that run on them; `hub` and `nodes` may be exchanged between runs."""

    def __init__(self, folder: Path, hub: Version, nodes: Mapping[str, Version], database_url: str) -> None:
        self.folder, self.hub, self.nodes = folder, hub, dict(nodes)
        self._url = database_url
        self._running: dict[str, Running] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Scene:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    # --- commands -------------------------------------------------------------------------------------

    def hub_says(self, *words: object, status: int | None = 0) -> Any:
        done = self.hub.run("candor-hub", *words, "--config", self.hub_file, "--json", status=status)
        return done.json if done.out.strip() else {}

    def node_says(self, name: str, *words: object, status: int | None = 0) -> Any:
        done = self.nodes[name].run(
            "candor-node", *words, "--config", self.node_file(name), "--json", status=status
        )
        return done.json if done.out.strip() else {}

    @property
    def hub_file(self) -> Path:
        return self.folder / "hub/hub.toml"

    def node_file(self, name: str) -> Path:
        return self.folder / name / "node.toml"

    # --- life -----------------------------------------------------------------------------------------

    def found(self) -> None:
        """Make the hub."""
        address, enrolment, log_address = (f"127.0.0.1:{port}" for port in free_ports(3))
        self.hub.run(
            *("candor-hub", "init", "--dir", self.folder / "hub", "--federation", FEDERATION),
            *("--address", address, "--enrolment-address", enrolment, "--log-address", log_address),
            *(("--database-url", self._url) if self._url else ()),
        )

    def begin(self) -> None:
        """Start the hub, have join whoever has not joined, start the nodes; wait until all are attached."""
        self._start("hub", self.hub, "candor-hub", "run", "--config", self.hub_file)
        self._running["hub"].ready()
        self.begin_nodes()

    def begin_nodes(self) -> None:
        """As `begin`, with a hub that runs already."""
        for name in self.nodes:
            if not self.node_file(name).exists():
                self._join(name)
            self._start(name, self.nodes[name], "candor-node", "run", "--config", self.node_file(name))
        for name in self.nodes:
            self._running[name].ready()
        until(self.all_held, "everybody holds everybody's index")

    def replace_hub(self, version: Version) -> None:
        """Stop the hub and start it as another version; nodes are attached again when this returns."""
        self.stop("hub")
        self.hub = version
        self._start("hub", version, "candor-hub", "run", "--config", self.hub_file)
        self._running["hub"].ready()
        until(self.all_held, "everybody is attached again")

    def replace_node(self, name: str, version: Version) -> None:
        """Stop a node and start it as another version, on the same folder."""
        self.stop(name)
        self.nodes[name] = version
        self._start(name, version, "candor-node", "run", "--config", self.node_file(name))
        self._running[name].ready()
        until(self.all_held, "everybody holds everybody's index")

    def _start(self, name: str, version: Version, *words: object) -> None:
        program, *rest = words
        self._running[name] = self._stack.enter_context(version.start(str(program), *rest))

    def _join(self, name: str) -> None:
        invitation = self.folder / f"{name}.invitation"
        said = self.hub_says(
            "invite", ORIS[name], "--node", name, "--name", f"{name} agency", "--out", invitation
        )
        self.node_says(name, "join", invitation, "--fingerprint", said["fingerprint"])

    def all_held(self) -> bool:
        """Whether every node is attached and holds every index."""
        for name in self.nodes:
            said = self.node_says(name, "status")
            members = {member["node"] for member in said["members"] if member["index_held"]}
            if not said["attached"] or members != set(self.nodes):
                return False
        return True

    def end(self) -> None:
        """Stop everything, nodes first."""
        for name in (*self.nodes, "hub"):
            self._running.pop(name).stop()

    def stop(self, name: str) -> None:
        self._running.pop(name).stop()

    def delete_unknown_settings(self, name: str, settings: Iterable[str]) -> None:
        """From a stopped node's settings file, as its operator does before an older program runs on it."""
        file = self.node_file(name)
        lines = [line for line in file.read_text().splitlines() if line.split(" =")[0] not in set(settings)]
        file.write_text("\n".join(lines) + "\n")

    # --- what members do ------------------------------------------------------------------------------

    def file_records(self) -> None:
        """One GREEN record at each node, published."""
        for name in self.nodes:
            row = make_row(sharing="GREEN", agency_record_id=f"IA-{name}", **OFFICERS[name])
            table = self.folder / f"{name}.csv"
            table.write_bytes(csv_bytes([row]))
            assert self.node_says(name, "import", table)["new"] == 1
            self.node_says(name, "publish")
        until(self.all_held, "the indexes with the records")

    def exchange(self, case: str) -> None:
        """Each node asks about the other's officer, finds it, sends for the record and opens it."""
        for asker in self.nodes:
            (owner,) = set(self.nodes) - {asker}
            found = until(partial(self._finds, asker, owner, case), "a hit")
            sent = self.node_says(
                asker, "requests", "send", found["lookup_id"], found["hits"][0]["number"], "--by", "Inv. Roe"
            )
            opened = until(partial(self._opened, asker, sent["request_id"]), "the record")
            assert opened["record"]["commitment_verified"], opened
            fields = {field["name"]: field["value"] for field in opened["record"]["fields"]}
            assert fields["last"] == OFFICERS[owner]["last"]

    def _finds(self, asker: str, owner: str, case: str) -> Any:
        person = self.folder / f"{asker}-person.json"
        person.write_text(json.dumps(OFFICERS[owner]))
        said = self.node_says(
            *(
                asker,
                "lookup",
                "--person",
                person,
                "--purpose",
                "J_APPLICANT",
                "--case",
                f"{case}-{time.time_ns()}",
            ),
            *("--consent", "C-17", "--officer", "Inv. Roe"),
            status=None,
        )
        # Until the index with the record is there, it cannot be found.
        if said["overall"] != "MATCH":
            return None
        assert {hit["owner"] for hit in said["hits"]} == {owner}
        return said

    def _opened(self, asker: str, request_id: str) -> Any:
        shown = self.node_says(asker, "requests", "show", request_id)
        view = shown.get("request", shown)
        return view if view["state"] == "opened" else None

    # --- what is looked at ----------------------------------------------------------------------------

    def check_witnessed(self) -> None:
        """Every node cosigns the log, and the newest head has its quorum."""

        def witnessed() -> bool:
            said = self.hub_says("log", "status", status=None)
            signing = {each["node"] if isinstance(each, dict) else each for each in said.get("missing", ())}
            return not said["troubles"] and not signing & set(self.nodes)

        until(witnessed, "a head that every node has cosigned")
        for name in self.nodes:
            log = self.node_says(name, "status")["log"]
            assert not log["missing"], log
            assert not log["alarms"], log

    def check_kept(self) -> None:
        """What was there is there: records, ledger chain, log files."""
        for name in self.nodes:
            said = self.node_says(name, "status")
            assert said["records"] == said["matchable_records"] == 1, said
            assert said["dead_letters"] == [], said["dead_letters"]
            self.node_says(name, "audit", "ledger")
        self.hub_says("log", "fsck")

    def check_renewed(self) -> None:
        """Every node has renewed its certificate, shows the new one, and is attached with it."""

        def renewed(name: str) -> bool:
            own = [row for row in self.hub_says("certificates", name) if row["state"] == "good"]
            if len(own) < 2:
                return False
            assert own[1]["renewed_with"] == own[0]["serial"], own
            shown = read_identity(load_config(self.node_file(name)).tls_identity_file).chain[0]
            said = self.node_says(name, "status")
            return f"{shown.serial_number:x}" == own[-1]["serial"] and bool(said["attached"])

        for name in self.nodes:
            until(partial(renewed, name), f"{name} with a renewed certificate")
