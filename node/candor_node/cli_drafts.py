"""`candor-node records review`: the second look at drafts, at one, at several, or at all that somebody filed.

Rules of this file:
- nobody reviews what they filed; the node holds that, whatever is asked here;
- records that are named are reviewed all or none. Those of one person are taken piece by piece, each piece
  whole, for an import may have filed thousands: stopped in the middle, the same command goes on.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from candor_node.cli_acts import done_lines
from candor_node.cli_common import by_option, config_option, json_option, show
from candor_node.cli_desk import CALL_SECONDS, desk, records
from candor_proto.errors import InputInvalid

if TYPE_CHECKING:
    from candor_wire.v1 import records_pb2 as pb

_SHOWN = 20


@records.command("review")
@click.argument("named", metavar="[RECORD]...", nargs=-1)
@click.option("--all-from", default="", metavar="USER", help="Instead: every draft that this user filed.")
@click.option("--id", "agency_id", is_flag=True, help="RECORD is the agency's own id, not a DCN.")
@click.option("--ori", default="", help="With --id: the agency, if the node stands for several.")
@by_option
@config_option
@json_option
def records_review(
    named: tuple[str, ...],
    all_from: str,
    agency_id: bool,
    ori: str,
    by: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Say that drafts are right: the second look, by somebody who did not file them.

    \b
    records list --standing DRAFT          what waits for it
    records show DCN                       what it says
    records review DCN [DCN ...]           these, all or none of them
    records review --all-from clerk-7      whatever clerk-7 filed or imported
    """
    from candor_wire.v1 import records_pb2 as pb

    if bool(named) == bool(all_from):
        raise InputInvalid(
            "Which drafts?", remedy="Name their DCNs, or the person who filed them with --all-from USER."
        )
    names = [pb.RecordName(name=name, agency_id=agency_id, ori=ori) for name in named]
    with desk(config_file, by) as node:
        if len(names) == 1:
            one = node.ReviewRecord(pb.ReviewRecordRequest(record=names[0]), timeout=CALL_SECONDS)
            show(one, as_json, lambda: done_lines(one))
            return
        reply = pb.ReviewDraftsResponse()
        request = pb.ReviewDraftsRequest(records=names, all_from=all_from)
        while True:
            part = node.ReviewDrafts(request, timeout=CALL_SECONDS)
            request.after = part.following
            part.ClearField("following")
            reply.MergeFrom(part)
            if not request.after:
                break
    show(reply, as_json, lambda: _reviewed_lines(reply, all_from))


def _reviewed_lines(reply: pb.ReviewDraftsResponse, all_from: str) -> list[str]:
    if not reply.records and not reply.left:
        return [f"No draft of {all_from} waits for a review."]
    lines = [f"  {record.dcn}  {record.kind}  {record.standing}" for record in reply.records[:_SHOWN]]
    more = len(reply.records) - len(lines)
    lines += [f"  … and {more:,} more"] if more > 0 else []
    active = sum(record.standing == "ACTIVE" for record in reply.records)
    lines.append(f"{len(reply.records):,} reviewed: {active:,} may match, the gate holds the others.")
    if reply.left:
        lines.append(
            f"{len(reply.left):,} left to another person, for you filed a version of them: "
            + ", ".join(reply.left[:_SHOWN])
            + (" …" if len(reply.left) > _SHOWN else "")
        )
    return lines
