"""Sets the subject's letter and report as pages: HTML from templates, PDF from that same HTML.

Rules of this file:
- a page is made of a value alone, whatever a record, a statement or another agency wrote is escaped, and a
  template that names what does not exist fails;
- rendering reaches for nothing: no address is fetched, of the network or of this machine;
- PDF is tagged (PDF/UA-1), so that a screen reader reads it as it reads the HTML. Only who asks for a PDF
  loads what makes one; without the system's Pango that is one sentence, and HTML still works.
"""

from __future__ import annotations

import os
import secrets
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from candor_proto.errors import ConfigInvalid, InputInvalid
from candor_records.letters import Letter
from candor_records.subject_report import SubjectReport

_PACKAGES = "libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core"
_SUFFIXES = (".html", ".pdf")


def html(value: Letter | SubjectReport) -> str:
    """The page of a value: complete, with its style sheet, and accessible (WCAG 2.1 AA)."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("candor_node"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(day=_day, moment=_moment)
    name = "letter" if isinstance(value, Letter) else "report"
    return environment.get_template(f"{name}.html.j2").render(value=value)


def _day(at: datetime) -> str:
    return at.date().isoformat()


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%d at %H:%M UTC")


def pdf(page: str) -> bytes:
    """The page as PDF/UA-1. Raises ConfigInvalid where the machine lacks what sets pages."""
    try:
        import weasyprint
    except OSError:
        raise ConfigInvalid(
            "This machine lacks Pango, which sets the pages of a PDF.",
            remedy=f"Debian, Ubuntu: apt-get install {_PACKAGES}. Or write the page as .html.",
        ) from None
    from weasyprint.urls import FatalURLFetchingError

    def refuse(url: str) -> NoReturn:
        raise FatalURLFetchingError

    try:
        done: bytes = weasyprint.HTML(string=page, url_fetcher=refuse).write_pdf(pdf_variant="pdf/ua-1")
    except FatalURLFetchingError:
        # No template has an address: a picture that does was smuggled in.
        raise AssertionError("a page of this program fetches nothing") from None
    return done


def check_out(out: Path) -> None:
    """Whether a page can be written to `out`; raises InputInvalid."""
    if out.suffix.lower() not in _SUFFIXES:
        raise InputInvalid("The page is written as .html or .pdf.", remedy="Name such a file with --out.")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise InputInvalid(f"{out.parent} cannot be written.", remedy="Name another file with --out.")


def write(page: str, out: Path) -> None:
    """Write a page as its suffix says: whole, and readable for its owner only, for it names somebody."""
    check_out(out)
    octets = pdf(page) if out.suffix.lower() == ".pdf" else page.encode("utf-8")
    temporary = out.with_name(f".{out.name}.{secrets.token_hex(4)}.new")
    try:
        with temporary.open("xb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(octets)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
