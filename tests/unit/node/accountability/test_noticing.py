"""§17.2: whoever notices misbehaviour holds evidence of it at once, and can hand it to anybody."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from candor_hub.store.logged import Logged
from candor_node import mail_store, request_store
from candor_node.accountability import evidence_store, noticing, own_lookups
from candor_node.accountability.evidence_store import MAX_ROWS, EvidenceState, Noticed
from candor_node.app import Node
from candor_node.tlog import contradictions
from candor_node.tlog.contradictions import Contradiction
from candor_proto.accountability.evidence import Item, Kind
from candor_proto.disclosure import RequesterState
from candor_proto.errors import CandorError, NotEvidence, NotLogged, UnknownObject
from candor_proto.segment import address
from candor_proto.tlog.checkpoint import Checkpoint
from candor_proto.tlog.statements import HEARTBEAT, Heartbeat, received_bits
from tests.byzantine.forging import answers_with, drafted, fields, responds_with, signed_lookup, under
from tests.federation import Federation, eventually
from tests.records import make_row
from tests.unit.node.accountability.scenes import SCREENING, WHOM, Planted, exported, kept, only, party, play


def test_a_wrong_key_is_proved(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node) -> None:
        answers_with(party(bravo), under(bytes(32)))
        view = await fed.ask(alpha, shape=SCREENING, wait_seconds=fed.a_while_seconds)
        assert view.result is not None
        finding = await only(alpha, Kind.WRONG_KEY, "bravo")
        assert "does not verify under the keys" in finding.words
        assert (await kept(bravo)) == []

    play(tmp_path, scene)


def test_a_wrong_epoch_is_proved(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node) -> None:
        answers_with(party(bravo), fields(epoch=7))
        await fed.ask(alpha, shape=SCREENING, wait_seconds=fed.a_while_seconds)
        await only(alpha, Kind.WRONG_EPOCH, "bravo")

    play(tmp_path, scene)


def test_an_answer_that_the_hub_has_spoilt_accuses_nobody(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node) -> None:
        honest = bravo.answerer._envelope

        def spoilt(*given):  # type: ignore[no-untyped-def]  # a wrapper of one method
            envelope = honest(*given)
            return replace(envelope, signature=bytes(64))

        bravo.answerer._envelope = spoilt  # type: ignore[method-assign]  # one that spoils
        await fed.ask(alpha, shape=SCREENING, wait_seconds=fed.a_while_seconds)
        assert await kept(alpha) == []

    play(tmp_path, scene)


def test_honest_members_leave_no_evidence(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node) -> None:
        await fed.file(bravo, [make_row()])
        await fed.ask(alpha, shape=SCREENING)
        for node in (alpha, bravo):
            await node.accountant.keep_house()
            assert await kept(node) == []

    play(tmp_path, scene)


def test_a_phantom_is_proved(tmp_path: Path) -> None:
    """Bravo releases another record than the one that its index is committed to."""

    async def scene(fed: Federation, alpha: Node, bravo: Node) -> None:
        await fed.file(bravo, [make_row()])
        view = await fed.ask(alpha, shape=SCREENING)
        responds_with(party(bravo), lambda _, said: replace(said, record=said.record + b"x"))
        request_id = await alpha.requester.send(view.row.search_id, 1, "dana")
        await eventually(
            lambda: bravo.store.run(lambda db: request_store.received(db, request_id)),
            lambda known: known is not None,
        )
        await bravo.owner.approve(request_id, "chief")
        await eventually(
            lambda: alpha.store.run(lambda db: request_store.sent(db, request_id)),
            lambda known: known is not None and known.state is RequesterState.INVALID,
        )
        finding = await only(alpha, Kind.PHANTOM, "bravo")
        assert "is not the one committed to" in finding.words

    play(tmp_path, scene)


def test_two_lookups_under_one_id_are_proved_by_their_owner(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node) -> None:
        first = drafted(alpha, targets=("alpha", "bravo"))
        second = drafted(alpha, targets=("alpha", "bravo"), lookup_id=first.lookup.lookup_id)
        for draft in (first, second, first):
            envelope = replace(signed_lookup(alpha, draft.lookup), recipient=bravo.config.node_id)
            await bravo.answerer.process(mail_store.unstored(envelope))
        await only(bravo, Kind.TWO_LOOKUPS, "alpha")

    play(tmp_path, scene)


def test_two_heads_are_proved(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node) -> None:
        planted = Planted(bravo, [WHOM])
        other = replace(planted.head, threshold=4)
        statement = bravo.keys.signing.sign("index-head", other.encode())
        now = alpha.clock.now()
        for _ in range(2):
            await alpha.store.run(lambda db: noticing.heads(db, [(other, statement)], now))
        finding = await only(alpha, Kind.TWO_HEADS, "bravo")
        assert "two index heads of sequence" in finding.words

    play(tmp_path, scene)


def test_a_malformed_segment_is_proved(tmp_path: Path) -> None:
    """The whole way: named by a head that bravo publishes, fetched from the hub."""

    async def scene(fed: Federation, alpha: Node, bravo: Node) -> None:
        planted = Planted(bravo, [WHOM])
        octets = planted.segment()[:-1]

        class Hub:
            async def get_segment(self, named: object) -> bytes:
                return octets

        head = planted.head
        ref = replace(head.segments[0], address=address(octets), octets=len(octets))
        head = replace(head, segments=(ref,), sequence=head.sequence + 1)
        statement = bravo.keys.signing.sign("index-head", head.encode())
        now = alpha.clock.now()
        await alpha.store.run(lambda db: noticing.heads(db, [(head, statement)], now))
        alpha.indexes._hub = Hub()  # type: ignore[assignment]  # serves one segment
        for _ in range(2):
            with pytest.raises(CandorError):
                await alpha.indexes._segment(head, ref, from_hub=True)
        finding = await only(alpha, Kind.MALFORMED_SEGMENT, "bravo")
        assert "what is none" in finding.words

    play(tmp_path, scene)


def test_a_dropped_lookup_is_proved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that logs a heartbeat by which a lookup never arrived, and asks nothing."""

    async def scene(fed: Federation, alpha: Node, bravo: Node) -> None:
        view = await fed.ask(alpha, shape=SCREENING)

        async def placed() -> own_lookups.OwnLookup | None:
            await alpha.follower.follow()
            return await alpha.store.run(lambda db: own_lookups.find(db, view.row.search_id))

        mine = await eventually(placed, lambda one: one is not None and one.place is not None)
        assert mine is not None
        assert mine.place is not None
        log_view = alpha.accountant.proofs.view()
        entries = await alpha.accountant.proofs.entries(log_view.shard, 0, log_view.size, log_view.size)
        # By bravo's own account nothing has arrived, of all that was ever logged.
        total = await alpha.store.run(lambda db: noticing._lookups_before(db, log_view.shard, log_view.size))
        now = bravo.clock.now()
        said = Heartbeat(
            bravo.config.federation_name, bravo.config.node_id, log_view.origin, 1, 0, log_view.size,
            received_bits([False] * total), 0, 0, 1, bytes(32), now,
        )  # fmt: skip
        statement = bravo.keys.signing.sign(HEARTBEAT, said.encode())
        assert len(entries) == log_view.size
        # A hub that looks for no lookup that lives (§14.8).
        monkeypatch.setattr(Logged, "live_requests", lambda *given: set())
        await bravo.hub.put_statement(HEARTBEAT, statement)

        async def noticed() -> int:
            await alpha.follower.follow()
            return len(await kept(alpha))

        await eventually(noticed, lambda count: count == 1)
        finding = await only(alpha, Kind.DROPPED_LOOKUP, "hub")
        assert str(view.row.search_id) in finding.words

    play(tmp_path, scene)


