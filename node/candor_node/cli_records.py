"""`candor-node publish`, `records` and `audit`: the agency's own records and account."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from candor_node.cli_common import (
    config_option,
    json_option,
    running_node,
    show,
)

PUBLISH_SECONDS = 3600.0


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
        reply = node.Publish(local_pb2.PublishRequest(rotate=rotate), timeout=PUBLISH_SECONDS)
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
    """The account of everything asked, answered, released, imported and decided; evidence, and audits."""


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
