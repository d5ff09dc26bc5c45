"""What is remembered of directories (docs/protocol.md §10.2)."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from candor_node import directory_store
from candor_node.directory_store import FetchedDirectory
from candor_node.driver import Migrations
from candor_node.exchange_migrations import initial
from candor_node.founding import MIGRATIONS
from candor_node.store import ALL_MIGRATIONS, Store
from candor_proto.directory import MemberKeys, Seen, SeenHead, statement_digest
from candor_proto.ids import NodeId
from tests.parties import NOW, Parties, Party

BETA = NodeId("beta")


def test_a_database_made_before_pinning_keeps_what_was_seen(tmp_path: Path) -> None:
    first = Migrations("exchange")
    first()(initial)
    key, path = secrets.token_bytes(32), tmp_path / "node.db"
    with Store.create(path, key, (*ALL_MIGRATIONS, first)) as store:
        store.run_sync(lambda db: db.execute("INSERT INTO seen_heads VALUES ('beta', 5)"))
    with Store.open(path, key, MIGRATIONS) as store:
        assert store.run_sync(directory_store.seen) == Seen(heads={BETA: SeenHead(5)})


def test_heads_never_go_down_and_keys_seen_first_stay(tmp_path: Path) -> None:
    parties = Parties("alpha", "beta")
    with Store.create(tmp_path / "node.db", secrets.token_bytes(32), MIGRATIONS) as store:

        def take() -> Seen:
            fetched = FetchedDirectory(parties.signed(), (b"chain",))
            verified = parties.verified()  # by somebody who remembers nothing
            store.run_sync(lambda db: directory_store.keep(db, fetched, verified, NOW + timedelta(hours=1)))
            seen = store.run_sync(directory_store.seen)
            assert (seen.version, seen.body) == (parties.version, statement_digest(fetched.statement))
            return seen

        parties["beta"].sequence = 5
        before, keys = take(), MemberKeys.of(parties["beta"].member())
        assert before.heads[BETA].sequence == 5
        assert before.keys[BETA] == keys
        parties.version, parties.all[BETA] = 2, replace(Party(BETA), sequence=3)
        after = take()
        assert after.heads[BETA] == before.heads[BETA]
        assert after.keys[BETA] == keys
        parties.version, parties["beta"].sequence = 3, 6
        assert take().heads[BETA].sequence == 6
