"""A federation on one machine: `make demo`.

Starts an authority, a hub and five agencies as separate processes on loopback with mutual TLS, files
synthetic records, and follows one lookup to the opened record, step by step, with the ordinary commands.
Every step is checked; with ONCE=1 the exit status is 0 only if all of them were as they should be.

The hub is the very same as in production, started by `tools.recording`, which puts a recording
interceptor in front of it: that is how the demo can show what the hub saw.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from candor_hub.attach import PATIENCE_SECONDS
from tools.demo_log import check_as_a_stranger
from tools.demo_withdrawal import withdraw
from tools.generate_officers import Planted, generate, planted
from tools.recording import Frame, load, search
from tools.telling import StepFailed, console, expect, say, step, wait_for

FEDERATION = "demo.candor.example"
WAIT_SECONDS = 5
READY_SECONDS = 60
OFFICERS = 300
SEED = 20260302


@dataclass(frozen=True)
class Agency:
    """One of the five: node id, ORI and name."""

    node: str
    ori: str
    name: str


AGENCIES = (
    Agency("ashford-pd", "OH0250100", "Ashford Police Department"),
    Agency("brookhaven-so", "TX1010000", "Brookhaven County Sheriff"),
    Agency("cedar-falls-pd", "MA0130200", "Cedar Falls Police Department"),
    Agency("dunmore-pd", "PA0350300", "Dunmore Police Department"),
    Agency("eastport-pd", "CA0190400", "Eastport Police Department"),
)
ASKER = AGENCIES[3]


class Demo:
    """The processes and folders of one demo federation."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hub_folder = folder / "hub"
        self.recording = folder / "hub-recording.jsonl"
        self.scripts = Path(sys.executable).parent
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = {
            **os.environ,
            "CANDOR_HUB_NEW_MEMBER_WAIT_HOURS": "0",
            "CANDOR_NODE_PUBLISH_INTERVAL_HOURS": "0",
            "CANDOR_NODE_LOOKUP_WAIT_SECONDS": str(WAIT_SECONDS),
        }

    # --- running commands ------------------------------------------------------------------------------

    def command(
        self, *words: str, statuses: Sequence[int] = (0,), input_text: str | None = None, show: bool = False
    ) -> Any:
        """Run one of our commands with --json and return what it printed."""
        if show:
            shown = " ".join(word if " " not in word else f"'{word}'" for word in words)
            console.print(f"   [dim]$ {shown.replace(str(self.folder) + '/', '')}[/dim]", soft_wrap=True)
        done = subprocess.run(
            [str(self.scripts / words[0]), *words[1:], "--json"],
            input=input_text,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=120,
        )
        if done.returncode not in statuses:
            raise StepFailed(
                f"`{' '.join(words[:3])}` ended with status {done.returncode}: {done.stderr.strip()[-600:]}"
            )
        return json.loads(done.stdout) if done.stdout.strip() else {}

    def node_config(self, agency: Agency) -> str:
        return str(self.folder / agency.node / "node.toml")

    def node(self, agency: Agency, *words: str, **options: Any) -> Any:
        return self.command("candor-node", *words, "--config", self.node_config(agency), **options)

    def start(self, name: str, words: Sequence[str], ready: str) -> None:
        """Start a process and wait until it says that it is ready."""
        log = (self.folder / f"{name}.log").open("wb")
        process = subprocess.Popen(
            list(words), stdout=subprocess.PIPE, stderr=log, env=self.environment, stdin=subprocess.DEVNULL
        )
        self.processes[name] = process
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        seen, deadline = b"", time.monotonic() + READY_SECONDS
        while ready.encode() not in seen:
            if process.poll() is not None or time.monotonic() > deadline:
                tail = (self.folder / f"{name}.log").read_text(errors="replace")[-600:]
                raise StepFailed(f"{name} did not become ready: {tail}")
            seen += process.stdout.read() or b""
            time.sleep(0.05)

    def start_node(self, agency: Agency) -> None:
        words = [str(self.scripts / "candor-node"), "run", "--config", self.node_config(agency)]
        self.start(agency.node, words, "ready")

    def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        if process.poll() is None:
            process.kill()
            process.wait()

    def stop_all(self) -> None:
        for name in [*self.processes][::-1]:
            self.stop(name)

    # --- building --------------------------------------------------------------------------------------

    def build_authority_and_hub(self) -> str:
        root, issuing = self.folder / "root-authority", self.folder / "issuing-authority"
        self.command(
            "candor-certs", "root", "create", "--federation", FEDERATION, "--out", str(root), show=True
        )
        self.command(
            "candor-certs", "issuing", "create", "--root", str(root), "--out", str(issuing), show=True
        )
        address, enrolment, log_address = (f"127.0.0.1:{port}" for port in free_ports(3))
        made = self.command(
            "candor-hub", "init", "--dir", str(self.hub_folder), "--federation", FEDERATION,
            "--address", address, "--enrolment-address", enrolment, "--log-address", log_address,
            "--issuing", str(issuing), show=True,
        )  # fmt: skip
        words = [
            sys.executable, "-m", "tools.recording", "hub",
            "--config", str(self.hub_folder / "hub.toml"), "--out", str(self.recording),
        ]  # fmt: skip
        self.start("hub", words, "ready")
        return str(made["fingerprint"])

    def join(self, agency: Agency, fingerprint: str) -> None:
        invitation = self.folder / f"{agency.node}.invitation"
        self.command(
            "candor-hub", "invite", agency.ori, "--node", agency.node, "--name", agency.name,
            "--out", str(invitation), "--config", str(self.hub_folder / "hub.toml"),
        )  # fmt: skip
        self.command("candor-node", "init", "--dir", str(self.folder / agency.node), "--node", agency.node)
        self.node(agency, "join", str(invitation), "--fingerprint", fingerprint)
        self.start_node(agency)

    def file_records(self, agency: Agency, text: str) -> Any:
        path = self.folder / f"{agency.node}.csv"
        path.write_text(text, encoding="utf-8")
        return self.node(agency, "import", str(path))

    def wait_for_indexes(self, agencies: Sequence[Agency]) -> None:
        """Until every agency holds the published index of every other."""
        deadline = time.monotonic() + READY_SECONDS
        for agency in agencies:
            while True:
                members = self.node(agency, "status")["members"]
                if sum(bool(member.get("index_held")) for member in members) == len(AGENCIES):
                    break
                if time.monotonic() > deadline:
                    raise StepFailed(f"{agency.node} does not hold all indexes after {READY_SECONDS} s")
                time.sleep(0.3)

    # --- looking up ------------------------------------------------------------------------------------

    def lookup(self, case: Planted, number: str, statuses: Sequence[int] = (0,)) -> Any:
        """One detailed lookup; the person comes from a file, for numbers do not belong in argv."""
        person = self.folder / f"applicant-{number}.json"
        person.write_text(json.dumps(asdict(case.applicant), ensure_ascii=False), encoding="utf-8")
        return self.node(
            ASKER, "lookup", "--person", str(person), "--purpose", "J_APPLICANT", "--case", number,
            "--consent", f"consent form of {number}", "--officer", "Sgt. R. Example",
            statuses=statuses, show=True,
        )  # fmt: skip


