"""Members of two scheme versions in one federation (docs/protocol.md §7.7; ADR 0021), over a real hub."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from candor_node import batch_results, flight_store, lookup_store
from candor_node.allowance import Allowed, estimate
from candor_node.app import Node
from candor_node.asking import check_question, plans_under
from candor_node.batch_file import RESULTS
from candor_node.batch_store import DONE
from candor_node.batches import Order
from candor_node.cases import SearchView
from candor_node.lookup_store import Ask
from candor_node.store import Database
from candor_proto.budget import Quota
from candor_proto.errors import InputInvalid, QuotaSpent, UnsupportedVersion
from candor_proto.exchange import LookupState
from candor_proto.ids import KeyClass, LookupId, LookupShape, NodeId, Purpose
from candor_proto.opening import open_lookup
from candor_proto.result import Overall, TargetReport, TargetState
from candor_proto.scheme import CURRENT, SCHEMES, Scheme
from candor_proto.statements import Left
from candor_wire.codec import Envelope, MessageKind
from tests.federation import Federation, eventually, federation, question, until
from tests.patience import PATIENCE_SECONDS
from tests.records import make_row
from tests.schemes import NEXT, SHORT, UNKNOWN, both_known

Scene = Callable[[Federation], Awaitable[None]]
ALPHA, BRAVO, CHARLIE = map(NodeId, ("alpha", "bravo", "charlie"))
PAPERS = ("CONSENT-88", "Inv. Dana Roe")


def under(node: Node, scheme: Scheme) -> None:
    """What `publish_scheme` sets, for schemes that no release knows."""
    settings = replace(node.publishing._settings, scheme=scheme, threshold=scheme.threshold)
    node.publishing._settings = settings


def play(folder: Path, scene: Scene, schemes: dict[str, Scheme], **changes: Any) -> None:
    """Three nodes, of which some publish under another scheme than today's."""

    def wrap(node: Node) -> None:
        under(node, schemes.get(node.config.node, CURRENT))

    kind = " ".join(f"{name}:{scheme.version}" for name, scheme in sorted(schemes.items()))

    async def whole() -> None:
        async with federation(folder, 3, wrap=wrap, kind=kind, **changes) as fed:
            await scene(fed)

    with both_known():
        asyncio.run(whole())


async def asks_of(node: Node, search_id: LookupId) -> list[Ask]:
    return await node.store.run(lambda db: lookup_store.asks(db, search_id))


def reports_of(view: SearchView) -> dict[NodeId, TargetReport]:
    assert view.result is not None
    return {report.node: report for report in view.result.coverage.reports}


def owners(view: SearchView) -> list[NodeId]:
    assert view.result is not None
    return sorted(hit.owner for hit in view.result.hits)


# --- single lookups ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", list(LookupShape))
def test_a_record_is_found_at_nodes_of_two_schemes_by_two_lookups_of_one_shape(
    tmp_path: Path, shape: LookupShape
) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo, charlie = fed.nodes
        await fed.file(bravo, [make_row()])
        await fed.file(charlie, [make_row()])
        view = await fed.ask(alpha, shape=shape)
        assert owners(view) == [BRAVO, CHARLIE]
        assert view.result is not None
        assert view.result.coverage.complete
        newer, today = sorted(await asks_of(alpha, view.row.search_id), key=lambda ask: len(ask.targets))
        assert (newer.scheme_version, sorted(newer.targets)) == (NEXT.version, [BRAVO])
        assert (today.scheme_version, sorted(today.targets)) == (CURRENT.version, [ALPHA, CHARLIE])
        # Nothing but the targets tells one from the other, and nothing is in both.
        bodies = [ask.draft.lookup for ask in (newer, today)]
        assert len({tuple(len(body.elements[each]) for each in KeyClass) for body in bodies}) == 1
        elements = [one.to_bytes() for body in bodies for each in KeyClass for one in body.elements[each]]
        assert len(set(elements)) == len(elements)
        assert newer.opening.paperwork.filler_seed != today.opening.paperwork.filler_seed
        # An audit recomputes each under the scheme that it used (§7.10).
        for ask in (newer, today):
            (plan,) = open_lookup(ask.draft.lookup, [ask.opening])
            assert plan.scheme_version == ask.scheme_version

    play(tmp_path, scene, {"bravo": NEXT})


