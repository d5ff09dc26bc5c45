"""Bodies that queue up share a commit, and nothing else (ADR 0014)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlcipher3 import dbapi2

from candor_hub.driver import IntegrityError, sa
from candor_hub.store import Store, Transaction, group
from candor_hub.tables import meta
from candor_proto.errors import StoreUnusable
from tests.postgres import chosen_url

pytestmark = pytest.mark.usefixtures("each_database")

KEY = bytes(range(32))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    # Time does not close a group here: tests say what is in it.
    monkeypatch.setattr(group, "MAX_OPEN_SECONDS", 60.0)
    made = Store.create(chosen_url() or f"sqlite:///{tmp_path / 'hub.db'}", KEY, "demo.example")
    yield made
    made.close()


def put(tx: Transaction, name: str) -> None:
    tx.members._connection.execute(sa.insert(meta).values(name=name, value=""))


def names(store: Store) -> set[str]:
    with store.read() as tx:
        found = tx.members._connection.execute(sa.select(meta.c.name)).scalars().all()
    return set(found) - {"federation", "schema", "oldest_schema"}


def together(store: Store, *bodies: Callable[[Transaction], None]) -> list[Future[None]]:
    """Run the bodies in this order in one group: all wait for their turn while the first is under way."""
    started, go = threading.Event(), threading.Event()
    queue = store._group._turn._queue

    def run(body: Callable[[Transaction], None], first: bool) -> None:
        with store.write() as tx:
            if first:
                started.set()
                go.wait()
            body(tx)

    with ThreadPoolExecutor(len(bodies)) as pool:
        futures = [pool.submit(run, bodies[0], True)]
        started.wait()
        for number, body in enumerate(bodies[1:], 1):
            futures.append(pool.submit(run, body, False))
            while len(queue) < number:
                time.sleep(0.001)
        go.set()
    return futures


def putting(name: str) -> Callable[[Transaction], None]:
    return lambda tx: put(tx, name)


def raising(name: str) -> Callable[[Transaction], None]:
    def body(tx: Transaction) -> None:
        put(tx, name)
        raise ZeroDivisionError

    return body


def fail_next_commit(store: Store) -> None:
    def refuse(_connection: object) -> None:
        event.remove(store._engine, "commit", refuse)
        raise sa.exc.OperationalError("COMMIT", {}, dbapi2.OperationalError("disk I/O error"))

    event.listen(store._engine, "commit", refuse)


def test_bodies_that_queue_up_share_one_commit(store: Store) -> None:
    before = store.commits
    for future in together(store, *(putting(f"n{number}") for number in range(20))):
        future.result()
    assert names(store) == {f"n{number}" for number in range(20)}
    assert store.commits - before == 1


def test_a_lone_body_waits_for_nobody(store: Store) -> None:
    before = store.commits
    with store.write() as tx:
        put(tx, "alone")
    assert (names(store), store.commits - before) == ({"alone"}, 1)


def test_a_body_that_raises_undoes_itself_and_none_of_its_neighbours(store: Store) -> None:
    first, second, third = together(store, putting("a"), raising("b"), putting("c"))
    first.result()
    third.result()
    with pytest.raises(ZeroDivisionError):
        second.result()
    assert names(store) == {"a", "c"}


def test_a_body_that_breaks_a_constraint_undoes_only_itself(store: Store) -> None:
    first, second, third = together(store, putting("a"), putting("a"), putting("c"))
    first.result()
    third.result()
    with pytest.raises(StoreUnusable) as caught:
        second.result()
    assert isinstance(caught.value.__cause__, IntegrityError)
    assert names(store) == {"a", "c"}


def test_nobody_is_told_stored_when_the_commit_fails(store: Store) -> None:
    fail_next_commit(store)
    for future in together(store, putting("a"), putting("b"), putting("c")):
        with pytest.raises(StoreUnusable):
            future.result()
    assert names(store) == set()
    with store.write() as tx:  # the next group is another one
        put(tx, "d")
    assert names(store) == {"d"}


def test_a_refusal_judged_by_what_was_lost_is_lost_too(store: Store) -> None:
    """Otherwise "this id is used" would be final, and the use of it gone."""
    fail_next_commit(store)
    _, refusal = together(store, putting("a"), raising("b"))
    with pytest.raises(StoreUnusable):
        refusal.result()


def test_an_error_of_the_disk_ends_the_whole_group(store: Store) -> None:
    def broken(tx: Transaction) -> None:
        raise sa.exc.OperationalError("INSERT", {}, dbapi2.OperationalError("disk I/O error"))

    for future in together(store, putting("a"), broken):
        with pytest.raises(StoreUnusable):
            future.result()
    assert names(store) == set()
    with store.write() as tx:
        put(tx, "c")
    assert names(store) == {"c"}


def test_a_group_whose_bodies_all_raise_costs_no_fsync(store: Store) -> None:
    before = store.commits
    for future in together(store, raising("a"), raising("b")):
        with pytest.raises(ZeroDivisionError):
            future.result()
    assert (names(store), store.commits) == (set(), before)


def test_a_group_has_an_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a stream of writers would keep the first one waiting for ever."""
    monkeypatch.setattr(group, "MAX_BODIES", 4)
    before = store.commits
    for future in together(store, *(putting(f"n{number}") for number in range(10))):
        future.result()
    assert store.commits - before == 3
    monkeypatch.setattr(group, "MAX_OPEN_SECONDS", 0.0)
    for future in together(store, *(putting(f"m{number}") for number in range(3))):
        future.result()
    assert store.commits - before == 6


def test_turns_are_taken_in_the_order_of_asking(store: Store) -> None:
    order: list[int] = []

    def noting(number: int) -> Callable[[Transaction], None]:
        return lambda tx: order.append(number)

    for future in together(store, *(noting(number) for number in range(30))):
        future.result()
    assert order == list(range(30))


def test_many_writers_at_once_lose_nothing(store: Store) -> None:
    def work(number: int) -> None:
        with store.write() as tx:
            put(tx, f"n{number}")
            if number % 3 == 0:
                raise ZeroDivisionError

    before = store.commits
    with ThreadPoolExecutor(16) as pool:
        futures = [pool.submit(work, number) for number in range(300)]
    refused = {number for number, future in enumerate(futures) if future.exception() is not None}
    assert refused == set(range(0, 300, 3))
    assert names(store) == {f"n{number}" for number in range(300) if number % 3}
    assert store.commits - before < 200
