"""Runs of retention: what is destroyed and what is kept, the certificate, and what nobody can open again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from candor_node import due_process, filings, history, ledger, lifecycle, record_seals, retention
from candor_node.store import Store
from candor_proto.errors import InputInvalid, UnknownObject
from candor_proto.signing import SigningKey
from candor_records.content import Content
from candor_records.life import Act
from candor_records.policy import NoPack, Retention
from candor_records.records import Dcn, Record, Standing
from candor_records.retention import Certificate, file_of, verify_file
from tests.desk import desk_store, doing, filed
from tests.pages import found_in, keys_that_open, pages
from tests.records import NODE, NOW, STORE_KEY

DAY = timedelta(days=1)
LATER = NOW + 31 * DAY
KEY = SigningKey(bytes(range(32)))


class _Month(NoPack):
    def retention(self, content: Content, filed_on: date) -> Retention:
        return Retention(None, filed_on + 30 * DAY, "kept for thirty days (§ 1)")


POLICY = _Month()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with desk_store(tmp_path) as made:
        yield made


def _ended(store: Store, number: int = 1) -> Record:
    """A record whose time is over at LATER."""
    record = filed(store, doing(policy=POLICY), agency_record_id=f"IA-{number}")
    store.run_sync(lambda db: due_process.refresh(db, LATER, POLICY))
    return record


def _hold(store: Store, record: Record) -> None:
    held = replace(record.circumstances, standing=Standing.EXPIRED, legal_hold=True)
    how = doing(LATER, policy=POLICY, reason="a case")
    store.run_sync(lambda db: lifecycle.change(db, record.dcn, Act.HOLD, how, held))


def _plan(store: Store) -> tuple[list[Dcn], list[Dcn]]:
    found = store.run_sync(lambda db: retention.plan(db, LATER.date(), POLICY))
    return [end.due.dcn for end in found.destroy], [end.due.dcn for end in found.kept]


def _run(store: Store, *approved: Record) -> Certificate:
    how = doing(LATER, policy=POLICY, second="chief-2")
    numbers = tuple(record.dcn for record in approved)
    signed = store.run_sync(lambda db: retention.run(db, numbers, NODE, KEY, how))
    return verify_file(file_of(signed, KEY.public), KEY.public)


def test_a_plan_shows_what_would_be_destroyed_and_what_a_hold_keeps_and_does_nothing(store: Store) -> None:
    ended, held = _ended(store), _ended(store, 2)
    filed(store, doing(LATER, policy=POLICY), agency_record_id="IA-3")
    _hold(store, held)
    assert _plan(store) == ([ended.dcn], [held.dcn])
    assert store.run_sync(lambda db: filings.find(db, ended.dcn)).dcn == ended.dcn


def test_a_run_destroys_what_was_approved_and_certifies_it(store: Store) -> None:
    ended, held = _ended(store), _ended(store, 2)
    _hold(store, held)
    certificate = _run(store, ended)
    assert [one.control_numbers for one in certificate.destroyed] == [(ended.dcn,)]
    assert certificate.destroyed[0].rule == "kept for thirty days (§ 1)"
    assert certificate.destroyed[0].ended_on == (NOW + 30 * DAY).date()
    assert certificate.kept == (held.dcn,)
    assert (certificate.by, certificate.second) == ("clerk-7", "chief-2")
    (entry,) = store.run_sync(lambda db: ledger.entries(db, event="retention.run"))
    assert certificate.ledger_number == entry.number
    assert (entry.number, certificate.ledger_digest) == store.run_sync(ledger.head)
    with pytest.raises(UnknownObject):
        store.run_sync(lambda db: filings.find(db, ended.dcn))
    assert _plan(store) == ([], [held.dcn])


def test_what_a_run_destroyed_is_on_no_page_any_more(store: Store) -> None:
    record = _ended(store)
    key = store.run_sync(lambda db: record_seals.key_of(db, record.record_id))
    sealed = store.run_sync(lambda db: db.execute("SELECT sealed FROM records").fetchone()[0])
    _run(store, record)
    store.checkpoint()
    everything = pages(store.path, STORE_KEY)
    assert found_in(everything, [key, sealed, b"Placeholderson"]) == []
    assert (
        keys_that_open(everything, sealed, filings._associated(record.record_id, str(record.dcn), 1)) == set()
    )


def test_a_hold_that_was_put_on_after_the_approval_keeps_the_record(store: Store) -> None:
    one, held = _ended(store), _ended(store, 2)
    _hold(store, held)
    certificate = _run(store, one, held)
    assert [one.control_numbers for one in certificate.destroyed] == [(one.dcn,)]
    assert store.run_sync(lambda db: filings.find(db, held.dcn)).dcn == held.dcn


def test_what_nobody_approved_is_not_destroyed(store: Store) -> None:
    approved, other = _ended(store), _ended(store, 2)
    _run(store, approved)
    assert store.run_sync(lambda db: filings.find(db, other.dcn)).dcn == other.dcn


def test_a_record_whose_time_is_not_over_is_not_destroyed_whoever_approves_it(store: Store) -> None:
    record = filed(store, doing(LATER, policy=POLICY))
    with pytest.raises(InputInvalid):
        _run(store, record)
    assert store.run_sync(lambda db: filings.find(db, record.dcn)).dcn == record.dcn


def test_a_run_takes_two_people(store: Store) -> None:
    record = _ended(store)
    with pytest.raises(AssertionError, match="two people"):
        store.run_sync(lambda db: retention.run(db, (record.dcn,), NODE, KEY, doing(LATER, policy=POLICY)))
    assert store.run_sync(lambda db: filings.find(db, record.dcn)).dcn == record.dcn


def test_a_certificate_is_never_changed_nor_deleted(store: Store) -> None:
    _run(store, _ended(store))
    for sql in ("DELETE FROM certificates", "UPDATE certificates SET destroyed = 0"):
        with pytest.raises(Exception, match="never"):
            store.run_sync(lambda db: db.execute(sql))  # noqa: B023
    (known,) = store.run_sync(retention.certificates)
    assert known.number == 1


def test_certificates_are_numbered_and_found_again(store: Store) -> None:
    first, second = _run(store, _ended(store)), _run(store, _ended(store, 2))
    assert store.run_sync(retention.certificates) == [second, first]
    signed = store.run_sync(lambda db: retention.certificate(db, 1))
    assert verify_file(file_of(signed, KEY.public), KEY.public) == first
    with pytest.raises(UnknownObject):
        store.run_sync(lambda db: retention.certificate(db, 3))


def test_the_history_of_a_destroyed_record_says_who_and_when_and_no_reason(store: Store) -> None:
    record = _ended(store)
    _run(store, record)
    last = store.run_sync(lambda db: history.events(db, record.record_id))[-1]
    assert (last.act, last.by, last.second, last.reason) == (Act.DESTROY, "clerk-7", "chief-2", "")
