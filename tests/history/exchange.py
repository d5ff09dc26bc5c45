"""What one party durably believes of another must be true there.

What was accepted is there, what was taken is here; a message whose life has ended is not missed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.history.faults import ANSWER, EVALUATED, LOOKUP, REQUEST, RESPONSE, STALE_EPOCH, Fault, Name, World
from tests.history.holdings import Decided, NodeHolding, SentLookup, Target

# Of an outbox: what is dead is on its way no more.
WAITING = "waiting"


def lookups_of_askers(world: World) -> Iterator[Fault]:
    """What an asker sent is at the hub, or still in its outbox; what the hub took, the asker knows of."""
    for node in world.nodes.values():
        waiting = {each.envelope_id for each in node.outbox if each.kind == LOOKUP and each.state == WAITING}
        for lookup in node.lookups:
            there = world.accepted(node.node, LOOKUP, lookup.lookup_id) is not None
            gone = lookup.expires_at <= world.now
            if lookup.state in ("accepted", "shown") and not there and not gone:
                yield Fault(Name.LOST, "hub", f"the lookup {lookup.lookup_id} that it accepted")
            if lookup.state == "denied" and there:
                yield Fault(Name.REFUSED_BUT_DONE, "hub", f"the lookup {lookup.lookup_id} that it denied")
            if lookup.state == "stored" and not there and not gone and lookup.lookup_id not in waiting:
                yield Fault(Name.LOST, node.node, f"the lookup {lookup.lookup_id} that it was to send")
        known = {each.lookup_id for each in node.lookups}
        for envelope in world.hub.envelopes:
            if envelope.sender == node.node and envelope.kind == LOOKUP and envelope.envelope_id not in known:
                yield Fault(Name.LOST, node.node, f"its own lookup {envelope.envelope_id}")


def rows_of_batches(world: World) -> Iterator[Fault]:
    """A row of a batch is asked once, whatever was interrupted."""
    for node in world.nodes.values():
        for (batch, row), times in node.rows_asked.items():
            if times > 1:
                yield Fault(Name.ASKED_TWICE, node.node, f"row {row} of batch {batch}: {times} times")


def deliveries(world: World) -> Iterator[Fault]:
    """What the hub no longer keeps for a node, that node has; nobody has what nobody sent."""
    taken = {
        (node.node, each.party, each.kind, each.envelope_id)
        for node in world.nodes.values()
        for each in node.inbox
    }
    for envelope in world.hub.envelopes:
        key = (envelope.sender, envelope.kind, envelope.envelope_id)
        for name in envelope.recipients:
            if name not in world.nodes or name in envelope.waiting or envelope.expires_at <= world.now:
                continue
            if (name, *key) not in taken:
                yield Fault(Name.LOST, name, f"the message {key} that it acknowledged")
    for node in world.nodes.values():
        done = Counter(
            (each.party, each.kind, each.envelope_id) for each in node.inbox if each.state == "done"
        )
        for each, times in done.items():
            # A repeated body is one row; two rows that were both acted on are two bodies under one id.
            if times > 1:
                yield Fault(Name.PROCESSED_TWICE, node.node, f"{each} {times} times")


def decisions(world: World) -> Iterator[Fault]:
    """Each lookup is decided once, accounted for once, and answered as it was decided."""
    for node in world.nodes.values():
        accounted = Counter(
            (each.refs["asker"], each.refs["lookup_id"])
            for each in node.entries
            if each.event == "lookup.answered"
        )
        decided = {(each.asker, each.lookup_id): each for each in node.decided}
        for key, times in accounted.items():
            if times > 1:
                yield Fault(Name.ANSWERED_TWICE, node.node, f"the lookup {key} was decided {times} times")
            if key not in decided and not world.forgets():
                yield Fault(Name.LOST, node.node, f"the replay entry of {key}")
        waiting = {(each.party, each.envelope_id) for each in node.inbox if each.state == "new"}
        outgoing = {each.envelope_id for each in node.outbox if each.kind == ANSWER and each.state == WAITING}
        lives = {(each.party, each.envelope_id): each.expires_at for each in node.inbox}
        for key, each in decided.items():
            if not accounted[key]:
                yield Fault(Name.BROKEN_LEDGER, node.node, f"the lookup {key} is not accounted for")
            there = world.accepted(node.node, ANSWER, each.lookup_id, each.asker) is not None
            live = lives.get((each.asker, each.lookup_id), 0) > world.now
            if each.answered and not there and each.lookup_id not in outgoing and live:
                yield Fault(Name.LOST, node.node, f"its answer to {key}")
            if not each.answered and key not in waiting:
                yield Fault(Name.LOST, node.node, f"the lookup {key}, decided and never answered")
        for mail in node.inbox:
            if mail.kind == LOOKUP and mail.state == "done":
                known = decided.get((mail.party, mail.envelope_id))
                if (known is None and not world.forgets()) or (known is not None and not known.answered):
                    yield Fault(
                        Name.LOST, node.node, f"the lookup {mail.envelope_id} that it set aside as done"
                    )


def answers(world: World) -> Iterator[Fault]:
    """An answer that counts was decided by its node, went through the hub, and is one for all."""
    decided = {
        (node.node, each.asker, each.lookup_id): each
        for node in world.nodes.values()
        for each in node.decided
    }
    for envelope in world.hub.envelopes:
        if envelope.kind != ANSWER or envelope.sender not in world.nodes:
            continue
        known = decided.get((envelope.sender, envelope.recipients[0], envelope.envelope_id))
        if (known is None or not known.answered) and not world.forgets():
            yield Fault(Name.ANSWER_WITHOUT_DECISION, envelope.sender, f"the lookup {envelope.envelope_id}")
    for node in world.nodes.values():
        for lookup in node.lookups:
            for target in lookup.targets:
                each = decided.get((target.node, node.node, lookup.lookup_id))
                yield from _answer(world, node, lookup, target, each)


def _answer(
    world: World, node: NodeHolding, lookup: SentLookup, target: Target, decided: Decided | None
) -> Iterator[Fault]:
    if not target.digest or target.state in ("pending", "invalid answer"):
        return
    envelope = world.accepted(target.node, ANSWER, lookup.lookup_id, node.node)
    which = f"to {lookup.lookup_id} from {target.node}"
    if envelope is not None and envelope.digest != target.digest:
        yield Fault(Name.ANSWERED_TWICE, node.node, f"the answer {which} is not the one the hub accepted")
    # An epoch may end between a decision and its answer; nothing else may change.
    if decided is not None and target.status not in (
        decided.status,
        STALE_EPOCH if decided.status == EVALUATED else decided.status,
    ):
        yield Fault(Name.ANSWERED_TWICE, target.node, f"{which}: {target.status}, decided {decided.status}")


def disclosures(world: World) -> Iterator[Fault]:
    for node in world.nodes.values():
        outgoing = {(each.kind, each.envelope_id) for each in node.outbox if each.state == WAITING}
        events = Counter(
            (each.event, each.refs["request_id"])
            for each in node.entries
            if each.event.startswith("disclosure.") and "request_id" in each.refs
        )
        # What was released and recalled before it left is taken back.
        taken_back = {each.request_id for each in node.recalls if each.destroys}
        for (event, request_id), times in events.items():
            # A record may be looked at, and a request refused, more than once.
            if times > 1 and event not in ("disclosure.refused", "disclosure.viewed"):
                yield Fault(Name.PROCESSED_TWICE, node.node, f"{event} of {request_id}, {times} times")
        for request in node.sent_requests:
            there = world.accepted(node.node, REQUEST, request.request_id) is not None
            if request.state == "sent" and not there and (REQUEST, request.request_id) not in outgoing:
                yield Fault(Name.LOST, node.node, f"the request {request.request_id} that it was to send")
            owner = world.nodes.get(request.party)
            if (
                request.state == "opened"
                and owner is not None
                and ("released", request.request_id)
                not in {(each.state, each.request_id) for each in owner.received_requests}
            ):
                yield Fault(Name.ANSWER_WITHOUT_DECISION, request.party, f"the request {request.request_id}")
        for request in node.received_requests:
            there = world.accepted(node.node, RESPONSE, request.request_id) is not None
            decided = request.state in ("released", "declined")
            sent = there or (RESPONSE, request.request_id) in outgoing
            if decided and not sent and request.request_id not in taken_back:
                yield Fault(Name.LOST, node.node, f"its response to {request.request_id}")


def recalls(world: World) -> Iterator[Fault]:
    """What an owner takes for done was done, once; what was to be destroyed is nowhere."""
    for node in world.nodes.values():
        applied = Counter(each.refs["recall_id"] for each in node.entries if each.event == "recall.applied")
        for each in node.received_recalls:
            if applied[each.recall_id] != 1:
                times = applied[each.recall_id]
                yield Fault(Name.PROCESSED_TWICE, node.node, f"recall {each.recall_id}, {times} times")
            if each.destroys and each.request_id in node.copies:
                yield Fault(Name.NOT_FORGOTTEN, node.node, f"what it holds under {each.request_id}")
        for each in node.recalls:
            recipient = world.nodes.get(each.party)
            if recipient is None or each.state not in ("acted", "read"):
                continue
            if each.recall_id not in {one.recall_id for one in recipient.received_recalls}:
                yield Fault(Name.FALSE_ACKNOWLEDGEMENT, each.party, f"recall {each.recall_id}")
