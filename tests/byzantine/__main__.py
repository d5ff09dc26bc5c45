"""Writes docs/byzantine.md."""

from tests.byzantine.page import PAGE, page

PAGE.write_text(page(), "utf-8")
