"""The history checker bites: each fault, planted into a history that is in order, is reported by its name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.history import Fault, History, HubHolding, Name, NodeHolding, check
from tests.history.faults import ANSWER, HOUR, LOOKUP, REQUEST, RESPONSE
from tests.history.holdings import (
    Decided,
    Entry,
    Envelope,
    Limits,
    Mail,
    Recall,
    Request,
    Search,
    SentLookup,
    Target,
    Use,
)
from tests.history.log import Operation

NOW = 500_000 * HOUR
LIFE = NOW + 24 * HOUR
LIMITS = Limits(40_000, 10_000, 30_000, 24_000, 10)


class World:
    """Alpha imported nothing and asked; bravo holds IA-1, answered, and released it to alpha."""

    def __init__(self) -> None:
        self.history = History()
        self._played()
        answer = Target("bravo", "answered", 1, "d2")
        self.alpha = NodeHolding(
            "alpha",
            LIMITS,
            searches=(Search("s1", "REQ-1", "MATCH", 1, 1, 1),),
            lookups=(SentLookup("l1", "s1", "shown", 40, LIFE, (answer,)),),
            inbox=(Mail("bravo", ANSWER, "l1", "done", LIFE), Mail("bravo", RESPONSE, "r1", "done", LIFE)),
            sent_requests=(Request("r1", "bravo", "opened", LIFE, "s1", 1),),
            entries=(
                Entry(NOW, "lookup.sent", {"lookup_id": "l1", "search_id": "s1"}, {}),
                Entry(NOW, "disclosure.requested", {"request_id": "r1"}, {}),
                Entry(NOW, "disclosure.opened", {"request_id": "r1"}, {}),
            ),
        )
        self.bravo = NodeHolding(
            "bravo",
            LIMITS,
            decided=(Decided("alpha", "l1", 1, True),),
            entries=(
                Entry(
                    NOW,
                    "lookup.answered",
                    {"asker": "alpha", "lookup_id": "l1"},
                    {"status": "EVALUATED", "elements": 40},
                ),
                Entry(NOW, "disclosure.received", {"request_id": "r1"}, {}),
                Entry(NOW, "disclosure.released", {"request_id": "r1"}, {}),
            ),
            uses=(Use("alpha", NOW, 4, 12, 24),),
            inbox=(Mail("alpha", LOOKUP, "l1", "done", LIFE), Mail("alpha", REQUEST, "r1", "done", LIFE)),
            received_requests=(Request("r1", "alpha", "released", LIFE),),
            records={"IA-1": (1, 1)},
            head_sequence=2,
        )
        self.hub = HubHolding(
            LIMITS,
            envelopes=(
                Envelope("alpha", LOOKUP, "l1", "d1", NOW, LIFE, ("bravo",), ()),
                Envelope("bravo", ANSWER, "l1", "d2", NOW, LIFE, ("alpha",), ()),
                Envelope("alpha", REQUEST, "r1", "d3", NOW, LIFE, ("bravo",), ()),
                Envelope("bravo", RESPONSE, "r1", "d4", NOW, LIFE, ("alpha",), ()),
            ),
            uses=(Use("alpha", NOW, 4, 12, 24),),
            logged_lookups=1,
            logged_others=3,
            heads={"bravo": 2},
        )

    def _played(self) -> None:
        log = self.history
        log.ok(log.invoke("import", "bravo", records=["IA-1"]))
        log.ok(log.invoke("publish", "bravo"), sequence=2)
        log.ok(log.invoke("lookup", "alpha", case="REQ-1", expect="MATCH"), search_id="s1", overall="MATCH")
        log.ok(log.invoke("disclosure", "alpha", search_id="s1", hit=1), request_id="r1")
        log.fail(log.invoke("lookup", "alpha", case="REQ-2"), "input_invalid")
        log.unknown(log.invoke("lookup", "alpha", case="REQ-3"))
        log.invoke("import", "bravo", records=["IA-9"])

    def faults(self) -> list[Fault]:
        return check(self.history.operations, [self.alpha, self.bravo], self.hub, NOW, settled=True)


def envelope(world: World, number: int, **changes: Any) -> None:
    """Change one of the hub's envelopes; `gone` takes it away, with its entry in the ledger."""
    envelopes = list(world.hub.envelopes)
    if changes.pop("gone", False):
        del envelopes[number]
    else:
        envelopes[number] = replace(envelopes[number], **changes)
    world.hub = replace(world.hub, envelopes=tuple(envelopes))


