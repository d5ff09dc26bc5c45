"""§7.6, §17: of what fails while an index is opened, an asker tells what it can prove."""

from __future__ import annotations

from dataclasses import replace

import pytest

from candor_proto.accountability.evidence import Evidence, Item, Kind
from candor_proto.accountability.judgement import verify_evidence
from candor_proto.accountability.suspicion import Suspicion, suspicions
from candor_proto.candidates import NodeIndex, find_hits
from candor_proto.ids import LookupShape
from candor_proto.scheme import CURRENT
from candor_proto.sealed_index import EntryKeys
from candor_proto.segment import Segment
from tests import misdeeds
from tests.accountable import VICTIM, Court
from tests.indexes import TODAY, SealedPerson, ask
from tests.parties import FEDERATION, MIKE


def index_of(court: Court, *segments: bytes) -> NodeIndex:
    return NodeIndex(court.head_of(*segments), tuple(Segment(octets) for octets in segments))


def outputs(court: Court) -> list[tuple]:  # type: ignore[type-arg]  # slots with outputs
    return list(ask(VICTIM, LookupShape.SCREENING, court.owner.keys()))


def proved(court: Court, segment: bytes, found: Suspicion) -> Evidence:
    """The evidence that a suspicion is made into."""
    items: dict[str, Item] = {
        "head": court.sign_head(court.head_of(segment)),
        "owner_member": court.part("member owner"),
    }
    if found.kind is Kind.MALFORMED_ENTRY:
        items |= {"segment": segment, "output": found.output, "counter": found.counter}
    else:
        assert found.blob_id is not None
        items |= {"blob": found.blob_id.value, "secret": found.secret}
    if found.kind is Kind.MALFORMED_BLOB:
        items |= {"segment": segment}
    if found.kind is Kind.GARBAGE_SHARES:
        items |= {
            "blob_segment": segment,
            "entry_segment": None,
            "output": found.output,
            "counter": found.counter,
        }
    return court.evidence(found.kind, items)


def test_an_honest_index_raises_no_suspicion() -> None:
    court = Court()
    index = index_of(court, court.segment)
    assert find_hits(outputs(court), index, FEDERATION, TODAY).hits
    assert suspicions(outputs(court), index, FEDERATION) == []


@pytest.mark.parametrize("name", ["malformed_entry", "malformed_blob", "garbage_shares"])
def test_what_fails_can_be_proved(name: str) -> None:
    court = Court()
    evidence = misdeeds.MISDEEDS[name](court)
    segment = evidence.octets("blob_segment" if name == "garbage_shares" else "segment")
    index = index_of(court, segment)
    found = suspicions(outputs(court), index, FEDERATION)
    assert [one.kind for one in found] == [evidence.kind]
    assert verify_evidence(proved(court, segment, found[0]), court.trust()).kind is evidence.kind
    assert "Suspicion" in repr(found[0])
    assert repr(court.people[0].secrets.secret) not in repr(found[0])


def spoilt(court: Court, *names: str) -> tuple[SealedPerson, bytes]:
    """The first person with garbage in the entries of these labels, and the segment."""
    first, *others = court.people
    asked = {slot.label.name: output for slot, output in outputs(court) if slot.label is not None}
    entries = []
    for name, entry in first.entries:
        keys = EntryKeys(asked[name], court.index_owner) if name in names and name in asked else None
        if keys is not None and entry[:16] == keys.tag(1, 0):
            entry = keys.seal(1, 0, first.secrets.blob_id, [bytes([7]) * 16] * 3)
        entries.append((name, entry))
    changed = replace(first, entries=tuple(entries))
    return changed, court.sealer().segment([changed, *others])


def test_garbage_in_every_entry_proves_nothing() -> None:
    """Nobody knows the secret then: it is a miss, and there is no evidence (docs/protocol.md §17.3)."""
    court = Court()
    _, segment = spoilt(court, *(label.name for label in CURRENT.match_labels))
    assert suspicions(outputs(court), index_of(court, segment), FEDERATION) == []
    assert find_hits(outputs(court), index_of(court, segment), FEDERATION, TODAY).hits == ()


def test_each_entry_with_garbage_is_named() -> None:
    court = Court()
    _, segment = spoilt(court, "L3+Dc", "Fc+D")
    found = suspicions(outputs(court), index_of(court, segment), FEDERATION)
    assert [one.kind for one in found] == [Kind.GARBAGE_SHARES] * 2
    for one in found:
        verify_evidence(proved(court, segment, one), court.trust())


def test_what_lies_below_the_threshold_is_left_alone() -> None:
    """Whoever is not the asked person is not opened to prove something."""
    court = Court()
    _, segment = spoilt(court, "L3+Dc")
    few = [(slot, output) for slot, output in outputs(court) if slot.label and slot.label.name == "L3+Dc"]
    assert suspicions(few, index_of(court, segment), FEDERATION) == []
    others = list(ask(MIKE, LookupShape.SCREENING, court.owner.keys()))
    assert suspicions(others, index_of(court, segment), FEDERATION) == []
