"""`candor-node import`, `publish`, `records` and `audit`: the agency's own records and account."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from candor_node.cli_common import (
    EXIT_OPERATOR,
    FILE,
    by_option,
    config_option,
    json_option,
    person_in_charge,
    running_node,
    show,
)
from candor_proto.errors import InputInvalid

if TYPE_CHECKING:
    from candor_wire.v1 import local_pb2

_CHUNK = 256 * 1024
_ERRORS_SHOWN = 20
IMPORT_SECONDS = 3600.0


@click.command("import")
@click.argument("file", type=FILE)
@click.option("--ori", default="", help="The agency the records are of, if the node stands for several.")
@by_option
@config_option
@json_option
@click.pass_context
def import_(
    context: click.Context, file: Path, ori: str, by: str | None, config_file: Path | None, as_json: bool
) -> None:
    """Import records from a CSV file: all of it or nothing.

    A row is known by its agency_record_id: the same content again changes nothing, other content becomes a
    new version, so that the whole export may be sent every night. Errors name row and column, never a value.
    Exit status 2 if anything was wrong, and then nothing was stored.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputInvalid(f"{file} cannot be read: {error.strerror}.", remedy="Check the path.") from None
    contributor = person_in_charge(by)
    with running_node(config_file, by=by) as node:
        reply = node.Import(_parts(content, contributor, ori), timeout=IMPORT_SECONDS)
    show(reply, as_json, lambda: _import_lines(reply))
    if reply.error_count:
        many = "s" * (reply.error_count != 1)
        click.echo(
            f"candor-node: {file} has {reply.error_count} error{many}; nothing was stored.\n"
            "  Correct the rows and import the file again.",
            err=True,
        )
        context.exit(EXIT_OPERATOR)


def _parts(content: bytes, contributor: str, ori: str) -> Iterator[local_pb2.ImportRequest]:
    from candor_wire.v1 import local_pb2

    yield local_pb2.ImportRequest(start=local_pb2.ImportStart(contributor=contributor, ori=ori))
    for at in range(0, len(content), _CHUNK):
        yield local_pb2.ImportRequest(chunk=content[at : at + _CHUNK])


def _import_lines(reply: local_pb2.ImportResponse) -> list[str]:
    if reply.error_count:
        shown = [f"row {error.row}, {error.column}: {error.reason}" for error in reply.errors[:_ERRORS_SHOWN]]
        more = reply.error_count - len(shown)
        return [*shown, *([f"… and {more} more"] if more > 0 else [])]
    held = f"; {reply.held} held back by the fair-process gate" if reply.held else ""
    published = "Published." if reply.published else "Published on the next publication day."
    return [
        f"{reply.new} new, {reply.changed} changed, {reply.unchanged} unchanged{held}.",
        published if reply.new or reply.changed else "Nothing to publish.",
    ]


@click.command()
@click.option("--rotate", is_flag=True, help="Begin a new epoch: new keys, everything sealed anew.")
@config_option
@json_option
def publish(rotate: bool, config_file: Path | None, as_json: bool) -> None:
    """Publish the sealed index now instead of on its calendar.

    Publishing outside the calendar shows on which day something was filed, which the calendar hides.
    """
    from candor_wire.v1 import local_pb2

    with running_node(config_file) as node:
        reply = node.Publish(local_pb2.PublishRequest(rotate=rotate), timeout=IMPORT_SECONDS)
    show(
        reply,
        as_json,
        lambda: [
            f"Published epoch {reply.epoch}, sequence {reply.sequence}: {reply.published} records added, "
            f"{reply.withdrawn} withdrawn, {reply.segments} segments in all."
        ],
    )


@click.group()
def audit() -> None:
    """The account of everything asked, answered, released, imported and decided."""


@audit.command("ledger")
@click.option("--event", default="", help="Only this event, or an area such as `disclosure`.")
@click.option("--after", type=click.IntRange(0), default=0, help="Only entries behind this number.")
@click.option("--limit", type=click.IntRange(1, 500), default=100, show_default=True, help="At most so many.")
@config_option
@json_option
def ledger(event: str, after: int, limit: int, config_file: Path | None, as_json: bool) -> None:
    """Print ledger entries, oldest first, after checking the whole chain."""
    from candor_wire.v1 import local_pb2

    request = local_pb2.ListLedgerRequest(event=event, after=after, limit=limit)
    with running_node(config_file) as node:
        reply = node.ListLedger(request, timeout=120)
    show(
        reply,
        as_json,
        lambda: [
            *(
                f"{entry.number:>6}  {entry.at}  {entry.event:<24} "
                + " ".join(
                    f"{key}={value}"
                    for key, value in (*sorted(entry.refs.items()), *sorted(entry.details.items()))
                )
                for entry in reply.entries
            ),
            f"The chain of all {reply.verified} entries was checked and is whole.",
        ],
    )
