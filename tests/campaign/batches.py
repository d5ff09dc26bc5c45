"""A clerk who asks about a file of people with `candor-node batch`, again and again until it is done.

The same file under the same papers is the same batch: after an interruption it is taken up, and nobody in it
is asked about twice. The history checker counts the searches under its case number.
"""

from __future__ import annotations

import asyncio
import csv
import random
import sys
from pathlib import Path

from candor_proto.errors import Unreachable
from tests.federation import OFFICER
from tests.history import History
from tests.patience import PATIENCE_SECONDS

COMMAND = Path(sys.executable).parent / "candor-node"
OTHERS = ("Ashgrove", "Birchwater", "Coldfell", "Dunmarsh", "Elderbrook")


class Batch:
    """One file of people, of whom the first is OFFICER, and what came of it."""

    def __init__(
        self, node: str, settings: Path, folder: Path, draw: random.Random, history: History
    ) -> None:
        self._node = node
        self._settings = settings
        self._history = history
        self._case = f"BATCH-{draw.getrandbits(48):012x}"
        self._file = folder / f"{self._case}.csv"
        self._out = folder / f"{self._case}.out.csv"
        columns = list(OFFICER)
        people = [OFFICER] + [
            {
                **OFFICER,
                "last": draw.choice(OTHERS),
                "birth_date": "1971-02-03",
                "ssn4": f"{draw.randint(1, 9998):04d}",
            }
            for _ in range(draw.randint(1, 7))
        ]
        self._rows = len(people)
        with self._file.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(people)

    async def run(self, seconds: float = PATIENCE_SECONDS) -> None:
        """Run the command once more; raises Unreachable when it did not come to its end in `seconds`."""
        operation = self._history.invoke("lookup", self._node, case=self._case, times=self._rows)
        words = [
            "batch", str(self._file), "--out", str(self._out), "--purpose", "J_APPLICANT",
            "--case", self._case, "--consent", f"consents of {self._case}", "--officer", "Inv. Dana Roe",
            "--config", str(self._settings), "--json",
        ]  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            COMMAND, *words, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(seconds):
                _, errors = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.communicate()
            self._history.unknown(operation)
            raise Unreachable(f"the batch {self._case} did not end in {seconds:.0f} s") from None
        if process.returncode not in (0, 3):
            self._history.unknown(operation)
            assert b"Traceback" not in errors, errors[-600:]
            raise Unreachable(f"the batch {self._case} ended with status {process.returncode}")
        self._history.ok(operation)
        self._check()

    def _check(self) -> None:
        """Every row is there once, and of OFFICER nobody says that there is no record."""
        with self._out.open(newline="") as file:
            rows = list(csv.DictReader(file))
        numbers = [row["row"] for row in rows]
        if len(rows) != self._rows or len(set(numbers)) != self._rows:
            raise AssertionError(f"{self._case}: {self._rows} rows went in, {numbers} came out")
        assert {row["outcome"] for row in rows} <= {"MATCH", "NO_RECORD", "INCOMPLETE", "ERROR"}
        assert rows[0]["outcome"] in ("MATCH", "INCOMPLETE", "ERROR"), rows[0]