# Below those that systems give to connections that are dialled (Linux: from 32768): tests kill what listens
# and start it again, and a connection may have taken its port meanwhile.
PORTS = range(20_000, 32_768)


def free_ports(count: int) -> list[int]:
    """Ports on loopback that were free a moment ago, and that no outgoing connection will take."""
    found: list[int] = []
    while len(found) < count:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            if port not in found:
                found.append(port)
    return found


def show_applicant(case: Planted) -> None:
    person = {name: value for name, value in asdict(case.applicant).items() if value}
    say(
        "applicant: "
        + ", ".join(f"{name.replace('_', ' ')} [bold]{value}[/bold]" for name, value in person.items())
    )


def show_hit(hit: Mapping[str, Any]) -> None:
    say(f"{hit['owner_name']}: {hit['kind']} ({hit['tier']}) – {hit['band']}")
    for reason in hit.get("reasons", [])[:4]:
        say(f"   • {reason}")


# --- the story -----------------------------------------------------------------------------------------


def tell(demo: Demo) -> None:
    """The whole story; raises StepFailed at the first thing that is not as it should be."""
    cases = {case.name: case for case in planted()}
    started = time.monotonic()

    step(1, "An authority, a hub, five agencies: separate processes, mutual TLS on loopback")
    fingerprint = demo.build_authority_and_hub()
    say(f"authority's fingerprint, told to the agencies by telephone: {fingerprint}")
    say("(in the demo the root key stays in its folder; a real one goes to an offline medium)")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda agency: demo.join(agency, fingerprint), AGENCIES))
    members = demo.command("candor-hub", "agencies", "--config", str(demo.hub_folder / "hub.toml"))
    expect(
        len(members) == len(AGENCIES),
        "five agencies joined, each with keys made on its own machine",
    )

    step(2, "Each agency files its own records and publishes a sealed index")
    files = generate(SEED, len(AGENCIES), OFFICERS, [agency.node for agency in AGENCIES])
    with ThreadPoolExecutor(2) as pool:
        reports = list(
            pool.map(
                lambda pair: demo.file_records(pair[0], pair[1].text()), zip(AGENCIES, files, strict=True)
            )
        )
    table = Table("agency", "records", "held by the fair-process gate", box=None, pad_edge=False)
    for agency, report in zip(AGENCIES, reports, strict=True):
        table.add_row(f"   {agency.name}", str(report["new"]), str(report.get("held", 0)))
    console.print(table)
    expect(
        all(report["new"] == OFFICERS for report in reports),
        f"{len(AGENCIES) * OFFICERS} records filed, no row refused",
    )
    expect(
        any(report.get("held") for report in reports),
        "records without notice, hearing or finality are held back",
    )
    demo.wait_for_indexes(AGENCIES)
    expect(True, "every agency holds every other's sealed index; nothing of it opens without a lookup")

    step(3, "An applicant with a nickname and a misspelt surname")
    case = cases["wandering"]
    show_applicant(case)
    mark = len(load(demo.recording))
    hit_lookup = demo.lookup(case, "REQ-2026-041")
    hit_frames = frames_since(demo, mark)
    hits = hit_lookup["hits"]
    expect(hit_lookup["overall"] == "MATCH", "MATCH: a record stands behind the gate")
    owner = AGENCIES[case.agency or 0]
    ours = [hit for hit in hits if hit["owner"] == owner.node and hit["kind"] == "TERMINATION_FOR_CAUSE"]
    expect(ours, f"the hit is {owner.name}'s, in spite of the typing error")
    show_hit(ours[0])
    expect(hit_lookup["coverage"]["complete"], f"coverage: {hit_lookup['coverage']['sentence']}")

    step(4, "A person confirms, and asks the owner for the record")
    request = demo.node(
        ASKER, "requests", "send", hit_lookup["lookup_id"], str(ours[0]["number"]),
        "--by", "Sgt. R. Example", show=True,
    )  # fmt: skip
    waiting = wait_for(lambda: received(demo, owner, request["request_id"]), "the request reaches its owner")
    expect(waiting["state"] == "waiting", "the record is YELLOW: a person at the owner decides")

    step(5, "The owner approves, in a process of its own")
    demo.node(owner, "requests", "approve", request["request_id"], "--by", "Lt. A. Example", show=True)
    opened = wait_for(lambda: is_opened(demo, request["request_id"]), "the sealed record arrives")
    record = opened["record"]
    expect(record["commitment_verified"], "the record opens the commitment that stood in the sealed index")
    fields = {field["name"]: field.get("value", "") for field in record["fields"]}
    expect(
        case.row is not None and fields.get("last") == case.row["last"], "and it is the record that was filed"
    )
    for name in (
        "dcn",
        "record_kind",
        "last",
        "first",
        "birth_date",
        "decided_on",
        "decision_maker",
        "finality",
        "narrative",
    ):
        if fields.get(name):
            say(f"{name}: {fields[name]}")

    step(6, "A clean applicant")
    show_applicant(cases["clean"])
    mark = len(load(demo.recording))
    clean_lookup = demo.lookup(cases["clean"], "REQ-2026-042")
    clean_frames = frames_since(demo, mark)
    covered = clean_lookup["coverage"]
    expect(
        clean_lookup["overall"] == "NO_RECORD" and covered["complete"],
        f"no record among {covered['answered']} of {covered['asked']} nodes",
    )

    step(7, "The twin of an officer with a record")
    show_applicant(cases["twin"])
    twin_lookup = demo.lookup(cases["twin"], "REQ-2026-043")
    expect(twin_lookup["overall"] != "MATCH", "no match is claimed")
    aside = twin_lookup.get("set_aside", [])
    expect(aside, "one record is shown apart, as NOT the same person:")
    show_hit(aside[0])
    expect("twin" in " ".join(aside[0]["reasons"]), "with the reason first")

    step(8, "One agency's machine is off")
    off = AGENCIES[4]
    demo.stop(off.node)
    partial = demo.lookup(cases["clean"], "REQ-2026-044", statuses=(0, 3))
    expect(partial["overall"] == "INCOMPLETE", "INCOMPLETE: silence is never “no record”")
    expect(
        partial["coverage"]["answered"] == len(AGENCIES) - 1
        and partial["coverage"]["asked"] == len(AGENCIES),
        partial["coverage"]["sentence"],
    )
    demo.start_node(off)
    deadline = time.monotonic() + READY_SECONDS
    while not (told := demo.node(ASKER, "lookups", "list", "--news")["lookups"]):
        if time.monotonic() > deadline:
            raise StepFailed(f"the answer of {off.node} did not amend the lookup in {READY_SECONDS} s")
        time.sleep(0.3)
    expect(
        told[0]["lookup_id"] == partial["lookup_id"] and told[0]["overall"] == "NO_RECORD",
        "its machine is on again: the late answer amends the result, and whoever asked is told",
    )
    say(f"{told[0]['news']}: {'; '.join(told[0]['changed'])}")

    step(9, "The decision falls: the record is voided, and every copy with it")
    withdraw(
        functools.partial(demo.node, owner),
        functools.partial(demo.node, ASKER),
        fields["dcn"],
        request["request_id"],
    )
    demo.wait_for_indexes(AGENCIES)
    again = demo.lookup(case, "REQ-2026-045")
    left = [
        hit for hit in again.get("hits", []) if hit["owner"] == owner.node and hit["kind"] == ours[0]["kind"]
    ]
    expect(not left, "a later lookup does not find it any more")

    step(10, "A stranger checks all of it, with public keys and nothing else")
    hub_config = str(demo.hub_folder / "hub.toml")
    check_as_a_stranger(
        demo.folder / "stranger",
        demo.hub_folder / "log",
        demo.command("candor-hub", "log", "policy", "--config", hub_config)["text"],
        functools.partial(demo.node, ASKER),
        hit_lookup["lookup_id"],
        demo.scripts / "candor-verify",
    )

    step(11, "What the hub saw")
    show_hub_view(demo, cases, record, hit_frames, clean_frames)
    say(f"[dim]{time.monotonic() - started:.0f} s for the whole story[/dim]")


