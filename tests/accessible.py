"""Looks over a page for what a reader without eyes, colours or a mouse needs (WCAG 2.1 AA)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

import pytest


def _sets_pages() -> bool:
    try:
        import weasyprint  # noqa: F401
    except OSError:
        return False
    return True


# For tests that write a PDF: a machine without Pango has HTML only (docs/subject.md).
needs_pango = pytest.mark.skipif(not _sets_pages(), reason="this machine has no Pango")

_VOID = frozenset({"meta", "link", "br", "img", "hr", "input"})
_ATTRIBUTES_WITH_ADDRESSES = frozenset({"src", "href", "data", "action", "poster", "srcset", "background"})


@dataclass
class Page(HTMLParser):
    """What was found; `faults` is empty for a page that passes."""

    faults: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[str] = []
        self._ids: set[str] = set()
        self._targets: set[str] = set()
        self._level = 0
        self._title = ""
        self._lang = ""
        self._captioned = True

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = {name: value or "" for name, value in attrs}
        if tag == "html":
            self._lang = given.get("lang", "")
        if tag in ("script", "iframe", "object", "embed", "form", "img"):
            self.faults.append(f"<{tag}> has no place on this page")
        if any(name.startswith("on") for name in given):
            self.faults.append("an attribute runs a script")
        for name in _ATTRIBUTES_WITH_ADDRESSES & given.keys():
            if not given[name].startswith("#"):
                self.faults.append(f"{name} leads out of the page")
            else:
                self._targets.add(given[name][1:])
        for name in ("aria-labelledby",):
            if name in given:
                self._targets.add(given[name])
        if "id" in given:
            if given["id"] in self._ids:
                self.faults.append("two things have one id")
            self._ids.add(given["id"])
        if re.fullmatch(r"h[1-6]", tag):
            level = int(tag[1])
            if level > self._level + 1:
                self.faults.append(f"a heading jumps from {self._level} to {level}")
            self._level = level
        if tag == "table":
            self._captioned = False
        if tag == "caption":
            self._captioned = True
        if tag == "tr" and not self._captioned:
            self.faults.append("a table has no caption")
        if tag == "th" and given.get("scope") not in ("row", "col"):
            self.faults.append("a head cell says not what it is head of")
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> closes something else")

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "title":
            self._title += data
        elif "style" not in self._open:
            self.text.append(data)

    def finish(self) -> list[str]:
        """All that is wrong with the page."""
        self.close()
        for tag in ("main", "header", "footer"):
            if self.tags.count(tag) != 1:
                self.faults.append(f"there is not one <{tag}>")
        if self.tags.count("h1") != 1:
            self.faults.append("there is not one <h1>")
        if not self._lang:
            self.faults.append("the page says not which language it is in")
        if not self._title.strip():
            self.faults.append("the page has no title")
        if self._open:
            self.faults.append("something was left open")
        if self._targets - self._ids:
            self.faults.append("a link leads nowhere")
        return self.faults


def faults(page: str) -> list[str]:
    """What is wrong with a page; also colours that are too close to each other."""
    looked = Page()
    looked.feed(page)
    found = looked.finish()
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    if style is None or "@media print" not in style[1]:
        found.append("nothing is said for printing")
    for colour in re.findall(r"[^-]color: (#[0-9a-f]{3,6})", style[1] if style else ""):
        if contrast(colour, "#ececec") < 4.5:
            found.append("a colour is too pale to read")
    return found


def text_of(page: str) -> str:
    """What stands on the page, with single blanks."""
    looked = Page()
    looked.feed(page)
    return " ".join(" ".join(looked.text).split())


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours (WCAG 2.1, 1.4.3)."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
