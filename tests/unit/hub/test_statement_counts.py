"""How many statements a lookup to many nodes costs the database: hardly more than one to a few."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bench.hub_scene import Credentials, make_members, read_members
from candor_hub.config import load_config
from candor_hub.desk import Submission
from candor_hub.directory import DirectoryKeeper
from candor_hub.founding import open_keys, open_store
from candor_hub.mailbox import MailboxKeeper
from candor_hub.relay import Receipt, Relay
from candor_hub.store import Store
from candor_hub.store.envelopes import Posting
from candor_proto.ids import NodeId

FEW, MANY = 16, 128


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("counted")
    make_members(folder, MANY + 1)
    return Scene(folder)


class Scene:
    """The rules over a real embedded database of many members, whose statements are counted."""

    def __init__(self, folder: Path) -> None:
        config, now = load_config(folder / "hub/hub.toml"), datetime.now(UTC)
        self.store: Store = open_store(config)
        self.statements = 0
        sa.event.listen(self.store._engine, "checkout", self._count_on)
        keys = open_keys(config, self.store, now)
        self._view = DirectoryKeeper(self.store, lambda: keys).latest().view
        self._relay = Relay(self.store, config.quota)
        self._mailbox = MailboxKeeper(self.store)
        self._members: list[Credentials] = read_members(folder)

    def _count_on(self, connection: Any, *_: object) -> None:
        connection.set_trace_callback(self._count)

    def _count(self, _statement: str) -> None:
        self.statements += 1

    def counted(self, work: Callable[[], Any]) -> tuple[int, Any]:
        before = self.statements
        result = work()
        return self.statements - before, result

    def lookup(self, nodes: int) -> dict[str, int]:
        """One lookup to so many nodes, all answers in one batch and acknowledged: statements of each."""
        now = datetime.now(UTC)
        asker, *targets = (one.member() for one in self._members[: nodes + 1])
        lookup = asker.lookup(targets)
        handed_in, (receipt,) = self.counted(
            lambda: self._relay.submit_all([Submission(lookup, asker.node, self._view)], now)
        )
        assert isinstance(receipt, Receipt)
        assert receipt.recipients == nodes
        answers = [Submission(target.answer(lookup), target.node, self._view) for target in targets]
        answered, receipts = self.counted(lambda: self._relay.submit_all(answers, now))
        assert [each.recipients for each in receipts] == [1] * nodes
        postings: list[Posting | None] = [receipt.posting, *(each.posting for each in receipts)]
        named: dict[NodeId, list[int]] = {}
        for posting in postings:
            assert posting is not None
            for node, delivery in zip(posting.nodes, posting.delivery_ids, strict=True):
                named.setdefault(node, []).append(delivery)
        acknowledged, deleted = self.counted(lambda: self._mailbox.acknowledge_all(named))
        assert deleted == 2 * nodes
        return {"handed in": handed_in, "answered": answered, "acknowledged": acknowledged}


def test_statements_of_a_lookup_do_not_grow_with_the_nodes_that_it_goes_to(scene: Scene) -> None:
    """Eight times the nodes: no step has a statement for each, but for the rows cut into powers of two."""
    few, many = scene.lookup(FEW), scene.lookup(MANY)
    assert sum(few.values()) > 0
    for step, count in many.items():
        assert count < 2 * few[step], (few, many)
        assert count < MANY / 2, (few, many)
