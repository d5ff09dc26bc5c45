"""Proofs out of a log of 10 million entries: how long one takes, and what following the log costs an entry.

Run `make bench NAME=log_proofs` (a minute and 340 MB of temporary files) or, to try it,
`BENCH_QUICK=1 python -m bench.log_proofs`.

The tree is synthetic: random leaf hashes, put into tiles on disk by the function that the hub's sequencer
uses, thousands at a time. A proof reads its tiles from files each time, caches nothing, and is verified
against a root that was computed while the log grew. Entries that are followed are encoded, parsed, checked
against the rules of the log and hashed into the root, as a member does; their hashing alone is timed beside.
"""

from __future__ import annotations

import hashlib
import os
import random
import resource
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from bench.harness import machine, print_table, spread, timed, versions, write
from candor_proto import merkle
from candor_proto.errors import UnknownObject
from candor_proto.ids import FederationName, NodeId
from candor_proto.merkle import HASH_OCTETS, CompactRange, leaf_hash
from candor_proto.tlog import tiles
from candor_proto.tlog.checkpoint import Checkpoint
from candor_proto.tlog.entries import Entry, Opened, Receipts, Requests, log_origin
from candor_proto.tlog.policy import members_policy, parse_policy
from candor_proto.tlog.proof import LogProof, parse_proof
from candor_proto.tlog.signatures import LogKeys, WitnessKeys
from candor_proto.tlog.state import LogState
from candor_proto.tlog.statements import witness_name

QUICK = bool(os.environ.get("BENCH_QUICK"))
# Not a round number: the right edge has a partial tile at every level.
LEAVES = 100_123 if QUICK else 10_000_123
CHUNK = 1 << 16
PROOFS = 40 if QUICK else 1_000
FOLLOWED = 2_000 if QUICK else 40_000
MEMBERS = 24
TARGET_MILLISECONDS = 10.0

FEDERATION = FederationName("bench.candor.example")
NOW = datetime(2026, 3, 2, 14, 30, tzinfo=UTC)


