"""Addresses take turns at being connected; who means ill waits, and keeps nobody else waiting."""

from __future__ import annotations

import pytest

from candor_hub.guard.turns import MAX_PAUSED, Limits, Turns, is_balancer, network_of

PLENTY = Limits(places=10_000, opened_a_second=1e6, burst=1e6)


def names(opened: list[tuple[str, str]]) -> list[str]:
    return [connection for _, connection in opened]


def test_a_thousand_of_one_address_delay_anothers_one_by_a_turn() -> None:
    turns: Turns[str] = Turns(PLENTY)
    for number in range(1_000):
        assert turns.come("192.0.2.1", f"greedy-{number}", 0.0) is None
    turns.come("192.0.2.2", "modest", 0.0)
    assert "modest" in names(turns.next(0.0))[:2]


def test_of_one_address_only_so_many_are_new_at_a_time() -> None:
    turns: Turns[str] = Turns(PLENTY)
    for number in range(5):
        turns.come("192.0.2.1", f"new-{number}", 0.0)
    assert names(turns.next(0.0)) == ["new-0", "new-1"]
    assert not turns.next(1.0)
    turns.known("192.0.2.1")
    assert names(turns.next(1.0)) == ["new-2"]
    turns.left("192.0.2.1", 1.0, new=True)
    assert names(turns.next(1.0)) == ["new-3"]


def test_behind_a_balancer_many_are_new_at_a_time() -> None:
    turns: Turns[str] = Turns(Limits(10_000, balancers=frozenset({"10.0.0.5"}), burst=1_000))
    for number in range(50):
        turns.come("10.0.0.5", f"new-{number}", 0.0)
    assert len(turns.next(0.0)) == 50


def test_a_balancer_is_an_address_or_in_a_network() -> None:
    balancers = frozenset({"10.0.0.5", "192.168.0.0/16", "fd00::5"})
    for address in ("10.0.0.5", "192.168.7.9", "fd00::5"):
        assert is_balancer(network_of(address), balancers)
    for address in ("10.0.0.6", "192.169.0.1", "fd00:0:0:1::5", "gone"):
        assert not is_balancer(network_of(address), balancers)
    assert not is_balancer("10.0.0.5", frozenset())


def test_so_many_are_opened_a_second() -> None:
    turns: Turns[str] = Turns(Limits(10_000, opened_a_second=100, burst=10))
    for number in range(1_000):
        turns.come(f"host-{number}", str(number), 0.0)
    opened = turns.next(0.0)
    assert len(opened) == 10
    for address, _ in opened:
        turns.known(address)
    opened = turns.next(0.05)
    assert len(opened) == 5
    for address, _ in opened:
        turns.known(address)
    assert len(turns.next(60.0)) == 10


def test_while_one_has_made_no_call_or_the_hub_is_busy_fewer_are_opened() -> None:
    """Forty at once would bring their handshakes and first calls before all that members say meanwhile."""

    def opened_in_a_second(*, answered: bool, busy: bool) -> int:
        turns: Turns[str] = Turns(Limits(10_000))
        for number in range(1_000):
            turns.come(f"host-{number}", str(number), 0.0)
        count = 0
        for step in range(101):
            for address, _ in turns.next(step / 100, busy=busy):
                count += 1
                if answered:
                    turns.known(address)
        return count

    assert opened_in_a_second(answered=True, busy=False) == pytest.approx(102, abs=2)
    assert opened_in_a_second(answered=False, busy=False) == pytest.approx(42, abs=2)
    assert opened_in_a_second(answered=True, busy=True) == pytest.approx(27, abs=2)
    assert opened_in_a_second(answered=False, busy=True) == pytest.approx(27, abs=2)


def test_the_last_place_is_given_to_who_has_none() -> None:
    turns: Turns[str] = Turns(Limits(places=4))
    for number in range(4):
        turns.come("192.0.2.1", f"greedy-{number}", 0.0)
    assert turns.come("192.0.2.2", "modest", 0.0) == "greedy-0"
    assert turns.come("192.0.2.1", "greedy-4", 0.0) == "greedy-4"
    assert turns.held == 4


def test_a_bad_end_makes_its_address_wait_longer_each_time() -> None:
    turns: Turns[str] = Turns(PLENTY)
    waits = []
    now = 0.0
    for number in range(8):
        turns.come("192.0.2.1", str(number), now)
        began = now
        while not turns.next(now):
            now += 0.1
        waits.append(now - began)
        turns.left("192.0.2.1", now, new=True, bad=True)
    assert waits[0] == 0.0
    assert waits == pytest.approx(sorted(waits))
    assert 10 < waits[-1] <= PLENTY.longest_pause_seconds + 0.2
    turns.come("192.0.2.2", "other", now)
    assert names(turns.next(now)) == ["other"]


def test_who_is_never_admitted_is_opened_about_once_a_second() -> None:
    """No longer, whatever he does: other members may be behind the same address."""
    turns: Turns[str] = Turns(PLENTY)
    opened, now = [], 0.0
    for number in range(20):
        turns.come("192.0.2.1", str(number), now)
        while not turns.next(now):
            now += 0.05
        opened.append(now)
        turns.left("192.0.2.1", now, new=True, idle=True)
    assert opened[1] == pytest.approx(0.1, abs=0.06)
    assert opened[-1] - opened[-2] == pytest.approx(1.0, abs=0.06)


def test_a_good_end_makes_nobody_wait() -> None:
    turns: Turns[str] = Turns(PLENTY)
    for number in range(50):
        turns.come("192.0.2.1", str(number), 0.0)
        assert turns.next(0.0)
        turns.known("192.0.2.1")
        turns.left("192.0.2.1", 0.0, new=False)


def test_bad_ends_are_forgotten() -> None:
    turns: Turns[str] = Turns(PLENTY)
    for number in range(20):
        turns.come("192.0.2.1", "x", 16.0 * number)
        assert turns.next(16.0 * number)
        turns.left("192.0.2.1", 16.0 * number, new=True, bad=True)
    turns.come("192.0.2.1", "later", 400.0)
    assert turns.next(400.0)
    turns.left("192.0.2.1", 400.0, new=True, bad=True)
    turns.come("192.0.2.1", "after", 400.0)
    assert not turns.next(400.0)
    assert turns.next(400.0 + PLENTY.pause_seconds)


def test_addresses_without_number_take_no_memory_without_end() -> None:
    turns: Turns[str] = Turns(PLENTY)
    for number in range(MAX_PAUSED + 10):
        turns.come(f"host-{number}", "x", 0.0)
        turns.next(0.0)
        turns.left(f"host-{number}", 0.0, new=True, bad=True)
    assert len(turns._paused) == MAX_PAUSED
    assert not turns._new
    assert not turns._waiting


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix", "unix"),
    ],
)
def test_a_network_is_one_ipv4_address_or_sixty_four_bits_of_ipv6(address: str, network: str) -> None:
    assert network_of(address) == network


def test_who_waits_too_long_or_leaves_takes_no_place() -> None:
    turns: Turns[str] = Turns(Limits(places=10, new_of_one_address=0))
    turns.come("192.0.2.1", "early", 0.0)
    turns.come("192.0.2.1", "late", 5.0)
    turns.come("192.0.2.2", "gone", 5.0)
    assert turns.forget("192.0.2.2", "gone")
    assert not turns.forget("192.0.2.2", "gone")
    assert turns.overdue(3.0) == ["early"]
    assert turns.held == 1
