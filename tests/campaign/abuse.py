"""Twenty attackers at once, one attack after the other, against a hub that members use meanwhile.

A real hub process with its three ports on loopback; attackers in processes of their own, each with a member's
certificate where the attack needs one; honest members and readers in another (`attacks/honest.py`). Before
the attacks the same is measured with nobody else there, and with processes that burn as much processor time
as the attackers could: the hub shares its cores with whoever attacks it, and what that costs is no fault of
the hub. The column × says how many times as long the p99 is as then.

Targets: 0 honest errors, honest p99 <= 100 ms, memory + <= 200 MB, all well again <= 5 s after an attack.

    python -m tests.campaign.abuse [--quick] [--seconds S] [--only NAME ...] [--list]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from bench.hub_scene import make_members, raise_file_limit, read_members
from candor_hub.config import load_config
from candor_hub.enrolment import Enrolment
from candor_hub.founding import open_directory, open_store
from candor_proto.ids import NodeId, Ori
from tests.campaign.attacks.honest import CONNECTING, LATECOMERS, MEMBERS, STEADY, TRANSFERS
from tests.campaign.attacks.table import ATTACKS
from tests.hub_members import FEDERATION, Member, ShiftedClock
from tests.hubs import enrolment_request

ATTACKERS = 20
PROCESSES = 2
SECONDS, QUICK_SECONDS = 60.0, 3.0
P99_SECONDS, SLOW_SECONDS, GROWTH_MB, RECOVERY_SECONDS = 0.1, 5.0, 200.0, 5.0
# What `--quick` runs: one of each kind.
QUICK = (
    "rapid-reset",
    "many-streams",
    "pings",
    "continuations",
    "never-reads",
    "held-connections",
    "invalid-requests",
    "submissions",
    "unfinished-uploads",
    "half-open@enrolment",
    "wrong-tokens@enrolment",
    "page-flood@log",
    "slow-headers@log",
)


# --- the scene -----------------------------------------------------------------------------------------


def prepare(folder: Path) -> None:
    """Found a hub with its members: the honest ones first, then the attackers; and one invitation."""
    make_members(folder, MEMBERS + LATECOMERS + ATTACKERS)
    config_file = folder / "hub" / "hub.toml"
    plenty = "".join(f"{name} = {1 << 30}\n" for name in ("total", "weak", "match", "code"))
    config_file.write_text(f"{config_file.read_text()}\n[quota]\n{plenty}day_share = 1\n")
    (folder / "pem").mkdir()
    for one in read_members(folder):
        (folder / "pem" / f"{one.node}.pem").write_bytes(one.key + one.chain)
    # An invitation names addresses; this one is used by who knows the real ones.
    anywhere, now = "127.0.0.1:1", datetime.now(UTC)
    config = replace(load_config(config_file), public_address=anywhere, public_enrolment_address=anywhere)
    store = open_store(config)
    keys, directory = open_directory(config, store, now)
    member = Member(NodeId("newcomer"), Ori("CA0888880"), ShiftedClock())
    invitation = Enrolment(config, store, lambda: keys, directory).invite(
        member.ori, member.node, "An agency that joins", now, timedelta(days=1)
    )
    store.close()
    request = enrolment_request(member, invitation)
    (folder / "enrol.bin").write_bytes(request.SerializeToString())


class Child:
    """A process that answers a line with a line of JSON."""

    def __init__(self, *words: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def say(self, **words: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()

    def hear(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a process of the campaign ended early")
        return json.loads(line)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class HubProcess:
    """`candor-hub run`, as an operator starts it."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "hub.log"
        words = [str(Path(sys.executable).parent / "candor-hub"), "run", "--json", "--config"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*words, str(folder / "hub" / "hub.toml")], stdout=subprocess.PIPE, stderr=log, text=True
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the hub did not start: {self.log.read_text()[-2_000:]}")
        said = json.loads(line)
        self.addresses = tuple(said[name] for name in ("address", "enrolment_address", "log_address"))
        self.seen = psutil.Process(self._process.pid)

    def _all(self) -> list[psutil.Process]:
        """The hub, and the guard in front of it."""
        return [self.seen, *self.seen.children()]

    @property
    def megabytes(self) -> float:
        return sum(float(each.memory_info().rss) for each in self._all()) / 1e6

    @property
    def cpu_seconds(self) -> float:
        return sum(float(used.user + used.system) for used in (each.cpu_times() for each in self._all()))

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


# --- what is measured ----------------------------------------------------------------------------------


def p99(seconds: Sequence[float]) -> float:
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] if ordered else 0.0


