"""What a connection may bring: floods come to a halt, honest ones do not notice."""

from __future__ import annotations

from candor_hub.guard.board import Shown
from candor_hub.guard.budget import (
    CALLS_OCTETS,
    FIRST_CALL_SECONDS,
    FIRST_OCTETS,
    FIRST_RATE,
    FIRST_STREAM_OCTETS,
    MEMBER_OCTETS,
    MEMBER_RATE,
    MOST_OCTETS,
    OCTETS_PER_CALL,
    STALLED_SECONDS,
    STREAM_OCTETS,
    STREAM_RATE,
    Budget,
)

STRANGER, MEMBER = Shown(), Shown(member=7)


def brings(budget: Budget, shown: Shown, now: float, wanted: int) -> int:
    """How many of `wanted` octets it gets in at one moment."""
    took = 0
    while took < wanted:
        some = min(wanted - took, budget.allowed(shown, now))
        if not some:
            break
        budget.took(some)
        took += some
    return took


def test_a_stranger_brings_a_handshake_and_a_call_and_then_hardly_anything() -> None:
    budget = Budget(began=0.0)
    assert FIRST_OCTETS - 256 < brings(budget, STRANGER, 0.0, 1 << 20) <= FIRST_OCTETS
    assert brings(budget, STRANGER, 5.0, 1 << 20) <= 5 * FIRST_RATE


def test_a_member_that_calls_pays_with_its_calls() -> None:
    budget, paid = Budget(began=0.0), 0
    brings(budget, STRANGER, 0.0, 4_000)
    for number in range(1_000):
        assert brings(budget, Shown(paid=paid, member=7), 1.0 + number / 100, 300) == 300
        paid += OCTETS_PER_CALL


def test_calls_that_do_not_end_bring_a_member_to_a_halt() -> None:
    budget = Budget(began=0.0)
    assert brings(budget, MEMBER, 0.0, 1 << 20) <= MEMBER_OCTETS
    assert brings(budget, MEMBER, 60.0, 1 << 20) <= 60 * MEMBER_RATE


def test_the_window_of_a_stream_grows_with_what_comes_through_it() -> None:
    budget, came, octets = Budget(began=0.0), 0, 0
    windows = []
    for _ in range(12):
        came = brings(budget, Shown(octets, octets, 7, 1), 0.0, 1 << 30)
        windows.append(came)
        octets += came
    assert windows[0] <= FIRST_STREAM_OCTETS
    assert windows == sorted(windows)
    assert STREAM_OCTETS - 1_000 <= windows[-1] <= STREAM_OCTETS


def test_beside_a_stream_the_window_has_a_smaller_end() -> None:
    budget = Budget(began=0.0)
    assert brings(budget, Shown(1 << 30, 0, 7), 0.0, 1 << 30) <= CALLS_OCTETS


def test_the_largest_message_comes_through_a_new_stream_in_half_a_minute() -> None:
    budget, now, came = Budget(began=0.0), 0.0, 0
    shown = Shown(member=7, streaming=1)
    while came < 1 << 20:
        came += brings(budget, shown, now, (1 << 20) - came)
        now += 0.02
    assert now <= (1 << 20) / STREAM_RATE + 1


def test_what_was_paid_too_much_is_not_saved_up() -> None:
    budget = Budget(began=0.0)
    assert brings(budget, Shown(paid=1 << 30, member=7), 0.0, 1 << 20) <= MEMBER_OCTETS


def test_no_turn_takes_more_than_its_piece() -> None:
    budget = Budget(began=0.0)
    assert budget.allowed(Shown(1 << 30, 1 << 30, 7, 1), 0.0) == MOST_OCTETS


def test_who_never_calls_is_cut_and_a_newcomer_is_not() -> None:
    assert Budget(began=5.0).over(STRANGER, 5.0 + FIRST_CALL_SECONDS) == "no_call"
    assert not Budget(began=5.0).over(STRANGER, 4.9 + FIRST_CALL_SECONDS)
    assert not Budget(began=5.0).over(MEMBER, 1_000.0)
    assert not Budget(began=5.0, members=False).over(STRANGER, 1_000.0)


def test_who_stands_still_with_more_to_say_is_cut() -> None:
    budget = Budget(began=0.0)
    budget.stalled(1.0)
    budget.stalled(9.0)
    assert not budget.over(MEMBER, 0.9 + STALLED_SECONDS)
    assert budget.over(MEMBER, 1.0 + STALLED_SECONDS) == "flood"
    budget.took(10)
    assert not budget.over(MEMBER, 1.0 + STALLED_SECONDS)
