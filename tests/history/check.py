"""Holds what clients were told against what every party's database holds afterwards.

Rules of this file:
- pure: values in, faults out;
- acknowledged means exactly once, refused for good means absent, unknown means at most once; an operation
  without an end is unknown;
- every fault has a name, so that a test can plant each and ask for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tests.history import exchange
from tests.history.faults import DAY, HOUR, LOOKUP, MONTH, Fault, Name, World
from tests.history.holdings import HubHolding, NodeHolding, SentLookup, Use
from tests.history.log import Operation


def check(
    operations: Sequence[Operation],
    nodes: Iterable[NodeHolding],
    hub: HubHolding,
    now: int,
    *,
    settled: bool = False,
) -> list[Fault]:
    """Everything that is wrong; `now` in milliseconds since 1970.

    `settled`: all work was given the time to finish, so that nothing may be under way any more.
    """
    world = World(operations, {node.node: node for node in nodes}, hub, now)
    checks = (
        _databases,
        _clients,
        _imports,
        exchange.lookups_of_askers,
        exchange.rows_of_batches,
        exchange.deliveries,
        exchange.decisions,
        exchange.answers,
        exchange.disclosures,
        exchange.recalls,
        _charges,
        _windows,
        _results,
        _heads,
    )
    faults = [fault for each in checks for fault in each(world)]
    if settled:
        faults.extend(_unfinished(world))
    return faults


def _databases(world: World) -> Iterator[Fault]:
    if world.hub.damage:
        yield Fault(Name.DAMAGED, "hub", world.hub.damage)
    if world.hub.log_fault:
        yield Fault(Name.BROKEN_LEDGER, "hub", world.hub.log_fault)
    lookups = sum(each.kind == LOOKUP for each in world.hub.envelopes)
    counted = (
        ("lookups", world.hub.logged_lookups, lookups),
        ("other envelopes", world.hub.logged_others, len(world.hub.envelopes) - lookups),
    )
    for what, logged, held in counted:
        # Envelopes are forgotten 30 days after their acceptance, the log never.
        if logged < held or (logged > held and not world.forgets()):
            yield Fault(Name.BROKEN_LEDGER, "hub", f"the log accounts for {logged} {what} of {held}")
    for node in world.nodes.values():
        if node.damage:
            yield Fault(Name.DAMAGED, node.node, node.damage)
        if node.ledger_fault:
            yield Fault(Name.BROKEN_LEDGER, node.node, node.ledger_fault)


# --- clients against databases -------------------------------------------------------------------------


def _clients(world: World) -> Iterator[Fault]:
    not_refused = {
        (operation.node, what)
        for operation in world.operations
        if operation.ended != "fail" and operation.node in world.nodes
        for what, _ in _EFFECTS[operation.kind](world, world.nodes[operation.node], operation)
    }
    for operation in world.operations:
        node = world.nodes.get(operation.node)
        if node is None:
            continue
        for what, times in _EFFECTS[operation.kind](world, node, operation):
            yield from _times(operation, what, times, (operation.node, what) in not_refused)


def _times(operation: Operation, what: str, times: int, elsewhere: bool) -> Iterator[Fault]:
    """`elsewhere`: another operation, which was not refused, is to have the same effect."""
    wanted = int(operation.what.get("times", 1))
    said = f"{operation}: {what} is there {times} times"
    if times > wanted:
        yield Fault(Name.DONE_TWICE, operation.node, said)
    elif operation.ended == "ok" and times < wanted:
        yield Fault(Name.FALSE_ACKNOWLEDGEMENT, operation.node, said)
    elif operation.ended == "fail" and times and not elsewhere:
        yield Fault(Name.REFUSED_BUT_DONE, operation.node, said)


Effects = Iterable[tuple[str, int]]


def _lookup_effects(world: World, node: NodeHolding, operation: Operation) -> Effects:
    """A lookup is there when the asker holds its search and did not hear the hub deny it."""
    denied = {each.search_id for each in node.lookups if each.state == "denied"}
    found = [
        each.search_id
        for each in node.searches
        if each.case == operation.what["case"] and each.search_id not in denied
    ]
    yield f"the search under {operation.what['case']}", len(found)
    told = operation.told.get("search_id")
    if told is not None and told not in found:
        yield f"the search {told}", 0


def _import_effects(world: World, node: NodeHolding, operation: Operation) -> Effects:
    """The records of one file, each once, however often the file was sent."""
    for each in operation.what["records"]:
        yield f"the record {each}", node.records.get(each, (0, 0))[0]


def _publish_effects(world: World, node: NodeHolding, operation: Operation) -> Effects:
    told = operation.told.get("sequence", 0)
    if operation.ended == "ok" and world.hub.heads.get(node.node, 0) < told:
        yield f"the head {told} at the hub", 0


def _disclosure_effects(world: World, node: NodeHolding, operation: Operation) -> Effects:
    """A request for one hit: never two that stand at once."""
    search_id, hit = operation.what["search_id"], operation.what["hit"]
    standing = [
        each.request_id
        for each in node.sent_requests
        if (each.search_id, each.hit) == (search_id, hit) and each.state in ("sent", "opened", "invalid")
    ]
    told = operation.told.get("request_id")
    if told is None:
        yield f"a request for hit {hit} of {search_id}", len(standing)
        return
    yield f"a request for hit {hit} of {search_id}", 1
    yield f"the request {told}", sum(each.request_id == told for each in node.sent_requests)
    if len(standing) > 1:
        yield "a standing request", len(standing)


_EFFECTS = {
    "lookup": _lookup_effects,
    "import": _import_effects,
    "publish": _publish_effects,
    "disclosure": _disclosure_effects,
}


def _imports(world: World) -> Iterator[Fault]:
    """All records of a file or none, and one version of each that counts."""
    for operation in world.operations:
        node = world.nodes.get(operation.node)
        if operation.kind != "import" or node is None:
            continue
        held = [node.records.get(each, (0, 0)) for each in operation.what["records"]]
        if len({bool(versions) for versions, _ in held}) > 1 or any(
            versions and current != 1 for versions, current in held
        ):
            yield Fault(Name.HALF_DONE, operation.node, f"{operation}: versions and current ones {held}")


# --- quotas --------------------------------------------------------------------------------------------


def _charges(world: World) -> Iterator[Fault]:
    """What was charged is what was accepted: at the hub by envelopes, at a node by its own ledger."""
    elements = {
        (node.node, each.lookup_id): each.elements for node in world.nodes.values() for each in node.lookups
    }
    charged = {(use.asker, use.hour): use.total for use in world.hub.uses}
    accepted: Counter[tuple[str, int]] = Counter()
    for envelope in world.hub.envelopes:
        if envelope.kind == LOOKUP and envelope.sender in world.nodes:
            hour = envelope.accepted_at // HOUR * HOUR
            accepted[envelope.sender, hour] += elements.get((envelope.sender, envelope.envelope_id), 0)
    yield from _compare(world, "hub", charged, accepted, world.nodes)
    for node in world.nodes.values():
        charged = {(use.asker, use.hour): use.total for use in node.uses}
        evaluated: Counter[tuple[str, int]] = Counter()
        for entry in node.entries:
            if entry.event == "lookup.answered" and entry.details["status"] == "EVALUATED":
                evaluated[entry.refs["asker"], entry.at // HOUR * HOUR] += int(entry.details["elements"])
        yield from _compare(world, node.node, charged, evaluated, None)


def _compare(
    world: World,
    party: str,
    charged: Mapping[tuple[str, int], int],
    accepted: Mapping[tuple[str, int], int],
    askers: Iterable[str] | None,
) -> Iterator[Fault]:
    known = None if askers is None else set(askers)
    for asker, hour in charged.keys() | accepted.keys():
        # Buckets that no window reaches any more are forgotten.
        if hour < world.now - MONTH or (known is not None and asker not in known):
            continue
        was, should = charged.get((asker, hour), 0), accepted.get((asker, hour), 0)
        if was != should:
            yield Fault(Name.CHARGED_WRONGLY, party, f"{asker} {was} elements for {should} accepted ({hour})")


def _windows(world: World) -> Iterator[Fault]:
    parties = [("hub", world.hub.limits, world.hub.uses)]
    parties += [(node.node, node.limits, node.uses) for node in world.nodes.values()]
    for party, limits, uses in parties:
        for asker in {use.asker for use in uses}:
            own = [use for use in uses if use.asker == asker]
            for kind in ("total", "weak", "match", "code"):
                limit: int = getattr(limits, kind)
                for window, most in ((MONTH, limit), (DAY, limit // limits.day_share)):
                    used = max(_in_window(own, kind, use.hour, window) for use in own)
                    if used > most:
                        yield Fault(
                            Name.QUOTA_EXCEEDED,
                            party,
                            f"{asker}: {used} {kind} of {most} in {window // HOUR} h",
                        )


def _in_window(uses: Sequence[Use], kind: str, end: int, window: int) -> int:
    return sum(getattr(use, kind) for use in uses if end - window < use.hour <= end)


# --- results -------------------------------------------------------------------------------------------


def _results(world: World) -> Iterator[Fault]:
    """NO_RECORD only when every node asked has answered; and never of somebody whose record was there."""
    for node in world.nodes.values():
        sent: dict[str, list[SentLookup]] = {}
        for lookup in node.lookups:
            sent.setdefault(lookup.search_id, []).append(lookup)
        for search in node.searches:
            if search.overall and search.answered != search.due:
                said = f"{search.case}: shows {search.answered} answers of {search.due} held"
                yield Fault(Name.RESULT_BEHIND, node.node, said)
            if search.overall != "NO_RECORD":
                continue
            if search.answered < search.asked:
                yield Fault(
                    Name.FALSE_NO_RECORD,
                    node.node,
                    f"{search.case}: {search.answered} of {search.asked} nodes",
                )
            answered = {
                target.node
                for lookup in sent.get(search.search_id, [])
                for target in lookup.targets
                if target.state == "answered"
            }
            asked = {target.node for lookup in sent.get(search.search_id, []) for target in lookup.targets}
            if asked - answered:
                yield Fault(
                    Name.FALSE_NO_RECORD, node.node, f"{search.case}: {asked - answered} did not answer"
                )
    for operation in world.operations:
        expected = operation.what.get("expect")
        holding = world.nodes.get(operation.node)
        if operation.kind != "lookup" or expected is None or holding is None:
            continue
        overall = [each.overall for each in holding.searches if each.case == operation.what["case"]]
        overall += [operation.told["overall"]] if "overall" in operation.told else []
        for found in overall:
            if found and found not in (expected, "INCOMPLETE"):
                yield Fault(Name.FALSE_NO_RECORD, operation.node, f"{operation}: {found}, not {expected}")


def _heads(world: World) -> Iterator[Fault]:
    """A head that its node takes for published is at the hub."""
    for node in world.nodes.values():
        there = world.hub.heads.get(node.node, 0)
        if node.head_confirmed and node.head_sequence > there:
            yield Fault(
                Name.HEAD_BEHIND, "hub", f"{node.node} published {node.head_sequence}, it has {there}"
            )
        if there > node.head_sequence:
            yield Fault(Name.LOST, node.node, f"its own head {there}")


# --- nothing under way any more ------------------------------------------------------------------------


def _unfinished(world: World) -> Iterator[Fault]:
    for node in world.nodes.values():
        for mail in node.inbox:
            if mail.state == "new":
                yield Fault(Name.UNFINISHED, node.node, f"{mail} in the inbox")
        for mail in node.outbox:
            if mail.state == "waiting":
                yield Fault(Name.UNFINISHED, node.node, f"{mail} in the outbox")
        for lookup in node.lookups:
            for target in lookup.targets:
                if target.state == "pending" and lookup.state not in ("denied", "closed"):
                    yield Fault(Name.UNFINISHED, node.node, f"{lookup.lookup_id} waits for {target.node}")
        for recall in node.recalls:
            if recall.state in ("pending", "sent"):
                yield Fault(Name.UNFINISHED, node.node, f"recall {recall.recall_id} is {recall.state}")
        if not node.head_confirmed:
            yield Fault(Name.UNFINISHED, node.node, "its head is not at the hub")
    for envelope in world.hub.envelopes:
        for name in envelope.waiting:
            if name in world.nodes and envelope.expires_at > world.now:
                yield Fault(Name.UNFINISHED, "hub", f"{envelope.envelope_id} waits for {name}")