def received(demo: Demo, owner: Agency, request_id: str) -> Any:
    listed = demo.node(owner, "requests", "list").get("received", [])
    return next((entry for entry in listed if entry["request_id"] == request_id), None)


def is_opened(demo: Demo, request_id: str) -> Any:
    shown = demo.node(ASKER, "requests", "show", request_id)
    view = shown.get("request", shown)
    return view if view["state"] == "opened" else None


def frames_since(demo: Demo, mark: int) -> list[Frame]:
    """What the hub has recorded since, once it is quiet.

    The receipts of a lookup's last answers wait at the hub for company (candor_hub.attach), so that some come
    after its result.
    """
    deadline = time.monotonic() + 30
    frames = load(demo.recording)[mark:]
    while time.monotonic() < deadline:
        time.sleep(3 * PATIENCE_SECONDS)
        earlier, frames = frames, load(demo.recording)[mark:]
        if len(exchanged(frames)) == len(exchanged(earlier)):
            return frames
    raise StepFailed("the hub has not become quiet within 30 s")


def show_hub_view(
    demo: Demo, cases: Mapping[str, Planted], record: Mapping[str, Any], hit: list[Frame], clean: list[Frame]
) -> None:
    frames = load(demo.recording)
    octets = sum(len(frame.octets) for frame in frames)
    say(f"A recording of its decrypted traffic: {len(frames):,} messages and metadata, {octets:,} octets.")
    table = Table("of the lookup that hit", "in", "out", "octets", box=None, pad_edge=False)
    for kind, count_in, count_out, size in kinds(hit):
        table.add_row(f"   {kind}", str(count_in), str(count_out), f"{size:,}")
    console.print(table)
    expect(
        shapes(hit) == shapes(clean),
        "hit and clean lookup: same kinds, counts and sizes of messages, until a person asked for the record",
    )
    needles = identity_needles(cases, record)
    found = search(frames, needles)
    expect(
        not found, f"none of {len(needles)} identity values stands in it, raw, in hexadecimal or in base64"
    )
    planted_frame = Frame("hub", "in", "x", "", "planted", b"...." + needles["wandering last"] + b"....")
    expect(search([planted_frame], needles), "(the searcher finds a value that is planted)")
    stored = b"".join(path.read_bytes() for path in demo.hub_folder.rglob("*") if path.is_file())
    expect(
        not search([Frame("hub", "at rest", "", "", "files", stored)], needles),
        f"nor in its files ({len(stored):,} octets)",
    )
    say("")
    person = cases["wandering"].applicant
    identity = f"{person.first} {person.last}, {person.birth_date}, {person.ssn4}"
    say(f"What it could not see: [bold]{identity}[/bold], nor that there was a match.")
    say("What it did see: who asked, when, for which purpose, how many elements, and later who wrote to whom")
    say("(docs/leakage.md).")


