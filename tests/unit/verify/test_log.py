"""§14, §15: a log from its files."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from candor_verify.log import Wish, check_log
from candor_verify.policy import parse_policy
from candor_verify.report import Report
from candor_verify.source import FolderSource
from tests.parties import NOW
from tests.unit.verify.served import ServedLog, small

LATER = NOW + timedelta(hours=1)


def check(
    log: ServedLog, policy: bytes | None = None, wish: Wish | None = None, now: datetime = LATER
) -> Report:
    report = Report("log")
    given = parse_policy(log.first_policy if policy is None else policy)
    check_log(FolderSource(log.folder), given, now, report, wish)
    return report


@pytest.fixture
def log(tmp_path: Path) -> ServedLog:
    return small(tmp_path)


def test_an_honest_log_verifies(log: ServedLog) -> None:
    report = check(log)
    print(report.text())
    assert report.status == 0
