"""`candor-hub migrate-store`: from the embedded database to PostgreSQL."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from candor_hub.office import load, now, settings_path

if TYPE_CHECKING:
    from candor_hub.moving import Progress

_FILE = click.Path(dir_okay=False, path_type=Path)
_WORDS = {
    "rows": "Copying rows",
    "log": "Copying the log",
    "segments": "Copying segments",
    "checking": "Checking",
    "finishing": "Finishing",
}


@click.command("migrate-store")
@click.option("--to", "url", required=True, help="Empty database: postgresql://user@host:5432/name.")
@click.option("--password-file", type=_FILE, help="File with the password of that user.")
@click.option("--again", is_flag=True, help="Begin anew over what an interrupted move has left there.")
@click.option("--dry-run", is_flag=True, help="Say what would be moved, and check that it could be.")
@click.option(
    "--config", "config_file", type=_FILE, help="Settings; default: CANDOR_HUB_CONFIG, else ./hub.toml."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def migrate_store(
    url: str,
    password_file: Path | None,
    again: bool,
    dry_run: bool,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Move a stopped hub from its folder to PostgreSQL, with nothing lost (docs/postgresql.md).

    Copies every row, the log, segments and keys in one transaction, reads all of it there and compares, and
    only then marks this folder's database as moved: it refuses to run from then on. The settings name the
    new database; the file as it was is kept beside it. Interrupted before that, this hub runs on as before.
    """
    from candor_hub.moving import Move, look, move_store

    move = Move(load(config_file), url, password_file, again)
    if dry_run:
        found = look(move)
    else:
        with _progress(as_json) as progress:
            found = move_store(move, settings_path(config_file), now(), progress)
    if as_json:
        click.echo(json.dumps({"moved": not dry_run, **found.as_json()}, indent=2))
        return
    amount = (
        f"{found.rows:,} rows, {found.log_files:,} files of the log, {found.segments:,} segments, "
        f"{found.secrets} keys"
    )
    if dry_run:
        click.echo(f"{amount} would be moved to {found.to}. Nothing was changed.")
        return
    click.echo(f"{amount} are in {found.to}: compared one by one, and {found.log_entries:,} entries checked.")
    click.echo("Start the hub as before; its settings name the new database. Keep keys/database.key apart.")


@contextmanager
def _progress(as_json: bool) -> Iterator[Progress]:
    if as_json or not sys.stderr.isatty():
        yield lambda what, reached, total: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bars

    with Bars(console=Console(stderr=True)) as bars:
        tasks = {}

        def show(what: str, reached: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(_WORDS[what])
            bars.update(tasks[what], total=total, completed=reached)

        yield show