class TileFiles:
    """The tiles of a log in a folder, read anew each time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.reads = 0

    def tile(self, level: int, index: int, width: int) -> bytes:
        self.reads += 1
        try:
            octets = (self._folder / tiles.tile_path(level, index)).read_bytes()
        except FileNotFoundError:
            raise UnknownObject("No such tile.") from None
        return octets[: width * HASH_OCTETS]

    def write(self, level: int, index: int, octets: bytes) -> None:
        # A partial tile under the path of the full one: which width is asked for is not what is measured.
        path = self._folder / tiles.tile_path(level, index)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(octets)


def grow(files: TileFiles, source: random.Random) -> tuple[CompactRange, list[tuple[int, bytes]]]:
    """Fill `files`; the range of all leaves, and sizes with their roots on the way."""
    grown, roots = CompactRange.EMPTY, []
    while grown.size < LEAVES:
        count = min(CHUNK, LEAVES - grown.size)
        octets = source.randbytes(count * HASH_OCTETS)
        leaves = [octets[at : at + HASH_OCTETS] for at in range(0, len(octets), HASH_OCTETS)]
        for level, index, _, tile in tiles.grown_tiles(files, grown.size, leaves):
            files.write(level, index, tile)
        grown = grown.extend(leaves)
        roots.append((grown.size, grown.root()))
    return grown, roots


def measure_proofs(folder: Path) -> dict[str, object]:
    """Milliseconds of inclusion and consistency proofs, and of verifying a whole proof of logging."""
    source, files = random.Random(6), TileFiles(folder)
    seconds, (grown, roots) = timed(lambda: grow(files, source))
    root = grown.root()
    keys = LogKeys.generate(log_origin(FEDERATION, 1))
    nodes = [NodeId(f"node-{number:02}") for number in range(MEMBERS)]
    witnesses = [WitnessKeys.generate(witness_name(FEDERATION, node)) for node in nodes]
    policy = parse_policy(
        members_policy(
            keys.verifier_keys,
            [(node, witness.verifier_keys[1]) for node, witness in zip(nodes, witnesses, strict=True)],
        )
    )
    signed = keys.sign(Checkpoint(keys.origin, grown.size, root), NOW)
    for witness in witnesses[: MEMBERS // 2 + 1]:
        signed = signed.with_signatures(witness.cosign(signed.checkpoint, NOW))
    signed = policy.knows(signed)
    samples: dict[str, list[float]] = {
        name: [] for name in ("inclusion", "consistency", "verify_inclusion", "verify_proof")
    }
    files.reads = 0
    for _ in range(PROOFS):
        index = source.randrange(LEAVES)
        taken, hashes = timed(partial(tiles.inclusion_proof, files, index, LEAVES))
        samples["inclusion"].append(taken * 1000)
        leaf = files.tile(0, index // 256, 256)[index % 256 * HASH_OCTETS :][:HASH_OCTETS]
        taken, _ = timed(partial(merkle.verify_inclusion, leaf, index, LEAVES, hashes, root))
        samples["verify_inclusion"].append(taken * 1000)
    reads = files.reads / PROOFS - 1
    for _ in range(PROOFS):
        first, old = source.choice(roots)
        taken, hashes = timed(partial(tiles.consistency_proof, files, first, LEAVES))
        samples["consistency"].append(taken * 1000)
        merkle.verify_consistency(first, LEAVES, hashes, old, root)
    # The text of a proof, parsed, with its 2 signatures of the log and those of a quorum of 24 members.
    octets = LogProof(LEAVES - 1, tiles.inclusion_proof(files, LEAVES - 1, LEAVES), signed).encode()
    for _ in range(min(PROOFS, 100)):
        taken, _ = timed(lambda: policy.verify(parse_proof(octets).signed, NOW))
        samples["verify_proof"].append(taken * 1000)
    return {
        "leaves": LEAVES,
        "build_seconds": round(seconds, 1),
        "leaves_a_second_into_tiles": round(LEAVES / seconds),
        "tiles_read_a_proof": round(reads, 1),
        "proof_octets": len(octets),
        "milliseconds": {name: spread(values) | {"p95": _p95(values)} for name, values in samples.items()},
        "root_from_tiles_milliseconds": round(timed(lambda: tiles.tree_root(files, LEAVES))[0] * 1000, 3),
    }


def _p95(values: Sequence[float]) -> float:
    return round(sorted(values)[int(len(values) * 0.95)], 3)


def measure_following() -> dict[str, float]:
    """Microseconds an entry of reading the log: rules, root, and the hashing that no reader can avoid."""
    source = random.Random(7)

    def commitments(count: int) -> tuple[bytes, ...]:
        return tuple(sorted(source.randbytes(HASH_OCTETS) for _ in range(count)))

    kinds: dict[str, Callable[[], Entry]] = {
        "requests_of_1": lambda: Requests(commitments(1)),
        "receipts_of_8": lambda: Receipts(commitments(8)),
        "requests_of_256": lambda: Requests(commitments(256)),
    }
    found = {}
    for name, make in kinds.items():
        entries = [make().encode() for _ in range(FOLLOWED if "256" not in name else FOLLOWED // 10)]
        state = LogState.first(FEDERATION)
        state.apply(0, Opened(FEDERATION, 1, NOW).encode())
        rules, _ = timed(partial(_follow, state, entries))
        hashing, leaves = timed(partial(_leaf_hashes, entries))
        ranging, _ = timed(partial(CompactRange.EMPTY.extend, leaves))
        nodes, _ = timed(partial(_bare_nodes, leaves))
        found[f"{name}_rules"] = round(rules / len(entries) * 1e6, 2)
        found[f"{name}_leaf_hash"] = round(hashing / len(entries) * 1e6, 2)
        found["range"] = round(ranging / len(entries) * 1e6, 2)
        found["range_hashing"] = round(nodes / len(entries) * 1e6, 2)
    return found


def _follow(state: LogState, entries: Sequence[bytes]) -> None:
    for index, entry in enumerate(entries, start=1):
        state.apply(index, entry)


def _leaf_hashes(entries: Sequence[bytes]) -> list[bytes]:
    return [leaf_hash(entry) for entry in entries]


def _bare_nodes(leaves: Sequence[bytes]) -> None:
    """As many node hashes as a tree over `leaves` has, and nothing else."""
    sha256, one = hashlib.sha256, leaves[0]
    for leaf in leaves[1:]:
        sha256(b"\x01" + one + leaf).digest()


def main() -> None:
    """Measure, print and write `bench/results/log_proofs.json`."""
    start = machine()
    with tempfile.TemporaryDirectory() as folder:
        proofs = measure_proofs(Path(folder))
    following = measure_following()
    milliseconds = proofs["milliseconds"]
    assert isinstance(milliseconds, dict)
    worst = max(milliseconds[name]["p95"] for name in ("inclusion", "consistency"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    result: dict[str, object] = {
        "quick": QUICK,
        "machine": start,
        "versions": versions("cryptography"),
        "headline": {
            "leaves": LEAVES,
            "inclusion_proof_p50_milliseconds": milliseconds["inclusion"]["median"],
            "inclusion_proof_p95_milliseconds": milliseconds["inclusion"]["p95"],
            "consistency_proof_p95_milliseconds": milliseconds["consistency"]["p95"],
            "within_10_milliseconds": worst <= TARGET_MILLISECONDS,
            "proof_of_logging_verified_milliseconds": milliseconds["verify_proof"]["median"],
            "microseconds_an_entry_for_the_rules": following["receipts_of_8_rules"],
        },
        "proofs": proofs,
        "microseconds_an_entry": following,
        "peak_memory_mebibytes": peak,
    }
    print_table(
        ("figure", "median", "p95", "max"),
        [(f"{name} ms", row["median"], row["p95"], row["max"]) for name, row in milliseconds.items()],
    )
    print_table(("reading the log", "µs an entry"), list(following.items()))
    print(f"{LEAVES:,} leaves into tiles in {proofs['build_seconds']} s")
    print(f"written to {write('log_proofs', result)}")
    if not QUICK and worst > TARGET_MILLISECONDS:
        sys.exit("bench: a proof took more than 10 ms")


if __name__ == "__main__":
    main()
