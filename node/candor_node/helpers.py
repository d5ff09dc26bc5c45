"""Processes that do the curve work of batches: threads would share the interpreter's lock with everybody.

Rules of this file:
- a helper is started when a batch needs the first one, never by a node that asks single lookups only;
- it inherits one socket and nothing else: no file of the database, no setting;
- whatever is wrong with a helper costs time and nothing else: the same work is done on threads.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from builtins import map as in_sequence
from collections.abc import Sequence
from contextlib import suppress

from candor_node.curve_helper import BrokenFrame, receive, send, write_batch
from candor_node.logs import log
from candor_proto import oprf
from candor_proto.errors import ProofInvalid
from candor_proto.group import Element
from candor_proto.oprf import OUTPUT_BYTES, BlindedBatch, Proof, SliceMap

# Elements below which the way to another process costs more than it saves.
MIN_ELEMENTS = 256
# A batch of 4,096 elements takes a second or two; on a machine in trouble, a minute.
ANSWER_SECONDS = 120.0
# After so many helpers that were of no use nobody starts another.
MAX_FAILURES = 5
END_SECONDS = 2.0


class Helper:
    """One process at the other end of a socket. Raises OSError or BrokenFrame when it is of no use."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        try:
            # Secrets of the node may stand in its environment.
            environment = {name: text for name, text in os.environ.items() if not name.startswith("CANDOR_")}
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "candor_node.curve_helper"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=environment,
                close_fds=True,
            )
        except BaseException:
            self._socket.close()
            raise
        finally:
            theirs.close()
        self._socket.settimeout(ANSWER_SECONDS)

    def compute(self, parts: Sequence[bytes]) -> list[bytes]:
        send(self._socket, parts)
        return receive(self._socket)

    def close(self, *, at_once: bool = False) -> None:
        """End the process, which ends by itself once it reads that nobody is there."""
        self._socket.close()
        if at_once:
            self.process.kill()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Helpers:
    """At most `count` helpers. Any thread may call it, and waits until its work is done."""

    def __init__(self, count: int) -> None:
        self._places = threading.Semaphore(count)
        self._lock = threading.Lock()
        self._idle: list[Helper] = []
        self._failures = 0
        self._closed = False

    def finalize(
        self,
        blinded: Sequence[oprf.Blinded] | BlindedBatch,
        evaluated: Sequence[Element],
        public: Element,
        proof: Proof,
        *,
        threads: int = 1,
        map: SliceMap = in_sequence,
    ) -> tuple[bytes, ...]:
        """`oprf.finalize`; `threads` and `map` are for when no helper does it."""
        batch = blinded if isinstance(blinded, BlindedBatch) else BlindedBatch.of(blinded)
        found = None
        if len(batch) >= MIN_ELEMENTS:
            found = self._compute(write_batch(batch, evaluated, public, proof))
        if found is not None:
            code, outputs = found
            if code == ProofInvalid.code.encode():
                raise ProofInvalid("The batch proof does not verify under this public key.")
            if not code and len(outputs) == OUTPUT_BYTES * len(batch):
                return tuple(outputs[at : at + OUTPUT_BYTES] for at in range(0, len(outputs), OUTPUT_BYTES))
        return oprf.finalize(batch, evaluated, public, proof, threads=threads, map=map)

    def _compute(self, parts: Sequence[bytes]) -> list[bytes] | None:
        """What a helper says; None when there is none that works."""
        with self._places:
            helper = None
            try:
                helper = self._take()
                if helper is None:
                    return None
                found = helper.compute(parts)
                if len(found) != 2:
                    raise BrokenFrame
            except (OSError, BrokenFrame) as error:
                with self._lock:
                    self._failures += 1
                log.warning("a helper for curve work failed", exc_info=error)
                if helper is not None:
                    helper.close(at_once=True)
                return None
            with self._lock:
                if not self._closed:
                    self._idle.append(helper)
                    return found
            helper.close()
            return found

    def _take(self) -> Helper | None:
        with self._lock:
            if self._closed or self._failures >= MAX_FAILURES:
                return None
            if self._idle:
                return self._idle.pop()
        return Helper()

    def close(self) -> None:
        """End all helpers; who still waits for one gets an answer first."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for helper in idle:
            with suppress(OSError):
                helper.close()
