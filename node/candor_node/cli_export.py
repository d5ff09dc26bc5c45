"""`candor-node records export`, `attach` and `verify-documents`: what leaves, and what stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from candor_node.cli_common import (
    EXIT_OPERATOR,
    FILE,
    by_option,
    config_option,
    json_option,
    load,
    person_in_charge,
    running_node,
    show,
    show_dict,
)
from candor_node.cli_imports import stub
from candor_proto.errors import InputInvalid

if TYPE_CHECKING:
    from candor_node.niem import Exported
    from candor_node.table_out import Line

_EXPORT_SECONDS = 3600.0
_SECONDS = 60
_FORMS = ("niem-json", "ndi-csv", "csv")


@click.command("export")
@click.option("--format", "form", type=click.Choice(_FORMS), required=True, help="What the file is to be.")
@click.option("--out", type=FILE, required=True, help="The file to be written, for its owner's eyes only.")
@click.option("--contact", default="", help="With ndi-csv: whom to ask, as text; stands in every row.")
@click.option("--ori", default="", help="Only records of this agency.")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@by_option
@config_option
@json_option
def export(
    form: str,
    out: Path,
    contact: str,
    ori: str,
    force: bool,
    by: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Write the agency's records to a file, with identities. Every export is in the ledger.

    \b
    niem-json   for systems that speak NIEM 6.0 (docs/niem.schema.json)
    ndi-csv     decertifications as a pointer list: name, state, certificate, action, date, contact
    csv         the template's columns, to be read by people or imported elsewhere (.csv or .xlsx)
    """
    from candor_node import table_out
    from candor_node.ndi import MAX_CONTACT_CHARACTERS
    from candor_wire.v1 import intake_pb2

    if form == "niem-json":
        table_out.check_free(out, replace=force)
    else:
        table_out.check_target(out, replace=force)
    if form == "ndi-csv" and not 0 < len(contact.strip()) <= MAX_CONTACT_CHARACTERS:
        raise InputInvalid("The list must say whom to ask.", remedy="Give it with --contact.")
    person, left_out = person_in_charge(by), list[str]()
    request = intake_pb2.ExportRequest(by=person, format=form, ori=ori)
    with running_node(config_file, by=person, stub=stub()) as node:
        records = _records(node.Export(request, timeout=_EXPORT_SECONDS))
        count = _write(form, out, records, contact.strip(), load(config_file).node, left_out)
    lines = [f"{count} records in {out}. It names people: keep it as you keep the files it came from."]
    if left_out:
        lines.append(
            f"{len(left_out)} are left out: held back, RED, or without certificate or action: "
            + ", ".join(left_out[:20])
            + (" …" if len(left_out) > 20 else "")
        )
    show_dict({"records": count, "file": str(out), "left_out": left_out}, as_json, lines)


def _records(parts: Iterator[Any]) -> Iterator[Exported]:
    from candor_node.niem import Exported

    for part in parts:
        for record in part.records:
            yield Exported(record.dcn, record.standing, record.ori, dict(record.fields))


def _write(
    form: str, out: Path, records: Iterator[Exported], contact: str, node: str, left_out: list[str]
) -> int:
    from candor_node import ndi, niem, table_out
    from candor_node.clock import SystemClock
    from candor_node.mapping import COLUMNS, OWN_PREFIX

    if form == "niem-json":
        with table_out.private_file(out) as beside, beside.open("w", encoding="utf-8") as file:
            return niem.write(file, records, SystemClock().now(), node)
    if form == "ndi-csv":
        counted = _Counted(ndi.lines(records, contact, left_out))
        table_out.write(out, ndi.HEADER, counted)
        return counted.count
    own = [f"{OWN_PREFIX}{name}" for name in ("dcn", "standing", "ori")]
    counted = _Counted(
        table_out.Line([*(each.fields.get(name, "") for name in COLUMNS), each.dcn, each.standing, each.ori])
        for each in records
    )
    table_out.write(out, [*COLUMNS, *own], counted)
    return counted.count


class _Counted:
    """Lines, counted as they pass."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self.count = 0

    def __iter__(self) -> Iterator[Line]:
        for line in self._lines:
            self.count += 1
            yield line


# --- documents -----------------------------------------------------------------------------------------


@click.command("attach")
@click.argument("dcn")
@click.argument("files", type=FILE, nargs=-1, required=True)
@click.option("--reason", default="", help="Why, for the record's history.")
@by_option
@config_option
@json_option
def attach(
    dcn: str, files: tuple[Path, ...], reason: str, by: str | None, config_file: Path | None, as_json: bool
) -> None:
    """Add the digests of documents to a record, as a correction. The documents stay where they are.

    Only SHA-256 digests leave the files: no content, and no name. Keep the files unchanged: a digest shows
    every later change (`records verify-documents`).
    """
    from candor_node import documents
    from candor_wire.v1 import intake_pb2

    digests = [documents.digest_of(file) for file in files]
    person = person_in_charge(by)
    request = intake_pb2.AttachDocumentsRequest(dcn=dcn, digests=digests, by=person, reason=reason)
    with running_node(config_file, by=person, stub=stub()) as node:
        reply = node.AttachDocuments(request, timeout=_SECONDS)
    words = (
        f"{reply.added} added; the correction is {reply.dcn}."
        if reply.added
        else "The record names them all already."
    )
    show(reply, as_json, lambda: [words])


@click.command("verify-documents")
@click.argument("dcn")
@click.argument("files", type=FILE, nargs=-1, required=True)
@config_option
@json_option
@click.pass_context
def verify_documents(
    context: click.Context, dcn: str, files: tuple[Path, ...], config_file: Path | None, as_json: bool
) -> None:
    """Say of each file whether the record names exactly it. Exit status 2 if it does not name all of them."""
    from candor_node import documents
    from candor_wire.v1 import intake_pb2

    with running_node(config_file, stub=stub()) as node:
        known = set(node.ListDocuments(intake_pb2.ListDocumentsRequest(dcn=dcn), timeout=_SECONDS).digests)
    found = {str(file): documents.digest_of(file) in known for file in files}
    lines = [f"{'named' if named else 'NOT NAMED'}  {file}" for file, named in found.items()]
    show_dict({"files": found, "documents_of_record": len(known)}, as_json, lines)
    if not all(found.values()):
        context.exit(EXIT_OPERATOR)
