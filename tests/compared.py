"""What a lookup for one person says of a record of another: real plans, keys and codes, no cryptography."""

from __future__ import annotations

from candor_proto.evidence import Evidence, NameRarity
from candor_proto.ids import LookupShape
from candor_proto.matchkeys import gate_weight, plan_lookup, record_codes, record_keys
from candor_proto.normalise import Particulars, normalise
from candor_proto.scheme import CURRENT
from candor_proto.scoring import REFERENCE_POPULATION, Explanation, explain, tag_outcomes

SEED = bytes(32)


def evidence(query: Particulars, record: Particulars, shape: LookupShape = LookupShape.DETAILED) -> Evidence:
    """What an asker of `query` knows of a record of `record`, once it opened (candor_proto.candidates)."""
    person, held = normalise(query), normalise(record)
    keys = {key.input for key in record_keys(held)}
    tags = record_codes(held)
    codes = {code.input for code in tags.codes}
    slots = [slot for plan in plan_lookup(person, shape, SEED) for slot in plan.slots]
    own = [(slot.label, slot.input) for slot in slots if slot.label]
    compared = [(label, value) for label, value in own if label in CURRENT.tag_labels]
    matched = {label for label, value in compared if value in codes}
    return Evidence(
        asked=frozenset(label.name for label, _ in own if label in CURRENT.match_labels),
        hit=frozenset(label.name for label, value in own if value in keys),
        outcomes=tag_outcomes((label for label, _ in compared), matched, tags.presence),
        names=NameRarity.of(person),
    )


def opens(query: Particulars, record: Particulars) -> bool:
    """Whether the record opens at the default threshold."""
    hit = evidence(query, record, LookupShape.SCREENING).hit
    return gate_weight(label for label in CURRENT.match_labels if label.name in hit) >= CURRENT.threshold


def compare(
    query: Particulars,
    record: Particulars,
    shape: LookupShape = LookupShape.DETAILED,
    population: int = REFERENCE_POPULATION,
) -> Explanation:
    return explain(evidence(query, record, shape), population)