def entry(node: NodeHolding, number: int) -> NodeHolding:
    """The same entry of the ledger once more."""
    return replace(node, entries=(*node.entries, node.entries[number]))


def target(node: NodeHolding, **changes: Any) -> NodeHolding:
    lookup = node.lookups[0]
    return replace(node, lookups=(replace(lookup, targets=(replace(lookup.targets[0], **changes),)),))


def test_a_history_in_order_has_no_faults() -> None:
    assert World().faults() == []


def damaged(world: World) -> None:
    world.bravo = replace(world.bravo, damage="row 3 missing from index inbox_by_state")


def chain_broken(world: World) -> None:
    world.bravo = replace(world.bravo, ledger_fault="entry 2 was changed")


def accepted_row_deleted_at_the_hub(world: World) -> None:
    envelope(world, 0, gone=True)


def search_of_an_acknowledged_lookup_gone(world: World) -> None:
    world.alpha = replace(world.alpha, searches=())


def acknowledged_search_is_another(world: World) -> None:
    world.alpha = replace(world.alpha, searches=(replace(world.alpha.searches[0], search_id="s2"),))


def acknowledged_record_gone(world: World) -> None:
    world.bravo = replace(world.bravo, records={})


def acknowledged_head_not_at_the_hub(world: World) -> None:
    world.hub = replace(world.hub, heads={"bravo": 1})


def acknowledged_request_gone(world: World) -> None:
    world.alpha = replace(world.alpha, sent_requests=())


def refused_lookup_stored(world: World) -> None:
    world.alpha = replace(world.alpha, searches=(*world.alpha.searches, Search("s2", "REQ-2")))


def lookup_asked_twice(world: World) -> None:
    world.alpha = replace(world.alpha, searches=(*world.alpha.searches, Search("s2", "REQ-1")))


def row_of_a_batch_asked_twice(world: World) -> None:
    world.alpha = replace(world.alpha, rows_asked={("b1", 2): 1, ("b1", 3): 2})


def unknown_lookup_done_twice(world: World) -> None:
    twice = (Search("s2", "REQ-3"), Search("s3", "REQ-3"))
    world.alpha = replace(world.alpha, searches=(*world.alpha.searches, *twice))


def record_filed_twice(world: World) -> None:
    world.bravo = replace(world.bravo, records={"IA-1": (2, 1)})


def half_a_file_imported(world: World) -> None:
    log = world.history
    log.unknown(log.invoke("import", "bravo", records=["IA-1", "IA-2"]))


def delivery_acknowledged_and_not_stored(world: World) -> None:
    world.bravo = replace(world.bravo, inbox=world.bravo.inbox[1:], decided=(), entries=(), uses=())


def answer_gone_on_the_way(world: World) -> None:
    envelope(world, 1, gone=True)
    world.alpha = replace(target(world.alpha, state="pending", digest=""), inbox=world.alpha.inbox[1:])


def own_lookup_forgotten(world: World) -> None:
    world.alpha = replace(world.alpha, lookups=())


def lookup_decided_and_never_answered(world: World) -> None:
    world.bravo = replace(world.bravo, decided=(Decided("alpha", "l1", 1, False),))


def response_gone_on_the_way(world: World) -> None:
    envelope(world, 3, gone=True)


def decided_twice(world: World) -> None:
    world.bravo = entry(world.bravo, 0)


def second_answer(world: World) -> None:
    world.alpha = target(world.alpha, digest="d9")


def answer_says_other_than_decided(world: World) -> None:
    world.alpha = target(world.alpha, state="quota", status=5)


