"""Every octet and every example, of which `make test` takes a fixed sample (tests/thorough.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def files() -> list[str]:
    """The test files that take samples."""
    words = "from tests.thorough import"
    return sorted(str(path) for path in (ROOT / "tests").rglob("test_*.py") if words in path.read_text())


def main() -> int:
    """Status 0: all passed."""
    chosen = files()
    print(f"thorough: {len(chosen)} files", flush=True)
    environment = {**os.environ, "CANDOR_THOROUGH": "1"}
    words = [sys.executable, "-m", "pytest", "-n", str(os.cpu_count()), "-o", "timeout=7200", *chosen]
    return subprocess.run(words, cwd=ROOT, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
