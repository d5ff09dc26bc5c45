"""A result on the screen: what was found, who answered as of when, and what late answers changed.

Rules of this file:
- it never says "clear": no record among those who answered is all that is known;
- nothing is told by colour or place alone; read aloud, line by line, it says the same;
- no line is wider than the terminal, however many nodes there are: what is left out is counted, and named
  where all of it stands.
"""

from __future__ import annotations

import shutil
import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from candor_wire.v1 import local_pb2

CANDIDATE = "a candidate until its owner confirms identity"
# Of more hits than that a screenful each would hide the others: the rest is shown in short.
MOST_WHOLE = 10
# Nodes that have a line of their own, those that did not answer first.
MOST_NODES = 20
# Characters of a line: longer ones are hard to read, and shorter ones hold no field's name.
_WIDEST, _NARROWEST = 100, 40
# How the reasons of a screening lookup begin that say what its match keys share (candor_proto.scoring).
_KEYS_AGREE = "agrees in "


def lines(view: local_pb2.LookupView, width: int | None = None, *, all_nodes: bool = False) -> list[str]:
    """A result for people. `all_nodes`: a line for each node, however many.

    `width` is in characters; default, the terminal's. What has no space to be broken at may stand out.
    """
    if view.overall == "PENDING":
        return [f"PENDING  lookup {view.lookup_id} has not been shown yet."]
    if view.overall == "FORGOTTEN":
        return [
            f"FORGOTTEN  the result of lookup {view.lookup_id} was forgotten on {view.forgotten_at[:10]}: "
            "its time was over.",
            f"  {view.purpose}, case {view.case_number or '-'}, officer in charge {view.officer}, asked "
            f"{view.asked_at}",
        ]
    page = _Page(width or min(shutil.get_terminal_size().columns, _WIDEST))
    page.say(f"{view.overall}  {_overall(view)}{_split(view)}")
    _amended(page, view)
    page.say(f"Coverage: {view.coverage.sentence}")
    _as_of(page, view.coverage)
    page.say(f"Lookup: {view.lookup_id}")
    _nodes(page, view, all_nodes=all_nodes)
    if view.hits:
        page.gap(f"Each is {CANDIDATE}.")
        _show_all(page, view.hits, whole=True)
    if view.set_aside:
        page.gap("Set aside: as far as the evidence goes, *not* the same person.")
        _show_all(page, view.set_aside, whole=False)
    if len(view.hits) > MOST_WHOLE or len(view.set_aside) > MOST_WHOLE:
        page.gap(f"All of each: candor-node lookups show {name_of(view)} --json")
    if view.notes:
        page.gap()
    for note in view.notes:
        page.say(f"Note: {note}")
    _next(page, view)
    return page.lines


def name_of(view: local_pb2.LookupView) -> str:
    """As commands name a result: by the beginning of its id, or as a row of its batch."""
    return f"{view.batch_id[:12]} --row {view.row}" if view.row else view.lookup_id[:12]


def _overall(view: local_pb2.LookupView) -> str:
    coverage = view.coverage
    answered = f"{coverage.answered} of {coverage.asked} nodes"
    if view.overall == "MATCH":
        return f"{_count(len(view.hits), 'candidate')} among {answered}"
    if view.overall == "NO_RECORD":
        return f"no record among {answered}"
    if not coverage.answered:
        return f"none of {_count(coverage.asked, 'node')} answered: nothing is known"
    return f"no record among the {answered} that answered; nothing is known of the others"


def _amended(page: _Page, view: local_pb2.LookupView) -> None:
    """What late answers made of it, and what of that whoever asks has not seen."""
    if view.late_match:
        page.say(
            "LATE MATCH: a candidate came after this result had been shown, and nobody has acknowledged it. "
            f"Once you have looked at it: candor-node lookups seen {name_of(view)}"
        )
    if not view.revision:
        return
    looked = f"; you looked at revision {view.looked_revision} on {view.looked_at}" if view.looked_at else ""
    said = " Changed since:" if view.changed and view.looked_at else " Changed:" if view.changed else ""
    page.say(f"Amended: revision {view.revision} on {view.amended_at}{looked}.{said}")
    for words in view.changed:
        page.say(f"- {words}", 2)


def _as_of(page: _Page, coverage: local_pb2.Coverage) -> None:
    words = f"As of: {coverage.as_of}, directory {coverage.directory_version}"
    if coverage.HasField("log"):
        log = coverage.log
        state = "LATE" if log.late else "current"
        words += f", log of {log.size:,} entries witnessed {log.witnessed_at} ({state})"
    page.say(words)


def _nodes(page: _Page, view: local_pb2.LookupView, *, all_nodes: bool) -> None:
    """A line a node: who answered when and how old its index is, who did not and why."""
    reports = view.coverage.reports
    ranked = sorted(reports, key=lambda report: (report.state == "answered", not report.late))
    shown = reports if all_nodes or len(reports) <= MOST_NODES else ranked[:MOST_NODES]
    column = max((len(report.node) for report in shown), default=0)
    page.gap("Nodes:")
    for report in shown:
        words = report.words or (f"{report.state} ({report.reason})" if report.reason else report.state)
        page.entry(report.node, words, column)
    left = ranked[len(shown) :]
    if left:
        missing = sum(report.state != "answered" for report in left)
        also = f", {missing} of them not answered" if missing else ", all answered"
        page.say(f"and {len(left)} more{also}: candor-node lookups show {name_of(view)} --nodes", 2)


