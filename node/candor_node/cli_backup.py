"""`candor-node backup` and `restore`: the records, and apart from them the keys, which expire; and the
drill."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from candor_node.cli_common import FOLDER, by_option, config_option, json_option, load, show, show_dict
from candor_node.cli_desk import desk
from candor_proto.errors import CandorError, InputInvalid

if TYPE_CHECKING:
    from candor_node.restore import Progress, Restored
    from candor_wire.v1 import records_pb2

BACKUP_SECONDS = 3600.0


@click.group(invoke_without_command=True)
@click.option(
    "--out", "folder", type=FOLDER, help="Folder for both parts; default: backup_folder of node.toml."
)
@click.option(
    "--whole", is_flag=True, help="Every page, although a backup is there that could be built upon."
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
@click.pass_context
def backup(
    context: click.Context,
    folder: Path | None,
    whole: bool,
    keys_expire_days: int,
    by: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Back up the database of the running node in two parts, and read both again.

    With backup_folder in node.toml the node does this by itself, every five minutes; this is for another
    folder, or for now. The first backup in a folder holds every page, those after it what changed.

    records-….db and .delta hold everything but the keys that open it; keys-….db holds these, and expires.
    What is expunged here is also expunged there: the keys in every folder that was ever backed up to are
    written anew without it, within a minute. So let the folder stay reachable, and make no copies of
    keys-….db.

    Both parts are encrypted under the database key, which is not in them: keep that key apart. The node's own
    keys and certificate (the folder `keys`) are not in them either.
    """
    if context.invoked_subcommand is not None:
        return
    from candor_wire.v1 import records_pb2 as pb

    out = _folder(folder, config_file, "--out")
    request = pb.BackUpRequest(folder=str(out.absolute()), keys_live_days=keys_expire_days, whole=whole)
    with desk(config_file, by) as node:
        reply = node.BackUp(request, timeout=BACKUP_SECONDS)
    show(
        reply,
        as_json,
        lambda: [
            f"{reply.records_file}: {'all' if reply.whole else reply.changed} of {reply.pages} pages, "
            f"{reply.filings} filings, no key",
            f"{reply.keys_file}: {reply.keys} keys, until {reply.keys_expire_at}",
            "Both were written and read again.",
        ],
    )


def _folder(given: Path | None, config_file: Path | None, option: str) -> Path:
    found = given or load(config_file).backup_folder
    if found is None:
        raise InputInvalid(
            "It is not known where the backup is.",
            remedy=f"Name it with {option}, or as backup_folder in node.toml.",
        )
    return found


@backup.command()
@click.option(
    "--from", "folder", type=FOLDER, help="Folder with a backup; default: backup_folder of node.toml."
)
@click.option("--scratch", type=FOLDER, help="Where to restore to for the while; default: the data folder.")
@config_option
@json_option
def drill(folder: Path | None, scratch: Path | None, config_file: Path | None, as_json: bool) -> None:
    """Try the restore: into a folder of its own, open every version, check everything, delete it again.

    The running node is not touched, and need not run. Exit status 0 only if the newest backup can be restored
    whole; how long it took is said, and kept for `doctor`. Once a month is often enough.
    """
    from candor_node.backup_drill import drill as try_it
    from candor_node.backup_drill import note
    from candor_node.clock import SystemClock

    config, now = load(config_file), SystemClock().now()
    source = _folder(folder, config_file, "--from")
    try:
        with _bar(as_json) as progress:
            found = try_it(
                source,
                scratch or config.data_folder,
                config.database_key(),
                now,
                progress,
                (config.data_folder / "journal",),
            )
    except CandorError as error:
        note(config.data_folder, now, None, error)
        raise
    note(config.data_folder, now, found, None)
    show_dict(
        found.as_json(),
        as_json,
        [
            f"The backup of {found.restored.written_at:%Y-%m-%d %H:%M:%S} UTC in {source} can be restored:",
            *_what(found.restored),
            f"  it took {found.seconds:.0f} seconds; nothing of it is left",
        ],
    )


def _what(restored: Restored) -> list[str]:
    lines = [
        f"  {restored.records} records in {restored.versions} versions, all of them opened",
        f"  {restored.ledger_entries} entries of the ledger, whose chain is whole; "
        f"{restored.rollback.put_back} of them came from the journal",
    ]
    if restored.destroyed:
        lines.append(f"  {restored.destroyed} records were destroyed after the backup; they stay destroyed")
    return lines


