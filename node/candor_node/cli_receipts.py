"""`candor-node lookups receipts` and `requests receipt`: files that anybody can check (docs/evidence.md)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import rich_click as click

from candor_node.cli_common import (
    EXIT_INCOMPLETE,
    FILE,
    FOLDER,
    by_option,
    config_option,
    json_option,
    person_in_charge,
    running_node,
    show_dict,
    table,
)
from candor_proto.errors import InputInvalid

MAKE_SECONDS = 3600.0
_ID = re.compile(r"[0-9a-fA-F]{8,32}")


@click.command("receipts")
@click.argument("lookup", metavar="LOOKUP|CASE")
@click.option("--out", type=FOLDER, required=True, help="The folder for the files; made if it is not there.")
@click.option("--row", type=click.IntRange(1), default=None, help="LOOKUP is a batch; this row of it.")
@click.option("--force", is_flag=True, help="Replace files that are there.")
@by_option
@config_option
@json_option
@click.pass_context
def lookup_receipts(
    context: click.Context,
    lookup: str,
    out: Path,
    row: int | None,
    force: bool,
    by: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Write a receipt for each answer to a lookup, or to every lookup of a case: one file an answer.

    A receipt shows, to anybody and offline, who answered what to which lookup, under which index, and that it
    was logged at the time; refusals have receipts too. It names no person and no case (`candor-verify
    receipt`). Eight or more hexadecimal digits are the beginning of a lookup's id, anything else is a case
    number. Exit status 3 when an answer has no receipt yet.
    """
    from candor_node import table_out
    from candor_wire.v1 import accountability_pb2 as pb

    person = person_in_charge(by)
    named = {"lookup_id": lookup} if _ID.fullmatch(lookup.strip()) else {"case_number": lookup}
    request = pb.MakeReceiptsRequest(**named, row=row or 0, by=person)
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    with running_node(config_file, by=person, stub=stub()) as node:
        octets = b""
        for part in node.MakeReceipts(request, timeout=MAKE_SECONDS):
            octets += part.octets
            if not part.last:
                continue
            if part.file:
                path = out / safe_name(part.file)
                table_out.check_free(path, replace=force)
                with table_out.private_file(path) as beside:
                    beside.write_bytes(octets)
            rows.append(
                {
                    "lookup_id": part.lookup_id,
                    "owner": part.owner,
                    "status": part.status,
                    "file": part.file,
                    "trouble": part.trouble,
                }
            )
            octets = b""
    made = sum(bool(one["file"]) for one in rows)
    shown = [
        (one["lookup_id"][:12], one["owner"], one["status"].lower(), one["file"] or one["trouble"])
        for one in rows
    ]
    lines = table(shown, ("LOOKUP", "OWNER", "ANSWER", "RECEIPT")) if rows else ["Nobody has answered."]
    lines.append(f"{made} receipts in {out}, of {len(rows)} answers.")
    show_dict({"receipts": rows, "folder": str(out)}, as_json, lines)
    if made < len(rows):
        context.exit(EXIT_INCOMPLETE)


@click.command("receipt")
@click.argument("request_id", metavar="REQUEST")
@click.option("--out", type=FILE, required=True, help="The file to be written, for its owner's eyes only.")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@by_option
@config_option
@json_option
def request_receipt(
    request_id: str, out: Path, force: bool, by: str | None, config_file: Path | None, as_json: bool
) -> None:
    """Write the receipt of a disclosure, at either end: what was asked for and what was released.

    It holds the request and the whole record as it was released: keep it as you keep that. There is none once
    the record was recalled, or corrected by its owner.
    """
    from candor_wire.v1 import accountability_pb2 as pb

    person = person_in_charge(by)
    request = pb.MakeDisclosureReceiptRequest(request_id=request_id, by=person)
    with running_node(config_file, by=person, stub=stub()) as node:
        size = write_parts(
            out, (part.octets for part in node.MakeDisclosureReceipt(request, timeout=120)), replace=force
        )
    words = f"Receipt of request {request_id} in {out}. It holds the record: it is as confidential as that."
    show_dict({"file": str(out), "octets": size}, as_json, [words])


def stub() -> Any:
    """Of the service of this module's commands."""
    from candor_wire.v1 import accountability_pb2_grpc

    return accountability_pb2_grpc.AccountabilityServiceStub


def write_parts(out: Path, parts: Iterable[bytes], *, replace: bool) -> int:
    """Write a file for its owner's eyes only, whole or not at all; its size."""
    from candor_node import table_out

    table_out.check_free(out, replace=replace)
    size = 0
    with table_out.private_file(out) as beside, beside.open("wb") as file:
        for part in parts:
            size += file.write(part)
    return size


def safe_name(name: str) -> str:
    """A file name that the node made; raises InputInvalid for anything that leads elsewhere."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name):
        raise InputInvalid("The node names a file that is none.")
    return name
