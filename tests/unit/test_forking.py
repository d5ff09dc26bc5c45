"""A child is forked once no thread is left that may hold a lock (tests/forking.py)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.patience import PATIENCE_SECONDS

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import os, threading, time
from tests.forking import fork_alone

threading.Thread(target=time.sleep, args=(0.3,)).start()
pid = fork_alone()
if pid == 0:
    os._exit(len(os.listdir("/proc/self/task")))
left = len(os.listdir("/proc/self/task"))
print(left, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_nothing_is_forked_beside_a_thread() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE_SECONDS
    )
    assert done.stdout == "1 1\n", done.stderr
