"""What clients were told: one operation after the other, on the disk before the next begins."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, TextIO


@dataclass
class Operation:
    """One thing that a client asked of one node; `ended` is "ok", "fail" or "unknown"."""

    number: int
    kind: str
    node: str
    what: dict[str, Any]
    invoked_at: float
    ended: str = "unknown"
    ended_at: float | None = None
    told: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind} {self.number} {self.what}"


class History:
    """Writes operations down as they happen: one JSON line each time, flushed, when a file is given.

    A client that is killed leaves its invocations behind; `read` makes unknowns of them.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.operations: list[Operation] = []
        self._file: TextIO | None = None if path is None else path.open("a", encoding="utf-8")

    def invoke(self, kind: str, node: str, **what: Any) -> Operation:
        operation = Operation(len(self.operations), kind, node, what, monotonic())
        self.operations.append(operation)
        self._write(event="invoke", operation=operation, node=node, kind=kind, what=what)
        return operation

    def ok(self, operation: Operation, **told: Any) -> None:
        """The client was told that it is done."""
        self._end(operation, "ok", told)

    def fail(self, operation: Operation, code: str) -> None:
        """The client was told that it is not done and never will be."""
        self._end(operation, "fail", {"code": code})

    def unknown(self, operation: Operation, code: str = "") -> None:
        """The client was told nothing that it could rely on."""
        self._end(operation, "unknown", {"code": code})

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _end(self, operation: Operation, ended: str, told: dict[str, Any]) -> None:
        operation.ended, operation.told, operation.ended_at = ended, told, monotonic()
        self._write(event=ended, operation=operation, told=told)

    def _write(self, *, event: str, operation: Operation, **fields: Any) -> None:
        if self._file is not None:
            line = {"event": event, "number": operation.number, "at": monotonic(), **fields}
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()

    @staticmethod
    def read(path: Path) -> list[Operation]:
        """The operations of a log; its last line may be cut off, as a kill leaves it."""
        found: dict[int, Operation] = {}
        for text in path.read_text("utf-8").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if line["event"] == "invoke":
                found[line["number"]] = Operation(
                    line["number"], line["kind"], line["node"], line["what"], line["at"]
                )
            else:
                operation = found[line["number"]]
                operation.ended, operation.told, operation.ended_at = line["event"], line["told"], line["at"]
        return list(found.values())
