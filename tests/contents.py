"""Contents of every kind for hypothesis: rows of texts that intake takes. No name here is anybody's."""

from __future__ import annotations

from datetime import date

from hypothesis import strategies as st

from candor_proto.record import RecordKind
from candor_records.codes import Missing
from candor_records.content import Content, content_fields
from candor_records.field_types import AMOUNT, DATE, DIGESTS, OFFENCE_CODE, STATE, Amount, plain
from candor_records.kinds import FIELDS_OF, Field
from candor_records.record_fields import parse
from tests.records import make_row

_WORDS = st.lists(
    st.sampled_from(["alder", "birch", "cedar", "4.12", "§", "17", "Nº", "Ünïted", ",;\"'", "(", ")", "-"]),
    min_size=1,
)
_LONG_AGO, _LATER = date(1990, 1, 1), date(2030, 12, 31)
# Pairs that belong together, and days that may not lie before others, are drawn apart from the rest.
_ORDERED = (
    "separated_on", "appointed_on", "convicted_on", "offence_on", "action_ends_on", "appeal_filed_on",
    "appeal_decided_on", "training_completed_on", "incident_on",
)  # fmt: skip


def _texts(field: Field) -> st.SearchStrategy[str]:
    """Texts of a field as `plain` writes them."""
    if field.type.words.startswith("text of"):
        limit = int(field.type.words.split()[-2])
        return _WORDS.map(lambda words: " ".join(words)[:limit].strip())
    if field.type is DATE:
        return st.dates(_LONG_AGO, _LATER).map(plain)
    if field.type is AMOUNT:
        return st.integers(0, 10**13 - 1).map(Amount).map(plain)
    if field.type is STATE:
        return st.sampled_from(["CA", "TX", "US", "ZZ"])
    if field.type is OFFENCE_CODE:
        return st.integers(0, 9999).map("{:04d}".format)
    if field.type is DIGESTS:
        digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
        return st.sets(digests, min_size=1, max_size=32).map(lambda found: ";".join(sorted(found)))
    assert field.type.codes is not None
    names = [name for name in field.type.codes.__members__ if name != "SETTLEMENT_NO_ADMISSION"]
    if not field.type.words.startswith("one or more"):
        return st.sampled_from(names)
    return st.sets(st.sampled_from(names), min_size=1).map(
        lambda some: ";".join(filter(some.__contains__, names))
    )


@st.composite
def details(draw: st.DrawFn, kind: RecordKind) -> dict[str, str]:
    """Some of the fields of a kind, as texts that do not contradict each other."""
    found = {}
    for name, field in FIELDS_OF[kind].items():
        if name in _ORDERED or name == "appeal_outcome" or draw(st.booleans()):
            continue
        missing = st.sampled_from([missing.name for missing in Missing])
        found[name] = draw(st.one_of(_texts(field), _texts(field), missing))
    days = sorted(draw(st.lists(st.dates(date(2021, 6, 14), _LATER), min_size=2, max_size=2)))
    if "appeal_filed_on" in FIELDS_OF[kind] and draw(st.booleans()):
        found |= {"appeal_filed_on": plain(days[0]), "appeal_decided_on": plain(days[1])}
        found["appeal_outcome"] = draw(_texts(FIELDS_OF[kind]["appeal_outcome"]))
    for later, earlier in (
        ("separated_on", "appointed_on"),
        ("convicted_on", "offence_on"),
        ("training_completed_on", "incident_on"),
    ):
        if later in FIELDS_OF[kind] and draw(st.booleans()):
            found |= {later: plain(days[1]), earlier: plain(days[0])}
    return found


@st.composite
def rows(draw: st.DrawFn, kinds: st.SearchStrategy[RecordKind] | None = None) -> dict[str, str]:
    """Rows of the import format that are valid, with the fields of their kind."""
    kind = draw(kinds or st.sampled_from(RecordKind))
    narrative = draw(_WORDS.map(" ".join))
    return make_row(record_kind=kind.name, narrative=narrative, **draw(details(kind)))


@st.composite
def contents(draw: st.DrawFn, kinds: st.SearchStrategy[RecordKind] | None = None) -> Content:
    """What such rows say."""
    content, faults = parse(draw(rows(kinds)))
    assert content is not None, "; ".join(fault.message for fault in faults)
    assert content_fields(content)
    return content
