"""The table of guards fits the sources, and its runner tells a kept promise from an empty one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools import guards

PYPROJECT = '[tool.hatch.build.targets.wheel]\npackages = ["source/planted"]\n'
MODULE = '''\
def admit(age: int) -> bool:
    if age < 18:
        return False
    return True
'''  # fmt: skip
TESTS = """\
from planted.door import admit

def test_refuses_children():
    assert not admit(17)

def test_admits_adults():
    assert admit(18)

def test_flaky():
    assert False

class TestDoor:
    def test_refuses(self):
        assert not admit(17)
"""
GUARD = {
    "name": "age",
    "protects": "children",
    "file": "source/planted/door.py",
    "find": "if age < 18:",
    "replace": "if False:",
    "tests": ["tests/test_door.py::test_refuses_children"],
}


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny project with one guard and tests, as the runner expects a project to be."""
    # It needs none of the plug-ins that are installed here, which take longer than all its tests.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for name, text in {
        "pyproject.toml": PYPROJECT,
        "source/planted/__init__.py": "",
        "source/planted/door.py": MODULE,
        "tests/test_door.py": TESTS,
        "tools/guards.toml": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def write_table(root: Path, **changes: object) -> None:
    rows = "\n".join(f"{key} = {json.dumps(value)}" for key, value in (GUARD | changes).items())
    (root / "tools/guards.toml").write_text(f"[[guard]]\n{rows}\n")


def run(root: Path, *arguments: str) -> int:
    return guards.main(["--root", str(root), *arguments])


def test_every_guard_of_the_project_fits_the_sources() -> None:
    guards.check(guards.load())


def test_a_guard_that_is_noticed_is_reported_as_kept(
    planted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table(planted)
    assert run(planted) == 0
    assert "1 guards, 1 noticed, 0 missed" in capsys.readouterr().out


def test_a_guard_whose_test_does_not_notice_is_reported_with_status_1(
    planted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table(planted, tests=["tests/test_door.py::test_admits_adults"])
    assert run(planted) == 1
    assert "NOT NOTICED by tests/test_door.py::test_admits_adults" in capsys.readouterr().out


def test_one_noticing_test_of_several_is_enough(planted: Path) -> None:
    write_table(planted, tests=["tests/test_door.py::test_admits_adults", "tests/test_door.py::TestDoor"])
    assert run(planted) == 0


@pytest.mark.parametrize("replace", ["if unknown_name:", "import nowhere\n    if False:"])
def test_a_replacement_that_breaks_the_code_is_not_taken_for_noticing(
    planted: Path, capsys: pytest.CaptureFixture[str], replace: str
) -> None:
    write_table(planted, replace=replace)
    assert run(planted) == 1
    assert "botched" in capsys.readouterr().out


def test_a_module_that_no_longer_imports_is_not_taken_for_noticing(
    planted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table(planted, find="def admit(age: int) -> bool:", replace="def other(age: int) -> bool:")
    assert run(planted) == 1
    assert "void:" in capsys.readouterr().out


def test_a_test_that_cannot_be_set_up_is_not_taken_for_noticing(
    planted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (planted / "tests/test_door.py").write_text(
        "import pytest\nfrom planted.door import admit\n\n"
        "@pytest.fixture\ndef child():\n    assert not admit(17)\n    return 17\n\n"
        "def test_refuses_children(child):\n    assert child == 17\n"
    )
    write_table(planted)
    assert run(planted) == 1
    assert "error in setup" in capsys.readouterr().out


def test_tests_must_pass_before_anything_is_switched_off(
    planted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table(planted, tests=["tests/test_door.py::test_flaky"])
    assert run(planted) == 1
    assert "does not pass on the unmodified sources" in capsys.readouterr().err


def test_the_code_under_test_must_be_the_copy(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = planted.parent / f"{planted.name}-elsewhere"
    (elsewhere / "planted").mkdir(parents=True)
    (elsewhere / "planted/__init__.py").write_text("")
    (elsewhere / "planted/door.py").write_text(MODULE)
    (planted / "tests/conftest.py").write_text(f"import sys\nsys.path.insert(0, {str(elsewhere)!r})\n")
    write_table(planted)
    assert run(planted) == 1
    assert "not imported from the copy" in capsys.readouterr().err


def test_the_work_tree_is_left_alone(planted: Path) -> None:
    before = {path: path.read_text() for path in planted.rglob("*") if path.is_file()}
    write_table(planted)
    before[planted / "tools/guards.toml"] = (planted / "tools/guards.toml").read_text()
    run(planted)
    assert {path: path.read_text() for path in planted.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"find": "if age < 21:"}, "occurs 0 times"),
        ({"find": "return"}, "occurs 2 times"),
        ({"file": "source/planted/window.py"}, "occurs 0 times"),
        ({"replace": "if"}, "no valid Python"),
        ({"replace": "if age < 18:"}, "changes nothing"),
        ({"tests": ["tests/test_door.py::test_gone"]}, "no test"),
        ({"tests": ["tests/test_gone.py"]}, "no test"),
        ({"tests": ["tests/test_door.py::TestDoor::test_gone"]}, "no test"),
        ({"tests": []}, "at least one test"),
        ({"name": "Two words"}, "needs a name"),
        ({"reason": "none"}, "the keys are"),
        ({"tests": "tests/test_door.py"}, "tests is a list"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else None,
)
def test_check_refuses_a_table_that_does_not_fit(
    planted: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, object], fault: str
) -> None:
    write_table(planted, **changes)
    assert run(planted, "--check") == 1
    assert fault in capsys.readouterr().err


def test_check_accepts_a_table_that_fits_and_runs_nothing(
    planted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table(
        planted, tests=["tests/test_door.py::test_flaky", "tests/test_door.py::TestDoor::test_refuses"]
    )
    assert run(planted, "--check") == 0
    assert "1 guards fit" in capsys.readouterr().out


def test_names_are_unique_and_known(planted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(planted)
    table = planted / "tools/guards.toml"
    assert run(planted, "--check", "another") == 1
    assert "no guard named another" in capsys.readouterr().err
    table.write_text(table.read_text() * 2)
    assert run(planted, "--check") == 1
    assert "occurs twice" in capsys.readouterr().err
