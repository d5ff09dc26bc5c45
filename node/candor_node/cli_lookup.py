"""`candor-node lookup` and `lookups`: ask about a person, and read what came back."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.exceptions import Exit

from candor_node.cli_common import (
    EXIT_INCOMPLETE,
    by_option,
    config_option,
    json_option,
    person_in_charge,
    running_node,
    show,
    table,
)
from candor_proto.errors import InputInvalid

if TYPE_CHECKING:
    from candor_wire.v1 import local_pb2

_FIELDS = {
    "first": "first name",
    "middle": "middle name",
    "last": "last name",
    "suffix": "generation suffix (Jr, Sr, II …)",
    "former_last": "former last name",
    "birth_date": "birth date (YYYY-MM-DD)",
    "ssn4": "last four digits of the SSN",
    "sex": "sex (M, F or X)",
}
_MAX_PERSON_CHARACTERS = 10_000
CANDIDATE = "a candidate until its owner confirms identity"
# Of more hits than that a screenful each would hide the others: the rest is shown in short.
MOST_WHOLE = 10
# Characters of a line: longer ones are hard to read, and shorter ones hold no field's name.
_WIDEST, _NARROWEST = 100, 40
# How the reasons of a screening lookup begin that say what its match keys share (candor_proto.scoring).
_KEYS_AGREE = "agrees in "


@click.command()
@click.option("--first", help="First name, as on the application.")
@click.option("--last", help="Last name.")
@click.option("--middle", help="Middle name or initial.")
@click.option("--suffix", help="Jr, Sr, II, III, IV or V.")
@click.option("--former-last", "former_last", help="A former last name, for example a maiden name.")
@click.option("--birth-date", "birth_date", help="YYYY-MM-DD; unknown parts as XX.")
@click.option(
    "--ssn4", help="Last four of the SSN. Better left to the prompt or to --person: others see it here."
)
@click.option("--sex", help="M, F or X.")
@click.option("--post", metavar="STATE:NUMBER", help="POST certificate, for example CA:B-204417.")
@click.option("--person", "person_file", metavar="FILE", help="The person as JSON, `-` for standard input.")
@click.option("--purpose", help="Purpose code, for example J_APPLICANT.")
@click.option("--case", "case_number", help="Requisition or case number.")
@click.option("--consent", help="Reference of the signed consent.")
@click.option("--officer", help="The officer in charge; with registered users, who asks.")
@click.option(
    "--screening/--detailed",
    "screening",
    default=False,
    help="A detailed lookup (the default) also compares the single fields; not after a screening one.",
)
@click.option("--wait", "wait_seconds", type=float, default=0.0, help="Seconds to wait for answers.")
@config_option
@json_option
def lookup(
    post: str | None,
    person_file: str | None,
    purpose: str | None,
    case_number: str | None,
    consent: str | None,
    officer: str | None,
    screening: bool,
    wait_seconds: float,
    config_file: Path | None,
    as_json: bool,
    **given: str | None,
) -> None:
    """Ask all agencies whether they hold a record of one person.

    Nobody learns who is asked about, nor whether anything matched. What is missing is asked for, if this is
    a terminal. A JSON file for --person holds any of first, middle, last, suffix, former_last, birth_date,
    ssn4, sex, post_state, post_id.

    The answer is MATCH, NO_RECORD (only if every node answered with a fresh index) or INCOMPLETE, always with
    its coverage: who answered, who did not. Answers that come later amend it: `candor-node lookups show ID`.

    Exit status: 0 for MATCH and NO_RECORD, 3 for INCOMPLETE, 2 when nothing could be asked.
    """
    from candor_wire.v1 import local_pb2

    person = _read_person(person_file)
    person.update({name: value for name, value in given.items() if value is not None})
    if post is not None:
        state, colon, number = post.partition(":")
        if not colon:
            raise InputInvalid("--post is written STATE:NUMBER.", remedy="For example --post CA:B-204417.")
        person.update(post_state=state, post_id=number)
    papers = {
        "purpose": purpose,
        "case number": case_number,
        "consent": consent,
        "officer in charge": officer,
    }
    if sys.stdin.isatty() and not as_json and person_file != "-":
        _ask(person, papers, whole=person_file is None)
    if not papers["purpose"]:
        raise InputInvalid(
            "A lookup needs its purpose.", remedy="Give it with --purpose, for example J_APPLICANT."
        )
    request = local_pb2.LookupRequest(
        person=local_pb2.Person(**person),
        purpose=papers["purpose"],
        shape="SCREENING" if screening else "DETAILED",
        case_number=papers["case number"] or "",
        consent=papers["consent"] or "",
        officer=papers["officer in charge"] or "",
        wait_seconds=wait_seconds,
    )
    with running_node(config_file) as node:
        view = _follow(node, request, wait_seconds)
    show(view, as_json, lambda: lines(view))
    if view.overall == "INCOMPLETE":
        raise Exit(EXIT_INCOMPLETE)


def _read_person(path: str | None) -> dict[str, str]:
    """Particulars out of a JSON file; no message repeats a value."""
    if path is None:
        return {}
    remedy = 'For example {"first": "Jo", "last": "Doe", "birth_date": "1990-02-03", "ssn4": "1234"}.'
    try:
        text = sys.stdin.read(_MAX_PERSON_CHARACTERS) if path == "-" else Path(path).read_text("utf-8")
        stored = json.loads(text)
    except OSError as error:
        raise InputInvalid(f"{path} cannot be read: {error.strerror}.", remedy="Check the path.") from None
    except ValueError:
        raise InputInvalid("The person is not JSON in UTF-8.", remedy=remedy) from None
    if not isinstance(stored, dict):
        raise InputInvalid("The person is not a JSON object.", remedy=remedy)
    known = {*_FIELDS, "post_state", "post_id"}
    unknown = sorted(set(stored) - known)
    if unknown:
        raise InputInvalid(
            f"The person has fields that are not known: {', '.join(str(name)[:40] for name in unknown[:5])}.",
            remedy=f"Known are {', '.join(sorted(known))}.",
        )
    wrong = sorted(name for name, value in stored.items() if not isinstance(value, str))
    if wrong:
        raise InputInvalid(f"These fields of the person are not text: {', '.join(wrong)}.", remedy=remedy)
    return dict(stored)


def _ask(person: dict[str, str], papers: dict[str, str | None], *, whole: bool) -> None:
    for name, words in _FIELDS.items() if whole else ():
        if name not in person:
            person[name] = click.prompt(words.capitalize(), default="", show_default=False)
    for words, value in papers.items():
        if value is None:
            default = "J_APPLICANT" if words == "purpose" else ""
            papers[words] = click.prompt(words.capitalize(), default=default, show_default=bool(default))


def _follow(node: Any, request: local_pb2.LookupRequest, wait_seconds: float) -> local_pb2.LookupView:
    """The result of a lookup; on a terminal a line says how far it is."""
    shown = sys.stderr.isatty()
    result: local_pb2.LookupView | None = None
    # The lookup's own wait, the delays of further lookups, and the answer's way back.
    for part in node.Lookup(request, timeout=(wait_seconds or 3600) + 300):
        if part.WhichOneof("part") == "result":
            result = part.result
        elif shown:
            click.echo(
                f"\r{part.progress.settled} of {part.progress.asked} nodes answered …", err=True, nl=False
            )
    if shown:
        click.echo("\r\x1b[K", err=True, nl=False)
    if result is None:
        raise AssertionError("a lookup ends with its result or with an error")
    return result


# --- reading results -------------------------------------------------------------------------------------


@click.group()
def lookups() -> None:
    """Earlier lookups and their results, with the answers that came late."""


@lookups.command("list")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="At most so many.")
@config_option
@json_option
def lookups_list(limit: int, config_file: Path | None, as_json: bool) -> None:
    """List lookups, newest first. Names of persons are not shown."""
    from candor_wire.v1 import local_pb2

    with running_node(config_file) as node:
        reply = node.ListLookups(local_pb2.ListLookupsRequest(limit=limit), timeout=30)
    rows = [
        (
            view.lookup_id[:12],
            view.asked_at,
            view.overall,
            f"{view.coverage.answered} of {view.coverage.asked}",
            str(len(view.hits)),
            view.purpose,
            view.case_number,
        )
        for view in reply.lookups
    ]
    head = ("LOOKUP", "ASKED", "RESULT", "ANSWERED", "HITS", "PURPOSE", "CASE")
    show(reply, as_json, lambda: table(rows, head) if rows else ["There are no lookups yet."])


@lookups.command("show")
@click.argument("lookup_id", metavar="LOOKUP")
@click.option("--row", type=click.IntRange(1), default=None, help="LOOKUP is a batch; this row of it.")
@config_option
@json_option
def lookups_show(lookup_id: str, row: int | None, config_file: Path | None, as_json: bool) -> None:
    """Show the result of a lookup as it is now. LOOKUP is its id or the beginning of it."""
    from candor_wire.v1 import local_pb2

    with running_node(config_file) as node:
        request = local_pb2.GetLookupRequest(lookup_id=lookup_id, row=row or 0)
        reply = node.GetLookup(request, timeout=30)
    show(reply.lookup, as_json, lambda: lines(reply.lookup))


@lookups.command("recheck")
@click.argument("lookup_id", metavar="LOOKUP")
@click.option("--row", type=click.IntRange(1), default=None, help="LOOKUP is a batch; this row of it.")
@by_option
@config_option
@json_option
def lookups_recheck(
    lookup_id: str, row: int | None, by: str | None, config_file: Path | None, as_json: bool
) -> None:
    """Say of each hit of LOOKUP whether it still stands. Do this before you act on an older result.

    A hit is compared with the newest index held of its owner, here: nobody learns of it. A record that its
    owner withdrew is WITHDRAWN; when the owner's index has moved to another epoch, look the person up again.
    `requests send` does the same by itself. Exit status 3: not every hit is known to stand.
    """
    from candor_wire.v1 import recall_local_pb2, recall_local_pb2_grpc

    person = person_in_charge(by)
    request = recall_local_pb2.RecheckLookupRequest(lookup_id=lookup_id, row=row or 0, by=person)
    with running_node(config_file, by=person, stub=recall_local_pb2_grpc.RecallServiceStub) as node:
        reply = node.RecheckLookup(request, timeout=30)
    rows = [
        (f"[{one.number}]", one.owner, one.standing.upper(), one.index_issued, one.words)
        for one in reply.hits
    ]
    head = ("HIT", "OWNER", "NOW", "INDEX OF", "")
    show(reply, as_json, lambda: table(rows, head) if rows else ["This lookup has no hits."])
    if not reply.all_stand:
        raise Exit(EXIT_INCOMPLETE)


def lines(view: local_pb2.LookupView, width: int | None = None) -> list[str]:
    """A result for people. It never says "clear": no record among those who answered is all that is known.

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
    coverage, name = view.coverage, view.lookup_id[:12]
    answered = f"{coverage.answered} of {coverage.asked} nodes"
    words = {
        "MATCH": f"{_count(len(view.hits), 'candidate')} among {answered}",
        "NO_RECORD": f"no record among {answered}",
        "INCOMPLETE": f"no record among the {answered} that answered; nothing is known of the others",
    }[view.overall]
    page.say(f"{view.overall}  {words}{_split(view)}")
    page.say(f"Coverage: {coverage.sentence}")
    page.say(f"Lookup: {view.lookup_id}")
    for report in coverage.reports:
        if report.state != "answered":
            page.say(f"{report.node}: {_state(report)}", 2)
    if view.hits:
        page.gap(f"Each is {CANDIDATE}.")
        _show_all(page, view.hits, whole=True)
    if view.set_aside:
        page.gap("Set aside: as far as the evidence goes, *not* the same person.")
        _show_all(page, view.set_aside, whole=False)
    if len(view.hits) > MOST_WHOLE or len(view.set_aside) > MOST_WHOLE:
        page.gap(f"All of each: candor-node lookups show {name} --json")
    if view.notes:
        page.gap()
    for note in view.notes:
        page.say(f"Note: {note}")
    if view.hits:
        page.gap(f"To ask for a record: candor-node requests send {name} {view.hits[0].number}")
    if view.overall == "INCOMPLETE" and not view.closed:
        page.gap(f"Late answers amend it: candor-node lookups show {name}")
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


def _state(report: local_pb2.TargetReport) -> str:
    return f"{report.state} ({report.reason})" if report.reason else report.state


def _owner(found: local_pb2.Hit) -> str:
    return f"{found.owner} ({found.owner_name})" if found.owner_name else found.owner
