"""`candor-verify protocol-vectors`: the vectors of tests/vectors/protocol, read as their README.md says.

What a verifier has no business with (sealing, quotas, plans, recalls, tables of states) is counted as not
checked. A case that must be refused passes if the code is the one stated, or of its family: there a reader
may tell finer words apart in its own way.
"""

from __future__ import annotations

import copy
import json
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from candor_verify import (
    vectors_basic,
    vectors_entries,
    vectors_files,
    vectors_index,
    vectors_log,
    vectors_statements,
)
from candor_verify.errors import FindingClass, Refused, Unreadable
from candor_verify.report import Report
from candor_verify.source import read_file
from candor_verify.vectors_basic import Given, resolved

FORMAT = "candor-vectors/1"
MAX_FILE_OCTETS = 256 * 1024 * 1024
FAMILY = {
    "not_canonical": "malformed_message",
    "invalid_element": "malformed_message",
    "invalid_scalar": "malformed_message",
    "unsupported_version": "malformed_message",
    "batch_too_large": "limit_exceeded",
}
Operation = Callable[[Given], object]

FORWARD: Mapping[str, Operation] = {
    **vectors_basic.FORWARD,
    **vectors_index.FORWARD,
    **vectors_statements.FORWARD,
    **vectors_log.FORWARD,
    **vectors_entries.FORWARD,
    **vectors_files.FORWARD,
}
# Done backwards: from what is expected to what was given.
BACKWARD: Mapping[str, Callable[[Given, Given], object]] = {
    **vectors_basic.BACKWARD,
    **vectors_index.BACKWARD,
    **vectors_statements.BACKWARD,
    **vectors_log.BACKWARD,
    **vectors_entries.BACKWARD,
    **vectors_files.BACKWARD,
}


@dataclass
class Tally:
    """Cases of one file."""

    passed: int = 0
    refused: int = 0
    skipped: int = 0


def check_vectors(folder: Path, now: datetime, report: Report) -> None:
    """Check every file of a folder; findings go to the report. Raises Unreadable."""
    paths = sorted(path for path in folder.glob("*.json") if path.name != "schema.json")
    if not paths:
        raise Unreadable(f"{folder}: no vectors")
    skipped: dict[str, int] = {}
    for path in paths:
        try:
            value = json.loads(read_file(path, MAX_FILE_OCTETS))
        except (ValueError, RecursionError):
            report.finding(FindingClass.VECTOR, path.name, "is no JSON")
            continue
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            report.finding(FindingClass.VECTOR, path.name, f"is not of the form {FORMAT}")
            continue
        tally = _check_file(path.name, value, report, skipped)
        report.fact(
            f"{path.name}: {tally.passed} passed, {tally.refused} refused, {tally.skipped} not checked"
        )
        report.count("cases", tally.passed + tally.refused)
    for operation, number in sorted(skipped.items()):
        report.unchecked(f"{operation}: {number} case(s)")


def _check_file(name: str, value: Mapping[str, object], report: Report, skipped: dict[str, int]) -> Tally:
    tally = Tally()
    material = value.get("material", {})
    cases = value.get("cases", [])
    if not isinstance(material, dict) or not isinstance(cases, list):
        report.finding(FindingClass.VECTOR, name, "has no cases")
        return tally
    for case in cases:
        where = f"{name}: {case.get('name')}" if isinstance(case, dict) else name
        try:
            _check_case(_likened(case, cases), material, tally, skipped)
        except (AssertionError, LookupError, TypeError, ValueError, Refused) as error:
            report.finding(FindingClass.VECTOR, where, f"{type(error).__name__}: {error}")
    return tally


def _likened(case: Mapping[str, Any], cases: list[Any]) -> Mapping[str, Any]:
    """The case with its file written out, where that is like another case's."""
    file = case["given"].get("file")
    if not isinstance(file, dict) or "like" not in file:
        return case
    other = next(each for each in cases if each["name"] == file["like"])
    value = copy.deepcopy(_likened(other, cases)["given"]["file"])
    for path in file.get("drop", ()):
        place, last = _place(value, path)
        del place[last]
    for path, changed in file.get("set", {}).items():
        place, last = _place(value, path)
        place[last] = changed
    return {**case, "given": {**case["given"], "file": value}}


def _place(value: Any, path: str) -> tuple[Any, Any]:
    *parts, last = path.split("/")
    for part in parts:
        value = value[int(part) if isinstance(value, list) else part]
    return value, int(last) if isinstance(value, list) else last


def _check_case(
    case: Mapping[str, object], material: Mapping[str, object], tally: Tally, skipped: dict[str, int]
) -> None:
    operation = str(case["operation"])
    given = Given(resolved(case["given"], material))
    outcome: Any = case.get("expect", {})
    expected = {key: resolved(value, material) for key, value in outcome.items()}
    needs_plan = str(case.get("comment", "")).startswith("plan:")
    if needs_plan or (operation not in FORWARD and (operation not in BACKWARD or "refuse" in case)):
        tally.skipped += 1
        skipped[operation] = skipped.get(operation, 0) + 1
        return
    if "refuse" in case:
        _expect_refusal(operation, given, str(case["refuse"]))
        tally.refused += 1
        return
    if operation in FORWARD:
        _compare("outcome", FORWARD[operation](given), expected)
    if operation in BACKWARD:
        _compare("read back", BACKWARD[operation](Given(expected), given), _normal(given.value))
    tally.passed += 1


def _expect_refusal(operation: str, given: Given, code: str) -> None:
    try:
        outcome = FORWARD[operation](given)
    except Refused as error:
        if FAMILY.get(error.code, error.code) != FAMILY.get(code, code):
            raise AssertionError(f"refused as {error.code}, not as {code}: {error}") from None
        return
    raise AssertionError(f"was not refused as {code}: {str(outcome)[:80]}")


def _normal(value: object) -> object:
    """Texts in NFC, as they are encoded."""
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value)
    if isinstance(value, list):
        return [_normal(each) for each in value]
    return {key: _normal(each) for key, each in value.items()} if isinstance(value, dict) else value


def _compare(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise AssertionError(f"{what} differs: {_difference(found, expected)}")


def _difference(found: object, expected: object, where: str = "") -> str:
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in sorted({*found, *expected}):
            if key not in found or key not in expected:
                return f"{where}.{key} is there only once"
            if found[key] != expected[key]:
                return _difference(found[key], expected[key], f"{where}.{key}")
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            if one != other:
                return _difference(one, other, f"{where}[{number}]")
    return f"{where}: {str(found)[:60]} instead of {str(expected)[:60]}"
