"""Adopting policy packs: by whom they are signed, what may follow what, and what becomes of the records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from candor_node import due_process, filings, ledger, lifecycle, packs
from candor_node.config import load_config
from candor_node.lifecycle import Doing
from candor_node.shipped_packs import release_key, shipped, trusted_keys
from candor_node.store import Database, IntegrityError, Store, Work
from candor_proto.errors import (
    AlreadyExists,
    CandorError,
    ConfigInvalid,
    IdentityMismatch,
    InputInvalid,
    Rollback,
    SignatureInvalid,
    UnknownObject,
)
from candor_proto.signing import SigningKey
from candor_records.life import Act
from candor_records.pack_reader import read_pack
from candor_records.pack_rules import PackInvalid
from candor_records.records import Record, Standing
from tests.empty import empty_store
from tests.packs import APPEAL, ISSUER, SHORT, clock, pack_text, signed
from tests.records import CONTRIBUTOR, NODE, NOW, ORI, STORE_KEY, make_content

T = TypeVar("T")
NODE_KEY = SigningKey(bytes(reversed(range(32))))
TRUSTED = frozenset({release_key(), ISSUER.public})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = empty_store(tmp_path / "node.db", STORE_KEY)
    yield store
    store.close()


@dataclass(frozen=True)
class Approved:
    arguments: dict[str, str]
    proposed_by: str = "clerk-7"
    decided_by: str = "chief-1"


@dataclass
class Desk:
    """What two people do with packs, one act a transaction."""

    store: Store
    now: datetime = NOW

    def run(self, work: Work[T]) -> T:
        return self.store.run_sync(work)

    def offer(self, octets: bytes, signature: str) -> str:
        return self.run(lambda db: packs.offer(db, self.now, octets, signature, TRUSTED))[1]

    def adopt(self, text: str) -> None:
        digest = self.offer(*signed(text))
        execute = packs.adopter(NODE, NODE_KEY, TRUSTED)
        self.run(lambda db: execute(db, Approved({"digest": digest}), self.now))

    def file(self, **fields: str) -> Record:
        def work(db: Database) -> Record:
            doing = Doing(self.now, CONTRIBUTOR, packs.in_force(db))
            return lifecycle.file(db, make_content(**fields), ORI, NODE, doing).after

        return self.run(work)

    def find(self, record: Record) -> Record:
        return self.run(lambda db: filings.find_current(db, record.record_id))

    def label(self) -> str:
        return self.run(packs.in_force).label


@pytest.fixture
def desk(store: Store) -> Desk:
    return Desk(store)


# --- in force --------------------------------------------------------------------------------------


def test_a_fresh_node_has_the_default_pack_of_its_installation_in_force(desk: Desk) -> None:
    assert desk.label() == "default 1"
    (adoption,) = desk.run(packs.adoptions)
    assert (adoption.by, adoption.second, adoption.in_force) == ("installation", "", True)
    assert adoption.pack == shipped("default").pack


def test_an_adopted_pack_lies_over_the_default_and_is_kept_with_who_and_when(desk: Desk) -> None:
    desk.adopt(pack_text())
    assert desk.label() == "default 1 + testland 1"
    adoption = desk.run(packs.adoptions)[0]
    assert (adoption.by, adoption.second, adoption.adopted_at) == ("clerk-7", "chief-1", NOW)
    assert adoption.statement is not None
    assert adoption.statement.verify("policy-adoption", NODE_KEY.public, str(NODE))
    (entry,) = desk.run(lambda db: ledger.entries(db, event="pack.adopted"))
    assert entry.refs["pack"] == "testland:1"
    assert (entry.refs["user"], entry.refs["second"]) == ("clerk-7", "chief-1")


def test_the_pack_of_another_state_takes_the_place_of_the_first(desk: Desk) -> None:
    desk.adopt(pack_text())
    other = pack_text().replace('"testland"', '"otherland"').replace('"ZZ"', '"YY"')
    desk.adopt(other)
    assert desk.label() == "default 1 + otherland 1"
    desk.adopt(pack_text())
    assert desk.label() == "default 1 + testland 1"
    assert [each.in_force for each in desk.run(packs.adoptions)] == [True, False, False, True]


def test_every_shipped_pack_can_be_adopted(desk: Desk) -> None:
    for name in ("arizona", "california", "texas"):
        pack = shipped(name)
        digest = desk.offer(pack.pack.octets, pack.signature.text)
        execute = packs.adopter(NODE, NODE_KEY, TRUSTED)
        desk.run(lambda db: execute(db, Approved({"digest": digest}), NOW))  # noqa: B023
        assert desk.label() == f"default 1 + {name} 1"


# --- whose pack, and which -------------------------------------------------------------------------


def refused(desk: Desk, octets: bytes, signature: str, error: type[CandorError]) -> CandorError:
    with pytest.raises(error) as caught:
        desk.offer(octets, signature)
    with pytest.raises(error):
        desk.run(
            lambda db: packs.adopt(
                db, desk.now, octets, signature, TRUSTED, NODE, NODE_KEY, "clerk-7", "chief-1"
            )
        )
    assert caught.value.remedy or error is SignatureInvalid
    return caught.value


def test_a_pack_whose_octets_were_changed_is_refused(desk: Desk) -> None:
    octets, signature = signed(pack_text())
    refused(desk, octets.replace(b"days = 5", b"days = 6"), signature, SignatureInvalid)
    refused(desk, octets + b"\n", signature, SignatureInvalid)


def test_a_pack_of_an_issuer_whom_nobody_trusts_is_refused(desk: Desk) -> None:
    refused(desk, *signed(pack_text(), SigningKey(bytes(32))), IdentityMismatch)


def test_a_signature_for_something_else_is_none_of_a_pack(desk: Desk) -> None:
    octets, signature = signed(pack_text())
    other = ISSUER.sign("lookup", octets).signature.hex()
    lines = signature.splitlines()
    refused(desk, octets, f"{lines[0]}\n{lines[1]}\nsignature {other}\n", SignatureInvalid)


@pytest.mark.parametrize("change", [str.upper, str.strip, lambda text: text + "\n", lambda text: "x" + text])
def test_a_signature_is_written_in_one_way(desk: Desk, change: object) -> None:
    octets, signature = signed(pack_text())
    assert callable(change)
    refused(desk, octets, change(signature), InputInvalid)


def test_a_signed_pack_whose_cases_do_not_come_out_is_refused(desk: Desk) -> None:
    refused(desk, *signed(pack_text(clock(days=6))), PackInvalid)


def test_a_pack_is_not_adopted_before_it_takes_effect(desk: Desk) -> None:
    text = pack_text().replace("2026-01-01", "2026-03-03")
    refused(desk, *signed(text), InputInvalid)
    desk.now = NOW + timedelta(days=1)
    desk.adopt(text)


def test_a_version_never_goes_back(desk: Desk) -> None:
    desk.adopt(pack_text(version=2))
    refused(desk, *signed(pack_text(version=1)), Rollback)


def test_a_version_never_goes_back_by_way_of_another_pack(desk: Desk) -> None:
    desk.adopt(pack_text(version=1))
    desk.adopt(pack_text(version=2))
    desk.adopt(pack_text().replace('"testland"', '"otherland"'))
    refused(desk, *signed(pack_text(version=1)), Rollback)


def test_the_same_name_and_version_is_always_the_same_octets(desk: Desk) -> None:
    desk.adopt(pack_text())
    refused(desk, *signed(pack_text() + "# changed\n"), AlreadyExists)
    refused(desk, *signed(pack_text()), AlreadyExists)


def test_a_new_default_pack_that_leaves_a_question_open_is_refused(desk: Desk) -> None:
    text = shipped("default").pack.octets.decode().replace("version = 1", "version = 2", 1)
    cut = text[: text.rindex("[[rule]]")]
    assert "has no rule for PURPOSES" in str(refused(desk, *signed(cut), PackInvalid))
    desk.adopt(text)
    assert desk.label() == "default 2"


def test_a_pack_of_another_state_is_warned_of() -> None:
    mine, country = read_pack(pack_text().encode()), shipped("default").pack
    for oris, warned in ((["ZZ0010000"], False), (["AZ0010000", "ZZ0010000"], False), (["AZ0010000"], True)):
        assert bool(packs.warning(mine, oris)) is warned
        assert not packs.warning(country, oris)
    assert not packs.warning(mine, [])
    assert "is of ZZ, and this node's agencies are of AZ, CA" in packs.warning(
        mine, ["CA0010000", "AZ0010000"]
    )


def test_a_pack_that_was_not_offered_cannot_be_adopted(desk: Desk) -> None:
    execute = packs.adopter(NODE, NODE_KEY, TRUSTED)
    with pytest.raises(InputInvalid, match="not here any more"):
        desk.run(lambda db: execute(db, Approved({"digest": "00" * 32}), NOW))


def test_what_is_adopted_is_checked_again(desk: Desk) -> None:
    """The issuer was trusted when it was proposed, and is not when it is approved."""
    digest = desk.offer(*signed(pack_text()))
    execute = packs.adopter(NODE, NODE_KEY, frozenset({release_key()}))
    with pytest.raises(IdentityMismatch):
        desk.run(lambda db: execute(db, Approved({"digest": digest}), NOW))
    assert desk.label() == "default 1"


def test_adoptions_cannot_be_changed_or_removed(desk: Desk) -> None:
    for statement in ("DELETE FROM adopted_packs", "UPDATE adopted_packs SET version = 9"):
        with pytest.raises(IntegrityError, match="append-only"):
            desk.run(lambda db: db.execute(statement))  # noqa: B023


def test_keys_of_further_issuers_come_from_the_settings() -> None:
    assert trusted_keys([ISSUER.public.value.hex()]) == TRUSTED
    for wrong in ("", "00" * 32, "zz" * 32, "ab"):
        with pytest.raises(ConfigInvalid):
            trusted_keys([wrong])
    with pytest.raises(UnknownObject):
        shipped("atlantis")


# --- what becomes of the records -------------------------------------------------------------------


def test_an_exception_opens_what_was_held_and_its_absence_closes_it_again(desk: Desk) -> None:
    record = desk.file(finality="APPEAL_PENDING")
    assert record.circumstances.standing is Standing.HELD
    desk.adopt(pack_text(APPEAL))
    assert desk.find(record).circumstances.standing is Standing.ACTIVE
    desk.adopt(pack_text(version=2))
    assert desk.find(record).circumstances.standing is Standing.HELD
    events = [each.event for each in desk.run(lambda db: ledger.entries(db, event="record"))]
    assert events == ["record.filed", "record.opened", "record.held"]


def test_every_record_gets_the_times_of_the_new_pack(desk: Desk) -> None:
    record = desk.file(effective_on="2024-06-14")
    assert record.circumstances.expires_on == date(2034, 6, 14)
    desk.adopt(pack_text(SHORT))
    now = desk.find(record).circumstances
    assert (now.review_on, now.expires_on, now.standing) == (None, date(2026, 6, 14), Standing.ACTIVE)


def test_a_record_whose_time_is_over_under_the_new_pack_expires_with_it(desk: Desk) -> None:
    record = desk.file()
    desk.adopt(pack_text(SHORT))
    assert desk.find(record).circumstances.standing is Standing.EXPIRED
    desk.adopt(pack_text(version=2))
    assert desk.find(record).circumstances.standing is Standing.EXPIRED


def test_a_review_that_somebody_set_by_hand_stays(desk: Desk) -> None:
    record, chosen = desk.file(effective_on="2024-06-14"), date(2027, 1, 1)

    def keep(db: Database) -> None:
        doing = Doing(NOW, CONTRIBUTOR, packs.in_force(db))
        before = lifecycle.current(db, record.dcn).circumstances
        lifecycle.change(db, record.dcn, Act.KEEP, doing, replace(before, review_on=chosen))

    desk.run(keep)
    desk.adopt(pack_text(SHORT))
    now = desk.find(record).circumstances
    assert (now.review_on, now.expires_on) == (chosen, date(2026, 6, 14))


def test_an_adoption_that_fails_leaves_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    record = desk.file(finality="APPEAL_PENDING")
    digest = desk.offer(*signed(pack_text(APPEAL, SHORT)))

    def broken(*_: object, **__: object) -> int:
        raise InputInvalid("planted")

    monkeypatch.setattr(due_process, "refresh", broken)
    execute = packs.adopter(NODE, NODE_KEY, TRUSTED)
    with pytest.raises(InputInvalid, match="planted"):
        desk.run(lambda db: execute(db, Approved({"digest": digest}), NOW))
    assert desk.label() == "default 1"
    assert desk.find(record) == record


def test_a_wrong_key_of_an_issuer_is_a_wrong_setting(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(f'node = "alpha"\npack_issuers = ["{ISSUER.public.value.hex()}"]\n')
    assert load_config(path).pack_issuers == (ISSUER.public.value.hex(),)
    for wrong in ("00" * 32, "zz" * 32, "ab"):
        path.write_text(f'node = "alpha"\npack_issuers = ["{wrong}"]\n')
        with pytest.raises(ConfigInvalid, match="pack_issuers"):
            load_config(path)
