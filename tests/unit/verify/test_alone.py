"""The verifier stands alone: `cryptography`, the standard library, and nothing of ours or anybody else's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import candor_verify
from tests.unit.verify.served import tiny

SOURCE = Path(candor_verify.__file__).parent

ALONE = """
import sys
allowed = {"candor_verify", "cryptography", "_cffi_backend"} | set(sys.stdlib_module_names)

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            raise ImportError(f"{name} is not to be imported")

sys.meta_path.insert(0, Refuse())
sys.path.insert(0, sys.argv[1])
from candor_verify import cli
from datetime import datetime
now = datetime.fromisoformat(sys.argv[2])
status = cli.run(sys.argv[3:], now)
strange = {name.partition(".")[0] for name in sys.modules} - allowed - {"__main__", "__mp_main__"}
assert not {name for name in strange if name.startswith("candor")}, strange
sys.exit(status)
"""


def test_the_verifier_runs_where_nothing_else_can_be_imported(tmp_path: Path) -> None:
    log = tiny(tmp_path)
    (tmp_path.parent / "policy").write_bytes(log.first_policy)
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(SOURCE.parent), log.now.isoformat(),
         "log", str(tmp_path), "--policy", str(tmp_path.parent / "policy")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Verdict: VERIFIED" in done.stdout


def test_no_module_of_it_names_another_package() -> None:
    for path in SOURCE.glob("*.py"):
        text = path.read_text("utf-8")
        assert "candor_proto" not in text
        assert "candor_wire" not in text
