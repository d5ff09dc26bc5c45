"""`candor-node records …`: what is done to a record, from its filing to its expungement."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from candor_node.cli_common import FILE, by_option, config_option, json_option, show
from candor_node.cli_desk import CALL_SECONDS, KINDS, Call, desk, on_record, records, why_lines
from candor_proto.errors import InputInvalid

if TYPE_CHECKING:
    from candor_wire.v1 import records_pb2 as pb

set_option = click.option(
    "--set", "sets", multiple=True, metavar="FIELD=VALUE", help="A field and its value; may be repeated."
)
reason_option = click.option("--reason", default="", help="Why, for the history.")


def fields_of(sets: tuple[str, ...]) -> dict[str, str]:
    """`field=value` each; no message repeats a value."""
    found: dict[str, str] = {}
    for text in sets:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise InputInvalid("--set takes a field, =, and its value.", remedy="As in --set finality=FINAL.")
        if name.strip() in found:
            raise InputInvalid(f"{name.strip()[:40]} is set twice.", remedy="Give each field once.")
        found[name.strip()] = value
    return found


def _act(
    act: str,
    call: Call,
    *,
    fields: Mapping[str, str] | None = None,
    how: str = "",
    until: str = "",
    reason: str = "",
    on: str = "",
) -> None:
    from candor_wire.v1 import records_pb2 as pb

    request = pb.ActOnRecordRequest(
        record=call.named(), act=act, fields=fields or {}, how=how, until=until, reason=reason, on=on
    )
    with desk(call.config_file, call.by) as node:
        reply = node.ActOnRecord(request, timeout=CALL_SECONDS)
    show(reply, call.as_json, lambda: done_lines(reply))


def done_lines(reply: pb.ActResponse) -> list[str]:
    if reply.unchanged:
        return ["Nothing differs from what is filed, so nothing was done."]
    if reply.approval_id:
        return [
            f"This takes two people and waits for the second one as approval {reply.approval_id}.",
            f"Somebody else decides: candor-node approvals approve {reply.approval_id}",
        ]
    record = reply.record
    lines = [f"{record.dcn}, version {record.version} ({record.report_type}): {record.standing}."]
    if reply.changed:
        lines.append(f"Changed: {', '.join(reply.changed)}.")
    return lines + why_lines(reply.why)


# --- filing -----------------------------------------------------------------------------------------------


@records.command("file")
@click.option("--kind", default="", help=f"Kind of the record: {KINDS}.")
@set_option
@click.option("--json-file", type=FILE, help="Fields and values as one JSON object, instead of --set.")
@click.option("--ori", default="", help="The agency the record is of, if the node stands for several.")
@click.option("--draft", is_flag=True, help="As a draft: it is held until a second person reviewed it.")
@by_option
@config_option
@json_option
def records_file(
    kind: str,
    sets: tuple[str, ...],
    json_file: Path | None,
    ori: str,
    draft: bool,
    by: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """File one report. The fields are those of the import format; many reports: `candor-node import`.

    Values on a command line stay in the shell's history: names are better given in a file.

    \b
    records file --json-file report.json
    records file --kind COMMENDATION --set agency_record_id=C-17 --set first=Jo --set last=Doe …
    """
    from candor_wire.v1 import records_pb2 as pb

    fields = {**(_from_file(json_file) if json_file else {}), **fields_of(sets)}
    if kind:
        fields["record_kind"] = kind.strip().upper()
    with desk(config_file, by) as node:
        reply = node.FileRecord(
            pb.FileRecordRequest(fields=fields, ori=ori, draft=draft), timeout=CALL_SECONDS
        )
    show(reply, as_json, lambda: done_lines(reply))


def _from_file(path: Path) -> dict[str, str]:
    try:
        read = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputInvalid(f"{path} cannot be read: {error.strerror}.", remedy="Check the path.") from None
    except (ValueError, RecursionError):
        raise InputInvalid(f"{path} is no JSON in UTF-8.", remedy="Write one object of texts.") from None
    if not isinstance(read, dict) or not all(isinstance(value, str) for value in read.values()):
        raise InputInvalid(
            f"{path} must hold one object whose values are texts.", remedy='As in {"last": "Doe", …}.'
        )
    return read


@records.command("correct")
@on_record
@set_option
@reason_option
def records_correct(
    call: Call,
    sets: tuple[str, ...],
    reason: str,
) -> None:
    """Correct facts that were wrong or missing: a new version, which replaces the old one."""
    _act(
        "CORRECT",
        call,
        fields=fields_of(sets),
        reason=reason,
    )


@records.command("revise")
@on_record
@set_option
@reason_option
def records_revise(
    call: Call,
    sets: tuple[str, ...],
    reason: str,
) -> None:
    """Add a later action on the same matter; the earlier report stays valid beside it."""
    _act(
        "REVISE",
        call,
        fields=fields_of(sets),
        reason=reason,
    )


# --- appeals and later decisions --------------------------------------------------------------------------


@records.command("appeal")
@on_record
@click.option("--forum", default="", help="ARBITRATION, CIVIL_SERVICE, ADMINISTRATIVE_HEARING, POST, COURT.")
@click.option("--filed-on", default="", metavar="DAY", help="When it was lodged.")
@click.option("--docket", default="", help="Its number at the forum.")
@reason_option
def records_appeal(
    call: Call,
    forum: str,
    filed_on: str,
    docket: str,
    reason: str,
) -> None:
    """An appeal was lodged: the record is held until it is decided, unless a policy pack allows it."""
    facts = {"appeal_forum": forum.upper(), "appeal_filed_on": filed_on, "appeal_docket": docket}
    fields = {name: value for name, value in facts.items() if value}
    _act(
        "NOTICE_APPEAL",
        call,
        fields=fields,
        reason=reason,
    )


@records.command("appeal-decided")
@on_record
@click.option("--outcome", required=True, help="UPHELD, MODIFIED, REVERSED, DISMISSED or WITHDRAWN.")
@click.option("--on", "day", required=True, metavar="DAY", help="When it was decided.")
@set_option
@reason_option
def records_appeal_decided(
    call: Call,
    outcome: str,
    day: str,
    sets: tuple[str, ...],
    reason: str,
) -> None:
    """How an appeal ended. REVERSED takes the decision away; MODIFIED: say with --set what it is instead."""
    fields = {"appeal_decided_on": day, **fields_of(sets)}
    _act(
        "DECIDE_APPEAL",
        call,
        fields=fields,
        how=outcome,
        reason=reason,
    )


@records.command("overturn")
@on_record
@click.option("--how", required=True, help="REVERSED, REINSTATED, VACATED, PARDONED or PURGED.")
@click.option("--on", "day", required=True, metavar="DAY", help="When that was decided.")
@click.option("--order", required=True, help="The order or decision that says so.")
def records_overturn(
    call: Call,
    how: str,
    day: str,
    order: str,
) -> None:
    """A later decision took this one away. The record is withdrawn where the policy pack says so."""
    _act("OVERTURN", call, how=how, reason=f"Order: {order}", on=day)


# --- orders, holds, reviews -------------------------------------------------------------------------------


def _simple(name: str, act: str, option: str, words: str, text: str) -> None:
    """A command that does one act and takes one text for the history."""

    @records.command(name, help=text)
    @on_record
    @click.option(option, "reason", required=True, help=words)
    def command(
        call: Call,
        reason: str,
    ) -> None:
        _act(act, call, reason=reason)


_simple("seal", "SEAL", "--order", "The order that seals it.", "A court's order: nobody may find the record.")
_simple(
    "unseal", "UNSEAL", "--order", "The order that unseals it.", "An order lets the record be found again."
)
_simple(
    "hold",
    "HOLD",
    "--reason",
    "The matter it is needed for.",
    "Put a record under legal hold: it is not destroyed. That stops no withdrawal.",
)
_simple("lift-hold", "LIFT_HOLD", "--reason", "Why it is over.", "End a legal hold.")


@records.command("reviewed")
@on_record
@click.option("--keep", is_flag=True, help="It is still to be kept; next review as the policy pack says.")
@click.option("--until", default="", metavar="DAY", help="The same, with the day of the next review.")
@reason_option
def records_reviewed(
    call: Call,
    keep: bool,
    until: str,
    reason: str,
) -> None:
    """Say that a record that was due for review is still to be kept. What is not: `records void`."""
    if keep == bool(until):
        raise InputInvalid("A review ends in one of two ways.", remedy="Give --keep, or --until DAY.")
    _act("KEEP", call, until=until, reason=reason)


# --- what may take two ------------------------------------------------------------------------------------


@records.command("sharing")
@on_record
@click.argument("sharing", type=click.Choice(("GREEN", "YELLOW", "RED"), case_sensitive=False))
@reason_option
def records_sharing(
    call: Call,
    sharing: str,
    reason: str,
) -> None:
    """Change who may have a record: GREEN by rule, YELLOW by a person's decision, RED by nobody.

    Opening a record that is RED takes two people. A change never recalls what was released before.
    """
    from candor_wire.v1 import records_pb2 as pb

    request = pb.ShareRecordRequest(record=call.named(), sharing=sharing, reason=reason)
    with desk(call.config_file, call.by) as node:
        reply = node.ShareRecord(request, timeout=CALL_SECONDS)
    show(reply, call.as_json, lambda: done_lines(reply))


@records.command("void")
@on_record
@click.option("--reason", required=True, help="Filed in error, not reportable, or the wrong person.")
def records_void(
    call: Call,
    reason: str,
) -> None:
    """Withdraw a report for good: filed in error, not reportable, wrong person. Takes two people."""
    from candor_wire.v1 import records_pb2 as pb

    with desk(call.config_file, call.by) as node:
        reply = node.VoidRecord(
            pb.VoidRecordRequest(record=call.named(), reason=reason), timeout=CALL_SECONDS
        )
    show(reply, call.as_json, lambda: done_lines(reply))


@records.command("expunge")
@on_record
@click.option("--order", "reason", required=True, help="The order that demands it.")
def records_expunge(
    call: Call,
    reason: str,
) -> None:
    """Destroy a record under an order: every version, statement, dispute and reason. Takes two people.

    What is left are control numbers, and who did what when. Agencies that received it are told to destroy
    their copies. There is no way back.
    """
    from candor_wire.v1 import records_pb2 as pb

    with desk(call.config_file, call.by) as node:
        reply = node.ExpungeRecord(
            pb.ExpungeRecordRequest(record=call.named(), reason=reason), timeout=CALL_SECONDS
        )
    show(reply, call.as_json, lambda: done_lines(reply))
