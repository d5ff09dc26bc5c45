"""The template of an import file, and the page that says the same in prose."""

from __future__ import annotations

import pytest

from candor_proto.record import RecordKind
from candor_records.content import ALL_FIELDS, CONTENT_FIELDS
from candor_records.kinds import FIELDS, FIELDS_OF
from candor_records.record_fields import parse
from candor_records.template import COMMENT, COMMON, belongs_to, example, template_rows
from tools.generate_records_page import PAGE, page


def test_template_is_a_header_hints_and_an_example_of_each_kind() -> None:
    header, hints, *examples = template_rows()
    assert header == list(ALL_FIELDS)
    assert len(examples) == len(RecordKind)
    assert {len(row) for row in (hints, *examples)} == {len(header)}
    assert all(hints)
    for kind, row in zip(RecordKind, examples, strict=True):
        content, faults = parse(
            dict(zip(header, (row[0].removeprefix(f"{COMMENT} "), *row[1:]), strict=True))
        )
        assert faults == ()
        assert content is not None
        assert content.record_kind is kind


def test_nobody_is_filed_by_a_template_that_was_not_filled_in() -> None:
    header, *rest = template_rows()
    for row in rest:
        assert row[0].startswith(COMMENT)
        assert parse(dict(zip(header, row, strict=True)))[0] is None


@pytest.mark.parametrize("kind", RecordKind)
def test_an_example_shows_every_field_of_its_kind_alone(kind: RecordKind) -> None:
    row = example(kind)
    shown = {name for name in FIELDS if row[name]}
    own = {name for name in FIELDS_OF[kind] if not name.startswith("appeal_") and name != "document_hashes"}
    assert own <= shown | {"appeal_bond", "severity"}
    assert shown <= set(FIELDS_OF[kind])


def test_common_columns_are_those_of_the_first_format() -> None:
    assert tuple(COMMON) == CONTENT_FIELDS
    assert belongs_to("rank") == "all kinds"
    assert belongs_to("severity") == "all but COMMENDATION"
    assert belongs_to("docket") == "CRIMINAL_CONVICTION, CIVIL_JUDGMENT"


def test_the_page_says_what_the_code_says() -> None:
    text = PAGE.read_text("utf-8")
    assert page(text) == text, "run tools/generate_records_page.py"
    assert all(f"`{name}`" in text for name in ALL_FIELDS)
