"""Lines about refusals: so many a minute of each kind, the rest as a number."""

from __future__ import annotations

from structlog.testing import capture_logs

from candor_hub.refusals import LINES_A_MINUTE, Refusals


def test_a_thousand_refusals_are_thirty_lines_and_a_number() -> None:
    now = 0.0
    refusals = Refusals(lambda: now)
    with capture_logs() as lines:
        for _ in range(1_000):
            refusals.note("submission", "signature_invalid", "alpha")
        refusals.note("submission", "quota_spent", "bravo")
        assert len(lines) == LINES_A_MINUTE + 1
        now = 61.0
        refusals.note("submission", "signature_invalid", "alpha")
    assert lines[-2] == {
        "event": "more were refused",
        "log_level": "warning",
        "code": "signature_invalid",
        "count": 1_000 - LINES_A_MINUTE,
    }
    assert lines[-1]["event"] == "refused"
