"""Twenty attackers at once against a hub with its guard: the short form of `make campaign NAME=abuse`.

One attack of each kind that took a hub without a guard down within seconds (adr/0039). What is held here is
what a busy machine cannot change: that no honest call fails, and that memory stays where it is. Delays are
for the campaign, on a quiet machine.
"""

from __future__ import annotations

from pathlib import Path

from tests.campaign.abuse import GROWTH_MB, campaign

SECONDS = 1.0
ATTACKS = ("continuations", "rapid-reset", "cheap-calls")


def test_honest_people_notice_no_error_of_twenty_attackers(tmp_path: Path) -> None:
    with campaign(tmp_path) as scene:
        for name in ATTACKS:
            found = scene.attack(name, SECONDS)
            assert not found.errors, found.errors[:5]
            assert found.megabytes < GROWTH_MB
            assert not found.counts["attackers that broke"]
            assert found.counts["connections"] >= 10
