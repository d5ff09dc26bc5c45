"""`candor-hub backup` and `restore`."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import rich_click as click

from candor_proto.errors import CandorError, InputInvalid

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)
_config_option = click.option(
    "--config", "config_file", type=_FILE, help="Settings; default: CANDOR_HUB_CONFIG, else ./hub.toml."
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("backup", invoke_without_command=True)
@click.option("--out", "folder", type=_FOLDER, help="Where to; default: backup_folder of hub.toml.")
@_config_option
@_json_option
@click.pass_context
def backup_group(
    context: click.Context, folder: Path | None, config_file: Path | None, as_json: bool
) -> None:
    """Back up database, keys, log and segments as of one moment, beside the running hub, and read them again.

    The database and everything secret are encrypted under the key in keys/database.key, which is NOT in the
    backup: keep it apart, on paper or in a safe. With backup_folder in hub.toml the running hub does this
    every five minutes. For PostgreSQL see docs/backup.md.
    """
    if context.invoked_subcommand is not None:
        return
    from candor_backup import state
    from candor_hub import backup, office
    from candor_hub.founding import open_store

    config = office.load(config_file)
    target = _folder(folder or config.backup_folder, "--out")
    store = open_store(config)
    try:
        written = backup.write(config, store, target, office.now(), config.backup_keep)
    finally:
        store.close()
    report = {"backup": str(written.path), "octets": written.octets, "log_sizes": written.sizes}
    lines = [
        f"{written.path.with_suffix('.db')} and {written.path.name}, {written.octets:,} octets written now",
        "Database, keys, log and segments were read again.",
    ]
    state.note_backup(config.data, office.now(), str(target), written.octets)
    click.echo(json.dumps(report, indent=2) if as_json else "\n".join(lines))


def _folder(found: Path | None, option: str) -> Path:
    if found is None:
        raise InputInvalid(
            "It is not known where the backup is.",
            remedy=f"Name it with {option}, or as backup_folder in hub.toml.",
        )
    return found


@backup_group.command()
@click.option(
    "--from", "folder", type=_FOLDER, help="Folder of the backup; default: backup_folder of hub.toml."
)
@click.option("--scratch", type=_FOLDER, help="Where to restore to for the while; default: the data folder.")
@_config_option
@_json_option
def drill(folder: Path | None, scratch: Path | None, config_file: Path | None, as_json: bool) -> None:
    """Try the restore in a folder of its own, check every entry of the log, and delete it again.

    The running hub is not touched. Exit status 0 only if the newest backup can be restored.
    """
    from candor_backup import folders, state
    from candor_hub import office
    from candor_hub.places import database_key
    from candor_hub.restore import restore as put_together

    config, began = office.load(config_file), time.monotonic()
    source = _folder(folder or config.backup_folder, "--from")
    try:
        with tempfile.TemporaryDirectory(prefix="drill-", dir=scratch or config.data) as place:
            try:
                found = put_together(source, Path(place) / "hub", database_key(config), office.now())
            finally:
                # Keys in clear, perhaps on another disk than the hub's own.
                for path in Path(place).glob("hub/**/*.*"):
                    if path.suffix in (".key", ".pem") and path.is_file():
                        folders.wipe(path)
    except CandorError as error:
        state.note_drill(config.data, office.now(), 0, error.message)
        raise
    seconds = round(time.monotonic() - began, 1)
    state.note_drill(config.data, office.now(), seconds, "")
    report = {
        "held": True,
        "written_at": state.moment(found.written_at),
        "members": found.members,
        "log_entries": found.entries,
        "seconds": seconds,
    }
    line = (
        f"The backup of {report['written_at']} can be restored: {found.members} members, {found.entries:,} "
        f"entries of the log, all of them read; it took {seconds} seconds, and nothing of it is left."
    )
    click.echo(json.dumps(report, indent=2) if as_json else line)


@click.command()
@click.option("--from", "folder", required=True, type=_FOLDER, help="Folder of the backup.")
@click.option("--to", required=True, type=_FOLDER, help="New folder for the hub; it must hold nothing.")
@click.option("--key-file", required=True, type=_FILE, help="keys/database.key of before: 32 octets.")
@click.option(
    "--witnessed",
    type=_FILE,
    help="The newest checkpoint that a member or reader holds: none older is restored.",
)
@_json_option
def restore(folder: Path, to: Path, key_file: Path, witnessed: Path | None, as_json: bool) -> None:
    """Put a hub together from its newest backup, in a new folder, and check every entry of its log.

    The restored hub signs nothing before a quorum of its witnesses has signed the head that it has. If they
    know a larger one, what was signed since the backup is lost: a newer backup, or a new hub from the log
    (docs/succession.md). Never run the old and the restored hub both.
    """
    from candor_backup import state
    from candor_hub import office
    from candor_hub.restore import restore as put_together

    key, head = key_file.read_bytes(), witnessed.read_bytes() if witnessed else None
    found = put_together(folder, to, key, office.now(), head)
    report = {
        "written_at": state.moment(found.written_at),
        "federation": found.federation,
        "members": found.members,
        "log_entries": found.entries,
        "config": str(to / "hub.toml"),
    }
    lines = [
        f"The hub of {found.federation} as of {report['written_at']} is in {to}:",
        f"  {found.members} members, {found.entries:,} entries of the log, all of them read",
        f"Start it with: candor-hub run --config {to / 'hub.toml'}",
        "It signs nothing until a quorum of its witnesses has signed the head that it has.",
    ]
    click.echo(json.dumps(report, indent=2) if as_json else "\n".join(lines))
