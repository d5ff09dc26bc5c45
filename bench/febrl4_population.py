"""FEBRL 4 as agencies would hold it: owners' records, the applicants, who is a member, and the score.

FEBRL 4 has 5,000 entities; file A holds the original of each, file B a copy with typing errors, missing and
exchanged values. The B rows of a random half are the records, spread over the nodes; all A rows are asked.
Name, birth date and the last four digits of `soc_sec_id` are used, nothing else.

The half is that of the design measurements: entity numbers sorted as texts, permuted as
`numpy.random.RandomState(1).permutation` does (written out here: numpy is not a dependency), first half.
"""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from candor_proto.normalise import Particulars
from candor_records.record_fields import parse
from tests.records import make_row

SPLIT_SEED = 1
# What a clerk writes where the form insists on a surname and none is known: no placeholder that intake knows
# and refuses, so matching takes it for a surname, which differs from everybody's.
NO_SURNAME = "Notstated"


@dataclass(frozen=True)
class Row:
    """One row of FEBRL 4; `entity` is the label and no feature."""

    entity: str
    person: Particulars


def read(text: str) -> list[Row]:
    """The rows of a FEBRL file: padded headings and values, empty where missing."""
    rows = []
    for raw in csv.DictReader(io.StringIO(text)):
        value = {name.strip(): (field or "").strip() for name, field in raw.items()}
        rows.append(
            Row(
                value["rec_id"].split("-")[1],
                Particulars(
                    first=value["given_name"],
                    last=value["surname"],
                    birth_date=value["date_of_birth"],
                    ssn4=value["soc_sec_id"][-4:],
                ),
            )
        )
    return rows


def permutation(count: int, seed: int = SPLIT_SEED) -> list[int]:
    """`numpy.random.RandomState(seed).permutation(count)`: MT19937, shuffled from the end, masked draws."""
    state = [seed & 0xFFFFFFFF]
    for index in range(1, 624):
        state.append(1812433253 * (state[-1] ^ state[-1] >> 30) + index & 0xFFFFFFFF)
    draw = random.Random()
    draw.setstate((3, (*state, 624), None))
    order = list(range(count))
    for last in range(count - 1, 0, -1):
        mask = (1 << last.bit_length()) - 1
        while (chosen := draw.getrandbits(32) & mask) > last:
            pass
        order[last], order[chosen] = order[chosen], order[last]
    return order


def members(rows: Iterable[Row]) -> set[str]:
    """The entities whose B row is a record: a random half."""
    entities = sorted({row.entity for row in rows})
    return {entities[index] for index in permutation(len(entities))[: len(entities) // 2]}


def owner_of(entity: str, nodes: Sequence[str]) -> str:
    """The node that holds an entity's record: the same in every run."""
    return nodes[int(entity) % len(nodes)]


def filed(row: Row) -> dict[str, str] | None:
    """A record of the import format, as intake accepts it; None where it cannot be filed at all.

    Intake is stricter than matching: a missing given name is entered as UNKNOWN, a missing surname as
    NO_SURNAME, and of a date that no calendar has, what is possible of it is filed. All else (kind, due
    process) is invented and passes the gate.
    """
    person = row.person
    digits = person.birth_date
    dates = [f"{digits[:4]}-{digits[4:6]}-{digits[6:]}", f"{digits[:4]}-{digits[4:6]}", digits[:4], ""]
    for birth_date in dates if len(digits) == 8 else [""]:
        for ssn4 in dict.fromkeys([person.ssn4, ""]):
            made = make_row(
                agency_record_id=f"FEBRL-{row.entity}",
                first=person.first or "UNKNOWN",
                middle="",
                last=person.last or NO_SURNAME,
                birth_date=birth_date,
                ssn4=ssn4,
                sex="",
                post_state="",
                post_id="",
            )
            if parse(made)[0] is not None:
                return made
    return None


def applicants(rows: Iterable[Row]) -> str:
    """The input of `candor-node batch`; `rec_id` is passed through."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(("rec_id", "first", "last", "birth_date", "ssn4"))
    for row in rows:
        person = row.person
        writer.writerow((row.entity, person.first, person.last, person.birth_date, person.ssn4))
    return out.getvalue()


@dataclass(frozen=True)
class Score:
    """How good the answers are; see docs/benchmarks.md for what each counts."""

    precision: float
    recall: float
    non_members_wrongly_matched: float
    members: int
    non_members: int
    matched: int
    candidates: int
    indefinite: int


def score(answers: Iterable[Mapping[str, str]], inside: set[str], nodes: Sequence[str]) -> Score:
    """Compare the output rows of a batch with the truth.

    A member is found when its row is MATCH and its owner is among the owners named. Every candidate counts
    for precision: those of found members but one each, and all others, are wrong. Of several candidates at
    the right owner one is taken for the right one. Indefinite rows (INCOMPLETE, ERROR) find nobody.
    """
    found = candidates = matched = wrong = indefinite = asked_members = asked_others = 0
    for answer in answers:
        entity, is_match = answer["rec_id"], answer["outcome"] == "MATCH"
        is_member = entity in inside
        asked_members += is_member
        asked_others += not is_member
        indefinite += answer["outcome"] in ("INCOMPLETE", "ERROR")
        if not is_match:
            continue
        matched += 1
        candidates += int(answer["candidates"])
        owners = [owner.strip() for owner in answer["owners"].split(";")]
        if is_member:
            found += owner_of(entity, nodes) in owners
        else:
            wrong += 1
    return Score(
        precision=round(found / candidates, 4) if candidates else 0.0,
        recall=round(found / asked_members, 4) if asked_members else 0.0,
        non_members_wrongly_matched=round(wrong / asked_others, 4) if asked_others else 0.0,
        members=asked_members,
        non_members=asked_others,
        matched=matched,
        candidates=candidates,
        indefinite=indefinite,
    )
