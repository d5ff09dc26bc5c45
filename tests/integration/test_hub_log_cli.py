"""`candor-hub log`: what an operator reads, sets and repairs, with a real hub process beside it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from candor_proto.tlog.signatures import WitnessKeys
from tests import commands
from tests.integration.test_hub_cli import hub, init, running
from tests.patience import PATIENCE_SECONDS


def log(*words: object, status: int = 0) -> Any:
    """What a command under `candor-hub log` says as JSON."""
    return json.loads(hub("log", *words, "--json", status=status).stdout)


def settled(config: Path, shards: int = 1) -> Any:
    """The state once nothing waits and so many shards are witnessed."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        # Status 1 until the first head has its quorum.
        found = json.loads(commands.run("candor-hub", "log", "status", "--json", "--config", config).stdout)
        done = found["waiting"] == 0 and found["shards"] and not found["rotating"]
        if done and len(found["shards"]) == shards and all(one["witnessed_size"] for one in found["shards"]):
            return found
        time.sleep(0.2)
    raise AssertionError(found)


def found_by_doctor(mark: str, key: str, shown: str) -> str:
    """The line of a finding."""
    (line,) = [line for line in shown.splitlines() if line.split()[:2] == [mark, key]]
    return line


def test_an_operator_follows_checks_and_rotates_the_log(tmp_path: Path) -> None:
    config = init(tmp_path / "hub")
    assert "begins when the hub runs" in hub("doctor", "--config", config).stdout
    with running(config):
        found = settled(config)
        (shard,) = found["shards"]
        assert shard["origin"] == "demo.example/log/1"
        assert shard["size"] == shard["witnessed_size"] >= 4
        assert [key.split("+")[0] for key in shard["verifier_keys"]] == [shard["origin"]] * 2
        assert found["troubles"] == []
        assert log("fsck", "--config", config)["good"]
        refused = hub("log", "fsck", "--repair", "--config", config, status=2)
        assert "Another candor-hub writes this log" in refused.stderr
        assert log("rotate", "--config", config) == {"shard": 1, "next": 2}
        found = settled(config, shards=2)
        assert [one["closed"] for one in found["shards"]] == [True, False]
    assert (tmp_path / "hub/keys/log-2.key").stat().st_mode & 0o777 == 0o600
    report = log("fsck", "--config", config)
    assert (report["good"], report["shards"], report["findings"]) == (True, 2, [])
    assert "demo.example/log/2: " in found_by_doctor("good", "log", hub("doctor", "--config", config).stdout)


def test_a_damaged_log_is_said_to_be_and_repaired_where_it_can_be(tmp_path: Path) -> None:
    config = init(tmp_path / "hub")
    with running(config):
        size = settled(config)["shards"][0]["size"]
    tile = tmp_path / f"hub/log/1/tile/0/000.p/{size}"
    bundle = tmp_path / f"hub/log/1/tile/entries/000.p/{size}"
    octets = tile.read_bytes()
    tile.write_bytes(octets[::-1])
    broken = hub("doctor", "--config", config, status=1).stdout
    assert "The files of the log are not what was written" in found_by_doctor("BAD", "log_files", broken)
    refused = hub("run", "--config", config, status=2)
    assert "docs/log.md" in refused.stderr
    assert "Traceback" not in refused.stderr
    said = hub("log", "fsck", "--config", config, status=1).stdout
    assert f"FAIL  1/tile/0/000.p/{size}" in said
    assert "fsck --repair" in said
    assert log("fsck", "--repair", "--config", config)["repaired"] == [f"1/tile/0/000.p/{size}"]
    assert tile.read_bytes() == octets
    entries = bundle.read_bytes()
    bundle.write_bytes(entries[:-1] + b"?")
    assert not log("fsck", "--repair", "--config", config, status=1)["good"]
    assert "from a backup or a reader" in hub("log", "fsck", "--config", config, status=1).stdout
    bundle.write_bytes(entries)
    with running(config):
        settled(config)


def test_witnesses_of_other_operators_are_set_and_shown(tmp_path: Path) -> None:
    config = init(tmp_path / "hub")
    shown = log("policy", "--config", config)
    assert (shown["version"], shown["coming"]) == (1, None)
    assert shown["text"].endswith("quorum none\n")
    keys = WitnessKeys.generate("witness.example.org")
    line = f"witness outside-one {keys.verifier_keys[1].encode()} https://witness.example.org/log"
    file = tmp_path / "witnesses.txt"
    file.write_text(f"# ours\n\n{line}\n")
    set_to = log("policy", "--outside", file, "--need", "1", "--config", config)
    # The old policy needs nobody: the running hub puts the new one in force with its first head.
    assert set_to["coming"] == 2
    for text, sentence in (
        ("group x any y\n", "Line 1 is no witness"),
        (line.replace("https", "http"), "no address of a witness"),
        (line.replace("https://witness.example.org/log", "https://user@witness.example.org"), "no address"),
        (line.replace("outside-one", "members"), "cannot be called"),
        (f"{line}\n{line}\n", "a witness key that another line has"),
    ):
        file.write_text(text)
        assert sentence in hub("log", "policy", "--outside", file, "--config", config, status=2).stderr
    file.write_text(line)
    assert (
        "at most 1"
        in hub("log", "policy", "--outside", file, "--need", "2", "--config", config, status=2).stderr
    )
    with running(config):
        while True:
            shown = log("policy", "--config", config)
            if shown["version"] == 2:
                break
            time.sleep(0.2)
        assert shown["text"].endswith("quorum outside\n")
        status = hub("log", "status", "--config", config).stdout
        assert "missing  outside-one https://witness.example.org/log" in status
    printed = hub("log", "policy", "--config", config)
    assert printed.stdout == shown["text"]
    assert shown["sha256"] in printed.stderr


def test_a_witness_that_signs_nothing_yet_cannot_be_needed(tmp_path: Path) -> None:
    config = init(tmp_path / "hub")
    with running(config):
        settled(config)
    key = WitnessKeys.generate("witness.example.org").verifier_keys[1].encode()
    file = tmp_path / "witnesses.txt"
    file.write_text(f"witness outside-one {key} https://witness.example.org/log")
    words = ("log", "policy", "--outside", file, "--config", config)
    assert "Only 0 of these witnesses" in hub(*words, "--need", "1", status=2).stderr
    assert log("policy", "--config", config)["coming"] is None
    assert log("policy", "--outside", file, "--config", config)["coming"] == 2