def kinds(frames: Sequence[Frame]) -> Iterator[tuple[str, int, int, int]]:
    relevant = exchanged(frames)
    for kind in sorted({frame.what for frame in relevant}):
        mine = [frame for frame in relevant if frame.what == kind]
        incoming = sum(frame.direction == "in" for frame in mine)
        yield kind, incoming, len(mine) - incoming, sum(len(frame.octets) for frame in mine)


def exchanged(frames: Sequence[Frame]) -> list[Frame]:
    """Not the clock's doing: heartbeats, the directory and the log that are fetched on the calendar."""
    by_clock = ("heartbeat", "Directory", "Segment", "Log", "osign", "Statement")
    return [frame for frame in frames if not any(what in frame.what for what in by_clock)]


def shapes(frames: Sequence[Frame]) -> list[tuple[str, str, str, int]]:
    """Kinds, counts and sizes. One acknowledgement may name several deliveries, so they are left out."""
    return sorted(frame.shape for frame in exchanged(frames) if "acknowledged" not in frame.what)


def identity_needles(cases: Mapping[str, Planted], record: Mapping[str, Any]) -> dict[str, bytes]:
    """Names, dates and numbers of the people asked about, and the text of the released record."""
    needles = {}
    for case in cases.values():
        for name, value in asdict(case.applicant).items():
            # Four digits or a letter stand by chance in megabytes of random octets; in the messages of single
            # lookups they are searched by tests/integration/test_recording.py.
            if len(value) >= 5:
                needles[f"{case.name} {name}"] = value.encode()
    for field in record["fields"]:
        if field["name"] in ("narrative", "dcn", "agency_record_id") and field.get("value"):
            needles[f"record {field['name']}"] = field["value"].encode()
    return needles