def test_somebody_on_no_record_is_on_none_at_nodes_of_both_schemes(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo, charlie = fed.nodes
        await fed.file(bravo, [make_row()])
        await fed.file(charlie, [make_row()])
        view = await fed.ask(alpha, first="Other", last="Person", ssn4="1111", birth_date="1970-01-02")
        assert view.result is not None
        assert view.result.overall is Overall.NO_RECORD
        assert [report.state for report in reports_of(view).values()] == [TargetState.ANSWERED] * 3

    play(tmp_path, scene, {"bravo": NEXT})


def test_a_node_of_an_unknown_scheme_is_not_asked_and_makes_it_incomplete(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo, charlie = fed.nodes
        await fed.file(charlie, [make_row()])
        view = await fed.ask(alpha)
        assert view.result is not None
        assert view.result.overall is Overall.INCOMPLETE
        report = reports_of(view)[CHARLIE]
        assert report.state is TargetState.UNKNOWN_SCHEME
        assert report.reason == (
            "this node's index uses scheme version 99, which this version of Candor does not know: "
            "update Candor"
        )
        assert "1 unknown scheme (charlie)" in view.result.coverage.words()
        targets = {node for ask in await asks_of(alpha, view.row.search_id) for node in ask.targets}
        assert targets == {ALPHA, BRAVO}
        assert any("charlie cannot be asked" in warning for warning in alpha.indexes.warnings())
        # What was not asked is kept with the search.
        stored = await alpha.store.run(lambda db: lookup_store.search(db, view.row.search_id))
        assert stored is not None
        assert stored.missing == view.row.missing == (report,)
        # A record elsewhere is a match all the same.
        await fed.file(bravo, [make_row()])
        assert owners(await fed.ask(alpha, case="REQ-2")) == [BRAVO]

    play(tmp_path, scene, {"bravo": NEXT, "charlie": UNKNOWN})


def test_where_all_schemes_are_unknown_nothing_is_asked(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        with pytest.raises(UnsupportedVersion, match=r"alpha cannot be asked.*scheme version 99"):
            await fed.ask(fed.nodes[0])

    play(tmp_path, scene, dict.fromkeys(("alpha", "bravo", "charlie"), UNKNOWN))


def test_every_surname_is_asked_about_under_both_schemes_at_once(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo, charlie = fed.nodes
        for node in (bravo, charlie):
            await fed.file(node, [make_row(last="Quarrington", former_last="")])
        view = await fed.ask(alpha, last="Placeholderson Bellweather", former_last="Quarrington")
        asks = await asks_of(alpha, view.row.search_id)
        assert view.row.plans > 1
        assert sorted((ask.plan_number, ask.scheme_version) for ask in asks) == [
            (number, version)
            for number in range(view.row.plans)
            for version in (CURRENT.version, NEXT.version)
        ]
        assert owners(view) == [BRAVO, CHARLIE]

    play(tmp_path, scene, {"bravo": NEXT})


def test_a_node_that_changes_its_scheme_meanwhile_is_asked_again_under_the_new_one(tmp_path: Path) -> None:
    """§7.9: what was asked under the old one meets nothing in the new index, and that is not "no record"."""

    async def scene(fed: Federation) -> None:
        alpha, bravo, _ = fed.nodes
        await fed.file(bravo, [make_row()])
        submit, moved = alpha.hub.submit, False

        async def move(envelope: Envelope) -> int:
            nonlocal moved
            if envelope.kind is MessageKind.LOOKUP and not moved:
                moved = True
                under(bravo, NEXT)
                await bravo.publishing.publish()
                await fed.settled()
            return await submit(envelope)

        alpha.hub.submit = move  # type: ignore[method-assign]
        view = await fed.ask(alpha)
        asks = await asks_of(alpha, view.row.search_id)
        again = [ask for ask in asks if ask.attempt]
        assert [(ask.scheme_version, list(ask.targets)) for ask in again] == [(NEXT.version, [BRAVO])]
        assert owners(view) == [BRAVO]

    play(tmp_path, scene, {})


def test_an_index_that_changes_its_scheme_and_not_its_epoch_has_not_answered(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo, _ = fed.nodes
        await fed.file(bravo, [make_row()])
        submit, held = alpha.hub.submit, alpha.indexes

        async def swap(envelope: Envelope) -> int:
            index = held.indexes[BRAVO]
            held.indexes[BRAVO] = replace(index, head=replace(index.head, scheme_version=NEXT.version))
            return await submit(envelope)

        alpha.hub.submit = swap  # type: ignore[method-assign]
        held.refresh = _nothing  # type: ignore[method-assign]
        view = await fed.ask(alpha, last="Nobody", ssn4="1111", birth_date="1970-01-02")
        first, *_ = await asks_of(alpha, view.row.search_id)
        assert first.targets[BRAVO].state is TargetState.STALE_EPOCH

    play(tmp_path, scene, {})


async def _nothing() -> None:
    pass


def test_both_lookups_count_against_the_own_quota(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        alpha = fed.nodes[0]
        alpha.searcher._quota = Quota(total=700, weak=700, match=700, code=700)
        with pytest.raises(QuotaSpent):
            await fed.ask(alpha)
        alpha.searcher._quota = Quota(total=800, weak=800, match=800, code=800)
        await fed.ask(alpha)
        now = alpha.clock.now()
        uses = await alpha.store.run(lambda db: lookup_store.own_uses(db, now))
        assert sum(use.of(None) for use in uses) == 80

    play(tmp_path, scene, {"bravo": NEXT})


def test_a_lookup_that_the_hub_takes_for_one_scheme_only_is_incomplete(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo, charlie = fed.nodes
        for node in (bravo, charlie):
            await fed.file(node, [make_row()])
        fed.hub.hub.relay._quota = Quota(total=500, weak=500, match=500, code=500)
        view = await fed.ask(alpha)
        assert view.result is not None
        assert not view.result.coverage.complete
        states = {ask.scheme_version: ask.state for ask in await asks_of(alpha, view.row.search_id)}
        assert states == {NEXT.version: LookupState.SHOWN, CURRENT.version: LookupState.DENIED}
        assert owners(view) == [BRAVO]
        assert reports_of(view)[CHARLIE].state is TargetState.REFUSED
        assert "the hub denied it" in reports_of(view)[CHARLIE].reason

    play(tmp_path, scene, {"bravo": NEXT})


def test_too_little_under_any_of_the_schemes_is_too_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its NO_RECORD would look like knowledge at the nodes of that scheme."""
    asked = question(person=dict.fromkeys(("middle", "birth_date", "sex"), ""))
    monkeypatch.setitem(SCHEMES, NEXT.version, replace(NEXT, threshold=20))
    assert check_question(asked, (CURRENT.version,)).plans == 1
    with pytest.raises(InputInvalid, match="Too little is known"):
        check_question(asked, (CURRENT.version, NEXT.version))


def test_a_person_is_asked_about_as_often_as_the_scheme_needs_that_needs_the_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A further lookup to the nodes of one version only would tell a second surname from another person."""
    monkeypatch.setitem(SCHEMES, SHORT.version, SHORT)
    asked = question(person={"last": "Smith Jones Ashe Vandenberg"}, shape=LookupShape.SCREENING)
    for versions in ((SHORT.version,), (CURRENT.version,), (SHORT.version, CURRENT.version)):
        checked = check_question(asked, versions)
        assert checked.plans == 3
        for version in versions:
            assert len(plans_under(checked.person, asked.shape, bytes(32), version, checked.plans)) == 3


def test_a_search_that_was_planned_without_a_scheme_is_not_asked_under_it() -> None:
    """With fewer lookups than it needs, not every surname would be asked about: that is no "no record"."""
    asked = question(person={"last": "Smith Jones Ashe Vandenberg"}, shape=LookupShape.SCREENING)
    person = check_question(asked, (CURRENT.version,)).person
    with pytest.raises(UnsupportedVersion, match="planned without scheme version"):
        plans_under(person, asked.shape, bytes(32), CURRENT.version, 2)


def test_a_batch_costs_as_many_elements_at_the_hub_as_there_are_lookups_a_person() -> None:
    left = Left(4_000, 4_000, 4_000, 4_000)
    once, twice = (Allowed(left, {ALPHA: left}, (), lookups) for lookups in (1, 2))
    assert estimate(100, LookupShape.DETAILED, once).fits
    found = estimate(100, LookupShape.DETAILED, twice)
    assert (found.hub_short, found.hub_left, dict(found.short)) == (True, 2_000, {})


# --- batches -------------------------------------------------------------------------------------------


def person(number: int) -> dict[str, str]:
    first, last = ["Quentin Holder", "Mabel Orchard", "Tobias Wexley", "Iris Dunmore", "Casper Yule"][
        number
    ].split()
    born, ssn4 = f"19{60 + number}-0{number + 2}-1{number}", str(1357 + 1111 * number)
    return {"first": first, "last": last, "birth_date": born, "ssn4": ssn4}


def applicants() -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(person(0)))
    writer.writeheader()
    writer.writerows(person(number) for number in range(5))
    return out.getvalue().encode()


def filed(number: int) -> dict[str, str]:
    return make_row(agency_record_id=f"R-{number}", middle="", **person(number))


async def run_batch(
    node: Node, wait_seconds: float = PATIENCE_SECONDS, case: str = "REQ"
) -> list[tuple[str, ...]]:
    order = Order(Purpose.J_APPLICANT, LookupShape.DETAILED, case, *PAPERS, wait_seconds)
    record = await node.batches.start(order, applicants())
    await eventually(
        lambda: node.batches.progress(record.batch_id), lambda found: found[0].state == DONE, 60.0
    )
    rows = await node.store.run(
        lambda db: batch_results.result_rows(db, record.batch_id, 0, 100, ("?",) * len(RESULTS))
    )
    return [row.results for row in rows]


async def flights_of(node: Node) -> list[tuple[str, bool, list[str]]]:
    """Of each flight: its state, whether it holds the rows, and its targets."""

    def read(db: Database) -> list[tuple[str, bool, list[str]]]:
        return [
            (state, bool(first), [str(each) for each in flight_store.targets(db, LookupId(lookup_id))])
            for lookup_id, state, first in db.execute(
                "SELECT lookup_id, state, first IS NULL FROM flights ORDER BY rowid"
            ).fetchall()
        ]

    return await node.store.run(read)


def test_a_batch_asks_nodes_of_two_schemes_side_by_side(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo, charlie = fed.nodes
        await fed.file(bravo, [filed(1)])
        await fed.file(charlie, [filed(3)])
        results = await run_batch(alpha)
        assert [row[0] for row in results] == ["NO_RECORD", "MATCH", "NO_RECORD", "MATCH", "NO_RECORD"]
        assert [row[3] for row in results] == ["", "bravo", "", "charlie", ""]
        made = await flights_of(alpha)
        assert made[:2] == [("shown", True, ["bravo"]), ("accepted", False, ["alpha", "charlie"])]

    play(tmp_path, scene, {"bravo": NEXT})


def test_a_batch_says_which_node_has_an_unknown_scheme(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo, _ = fed.nodes
        await fed.file(bravo, [filed(1)])
        results = await run_batch(alpha)
        assert [row[0] for row in results] == ["INCOMPLETE", "MATCH", *["INCOMPLETE"] * 3]
        assert all("1 unknown scheme (charlie)" in row[5] for row in results)

    play(tmp_path, scene, {"bravo": NEXT, "charlie": UNKNOWN})


def test_a_batch_asks_a_node_again_that_changes_its_scheme_meanwhile(tmp_path: Path) -> None:
    async def scene(fed: Federation) -> None:
        alpha, bravo, _ = fed.nodes
        await fed.file(bravo, [filed(1)])
        submit, moved = alpha.hub.submit, False

        async def move(envelope: Envelope) -> int:
            nonlocal moved
            if envelope.kind is MessageKind.LOOKUP and not moved:
                moved = True
                under(bravo, CURRENT)
                await bravo.publishing.publish()
                await fed.settled()
            return await submit(envelope)

        alpha.hub.submit = move  # type: ignore[method-assign]
        results = await run_batch(alpha)
        assert [row[0] for row in results] == ["NO_RECORD", "MATCH", *["NO_RECORD"] * 3], results
        assert ["bravo"] in [nodes for _, first, nodes in await flights_of(alpha) if not first]

    play(tmp_path, scene, {"bravo": NEXT})


def test_rows_of_which_the_hub_denies_one_flight_are_asked_and_incomplete(tmp_path: Path) -> None:
    """They are not asked again: nodes of the other scheme have answered them already."""

    async def scene(fed: Federation) -> None:
        alpha, bravo, _ = fed.nodes
        await fed.file(bravo, [filed(1)])
        quota = Quota(total=3_000, weak=3_000, match=3_000, code=3_000)
        fed.hub.hub.relay._quota = quota
        order = Order(Purpose.J_APPLICANT, LookupShape.DETAILED, "REQ", *PAPERS, 20.0)
        record = await alpha.batches.start(order, applicants())
        found = await eventually(
            lambda: alpha.store.run(
                lambda db: batch_results.result_rows(db, record.batch_id, 0, 100, ("?",) * len(RESULTS))
            ),
            lambda rows: any(row.results[0] == "MATCH" for row in rows),
        )
        asked = [row.results for row in found if row.results[0] != "?"]
        assert "NO_RECORD" not in {row[0] for row in asked}
        assert all("2 refused (alpha, charlie)" in row[5] for row in asked)

    play(tmp_path, scene, {"bravo": NEXT})


# --- publishing ----------------------------------------------------------------------------------------


def test_a_node_that_is_told_another_scheme_publishes_under_it_at_once(tmp_path: Path) -> None:
    """As with another threshold: everything is packed anew in a new epoch."""

    async def scene(fed: Federation) -> None:
        alpha, bravo, _ = fed.nodes
        await fed.file(bravo, [make_row()])
        bravo.publishing._interval = timedelta.max
        under(bravo, NEXT)
        bravo.publishing.wake()
        await until(lambda: alpha.indexes.heads()[BRAVO].scheme_version == NEXT.version)
        head = alpha.indexes.heads()[BRAVO]
        assert (head.epoch, head.threshold) == (2, NEXT.threshold)
        assert owners(await fed.ask(alpha)) == [BRAVO]

    play(tmp_path, scene, {})
