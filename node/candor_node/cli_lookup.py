"""`candor-node lookup` and `lookups`: ask about a person, and read what came back."""

from __future__ import annotations

import json
import sys
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
    said_by_node,
    show,
    table,
)
from candor_node.result_page import history, lines, name_of
from candor_proto.errors import InputInvalid, Unreachable

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
    its coverage: who answered as of when, who did not and why. Answers that come later amend it:
    `candor-node lookups list --news` says what is new to you, `candor-node lookups show ID` shows it.

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
    import grpc

    shown = sys.stderr.isatty()
    result: local_pb2.LookupView | None = None
    sent = False
    try:
        # The lookup's own wait, the delays of further lookups, and the answer's way back.
        for part in node.Lookup(request, timeout=(wait_seconds or 3600) + 300):
            sent = True
            if part.WhichOneof("part") == "result":
                result = part.result
            elif shown:
                click.echo(
                    f"\rheard from {part.progress.settled} of {part.progress.asked} nodes …",
                    err=True,
                    nl=False,
                )
    except grpc.RpcError as error:
        if sent and said_by_node(error) is None:
            raise Unreachable(
                "The node stopped while the lookup was under way. It was sent, and its result is kept.",
                remedy="Do not ask again: when it runs, `candor-node lookups list --case` with the case "
                "number shows what came.",
            ) from None
        raise
    if shown:
        click.echo("\r\x1b[K", err=True, nl=False)
    if result is None:
        raise AssertionError("a lookup ends with its result or with an error")
    return result


# --- reading results -------------------------------------------------------------------------------------


@click.group()
def lookups() -> None:
    """Earlier lookups and their results, with the answers that came late.

    A result is never final before its time (24 hours) is over: answers that come later amend it. What changed
    since you looked is under `lookups list --news`; a candidate that came late is a LATE MATCH until somebody
    who has looked at it says so with `lookups seen`.
    """


_ROW = click.option("--row", type=click.IntRange(1), default=None, help="LOOKUP is a batch; this row of it.")


@lookups.command("list")
@click.option("--news", is_flag=True, help="Only what is new to you, late matches in batches among it.")
@click.option("--case", "case_number", default="", help="Only lookups under this case number.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="At most so many.")
@by_option
@config_option
@json_option
def lookups_list(
    news: bool, case_number: str, limit: int, by: str | None, config_file: Path | None, as_json: bool
) -> None:
    """List lookups, newest first. Names of persons are not shown.

    NEWS says in words what you have not seen: a late match that nobody has acknowledged, a result that was
    amended since you looked, one of yours that you have not looked at yet.
    """
    from candor_wire.v1 import local_pb2

    request = local_pb2.ListLookupsRequest(limit=limit, news=news, case_number=case_number)
    with running_node(config_file, by=by) as node:
        reply = node.ListLookups(request, timeout=30)
    rows = [
        (
            name_of(view),
            view.asked_at,
            view.overall,
            _answered(view),
            str(len(view.hits)),
            view.purpose,
            view.case_number,
            _news(view),
        )
        for view in reply.lookups
    ]
    head = ("LOOKUP", "ASKED", "RESULT", "ANSWERED", "HITS", "PURPOSE", "CASE", "NEWS")
    none = "Nothing is new to you." if news else "There are no such lookups." if case_number else _NONE
    show(reply, as_json, lambda: table(rows, head) if rows else [none])


_NONE = "There are no lookups yet."


def _news(view: local_pb2.LookupView) -> str:
    """What is new, and of what changed the two gravest: `lookups show` has all of it."""
    if not view.news:
        return ""
    more = [f"and {len(view.changed) - 2} more"] if len(view.changed) > 2 else []
    return "; ".join([view.news, *view.changed[:2], *more])


def _answered(view: local_pb2.LookupView) -> str:
    coverage = view.coverage
    late = f", {coverage.late} late" if coverage.late else ""
    return f"{coverage.answered} of {coverage.asked}{late}"


@lookups.command("show")
@click.argument("lookup_id", metavar="LOOKUP")
@_ROW
@click.option("--nodes", is_flag=True, help="A line for each node, however many there are.")
@by_option
@config_option
@json_option
def lookups_show(
    lookup_id: str, row: int | None, nodes: bool, by: str | None, config_file: Path | None, as_json: bool
) -> None:
    """Show the result of a lookup as it is now. LOOKUP is its id or the beginning of it.

    Beside what was found: who answered when and how old its index was then, who refused and why, who was
    late, whose index is stale since when; and what changed since you looked.
    """
    from candor_wire.v1 import local_pb2

    with running_node(config_file, by=by) as node:
        request = local_pb2.GetLookupRequest(lookup_id=lookup_id, row=row or 0)
        reply = node.GetLookup(request, timeout=30)
    show(reply.lookup, as_json, lambda: lines(reply.lookup, all_nodes=nodes))


@lookups.command("history")
@click.argument("lookup_id", metavar="LOOKUP")
@_ROW
@by_option
@config_option
@json_option
def lookups_history(
    lookup_id: str, row: int | None, by: str | None, config_file: Path | None, as_json: bool
) -> None:
    """Show what became of LOOKUP: asked, first shown, each amendment, who acknowledged what.

    It does not count as having looked at the result.
    """
    from candor_wire.v1 import local_pb2

    with running_node(config_file, by=by) as node:
        request = local_pb2.GetLookupRequest(lookup_id=lookup_id, row=row or 0, in_passing=True)
        reply = node.GetLookup(request, timeout=30)
    show(reply.lookup, as_json, lambda: history(reply.lookup))


@lookups.command("seen")
@click.argument("lookup_id", metavar="LOOKUP")
@_ROW
@by_option
@config_option
@json_option
def lookups_seen(
    lookup_id: str, row: int | None, by: str | None, config_file: Path | None, as_json: bool
) -> None:
    """Say that you have seen the candidates of LOOKUP that came late.

    Only what you have looked at (`lookups show`) is acknowledged: what came after that stays a LATE MATCH.
    It goes into the ledger under your name; no other agency learns of it.
    """
    from candor_wire.v1 import local_pb2

    person = person_in_charge(by)
    request = local_pb2.SeenLookupRequest(lookup_id=lookup_id, row=row or 0, by=person)
    with running_node(config_file, by=person) as node:
        reply = node.SeenLookup(request, timeout=30)
    show(reply, as_json, lambda: _acknowledged(reply, person))


def _acknowledged(reply: local_pb2.SeenLookupResponse, person: str) -> list[str]:
    times = f"{reply.acknowledged} amendments" if reply.acknowledged > 1 else "1 amendment"
    said = [
        f"Acknowledged by {person}: the late candidates of {times}."
        if reply.acknowledged
        else "Nothing of this result that you have looked at waits to be acknowledged."
    ]
    if reply.lookup.late_match:
        said.append(f"There is a newer one: candor-node lookups show {name_of(reply.lookup)}")
    return said


@lookups.command("recheck")
@click.argument("lookup_id", metavar="LOOKUP")
@_ROW
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
