"""`candor-node subject dispute`: the steps of a dispute; and what all commands for subjects share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from candor_node.cli_common import by_option, config_option, json_option, running_node, show
from candor_proto.errors import InputInvalid

if TYPE_CHECKING:
    from candor_wire.v1 import subject_pb2

SECONDS = 120
RECEIVED = click.option(
    "--received-on", default="", metavar="DAY", help="The day on which it came; default: today."
)


@contextmanager
def running_subject(config_file: Path | None, by: str | None) -> Iterator[Any]:
    """A stub for what the running node does for subjects."""
    from candor_wire.v1 import subject_pb2_grpc

    with running_node(config_file, by=by, stub=subject_pb2_grpc.SubjectServiceStub) as node:
        yield node


def words_of(file: str) -> str:
    """The text of a file, or of standard input for `-`."""
    try:
        octets = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise InputInvalid(f"{file} cannot be read: {error.strerror}.", remedy="Check the path.") from None
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputInvalid(f"{file} is not plain text.", remedy="Save it as text in UTF-8.") from None


# --- the steps ------------------------------------------------------------------------------------------


@click.group("dispute")
def dispute() -> None:
    """A subject's dispute of a record, step by step.

    The agency has 60 days (or what the policy pack says) to answer: CORRECT, VOID or STAND_BY, with reasons.
    Once it stands by the record, or those days are over, the subject may have it referred to the independent
    resolver of the policy pack. What was promised or decided stays due until it is carried out.
    """


@dispute.command("open")
@click.argument("dcn")
@click.option("--ground", required=True, help="FACTUAL_INACCURACY, NOT_REPORTABLE or WRONG_PERSON.")
@click.option("--file", default="", help="What the subject says is wrong, as text; - for standard input.")
@RECEIVED
@by_option
@config_option
@json_option
def dispute_open(
    dcn: str,
    ground: str,
    file: str,
    received_on: str,
    by: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Open a dispute: from now on every release says that the record is disputed.

    While WRONG_PERSON is open a person checks the identity at every release, whatever the record's colour. A
    dispute hides no record.
    """
    from candor_wire.v1 import subject_pb2

    request = subject_pb2.OpenDisputeRequest(
        dcn=dcn, ground=ground, account=words_of(file) if file else "", received_on=received_on
    )
    with running_subject(config_file, by) as node:
        reply = node.OpenDispute(request, timeout=SECONDS)
    _show_step(reply, as_json)


@dispute.command("answer")
@click.argument("dcn")
@click.argument("answer", metavar="CORRECT|VOID|STAND_BY")
@click.option(
    "--file", required=True, help="The reasons, as the subject will read them; - for standard input."
)
@click.option("--on", default="", metavar="DAY", help="The day of the answer; default: today.")
@by_option
@config_option
@json_option
def dispute_answer(
    dcn: str, answer: str, file: str, on: str, by: str | None, config_file: Path | None, as_json: bool
) -> None:
    """Answer a dispute, with reasons. A correction or void is then still to be filed."""
    from candor_wire.v1 import subject_pb2

    request = subject_pb2.AnswerDisputeRequest(dcn=dcn, answer=answer, reasons=words_of(file), on=on)
    with running_subject(config_file, by) as node:
        reply = node.AnswerDispute(request, timeout=SECONDS)
    _show_step(reply, as_json)


@dispute.command("refer")
@click.argument("dcn")
@RECEIVED
@by_option
@config_option
@json_option
def dispute_refer(
    dcn: str, received_on: str, by: str | None, config_file: Path | None, as_json: bool
) -> None:
    """Note that the subject takes the dispute to the independent resolver."""
    from candor_wire.v1 import subject_pb2

    request = subject_pb2.ReferDisputeRequest(dcn=dcn, received_on=received_on)
    with running_subject(config_file, by) as node:
        reply = node.ReferDispute(request, timeout=SECONDS)
    _show_step(reply, as_json)


@dispute.command("resolve")
@click.argument("dcn")
@click.argument("resolution", metavar="UNCHANGED|CORRECT|VOID")
@click.option("--file", required=True, help="The resolver's reasons, as plain text; - for standard input.")
@click.option("--on", default="", metavar="DAY", help="The day of the decision; default: today.")
@by_option
@config_option
@json_option
def dispute_resolve(
    dcn: str, resolution: str, file: str, on: str, by: str | None, config_file: Path | None, as_json: bool
) -> None:
    """Enter what the resolver decided. The agency must carry it out, and it is overdue until then."""
    from candor_wire.v1 import subject_pb2

    request = subject_pb2.ResolveDisputeRequest(dcn=dcn, resolution=resolution, reasons=words_of(file), on=on)
    with running_subject(config_file, by) as node:
        reply = node.ResolveDispute(request, timeout=SECONDS)
    _show_step(reply, as_json)


@dispute.command("done")
@click.argument("dcn")
@by_option
@config_option
@json_option
def dispute_done(dcn: str, by: str | None, config_file: Path | None, as_json: bool) -> None:
    """Settle a dispute by the correction that was filed. (A void settles it by itself.)"""
    from candor_wire.v1 import subject_pb2

    with running_subject(config_file, by) as node:
        reply = node.CarryOutDispute(subject_pb2.CarryOutDisputeRequest(dcn=dcn), timeout=SECONDS)
    _show_step(reply, as_json)


def _show_step(reply: Any, as_json: bool) -> None:
    show(reply, as_json, lambda: dispute_lines(reply.dispute))


def dispute_lines(one: subject_pb2.SubjectDispute) -> list[str]:
    shown = [
        f"  {one.ground}, opened on {one.opened_on} about {one.about}; travels as {one.status}",
        f"  {one.clock}",
    ]
    shown += [f"  said: {line}" for line in one.account.splitlines()]
    if one.answer:
        shown.append(f"  answered on {one.answered_on}: {one.answer}")
        shown += [f"    {line}" for line in one.answer_reasons.splitlines()]
    if one.referred_on:
        shown.append(f"  referred on {one.referred_on} to {one.resolver}")
    if one.resolution:
        shown.append(f"  decided on {one.decided_on}: {one.resolution}")
        shown += [f"    {line}" for line in one.resolution_reasons.splitlines()]
    return shown