@dataclass
class Found:
    """What honest people saw during one attack, and what it cost the hub."""

    attack: str
    seconds: float
    samples: list[list[Any]]
    recovery_seconds: float
    megabytes: float
    cpu: float
    counts: Counter[str] = field(default_factory=Counter)

    def took(self, kinds: Sequence[str]) -> list[float]:
        return [float(seconds) for kind, _, seconds, error in self.samples if kind in kinds and not error]

    @property
    def errors(self) -> list[str]:
        return [f"{kind}: {error}" for kind, _, _, error in self.samples if error]

    @property
    def faults(self) -> list[str]:
        """Targets that were missed."""
        missed = []
        if self.errors:
            missed.append(f"{len(self.errors)} honest errors")
        if p99(self.took(STEADY)) > P99_SECONDS:
            missed.append(f"p99 {p99(self.took(STEADY)) * 1000:.0f} ms")
        if p99(self.took((*TRANSFERS, *CONNECTING))) > SLOW_SECONDS:
            missed.append(f"transfers and connecting {p99(self.took((*TRANSFERS, *CONNECTING))):.1f} s")
        if self.megabytes > GROWTH_MB:
            missed.append(f"+{self.megabytes:.0f} MB")
        if self.recovery_seconds > RECOVERY_SECONDS:
            missed.append(f"recovered after {self.recovery_seconds:.1f} s")
        if self.counts["attackers that broke"]:
            missed.append("attackers broke")
        return missed

    def times(self, control: Found | None) -> float:
        """The p99 as many times as it was while the same processor time went elsewhere; 0 if unknown."""
        alone = p99(control.took(STEADY)) if control is not None else 0.0
        return p99(self.took(STEADY)) / alone if alone else 0.0

    def line(self, control: Found | None = None) -> str:
        def milliseconds(kinds: Sequence[str]) -> str:
            took = self.took(kinds)
            return f"{p99(took) * 1000:6.0f}" if took else "     -"

        return (
            f"{self.attack:30} {len(self.samples):5} {len(self.errors):4}  {milliseconds(STEADY)}  "
            f"{self.times(control):4.1f}  "
            f"{milliseconds(TRANSFERS)}  {milliseconds(CONNECTING)}  {self.megabytes:+6.0f}  "
            f"{self.cpu:4.2f}  {self.recovery_seconds:4.1f}"
        )


HEADING = (
    f"{'attack':30} {'calls':>5} {'err':>4}  {'steady':>6}  {'×':>4}  {'transf':>6}  {'conn':>6}  {'MB':>6}  "
    f"{'CPU':>4}  {'back':>4}"
)


