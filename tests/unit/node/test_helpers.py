"""Helpers compute what threads would, inherit nothing, and cost nothing but time when they fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from candor_node import helpers
from candor_node.curve_helper import NICENESS, BrokenFrame
from candor_node.helpers import MAX_FAILURES, MIN_ELEMENTS, Helper, Helpers
from candor_proto import oprf
from candor_proto.errors import ProofInvalid
from candor_proto.group import Element
from candor_proto.oprf import Blinded, BlindedBatch, Proof
from tests.patience import PATIENCE_SECONDS

KEY = oprf.derive_key_pair(bytes(32), b"helpers")
OTHER = oprf.derive_key_pair(bytes(32), b"others")
linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


class Asked:
    """A batch, its evaluation, and what unblinding it gives."""

    def __init__(self, count: int) -> None:
        self.inputs = [bytes([number % 256]) * (number % 40) for number in range(count)]
        self.items: list[Blinded] = [oprf.blind(one) for one in self.inputs]
        self.batch = BlindedBatch.of(self.items)
        self.evaluated, self.proof = oprf.blind_evaluate(KEY, self.batch.elements)

    def outputs(self) -> tuple[bytes, ...]:
        return tuple(oprf.evaluate(KEY, one) for one in self.inputs)

    def arguments(self) -> tuple[BlindedBatch, Sequence[Element], Element, Proof]:
        return self.batch, self.evaluated, KEY.public, self.proof


@pytest.fixture(scope="module")
def asked() -> Asked:
    return Asked(MIN_ELEMENTS)


@pytest.fixture
def two() -> Iterator[Helpers]:
    found = Helpers(2)
    yield found
    found.close()


def gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_for(what: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_helper_gives_what_finalize_gives(asked: Asked, two: Helpers) -> None:
    assert two.finalize(*asked.arguments()) == asked.outputs()
    assert len(two._idle) == 1
    assert two.finalize(asked.items, asked.evaluated, KEY.public, asked.proof) == asked.outputs()
    assert len(two._idle) == 1


def test_a_proof_that_does_not_verify_yields_nothing(asked: Asked, two: Helpers) -> None:
    with pytest.raises(ProofInvalid):
        two.finalize(asked.batch, asked.evaluated, OTHER.public, asked.proof)
    assert two._failures == 0
    assert two.finalize(*asked.arguments()) == asked.outputs()


def test_a_small_batch_starts_no_helper(two: Helpers) -> None:
    small = Asked(MIN_ELEMENTS // 4)
    assert two.finalize(*small.arguments()) == small.outputs()
    assert not two._idle


def test_a_helper_that_dies_costs_time_and_nothing_else(asked: Asked, two: Helpers) -> None:
    two.finalize(*asked.arguments())
    (helper,) = two._idle
    helper.process.kill()
    helper.process.wait()
    assert two.finalize(*asked.arguments()) == asked.outputs()
    assert not two._idle
    assert two.finalize(*asked.arguments()) == asked.outputs()
    assert [one.process.pid for one in two._idle] != [helper.process.pid]


@pytest.mark.parametrize("said", [[b"", b"too short"], [b"some code", b""], [b""]])
def test_a_helper_that_says_something_else_is_not_believed(
    asked: Asked, two: Helpers, monkeypatch: pytest.MonkeyPatch, said: list[bytes]
) -> None:
    monkeypatch.setattr(Helper, "compute", lambda *_: said)
    assert two.finalize(*asked.arguments()) == asked.outputs()


def test_helpers_that_are_of_no_use_are_given_up(
    asked: Asked, two: Helpers, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[None] = []

    def no_use(_: Helper) -> None:
        tried.append(None)
        raise BrokenFrame

    monkeypatch.setattr(helpers.Helper, "__init__", no_use)
    for _ in range(MAX_FAILURES + 2):
        assert two.finalize(*asked.arguments()) == asked.outputs()
    assert len(tried) == MAX_FAILURES


@linux
def test_a_helper_inherits_neither_files_nor_settings(
    asked: Asked, two: Helpers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANDOR_NODE_DATABASE_KEY", "secret")
    with (tmp_path / "node.db").open("wb") as file:
        os.set_inheritable(file.fileno(), True)
        two.finalize(*asked.arguments())
        (helper,) = two._idle
        place = Path(f"/proc/{helper.process.pid}")
        opened = {os.readlink(one) for one in (place / "fd").iterdir()}
        assert not [one for one in opened if "node.db" in one]
        assert b"CANDOR_" not in (place / "environ").read_bytes()
        nice = int((place / "stat").read_text().rpartition(")")[2].split()[16])
        assert nice == max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0))


@linux
def test_a_helper_ends_with_its_node_however_that_ends() -> None:
    words = (
        "import time; from candor_node.helpers import Helper\n"
        "print(Helper().process.pid, flush=True); time.sleep(60)"
    )
    node = subprocess.Popen([sys.executable, "-c", words], stdout=subprocess.PIPE, text=True)
    assert node.stdout is not None
    helper = int(node.stdout.readline())
    assert not gone(helper)
    node.send_signal(signal.SIGKILL)
    node.wait()
    wait_for(lambda: gone(helper))
    node.stdout.close()


@linux
def test_closing_ends_the_helpers_and_starts_no_more(asked: Asked) -> None:
    one = Helpers(1)
    one.finalize(*asked.arguments())
    (helper,) = one._idle
    one.close()
    assert gone(helper.process.pid)
    assert one.finalize(*asked.arguments()) == asked.outputs()
    assert not one._idle
