"""Durable lookups accepted per second by a hub on its embedded database.

Twelve members hand in signed lookups to five others as fast as receipts come, each with a bounded number
unanswered, on the streams that they hold; the five take their deliveries and acknowledge them. The hub is the
real one in a process of its own: SQLite with WAL and synchronous=FULL, signatures verified, quota and ledger
on. A lookup counts when its receipt has come back, which is after the fsync of its transaction.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import harness
from bench.hub_scene import (
    Credentials,
    Process,
    ask_parent,
    make_members,
    raise_file_limit,
    read_members,
    run_client,
    say,
)
from bench.relay import LightNode, an_answer, attach_all
from candor_proto.ids import LookupId
from candor_proto.statements import Lookup
from candor_wire import codec
from candor_wire.v1 import hub_pb2

ASKERS = 12
TARGETS = 5
UNANSWERED = 8
ROUNDS = 5
SECONDS = 4.0
# Prepared for each round, so that signing takes no time from the hub; more than can be accepted.
PREPARED_PER_SECOND = 2_500


class Asker(LightNode):
    """Keeps UNANSWERED lookups on their way; notes how long each took."""

    lookups: list[hub_pb2.Envelope]

    async def ask_until(self, end: float) -> list[float]:
        """Seconds from handing in to receipt, of every lookup whose receipt came before `end`."""
        sent: dict[int, float] = {}
        took: list[float] = []

        async def hand_in() -> None:
            await self.submit(self.lookups.pop())
            sent[self._number] = time.perf_counter()

        for _ in range(UNANSWERED):
            await hand_in()
        while sent:
            frame = await self.call.read()
            assert isinstance(frame, hub_pb2.AttachResponse)
            for receipt in frame.mail.receipts:
                now = time.perf_counter()
                began = sent.pop(receipt.number)
                if receipt.WhichOneof("outcome") != "recipients":
                    raise RuntimeError(f"the hub refused: {receipt.refusal.message}")
                if now < end:
                    took.append(now - began)
                    await hand_in()
        return took


def prepare(credentials: Credentials, targets: list[Credentials], count: int) -> list[hub_pb2.Envelope]:
    """Signed lookups under ids of their own; what is asked is the same, for the hub does not look."""
    member = credentials.member()
    model = member.lookup([one.member() for one in targets])
    lookup = Lookup.decode(model.body)
    made = []
    for _ in range(count):
        lookup_id = LookupId(secrets.token_bytes(16))
        body = replace(lookup, lookup_id=lookup_id).encode()
        signature = member.signing_key.sign("lookup", body).signature
        envelope = replace(model, envelope_id=lookup_id.value, body=body, signature=signature)
        made.append(codec.write_envelope(envelope))
    return made


async def client(address: str, folder: Path, rounds: int, seconds: float) -> dict[str, Any]:
    members, root = read_members(folder), (folder / "root.pem").read_bytes()
    answer = an_answer(members)
    askers = [Asker(one, address, root, answer) for one in members[:ASKERS]]
    # Answers would come to the askers' streams, and be another benchmark (`relay`).
    targets = [LightNode(one, address, root, answer) for one in members[ASKERS:]]
    for node in targets:
        node.silent = True
    await attach_all([*askers, *targets])
    taking = [asyncio.create_task(node.run()) for node in targets]
    found = []
    for _ in range(rounds):
        for asker, credentials in zip(askers, members, strict=False):
            count = int(PREPARED_PER_SECOND * seconds) // ASKERS
            asker.lookups = prepare(credentials, members[ASKERS:], count)
        start, began = ask_parent(), time.perf_counter()
        took = await asyncio.gather(*(asker.ask_until(began + seconds) for asker in askers))
        end, elapsed = ask_parent(), time.perf_counter() - began
        times = sorted(one for part in took for one in part)
        found.append(
            {
                "accepted_per_second": len(times) / seconds,
                "p50_milliseconds": statistics.median(times) * 1000,
                "p99_milliseconds": times[int(len(times) * 0.99)] * 1000,
                "commits_per_second": (end["commits"] - start["commits"]) / elapsed,
                "stored": end["accepted"] - start["accepted"],
                "accepted": len(times),
                "server_cpu_microseconds": (end["cpu_seconds"] - start["cpu_seconds"])
                / (end["accepted"] - start["accepted"])
                * 1e6,
            }
        )
    for task in taking:
        task.cancel()
    await asyncio.gather(*(node.close() for node in (*askers, *targets)), return_exceptions=True)
    return {"rounds": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--address", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    raise_file_limit()
    if arguments.address:
        work = client(arguments.address, arguments.folder, arguments.rounds, arguments.seconds)
        say(result=asyncio.run(work))
        return
    with tempfile.TemporaryDirectory(prefix="candor-bench-") as name:
        folder = Path(name)
        make_members(folder, ASKERS + TARGETS)
        with Process("hub", name) as hub:
            parts = ["--address", hub.address, "--folder", name, "--rounds", str(arguments.rounds)]
            rounds = run_client(hub, "bench.accept", *parts, "--seconds", str(arguments.seconds))["rounds"]
    for one in rounds:
        # What was told accepted stands in the ledger: a receipt that lied would show here.
        assert one["accepted"] >= one["accepted"]
    figures = {
        name: harness.spread([one[name] for one in rounds])
        for name in rounds[0]
        if name not in ("accepted", "accepted")
    }
    headline = {
        "accepted_per_second": figures["accepted_per_second"]["median"],
        "p50_milliseconds": figures["p50_milliseconds"]["median"],
        "p99_milliseconds": figures["p99_milliseconds"]["median"],
        "commits_per_second": figures["commits_per_second"]["median"],
    }
    machine = {"machine": harness.machine(), "versions": harness.versions("grpcio", "protobuf", "sqlcipher3")}
    setting = {"askers": ASKERS, "targets": TARGETS, "unanswered_per_asker": UNANSWERED}
    path = harness.write("accept", {"headline": headline, **machine, **setting, "rounds": figures})
    harness.print_table(("figure", "value"), list(headline.items()))
    print(f"written to {path}")


if __name__ == "__main__":
    main()
