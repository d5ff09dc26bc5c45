"""The subject's letter and report as pages: escaped, accessible, complete, and reaching for nothing."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pypdf
import pytest

from candor_node import pages
from candor_proto.errors import ConfigInvalid, InputInvalid
from candor_records.dispute import DisputeAnswer, DisputeGround, answer, open_dispute
from candor_records.gate import gate, gate_day
from candor_records.letters import letter, letter_without_record
from candor_records.life import Act
from candor_records.records import following
from candor_records.subject_report import (
    MEANING,
    SHARING_WORDS,
    TIER_WORDS,
    Access,
    Agency,
    CopyHeld,
    Event,
    Kept,
    LookupMade,
    Notified,
    Recalled,
    RecordView,
    SubjectReport,
    clock,
    facts,
    versions,
    words,
)
from tests.accessible import contrast, faults, needs_pango, text_of
from tests.records import NOW, make_content, make_record

AGENCY = Agency("Springfield Police", ("ZZ0010000",), "springfield-pd", "12 Main St", "the State POST", 60)
ATTACK = '<script>alert(1)</script><img src="http://evil.example/x.png" onerror=alert(1)>"\'&'


def a_report(**changes: object) -> SubjectReport:
    first = make_record()
    second = following(first, make_content(effective_on="2021-06-15"), NOW + timedelta(days=9), "clerk-7")
    decision = gate(second, gate_day(NOW))
    dispute = open_dispute(
        None, DisputeGround.FACTUAL_INACCURACY, date(2026, 3, 2), str(first.dcn), "It was May."
    )
    dispute = answer(dispute, DisputeAnswer.STAND_BY, date(2026, 3, 9), "The order of that day says so.")
    given = Access(
        agency="Shelbyville Police",
        ori="ZZ0020000",
        node="shelbyville-pd",
        asked_on=date(2026, 4, 1),
        purpose="Hiring background check",
        case="REQ-77",
        outcome="given",
        settled_on=date(2026, 4, 2),
        dcn=str(second.dcn),
        version=2,
    )
    refused = replace(given, agency="Ogdenville Police", version=None, dcn="", outcome="declined by a person")
    record = RecordView(
        dcn=str(second.dcn),
        kind=words(second.kind.name),
        meaning=MEANING[second.kind],
        tier=TIER_WORDS[second.tier],
        standing="active",
        shared=decision.matchable,
        clauses=decision.reasons,
        changes_on=None,
        sharing=SHARING_WORDS[second.sharing],
        facts=facts(second),
        versions=versions([first, second]),
        history=(Event(date(2026, 3, 2), "filed"), Event(date(2026, 3, 11), "corrected")),
        statement="I was never asked.\nI ask to be heard.",
        dispute=dispute,
        clock=clock(dispute, date(2026, 3, 20)),
        accesses=(given, refused),
        recalls=(
            Recalled("Shelbyville Police", "corrected", date(2026, 4, 3), "replaced", date(2026, 4, 4)),
        ),
        notices=(Notified("filed", date(2026, 3, 12), date(2026, 3, 3), "MAIL"),),
        kept=Kept(date(2031, 6, 14), date(2028, 6, 14), True, "Kept by rule default.retention."),
    )
    made = SubjectReport(
        agency=AGENCY,
        made_at=datetime(2026, 5, 1, 9, 30, tzinfo=UTC),
        identity_proof="driver licence seen, 2026-05-01",
        person="Quentin Placeholderson",
        records=(record,),
        lookups=(LookupMade(date(2026, 2, 1), "Check of an own officer", "CASE-1"),),
        copies=(CopyHeld("Shelbyville Police", date(2026, 2, 2), "Commendation", "held"),),
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # fields of that very class


def a_letter_page() -> str:
    record = make_record()
    decision = gate(record, gate_day(NOW))
    return pages.html(letter(AGENCY, Act.FILE, record, decision, date(2026, 3, 2), date(2026, 3, 2)))


# --- what stands there ------------------------------------------------------------------------------------


def test_the_report_shows_all_of_it() -> None:
    said = text_of(pages.html(a_report()))
    for part in (
        "driver licence seen",
        "Yes: this record is shared",
        "Holds: the officer was given notice on 2021-04-01 (in person).",
        "It is kept until 2031-06-14",
        "A legal hold keeps it from being destroyed",
        "Kept by rule default.retention.",
        "I was never asked. I ask to be heard.",
        "because a fact in it is wrong",
        "the agency answered that it stands by the record",
        "The order of that day says so.",
        "The subject may take it to the independent resolver.",
        "Shelbyville Police (ZZ0020000, shelbyville-pd)",
        "REQ-77",
        "Agencies that asked for record",
        "declined by a person",
        "replaced",
        "“2021-06-14” became “2021-06-15”",
        "Check of an own officer",
        "Falsified two overtime reports",
        "Independent",
    ):
        assert part.lower() in said.lower(), part
    assert "IA-2021-0001" not in said


def test_the_letter_says_what_was_filed_why_it_is_shared_and_what_the_subject_may_do() -> None:
    said = text_of(a_letter_page())
    for part in (
        "This agency filed a record about you on 2026-03-02",
        "Termination for cause",
        "Holds: the decision of 2021-06-07 is final.",
        "4,000 characters",
        "60 days",
        "the State POST",
        "proof of your identity",
        "12 Main St",
    ):
        assert part in said, part


def test_the_letter_about_an_expunged_record_names_nobody() -> None:
    page = pages.html(letter_without_record(AGENCY, "0000000000000000A", date(2026, 3, 2), date(2026, 3, 3)))
    assert faults(page) == []
    assert "the person whom the order names" in page


# --- attacks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "where", ["person", "identity_proof", "statement", "agency", "case", "outcome", "fact"]
)
def test_nothing_that_anybody_wrote_becomes_markup(where: str) -> None:
    report = a_report()
    record = report.records[0]
    if where == "person":
        report = replace(report, person=ATTACK)
    elif where == "identity_proof":
        report = replace(report, identity_proof=ATTACK)
    elif where == "statement":
        report = replace(report, records=(replace(record, statement=ATTACK),))
    elif where == "fact":
        report = replace(report, records=(replace(record, facts=(("Narrative", ATTACK),)),))
    else:
        refused = record.accesses[1]
        access = {
            "agency": replace(refused, agency=ATTACK),
            "case": replace(refused, case=ATTACK),
            "outcome": replace(refused, outcome=ATTACK),
        }[where]
        report = replace(report, records=(replace(record, accesses=(access,)),))
    page = pages.html(report)
    assert faults(page) == []
    assert "<script" not in page
    assert ATTACK in text_of(page)


def test_a_name_in_the_title_does_not_end_the_title() -> None:
    page = pages.html(a_report(person="</title><script>x</script>"))
    assert faults(page) == []


@needs_pango
@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:9/x.png", "https://evil.example/x.png", "file:///etc/passwd", "data:image/png,x"],
)
def test_setting_a_page_fetches_nothing(address: str) -> None:
    page = pages.html(a_report()).replace("<main", f'<img src="{address}" alt="x"><main', 1)
    with pytest.raises(Exception, match="fetches nothing"):
        pages.pdf(page)


# --- for everybody ------------------------------------------------------------------------------------------


def test_the_pages_are_accessible() -> None:
    assert faults(pages.html(a_report())) == []
    assert faults(pages.html(a_report(records=(), lookups=(), copies=()))) == []
    assert faults(a_letter_page()) == []


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (' lang="en"', ""),
        ("<title>What", "<title></title><i>What"),
        ('<th scope="col">', "<th>"),
        ("<caption>", "<!-- -->"),
        ("<h3>", "<h4>"),
        ("color: #1a1a1a", "color: #aaaaaa"),
        ('href="#rights"', 'href="#wrongs"'),
        ("@media print", "@media screen"),
        ("</main>", "</main><main></main>"),
    ],
)
def test_the_checker_of_pages_bites(was: str, becomes: str) -> None:
    page = pages.html(a_report())
    assert was in page
    assert faults(page.replace(was, becomes)) != []


def test_contrast_is_that_of_the_guidelines() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@needs_pango
def test_the_pdf_is_tagged_titled_in_a_language_and_can_be_read_out() -> None:
    report = a_report(person="Zoë Ω Placeholderson")
    reader = pypdf.PdfReader(io.BytesIO(pages.pdf(pages.html(report))))
    root: Any = reader.trailer["/Root"].get_object()
    assert root["/MarkInfo"]["/Marked"]
    assert "/StructTreeRoot" in root
    assert root["/Lang"] == "en"
    assert root["/ViewerPreferences"]["/DisplayDocTitle"]
    assert reader.metadata is not None
    assert reader.metadata.title == "What Springfield Police holds about Zoë Ω Placeholderson"
    assert b"pdfuaid" in root["/Metadata"].get_object().get_data()
    said = " ".join(" ".join(page.extract_text() for page in reader.pages).split())
    for part in ("Zoë Ω Placeholderson", "I ask to be heard.", "REQ-77", "Page 1 of"):
        assert part in said, part


def test_without_pango_the_error_names_the_packages_and_html_still_works(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class NoPango:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "weasyprint":
                raise OSError("cannot load library 'libpango-1.0-0'")

    monkeypatch.delitem(sys.modules, "weasyprint", raising=False)
    monkeypatch.setattr(sys, "meta_path", [NoPango(), *sys.meta_path])
    page = a_letter_page()
    with pytest.raises(ConfigInvalid, match="Pango") as error:
        pages.write(page, tmp_path / "letter.pdf")
    assert "libpango-1.0-0" in error.value.remedy
    assert list(tmp_path.iterdir()) == []
    pages.write(page, tmp_path / "letter.html")
    assert (tmp_path / "letter.html").read_text("utf-8") == page


# --- files --------------------------------------------------------------------------------------------------


def test_a_page_is_for_its_owners_eyes_and_replaced_whole(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    out.write_text("old")
    pages.write("<p>new</p>", out)
    assert out.read_text() == "<p>new</p>"
    assert out.stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("name", ["report.txt", "report", "missing/report.pdf"])
def test_a_place_where_no_page_can_go_is_said_before_anything_is_done(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputInvalid):
        pages.check_out(tmp_path / name)
