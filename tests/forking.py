"""Forking beside nobody: for the campaigns that kill children."""

from __future__ import annotations

import os
import threading
import time

from tests.patience import PATIENCE_SECONDS


def fork_alone() -> int:
    """os.fork, once every other thread of this process has gone; raises TimeoutError when one stays.

    Python has joined a thread before the C library is through with its end, and OpenSSL holds a lock of the
    whole process then: a child that is forked in that moment waits for the lock for ever.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(os.listdir("/proc/self/task")) > 1:
        if time.monotonic() > deadline:
            names = sorted(thread.name for thread in threading.enumerate())
            raise TimeoutError(f"threads still run, and nothing may be forked beside them: {names}")
        time.sleep(0.001)
    return os.fork()
