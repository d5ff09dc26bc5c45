"""Segments and heads: what the hub stores for a node, and what it refuses (docs/protocol.md §6.6-6.8)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from candor_hub import index as index_module
from candor_proto.directory import IndexHead
from candor_proto.errors import (
    IdentityMismatch,
    KeyMismatch,
    LimitExceeded,
    MalformedMessage,
    NotCanonical,
    NotYetValid,
    Rollback,
    SignatureInvalid,
    UnknownObject,
)
from candor_proto.ids import NodeId
from candor_proto.segment import address
from candor_proto.signing import SigningKey
from tests.hub_members import Member
from tests.unit.hub.offices import Office, office


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path) as made:
        yield made


@pytest.fixture
def alpha(hub: Office) -> Member:
    return hub.join("alpha")


def put(hub: Office, member: Member, octets: bytes) -> None:
    hub.index.put_segment(address(octets), octets, member.node, hub.clock.now())


def publish(hub: Office, member: Member, head: IndexHead, key: SigningKey | None = None) -> int:
    statement = (key or member.signing_key).sign("index-head", head.encode())
    entry = hub.directory.latest().view.member(member.node)
    return hub.index.put_head(statement, entry, hub.clock.now())


def held(hub: Office, octets: bytes) -> bool:
    try:
        return b"".join(hub.index.get_segment(address(octets))) == octets
    except UnknownObject:
        return False


def test_a_segment_is_stored_and_read_back(hub: Office, alpha: Member) -> None:
    octets = alpha.segment()
    put(hub, alpha, octets)
    put(hub, alpha, octets)
    assert held(hub, octets)


def test_a_segment_under_another_address_is_refused(hub: Office, alpha: Member) -> None:
    octets, other = alpha.segment(), alpha.segment()
    with pytest.raises(MalformedMessage):
        hub.index.put_segment(address(other), octets, alpha.node, hub.clock.now())
    assert not held(hub, octets)
    assert not held(hub, other)


def test_a_segment_in_anothers_name_is_refused(hub: Office, alpha: Member) -> None:
    with pytest.raises(IdentityMismatch):
        put(hub, alpha, alpha.segment(node=NodeId("bravo")))


def test_octets_that_are_no_segment_are_refused(hub: Office, alpha: Member) -> None:
    for octets in (b"something else", alpha.segment() + b"\0", alpha.segment()[:-1]):
        with pytest.raises((MalformedMessage, NotCanonical)):
            put(hub, alpha, octets)


def test_what_no_head_names_is_bounded(hub: Office, alpha: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = alpha.segment(1), alpha.segment(2)
    monkeypatch.setattr(index_module, "MAX_UNNAMED_OCTETS", len(first) + len(second) - 1)
    put(hub, alpha, first)
    with pytest.raises(LimitExceeded):
        put(hub, alpha, second)
    publish(hub, alpha, alpha.head([first]))
    put(hub, alpha, second)


def test_a_head_is_published_in_a_new_directory(hub: Office, alpha: Member) -> None:
    octets = alpha.segment()
    put(hub, alpha, octets)
    head = alpha.head([octets])
    version = publish(hub, alpha, head)
    latest = hub.directory.latest()
    assert latest.version == version
    assert latest.view.head(alpha.node) == head
    assert publish(hub, alpha, head) == version  # the same again changes nothing


def test_a_head_under_another_key_is_refused(hub: Office, alpha: Member) -> None:
    with pytest.raises(SignatureInvalid):
        publish(hub, alpha, alpha.head(), SigningKey.generate())


def test_a_head_in_anothers_name_is_refused(hub: Office, alpha: Member) -> None:
    with pytest.raises(IdentityMismatch):
        publish(hub, alpha, alpha.head(node=NodeId("bravo")))


def test_a_head_that_goes_back_is_refused(hub: Office, alpha: Member) -> None:
    publish(hub, alpha, alpha.head(sequence=5, epoch=2))
    with pytest.raises(Rollback):
        publish(hub, alpha, alpha.head(sequence=4, epoch=2))
    with pytest.raises(Rollback):
        publish(hub, alpha, alpha.head(sequence=6, epoch=1))


def test_a_second_head_of_the_same_sequence_is_refused(hub: Office, alpha: Member) -> None:
    publish(hub, alpha, alpha.head(sequence=5))
    later = hub.clock.now() + timedelta(minutes=1)
    with pytest.raises(Rollback):
        publish(hub, alpha, alpha.head(sequence=5, issued_at=later))


def test_a_head_with_other_keys_in_the_same_epoch_is_refused(hub: Office, alpha: Member) -> None:
    """§14.5: logged, it would make everybody refuse the log."""
    publish(hub, alpha, alpha.head(sequence=5))
    alpha.epoch_keys.clear()
    with pytest.raises(KeyMismatch):
        publish(hub, alpha, alpha.head(sequence=6))
    publish(hub, alpha, alpha.head(sequence=6, epoch=2))


def test_a_head_from_the_future_is_refused(hub: Office, alpha: Member) -> None:
    with pytest.raises(NotYetValid):
        publish(hub, alpha, alpha.head(issued_at=hub.clock.now() + timedelta(minutes=6)))


def test_a_head_must_name_what_the_hub_holds(hub: Office, alpha: Member) -> None:
    octets = alpha.segment()
    with pytest.raises(UnknownObject):
        publish(hub, alpha, alpha.head([octets]))
    put(hub, alpha, octets)
    (segment,) = alpha.head([octets]).segments
    for wrong in (replace(segment, octets=segment.octets + 1), replace(segment, number=2)):
        with pytest.raises(MalformedMessage):
            publish(hub, alpha, replace(alpha.head(), segments=(wrong,)))
    with pytest.raises(MalformedMessage):
        publish(hub, alpha, alpha.head([octets], epoch=2))
    bravo = hub.join("bravo")
    with pytest.raises(UnknownObject):
        publish(hub, bravo, bravo.head([octets]))


def test_unnamed_segments_are_dropped_after_two_days_and_named_ones_never(hub: Office, alpha: Member) -> None:
    first, second, stray = alpha.segment(1), alpha.segment(1), alpha.segment(9)
    for octets in (first, stray):
        put(hub, alpha, octets)
    publish(hub, alpha, alpha.head([first], sequence=1))
    hub.clock.advance(hours=47)
    assert hub.index.collect_garbage(hub.clock.now()) == 0
    hub.clock.advance(hours=2)
    assert hub.index.collect_garbage(hub.clock.now()) == 1
    assert held(hub, first)
    assert not held(hub, stray)
    put(hub, alpha, second)
    publish(hub, alpha, alpha.head([second], sequence=2))
    hub.clock.advance(hours=47)
    assert hub.index.collect_garbage(hub.clock.now()) == 0
    assert held(hub, first)  # members may be fetching it still
    hub.clock.advance(hours=2)
    assert hub.index.collect_garbage(hub.clock.now()) == 1
    assert not held(hub, first)
    assert held(hub, second)
    assert [file for file in hub.config.segments.rglob("*") if file.is_file()] == [
        hub.config.segments / address(second).hex()[:2] / address(second).hex()
    ]
