"""kill -9 of real processes in the middle of real work (docs/campaigns.md has the long run)."""

from __future__ import annotations

import pytest

from tests.campaign import kill


@pytest.mark.slow
def test_a_few_kills_lose_nothing_and_double_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    status = kill.main(["--kills", "6", "--planted", ""])
    assert status == 0, capsys.readouterr().out