class Campaign:
    """A hub, honest people, and processes of attackers that wait to be told."""

    def __init__(self, folder: Path, hub: HubProcess, honest: Child, attackers: list[Child]) -> None:
        self.hub = hub
        self._honest = honest
        self._attackers = attackers
        self._attacks = 0
        members = read_members(folder)[MEMBERS + LATECOMERS :]
        self._attacking = [
            {"number": number, "node": str(one.node), "signing_seed": one.signing_seed.hex()}
            for number, one in enumerate(members)
        ]

    def quiet(self, seconds: float) -> Found:
        """Nobody but honest people."""
        return self._measure("(nobody)", seconds, lambda: time.sleep(seconds))

    def attack(self, name: str, seconds: float) -> Found:
        counts = Counter[str]()
        self._attacks += 1

        def work() -> None:
            share = -(-len(self._attacking) // len(self._attackers))
            for number, child in enumerate(self._attackers):
                some = self._attacking[number * share : (number + 1) * share]
                child.say(attack=name, number=self._attacks, seconds=seconds, attackers=some)
            for child in self._attackers:
                counts.update(child.hear())

        found = self._measure(name, seconds, work)
        found.counts = counts
        return found

    def _measure(self, name: str, seconds: float, work: Any) -> Found:
        self._taken()
        before, cpu, began = self.hub.megabytes, self.hub.cpu_seconds, time.monotonic()
        with self._highest() as highest:
            work()
            ended = time.monotonic()
            used = (self.hub.cpu_seconds - cpu) / (ended - began)
            samples, recovery = self._taken(), 0.0
            # Until nothing that was due is late or fails for a second.
            while ended + recovery + 1.0 > time.monotonic() and recovery < 4 * RECOVERY_SECONDS:
                time.sleep(0.3)
                late = self._taken()
                samples += [one for one in late if one[1] < ended]
                bad = [one[1] - ended for one in late if one[1] >= ended and not _well(one)]
                recovery = max([recovery, *(each + 0.1 for each in bad)])
        return Found(name, seconds, samples, recovery, max(0.0, highest[0] - before), used)

    def _taken(self) -> list[list[Any]]:
        self._honest.say()
        samples: list[list[Any]] = self._honest.hear()["samples"]
        return samples

    @contextmanager
    def _highest(self) -> Iterator[list[float]]:
        """The hub's memory at its highest, in MB: looked at every fifth of a second, in a thread."""
        import threading

        highest, over = [self.hub.megabytes], threading.Event()

        def watch() -> None:
            while not over.wait(0.2):
                highest[0] = max(highest[0], self.hub.megabytes)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield highest
        finally:
            over.set()
            thread.join()


def _well(sample: list[Any]) -> bool:
    kind, _, seconds, error = sample
    return not error and float(seconds) <= (P99_SECONDS if kind in STEADY else SLOW_SECONDS)


@contextmanager
def campaign(folder: Path) -> Iterator[Campaign]:
    """Everything runs when this begins, and ends with it."""
    raise_file_limit()
    prepare(folder)
    with ExitStack() as stack:
        hub = HubProcess(folder)
        stack.callback(hub.close)
        honest = Child("tests.campaign.attacks.honest", str(folder), *hub.addresses)
        stack.callback(honest.close)
        scene = {
            "folder": str(folder),
            "server_name": f"hub.{FEDERATION}",
            **{
                name: int(address.rpartition(":")[2])
                for name, address in zip(("hub", "enrolment", "log"), hub.addresses, strict=True)
            },
        }
        attackers = [Child("tests.campaign.attacks.run") for _ in range(PROCESSES)]
        for child in attackers:
            stack.callback(child.close)
            child.say(**scene)
        for child in (honest, *attackers):
            child.hear()
        yield Campaign(folder, hub, honest, attackers)


def run(folder: Path, names: Sequence[str], seconds: float, out: Path | None = None) -> int:
    """All of these, one after the other; 0 when every target held."""
    with campaign(folder) as scene:
        scene.quiet(1.0)
        print(HEADING, flush=True)
        faults: dict[str, list[str]] = {}
        results: list[Found] = []
        for name in ("(nobody)", "spin", *names):
            found = scene.quiet(seconds) if name == "(nobody)" else scene.attack(name, seconds)
            results.append(found)
            control = results[1] if len(results) > 1 else None
            print(found.line(control), flush=True)
            if out is not None:
                out.write_text(json.dumps([_json(each, control) for each in results], indent=1))
            if name in ATTACKS:
                for error, times in Counter(found.errors).most_common(3):
                    print(f"      {times} times {error}")
                if found.faults:
                    faults[name] = found.faults
                    print(f"      missed: {', '.join(found.faults)}", flush=True)
    print(
        f"\n{len(names)} attacks of {seconds:.0f} s by {ATTACKERS} attackers; targets missed in {len(faults)}"
    )
    for name, missed in faults.items():
        print(f"  {name}: {', '.join(missed)}")
    return 1 if faults else 0


def _json(found: Found, control: Found | None) -> dict[str, Any]:
    first = min((one[1] for one in found.samples), default=0.0)
    return {
        "attack": found.attack,
        "late_seconds": sorted(round(one[1] - first, 1) for one in found.samples if not _well(one)),
        "errors": len(found.errors),
        "p99_ms": {
            kind: round(p99(found.took([kind])) * 1000, 1) for kind in (*STEADY, *TRANSFERS, *CONNECTING)
        },
        "steady_p99_ms": round(p99(found.took(STEADY)) * 1000, 1),
        "times_control": round(found.times(control), 2),
        "megabytes": round(found.megabytes, 1),
        "cpu": round(found.cpu, 2),
        "recovery_seconds": round(found.recovery_seconds, 1),
        "counts": dict(found.counts),
        "missed": found.faults,
    }


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--only", nargs="+", choices=list(ATTACKS), metavar="NAME")
    parser.add_argument("--list", action="store_true")
    parser.add_argument(
        "--nice", type=int, help="of hub and honest people; attackers are 10 above", default=0
    )
    parser.add_argument("--out", type=Path, help="write all figures there, as JSON")
    arguments = parser.parse_args(words)
    if arguments.list:
        for name, attack in ATTACKS.items():
            print(f"{name:32} {attack.what}")
        return 0
    os.nice(arguments.nice)
    # So that hub and attackers end with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    names = arguments.only or (QUICK if arguments.quick else tuple(ATTACKS))
    seconds = arguments.seconds or (QUICK_SECONDS if arguments.quick else SECONDS)
    with tempfile.TemporaryDirectory(prefix="candor-abuse-") as folder:
        return run(Path(folder), names, seconds, arguments.out)


if __name__ == "__main__":
    sys.exit(main())