@click.group(invoke_without_command=True)
@click.option(
    "--from", "folder", type=FOLDER, help="Folder with a backup; default: backup_folder of node.toml."
)
@click.option("--to", type=FOLDER, help="New folder for the database; it must not hold one.")
@click.option(
    "--until",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M"]),
    help="UTC: not the newest state, but the newest one up to then.",
)
@config_option
@json_option
@click.pass_context
def restore(
    context: click.Context,
    folder: Path | None,
    to: Path | None,
    until: object,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Put the newest backup of a folder together again, into a new folder, without a running node.

    Keys that have expired are refused. A record that was destroyed after the backup stays destroyed. Every
    version is opened once and the ledger's chain is checked. Then point `data_folder` of node.toml to the new
    folder. Never run the old and the restored database both.

    A restored node knows less than it did. It puts back what its journal knows, takes new numbers and keys
    where old ones were perhaps used, and shares nothing until a person has confirmed what was lost.
    """
    if context.invoked_subcommand is not None:
        return
    from datetime import UTC, datetime

    from candor_node.clock import SystemClock
    from candor_node.restore import restore as join

    if to is None:
        raise click.UsageError("Name a new folder for the database with --to.")
    config = load(config_file)
    moment = until.replace(tzinfo=UTC) if isinstance(until, datetime) else None
    source = _folder(folder, config_file, "--from")
    with _bar(as_json) as progress:
        restored = join(
            source,
            to / config.database_file.name,
            config.database_key(),
            SystemClock().now(),
            moment,
            progress,
            (config.data_folder / "journal",),
        )
    report = {
        "written_at": restored.written_at.isoformat(),
        "records": restored.records,
        "versions": restored.versions,
        "destroyed": restored.destroyed,
        "ledger_entries": restored.ledger_entries,
        "put_back": restored.rollback.put_back,
        "lost": list(restored.lost),
        "confirmed": restored.rollback.confirmed_at is not None,
    }
    lines = [
        f"Restored the backup of {restored.written_at:%Y-%m-%d %H:%M:%S} UTC into {to}:",
        *_what(restored),
        *(f"  NOT WHOLE, and left out: {sentence}" for sentence in restored.lost),
    ]
    if restored.rollback.confirmed_at is None:
        known = restored.rollback.known_until
        lines += [
            f"  what was done until {known:%H:%M:%S} UTC is known"
            if known
            else "  what was done since is not known",
            "It shares nothing until a person has confirmed that: start it, then",
            "`candor-node restore review` and `candor-node restore confirm`.",
        ]
    show_dict(report, as_json, lines)


@restore.command()
@by_option
@config_option
@json_option
def review(by: str | None, config_file: Path | None, as_json: bool) -> None:
    """Show how the database went back, what had been done since, and what a person has to do about it."""
    from candor_wire.v1 import records_pb2 as pb

    with desk(config_file, by) as node:
        reply = node.ShowRollback(pb.ShowRollbackRequest(), timeout=60)
    show(reply, as_json, lambda: _review_lines(reply))


def _review_lines(reply: records_pb2.ShowRollbackResponse) -> list[str]:
    if not reply.number:
        return ["This node's database never went back."]
    lines = [reply.sentence, f"noticed {reply.noticed_at}"]
    lines.append(
        f"What was done until {reply.known_until} is known; what came after it, nobody can say."
        if reply.known_until
        else "Nothing is known of what was done since."
    )
    lines += ["", *(f"{act.at}  {act.event}  {act.about}  {act.by}\n    {act.healed}" for act in reply.acts)]
    if reply.confirmed_at:
        return [*lines, "", f"Confirmed {reply.confirmed_at} by {reply.confirmed_by}."]
    return [
        *lines,
        "",
        "Ask everybody who works here what they did after that. Then: candor-node restore confirm.",
    ]


@restore.command()
@click.option(
    "--old-witness-keys",
    is_flag=True,
    help="Cosign with the keys of before: only if the log is over otherwise (docs/witness.md).",
)
@by_option
@config_option
@json_option
def confirm(old_witness_keys: bool, by: str | None, config_file: Path | None, as_json: bool) -> None:
    """Say that you have read what was lost and that what has to be done is done: the node shares again."""
    from candor_wire.v1 import records_pb2 as pb

    with desk(config_file, by) as node:
        request = pb.ConfirmRollbackRequest(old_witness_keys=old_witness_keys)
        reply = node.ConfirmRollback(request, timeout=120)
    show(reply, as_json, lambda: ["This node shares again: it publishes as soon as it has read the log."])


@contextmanager
def _bar(as_json: bool) -> Iterator[Progress]:
    """A progress bar on a terminal, and nothing elsewhere."""
    import sys

    if as_json or not sys.stderr.isatty():
        yield lambda what, done, of: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    words = {"pages": "pages put together", "records": "versions opened"}
    with Bar(console=Console(stderr=True), transient=True) as bar:
        tasks = {what: bar.add_task(text, total=None) for what, text in words.items()}

        def progress(what: str, done: int, of: int) -> None:
            bar.update(tasks[what], completed=done, total=of)

        yield progress
