"""`candor-node backup` and `restore`: the records, and apart from them the keys, which expire."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import rich_click as click

from candor_node.cli_common import (
    FOLDER,
    by_option,
    config_option,
    config_path,
    json_option,
    load,
    show,
    show_dict,
)
from candor_node.cli_desk import desk

BACKUP_SECONDS = 3600.0


@click.command()
@click.option(
    "--out", "folder", required=True, type=FOLDER, help="Folder for both parts, best on another disk."
)
@click.option(
    "--keys-expire-days",
    type=click.IntRange(1, 90),
    default=7,
    show_default=True,
    help="After so many days the keys are refused, and deleted from the folder.",
)
@by_option
@config_option
@json_option
def backup(
    folder: Path, keys_expire_days: int, by: str | None, config_file: Path | None, as_json: bool
) -> None:
    """Back up the database of the running node in two parts, and read both again.

    records-….db holds everything but the keys that open it; keys-….db holds these, and expires. What is
    expunged here is also expunged there: the keys in every folder that was ever backed up to are written anew
    without it, within a minute. So let the folder stay reachable, and make no copies of keys-….db.

    Both parts are encrypted under the database key, which is not in them: keep that key apart. The node's own
    keys and certificate (the folder `keys`) are not in them either.
    """
    from candor_wire.v1 import records_pb2 as pb

    request = pb.BackUpRequest(folder=str(folder.absolute()), keys_live_days=keys_expire_days)
    with desk(config_file, by) as node:
        reply = node.BackUp(request, timeout=BACKUP_SECONDS)
    show(
        reply,
        as_json,
        lambda: [
            f"{reply.records_file}: {reply.filings} filings, no key",
            f"{reply.keys_file}: {reply.keys} keys, until {reply.keys_expire_at}",
            "Both were written and read again.",
        ],
    )


@click.command()
@click.option("--from", "folder", required=True, type=FOLDER, help="The folder with both parts of a backup.")
@click.option("--to", required=True, type=FOLDER, help="New folder for the database; it must not hold one.")
@config_option
@json_option
def restore(folder: Path, to: Path, config_file: Path | None, as_json: bool) -> None:
    """Put the newest backup of a folder together again, into a new folder, without a running node.

    Keys that have expired are refused. A record that was destroyed after the backup stays destroyed. Every
    version is opened once and the ledger's chain is checked. Then point `data_folder` of node.toml to the new
    folder. Never run the old and the restored database both.
    """
    from candor_certs.service_manager import work_as_owner
    from candor_node.clock import SystemClock
    from candor_node.restore import restore as join

    work_as_owner(config_path(config_file).parent)
    config = load(config_file)
    restored = join(folder, to / config.database_file.name, config.database_key(), SystemClock().now())
    report = {**asdict(restored), "written_at": restored.written_at.isoformat()}
    lines = [
        f"Restored the backup of {restored.written_at:%Y-%m-%d %H:%M} UTC into {to}:",
        f"  {restored.records} records in {restored.versions} versions, all of them opened",
        f"  {restored.ledger_entries} entries of the ledger, whose chain is whole",
    ]
    if restored.destroyed:
        lines.append(f"  {restored.destroyed} records were destroyed after the backup; they stay destroyed")
    show_dict(report, as_json, lines)