def main() -> int:
    parser = argparse.ArgumentParser(description="A federation of five agencies on this machine.")
    parser.add_argument(
        "--once", action="store_true", help="end after the story; status 0 only if all was well"
    )
    parser.add_argument("--keep", type=Path, help="use this new folder and keep it")
    arguments = parser.parse_args()
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="candor-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    demo = Demo(folder)
    status = 0
    try:
        tell(demo)
        console.print("\n[bold green]Every step was as it should be.[/bold green]")
        if not arguments.once:
            stay_up(demo)
    except StepFailed as failure:
        console.print(f"\n[bold red]✗ {failure}[/bold red]")
        console.print(f"  Logs: {folder}/*.log")
        status = 1
    except KeyboardInterrupt:
        status = 0 if not arguments.once else 130
    finally:
        demo.stop_all()
        if status == 0 and not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)
    return status


def stay_up(demo: Demo) -> None:
    """Say how to go on, and wait for Ctrl-C."""
    console.print(
        f"\nThe federation stays up in [bold]{demo.folder}[/bold]. In another terminal, for example:\n"
    )
    config = demo.node_config(ASKER)
    for words in ("status", "lookup", "requests list", "records list", "audit ledger"):
        console.print(f"  {demo.scripts / 'candor-node'} {words} --config {config}", soft_wrap=True)
    console.print(
        f"  {demo.scripts / 'candor-hub'} agencies --config {demo.hub_folder / 'hub.toml'}", soft_wrap=True
    )
    console.print("\nCtrl-C ends it, and removes the folder unless --keep was given.")
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
