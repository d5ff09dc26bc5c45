"""`candor-hub log`: the operator's commands about the transparency log."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

if TYPE_CHECKING:
    from candor_hub.config import Config
    from candor_hub.store import Store
    from candor_hub.tlog.status import LogStatus

EXIT_FINDINGS = 1
# An ML-DSA-44 key has 1,800 characters; `log policy` and `--json` have them all.
MAX_SHOWN_KEY = 120
_FILE = click.Path(dir_okay=False, path_type=Path)
_config_option = click.option(
    "--config", "config_file", type=_FILE, help="Settings; default: CANDOR_HUB_CONFIG, else ./hub.toml."
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("log")
def log_group() -> None:
    """The transparency log: its state, its witnesses, its files (docs/log.md)."""


@log_group.command()
@_config_option
@_json_option
def status(config_file: Path | None, as_json: bool) -> None:
    """Say how far the log is and who has witnessed it. Exit status 1 if something is wrong."""
    from candor_hub.places import log_files
    from candor_hub.tlog.status import log_status, with_waiting_head

    config, store = _open(config_file)
    try:
        with store.read() as tx:
            found = log_status(tx, _now())
        found = with_waiting_head(found, log_files(config, store))
    finally:
        store.close()
    troubles = found.troubles(_now())
    if as_json:
        click.echo(json.dumps({**found.as_json(), "troubles": troubles}, indent=2))
    else:
        _print_status(found)
        for trouble in troubles:
            click.echo(f"FAIL  {trouble}")
    if troubles:
        sys.exit(EXIT_FINDINGS)


def _print_status(found: LogStatus) -> None:
    for shard in found.shards:
        state = "ended" if shard.closed else "open"
        click.echo(
            f"{shard.origin} ({state}): {shard.size:,} entries signed, {shard.witnessed_size:,} witnessed"
        )
        if shard.time_of_witness:
            click.echo(f"  witnessed as of {shard.time_of_witness:%Y-%m-%d %H:%M:%S} UTC")
        for key in shard.verifier_keys:
            click.echo(f"  key {key if len(key) <= MAX_SHOWN_KEY else key[:MAX_SHOWN_KEY] + '…'}")
    coming = f", version {found.coming_version} waits for its quorum" if found.coming_version else ""
    click.echo(f"policy version {found.policy_version}{coming}")
    witnesses = found.policy.witnesses if found.policy else ()
    names, head = found.witnessed_by, "the newest witnessed head"
    if found.waits_signed_by is not None:
        names, head = found.waits_signed_by, "the newest head, which waits for its quorum"
    click.echo(f"witnesses: {len(witnesses)}, of {head}: {len(names)}")
    for witness in witnesses:
        signed = "signed " if witness.name in names else "missing"
        click.echo(f"  {signed}  {witness.name} {witness.url}".rstrip())
    click.echo(f"directory version {found.directory_version}, witnessed {found.witnessed_directory}")
    click.echo(f"waiting to be logged: {found.waiting}")
    if found.rotating:
        click.echo("a rotation is under way")


@log_group.command()
@click.option("--repair", is_flag=True, help="Make hash tiles and copies of checkpoints again; not entries.")
@_config_option
@_json_option
def fsck(repair: bool, config_file: Path | None, as_json: bool) -> None:
    """Check every file of the log against every other and the database. Exit status 1 if anything is wrong.

    The hub may run meanwhile, but not with --repair. Nothing repairs entries: a damaged bundle has to come
    from a backup of the folder, or from a member or reader that copied the log.
    """
    from candor_hub.places import log_files, log_lock
    from candor_hub.tlog.fenced import Fenced
    from candor_hub.tlog.fsck import fsck as check
    from candor_proto.errors import StoreUnusable

    config, store = _open(config_file)
    lock, running = log_lock(config, store), False
    try:
        try:
            lock.take()
        except StoreUnusable:
            if repair:
                raise
            running = True
        # What a replica that stands still might yet write is not to be written over the repair.
        write = Fenced(store).write if repair else store.write
        files = log_files(config, store, write=write)
        report = check(store, files, config.federation, repair=repair, running=running)
    finally:
        lock.give_back()
        store.close()
    if as_json:
        click.echo(
            json.dumps(
                {
                    "good": report.good,
                    "shards": report.shards,
                    "entries": report.entries,
                    "files": report.files,
                    "findings": [finding.as_json() for finding in report.findings],
                    "repaired": report.repaired,
                },
                indent=2,
            )
        )
    else:
        click.echo(
            f"{report.entries:,} entries in {report.files:,} files of {report.shards} shards were read."
        )
        for path in report.repaired:
            click.echo(f"repaired  {path}")
        for finding in report.findings:
            click.echo(f"FAIL  {finding.path}: {finding.what}")
        if report.good:
            click.echo("Every entry is the one that was signed, and every file belongs to it.")
        elif any(finding.repairable for finding in report.findings):
            click.echo(
                "What can be made again is, by `candor-hub log fsck --repair` while the hub is stopped."
            )
        if any(not finding.repairable for finding in report.findings):
            click.echo("What cannot be made again has to come from a backup or a reader: docs/log.md, 7.")
    if not report.good:
        sys.exit(EXIT_FINDINGS)


@log_group.command()
@_config_option
@_json_option
def rotate(config_file: Path | None, as_json: bool) -> None:
    """End the present shard of the log and begin the next one, with the same state.

    The running hub does it, step by step, as witnesses sign; `candor-hub log status` says how far it is. The
    ended shard stays served. Once a year is often enough.
    """
    from candor_hub.tlog.rotation import ask_for

    _, store = _open(config_file)
    try:
        with store.write() as tx:
            shard = ask_for(tx)
    finally:
        store.close()
    report = {"shard": shard, "next": shard + 1}
    line = f"Shard {shard} of the log ends when its witnesses have signed, and shard {shard + 1} begins."
    click.echo(json.dumps(report, indent=2) if as_json else line)


@log_group.command()
@_config_option
@_json_option
def confirm(config_file: Path | None, as_json: bool) -> None:
    """Say that this hub's database is the newest there is, although a witness claims to know more of the log.

    Only where the witness policy asks for no quorum (fewer than three members): with a quorum the witnesses
    decide. If the database did go back, the log forks, and everybody keeps that as evidence against this hub:
    compare `candor-hub log status` with what each member's `candor-node status` says first.
    """
    from candor_hub.tlog.confirmed import confirm_by_operator

    _, store = _open(config_file)
    try:
        with store.write() as tx:
            confirm_by_operator(tx)
    finally:
        store.close()
    line = "The log goes on from the head that this database has."
    click.echo(json.dumps({"confirmed": True}, indent=2) if as_json else line)


@log_group.command()
@click.option("--outside", type=_FILE, help="File of lines `witness NAME VKEY URL`: the whole list, or none.")
@click.option("--need", type=int, help="How many of them have to sign besides the members. Default: none.")
@_config_option
@_json_option
def policy(outside: Path | None, need: int | None, config_file: Path | None, as_json: bool) -> None:
    """Show the witness policy in force, or set witnesses of other operators and how many must sign.

    Members are witnesses by themselves. A policy that changes is in force once the quorum of the one before
    has signed it; until then the one before stays.
    """
    import hashlib

    from candor_hub.tlog.outside import read_outside, set_outside
    from candor_proto.errors import InputInvalid

    if need is not None and outside is None:
        raise click.UsageError("--need goes with --outside.")
    witnesses = None
    if outside is not None:
        try:
            witnesses = read_outside(outside.read_text("utf-8"))
        except UnicodeDecodeError:
            raise InputInvalid(f"{outside} is not UTF-8 text.") from None
    config, store = _open(config_file)
    try:
        if witnesses is not None:
            with store.write() as tx:
                set_outside(tx, config.federation, witnesses, need or 0, _now())
        with store.read() as tx:
            in_force, newest = tx.log.policy_in_force(), tx.log.newest_policy()
    finally:
        store.close()
    text = in_force.text if in_force else b""
    coming = newest.version if newest and not newest.in_force else None
    report = {
        "version": in_force.version if in_force else 0,
        "sha256": hashlib.sha256(text).hexdigest(),
        "text": text.decode("utf-8", "replace"),
        "coming": coming,
    }
    if as_json:
        click.echo(json.dumps(report, indent=2))
        return
    # Standard output holds the policy and nothing else: a file of it has the SHA-256 that is said.
    click.echo(f"policy version {report['version']}, SHA-256 {report['sha256']}", err=True)
    if coming is not None:
        click.echo(f"version {coming} waits for the quorum of this one", err=True)
    click.echo(str(report["text"]), nl=False)


def _open(config_file: Path | None) -> tuple[Config, Store]:
    from candor_hub.founding import open_store
    from candor_hub.office import load

    config = load(config_file)
    return config, open_store(config)


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251  # the edge reads the clock