def _next(page: _Page, view: local_pb2.LookupView) -> None:
    name = name_of(view)
    if view.hits:
        page.gap(f"To ask for a record: candor-node requests send {name} {view.hits[0].number}")
    if view.overall != "INCOMPLETE" and view.coverage.complete:
        return
    if view.closed:
        page.gap("Its time is over: who has not answered never will. If it still matters, ask again.")
    else:
        until = f" until {view.expires_at}" if view.expires_at else ""
        page.gap(f"Late answers amend it{until}: candor-node lookups show {name}")


def history(view: local_pb2.LookupView, width: int | None = None) -> list[str]:
    """What became of a result, a line a moment."""
    page = _Page(width or min(shutil.get_terminal_size().columns, _WIDEST))
    page.say(f"Lookup: {view.lookup_id}")
    about = f"asked: {view.purpose}, case {view.case_number or '-'}, officer in charge {view.officer}"
    told = [(view.asked_at, about)]
    if view.shown_at:
        first = view.revisions[0].before if view.revisions else view.overall
        told.append((view.shown_at, f"first shown: {first if first != 'FORGOTTEN' else 'a result'}"))
    for one in view.revisions:
        words = "; ".join(one.words) or "the result was amended"
        end = "; its time is over" if one.closed else ""
        count = f"{one.answered} of {one.asked} nodes answered"
        told.append((one.at, f"revision {one.number}: {words}; {count}{end}"))
        if one.seen_at:
            told.append((one.seen_at, f"late candidates of revision {one.number} seen by {one.seen_by}"))
        elif one.candidates:
            told.append((one.at, f"LATE MATCH of revision {one.number}: nobody has acknowledged it"))
    if view.forgotten_at:
        told.append((view.forgotten_at, "forgotten: its time was over"))
    for at, words in sorted(told, key=lambda moment: moment[0]):
        page.entry(at, words, len(at))
    return page.lines


class _Page:
    """Lines of at most a width; what is broken goes on further in."""

    def __init__(self, width: int) -> None:
        self.lines: list[str] = []
        self._width = max(_NARROWEST, width)

    def say(self, text: str, indent: int = 0, hang: int = 2) -> None:
        self.lines += textwrap.wrap(
            text,
            self._width,
            initial_indent=" " * indent,
            subsequent_indent=" " * (indent + hang),
            # Ids, node names and commands are copied: they stay whole.
            break_long_words=False,
            break_on_hyphens=False,
        )

    def entry(self, name: str, text: str, column: int) -> None:
        """A name in a column of that width and what is said of it; below it where there is no room."""
        if 2 * column > self._width:
            self.say(f"{name}: {text}", 2)
        else:
            self.say(f"{name:<{column}}  {text}", 2, column + 2)

    def gap(self, text: str = "") -> None:
        self.lines.append("")
        self.say(text)


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _split(view: local_pb2.LookupView) -> str:
    """How many candidates are of each band: ": 1 strong, 2 to review; 1 set aside"."""
    bands = Counter(found.band for found in view.hits)
    strong = bands.pop("strong", 0)
    known = [
        f"{count} {words}" for count, words in ((strong, "strong"), (bands.total(), "to review")) if count
    ]
    aside = [f"{len(view.set_aside)} set aside"] if view.set_aside else []
    return "".join([f": {', '.join(known)}" if known else "", *(f"; {words}" for words in aside)])


def _show_all(page: _Page, found: Sequence[local_pb2.Hit], *, whole: bool) -> None:
    """The first ones with what speaks against them, `whole` with all else, further ones on a line each."""
    for one in found[:MOST_WHOLE]:
        page.gap(f"[{one.number}] {_owner(one)}")
        page.say(f"{one.kind}, {one.tier}", 4)
        if one.standing not in ("", "stands"):
            page.say(f"{one.standing.upper()}: {one.standing_words}", 4)
        page.say(one.headline, 4)
        against, agrees = _reasons(one)
        for reason in against:
            page.say(f"- {reason}", 4)
        # Of a screening lookup no field is known: saying so of each would contradict the keys.
        missing = one.not_known if one.agreeing or one.differing else ()
        for words, fields in (("agrees:", agrees), ("differs:", one.differing), ("not known:", missing)):
            if whole and fields:
                page.say(f"{words:<10} {', '.join(fields)}", 4, 11)
    if found[MOST_WHOLE:]:
        page.gap()
    for one in found[MOST_WHOLE:]:
        band = one.headline.partition(":")[0]
        gravest = _reasons(one)[0][:1]
        over = [one.standing.upper()] if one.standing not in ("", "stands") else []
        page.say("; ".join([f"[{one.number}] {one.owner}: {one.kind}, {band}", *over, *gravest]))


def _reasons(found: local_pb2.Hit) -> tuple[list[str], list[str]]:
    """What speaks against or is not confirmed, in its order; and what agrees, without that word."""
    against, agrees = [], []
    for reason in found.reasons:
        words, _, rest = reason.partition(" agrees")
        if reason.startswith(_KEYS_AGREE):
            agrees.append(reason.removeprefix(_KEYS_AGREE))
        elif rest in ("", " in part") and words != reason:
            agrees.append(words + (" (in part)" if rest else ""))
        else:
            against.append(reason)
    return against, agrees


def _owner(found: local_pb2.Hit) -> str:
    return f"{found.owner} ({found.owner_name})" if found.owner_name else found.owner