def answer_from_nowhere(world: World) -> None:
    world.bravo = replace(world.bravo, decided=(), entries=world.bravo.entries[1:], uses=())


def opened_without_release(world: World) -> None:
    world.bravo = replace(world.bravo, received_requests=())


def two_bodies_under_one_id(world: World) -> None:
    world.bravo = replace(world.bravo, inbox=(*world.bravo.inbox, world.bravo.inbox[0]))


def released_twice(world: World) -> None:
    world.bravo = entry(world.bravo, 2)


def charged_twice_by_the_owner(world: World) -> None:
    world.bravo = replace(world.bravo, uses=(Use("alpha", NOW, 8, 24, 48),))


def charged_twice_by_the_hub(world: World) -> None:
    world.hub = replace(world.hub, uses=(Use("alpha", NOW, 8, 24, 48),))


def not_charged(world: World) -> None:
    world.hub = replace(world.hub, uses=())


def more_than_a_days_share(world: World) -> None:
    world.bravo = replace(world.bravo, limits=replace(LIMITS, total=399))


def clean_bill_without_coverage(world: World) -> None:
    search = replace(world.alpha.searches[0], overall="NO_RECORD", answered=1, asked=2)
    world.history.operations[2].what.pop("expect")
    world.alpha = replace(world.alpha, searches=(search,))


def clean_bill_without_an_answer(world: World) -> None:
    world.history.operations[2].what.pop("expect")
    search = replace(world.alpha.searches[0], overall="NO_RECORD")
    world.alpha = replace(target(world.alpha, state="expired"), searches=(search,))


def answer_taken_in_and_not_shown(world: World) -> None:
    world.alpha = replace(world.alpha, searches=(replace(world.alpha.searches[0], answered=0),))


def clean_bill_for_somebody_on_record(world: World) -> None:
    world.alpha = replace(world.alpha, searches=(replace(world.alpha.searches[0], overall="NO_RECORD"),))


def message_left_lying(world: World) -> None:
    left = Mail("charlie", LOOKUP, "l7", "new", LIFE)
    world.alpha = replace(world.alpha, inbox=(*world.alpha.inbox, left))


def delivery_left_lying(world: World) -> None:
    envelope(world, 1, waiting=("alpha",))


def _recalled(world: World, *, acted: bool = True) -> None:
    """Bravo recalled what it released, and takes alpha's word for it."""
    recall = Recall("c1", "alpha", "r1", destroys=True, state="acted")
    applied = Entry(NOW, "recall.applied", {"recall_id": "c1", "request_id": "r1"}, {})
    world.bravo = replace(world.bravo, recalls=(recall,))
    world.alpha = replace(world.alpha, sent_requests=(Request("r1", "bravo", "recalled", LIFE, "s1", 1),))
    if acted:
        received = Recall("c1", "bravo", "r1", destroys=True)
        world.alpha = replace(
            world.alpha, received_recalls=(received,), entries=(*world.alpha.entries, applied)
        )


def recalled_and_kept(world: World) -> None:
    _recalled(world)
    world.alpha = replace(world.alpha, copies=frozenset({"r1"}))


def recalled_and_only_said_so(world: World) -> None:
    _recalled(world, acted=False)


def recalled_twice(world: World) -> None:
    _recalled(world)
    world.alpha = replace(world.alpha, entries=(*world.alpha.entries, world.alpha.entries[-1]))


def recall_left_lying(world: World) -> None:
    _recalled(world)
    world.bravo = replace(world.bravo, recalls=(replace(world.bravo.recalls[0], state="sent"),))