def test_what_the_follower_found_becomes_evidence(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node) -> None:
        log_view = alpha.accountant.proofs.view()
        keys = fed.hub.hub.log._ring._read(1)
        first = keys.sign(Checkpoint(log_view.origin, 3, bytes(32)), alpha.clock.now())
        second = keys.sign(Checkpoint(log_view.origin, 3, bytes([1]) * 32), alpha.clock.now())
        extra: dict[str, object] = {
            "proof": [],
            "prefix_root": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
        }
        found = Contradiction("forked-log", log_view.origin, first.encode(), second.encode(), extra)
        now = alpha.clock.now()
        await alpha.store.run(lambda db: contradictions.keep(db, found, now))
        for _ in range(2):
            await alpha.accountant.take_contradictions()
        await only(alpha, Kind.FORKED_LOG, "hub")

    play(tmp_path, scene)


def test_evidence_whose_parts_are_not_logged_is_not_exported(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node) -> None:
        answers_with(party(bravo), under(bytes(32)))
        await fed.ask(alpha, shape=SCREENING, wait_seconds=fed.a_while_seconds)
        (one,) = await eventually(lambda: kept(alpha), lambda held: bool(held))
        assert one.state is EvidenceState.READY
        await alpha.store.run(lambda db: db.execute("DELETE FROM logged_heads"))
        with pytest.raises(NotLogged, match="not in the log yet"):
            await exported(alpha, one.number)
        with pytest.raises(UnknownObject):
            await exported(alpha, 99)

    play(tmp_path, scene)


def test_evidence_that_does_not_hold_is_not_exported(tmp_path: Path) -> None:
    """Nobody is accused of what would not convince a stranger."""

    async def scene(fed: Federation, alpha: Node, bravo: Node) -> None:
        statement = bravo.keys.signing.sign("index-head", Planted(bravo, []).head.encode())
        items: dict[str, Item] = {"first": statement, "second": statement}
        noticed = Noticed(Kind.TWO_HEADS, "bravo", items, noticing.owner_member(bravo.config.node_id))
        now = alpha.clock.now()
        number = await alpha.store.run(lambda db: evidence_store.keep(db, noticed, now))
        with pytest.raises(NotEvidence):
            await exported(alpha, number)

    play(tmp_path, scene)


def test_who_misbehaves_without_end_fills_no_disk(tmp_path: Path) -> None:
    async def scene(fed: Federation, alpha: Node, bravo: Node) -> None:
        now = alpha.clock.now()

        def work(db):  # type: ignore[no-untyped-def]  # one transaction
            numbers = []
            for count in range(MAX_ROWS + 5):
                head = replace(Planted(bravo, []).head, sequence=count)
                statement = bravo.keys.signing.sign("index-head", head.encode())
                items: dict[str, Item] = {"first": statement, "second": statement}
                noticed = Noticed(Kind.TWO_HEADS, "bravo", items, noticing.owner_member(head.node))
                numbers.append(evidence_store.keep(db, noticed, now))
            return numbers

        numbers = await alpha.store.run(work)
        assert sum(number > 0 for number in numbers) == MAX_ROWS

    play(tmp_path, scene)
