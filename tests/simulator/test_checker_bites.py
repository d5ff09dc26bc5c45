"""Losses, doubles and false words planted into the databases of a federation that ran: each is found."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from candor_certs.store import read_private
from candor_hub.keys import DATABASE_KEY
from candor_node.driver import Database, open_database
from tests.history import Name
from tests.records import make_row
from tests.simulator import Federation, Party, Simulator, Trouble

Plant = Callable[[Federation], None]


def at_node(party: Party, *statements: str) -> None:
    with closing(open_database(party.config.database_file, party.config.database_key()).conn) as connection:
        _run(connection, statements)


def at_hub(fed: Federation, *statements: str) -> None:
    key = read_private(fed.hub_config.keys / DATABASE_KEY)
    path = Path(fed.hub_config.database.removeprefix("sqlite:///"))
    with closing(open_database(path, key).conn) as connection:
        _run(connection, statements)


def _run(connection: Any, statements: tuple[str, ...]) -> None:
    database = Database(connection, execute_plugins=False)
    database.execute("PRAGMA foreign_keys = OFF")
    for statement in statements:
        database.execute(statement)
    connection.commit()


def an_accepted_lookup_deleted_at_the_hub(fed: Federation) -> None:
    at_hub(
        fed,
        "DELETE FROM lookup_targets",
        "DELETE FROM envelopes WHERE kind = 1",
        "DELETE FROM log_waiting WHERE kind = 10",
    )


def a_delivery_deleted_in_an_inbox(fed: Federation) -> None:
    at_node(fed.parties[1], "DELETE FROM inbox WHERE kind = 1")


def an_answer_deleted_on_its_way(fed: Federation) -> None:
    at_hub(fed, "DELETE FROM envelopes WHERE kind = 2")


def a_second_charge(fed: Federation) -> None:
    at_node(fed.parties[1], "UPDATE quota_uses SET weak = 2 * weak, match = 2 * match, code = 2 * code")


def a_second_charge_at_the_hub(fed: Federation) -> None:
    at_hub(fed, "UPDATE quota_uses SET weak = 2 * weak, match = 2 * match, code = 2 * code")


def another_answer(fed: Federation) -> None:
    at_hub(fed, "UPDATE envelopes SET body_digest = zeroblob(32) WHERE kind = 2")


def a_second_decision(fed: Federation) -> None:
    at_node(
        fed.parties[1],
        "INSERT INTO ledger SELECT number + 1000, at, event, refs, details, digest FROM ledger"
        " WHERE event = 'lookup.answered'",
    )


def a_search_that_was_acknowledged_deleted(fed: Federation) -> None:
    at_node(
        fed.parties[0],
        "DELETE FROM hits",
        "DELETE FROM lookup_targets",
        "DELETE FROM lookups",
        "DELETE FROM searches",
    )


def a_record_that_was_acknowledged_deleted(fed: Federation) -> None:
    at_node(
        fed.parties[1],
        *(f"DROP TRIGGER {name}" for name in ("records_keep", "record_events_keep")),
        *(
            f"DELETE FROM {name}"
            for name in ("published", "record_keys", "record_events", "record_heads", "records")
        ),
    )


def a_search_asked_twice(fed: Federation) -> None:
    at_node(
        fed.parties[0],
        "INSERT INTO searches SELECT zeroblob(16), purpose, shape, case_number, consent, officer, created_at,"
        " expires_at, plans, incomplete, directory_version, missing, NULL, 1, NULL, NULL, NULL, 0, NULL"
        " FROM searches",
    )


def an_entry_of_the_ledger_changed(fed: Federation) -> None:
    at_node(fed.parties[1], "DROP TRIGGER ledger_stays", "UPDATE ledger SET event = 'a.b' WHERE number = 1")


def hits_hidden(fed: Federation) -> None:
    at_node(fed.parties[0], "DELETE FROM hits")


PLANTED = [
    (Name.LOST, an_accepted_lookup_deleted_at_the_hub),
    (Name.LOST, a_delivery_deleted_in_an_inbox),
    (Name.LOST, an_answer_deleted_on_its_way),
    (Name.CHARGED_WRONGLY, a_second_charge),
    (Name.CHARGED_WRONGLY, a_second_charge_at_the_hub),
    (Name.ANSWERED_TWICE, another_answer),
    (Name.ANSWERED_TWICE, a_second_decision),
    (Name.FALSE_ACKNOWLEDGEMENT, a_search_that_was_acknowledged_deleted),
    (Name.FALSE_ACKNOWLEDGEMENT, a_record_that_was_acknowledged_deleted),
    (Name.DONE_TWICE, a_search_asked_twice),
    (Name.BROKEN_LEDGER, an_entry_of_the_ledger_changed),
    (Name.FALSE_NO_RECORD, hits_hidden),
]


@pytest.mark.parametrize(("name", "plant"), PLANTED, ids=lambda part: getattr(part, "__name__", None))
def test_what_is_planted_into_a_database_is_found(simulator: Simulator, name: Name, plant: Plant) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo = fed.parties
        await fed.file(bravo, [make_row()])
        await fed.settled()
        await fed.ask(alpha, case="REQ-1", expect="MATCH")
        await fed.finish()
        assert fed.look(settled=True) == []
        for party in fed.parties:
            await fed.stop_node(party)
        await fed.stop_hub()
        plant(fed)
        found = fed.look()
        assert name in {fault.name for fault in found}, found
        raise Planted

    with pytest.raises(Planted):
        simulator.play(scene, agencies=2)


class Planted(Exception):
    """The scene ends here: its databases are spoilt."""


def test_a_scene_whose_trouble_never_happened_fails(simulator: Simulator) -> None:
    async def scene(fed: Federation) -> None:
        fed.plan.once("submit LOOKUP", Trouble.LOST_AFTER, "alpha")

    with pytest.raises(AssertionError, match="alpha: submit LOOKUP: LOST_AFTER, 1 times"):
        simulator.play(scene, agencies=1)