PLANTED = [
    (Name.DAMAGED, damaged),
    (Name.BROKEN_LEDGER, chain_broken),
    (Name.BROKEN_LEDGER, accepted_row_deleted_at_the_hub),
    (Name.LOST, accepted_row_deleted_at_the_hub),
    (Name.FALSE_ACKNOWLEDGEMENT, search_of_an_acknowledged_lookup_gone),
    (Name.FALSE_ACKNOWLEDGEMENT, acknowledged_search_is_another),
    (Name.FALSE_ACKNOWLEDGEMENT, acknowledged_record_gone),
    (Name.FALSE_ACKNOWLEDGEMENT, acknowledged_head_not_at_the_hub),
    (Name.HEAD_BEHIND, acknowledged_head_not_at_the_hub),
    (Name.FALSE_ACKNOWLEDGEMENT, acknowledged_request_gone),
    (Name.REFUSED_BUT_DONE, refused_lookup_stored),
    (Name.DONE_TWICE, lookup_asked_twice),
    (Name.ASKED_TWICE, row_of_a_batch_asked_twice),
    (Name.DONE_TWICE, unknown_lookup_done_twice),
    (Name.DONE_TWICE, record_filed_twice),
    (Name.HALF_DONE, half_a_file_imported),
    (Name.LOST, delivery_acknowledged_and_not_stored),
    (Name.LOST, answer_gone_on_the_way),
    (Name.LOST, own_lookup_forgotten),
    (Name.LOST, lookup_decided_and_never_answered),
    (Name.LOST, response_gone_on_the_way),
    (Name.ANSWERED_TWICE, decided_twice),
    (Name.ANSWERED_TWICE, second_answer),
    (Name.ANSWERED_TWICE, answer_says_other_than_decided),
    (Name.ANSWER_WITHOUT_DECISION, answer_from_nowhere),
    (Name.ANSWER_WITHOUT_DECISION, opened_without_release),
    (Name.PROCESSED_TWICE, two_bodies_under_one_id),
    (Name.PROCESSED_TWICE, released_twice),
    (Name.CHARGED_WRONGLY, charged_twice_by_the_owner),
    (Name.CHARGED_WRONGLY, charged_twice_by_the_hub),
    (Name.CHARGED_WRONGLY, not_charged),
    (Name.QUOTA_EXCEEDED, more_than_a_days_share),
    (Name.FALSE_NO_RECORD, clean_bill_without_coverage),
    (Name.FALSE_NO_RECORD, clean_bill_without_an_answer),
    (Name.FALSE_NO_RECORD, clean_bill_for_somebody_on_record),
    (Name.RESULT_BEHIND, answer_taken_in_and_not_shown),
    (Name.NOT_FORGOTTEN, recalled_and_kept),
    (Name.FALSE_ACKNOWLEDGEMENT, recalled_and_only_said_so),
    (Name.PROCESSED_TWICE, recalled_twice),
    (Name.UNFINISHED, recall_left_lying),
    (Name.UNFINISHED, message_left_lying),
    (Name.UNFINISHED, delivery_left_lying),
]


@pytest.mark.parametrize(("name", "plant"), PLANTED, ids=lambda part: getattr(part, "__name__", None))
def test_a_planted_fault_is_reported_by_its_name(name: Name, plant: Any) -> None:
    world = World()
    plant(world)
    assert name in {fault.name for fault in world.faults()}


def test_every_fault_is_planted() -> None:
    assert {name for name, _ in PLANTED} == set(Name)


def test_what_a_killed_client_left_behind_is_unknown(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    log = History(path)
    log.ok(log.invoke("import", "alpha", records=["IA-1"]))
    log.invoke("lookup", "alpha", case="REQ-1")
    log.close()
    # The kill came in the middle of a line.
    path.write_text(path.read_text("utf-8") + '{"event": "ok", "num', encoding="utf-8")
    read = History.read(path)
    assert [(each.kind, each.ended, each.what) for each in read] == [
        ("import", "ok", {"records": ["IA-1"]}),
        ("lookup", "unknown", {"case": "REQ-1"}),
    ]
    assert all(isinstance(each, Operation) for each in read)


def test_a_response_that_was_taken_back_before_it_left_is_not_missed() -> None:
    world = World()
    _recalled(world)
    envelope(world, 3, gone=True)
    world.alpha = replace(world.alpha, inbox=world.alpha.inbox[:1])
    assert not any(fault.name is Name.LOST for fault in world.faults())
