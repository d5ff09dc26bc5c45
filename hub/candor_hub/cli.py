"""`candor-hub`: the operator's commands.

The edge: it reads the clock, prints, and turns every error into a sentence, a remedy and exit status 2. What
is slow to import (gRPC, the database) is imported where it is used.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import rich_click as click

from candor_hub.backup_cli import backup_group, restore
from candor_hub.certificate_cli import certificates, deny, issuing, readmit
from candor_hub.log_cli import log_group
from candor_hub.moving_cli import migrate_store
from candor_hub.office import Office as _Office
from candor_hub.office import load as _load
from candor_hub.office import now as _now
from candor_hub.office import read_config as _read_config
from candor_hub.office import settings_path as _config_path
from candor_hub.succession_cli import succession_group
from candor_proto.errors import CandorError
from candor_proto.ids import FederationName, NodeId, Ori
from candor_watch.uncaught import tell_shortly

EXIT_ERROR = 2
_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)


def _config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--config", "config_file", type=_FILE, help="Settings; default: CANDOR_HUB_CONFIG, else ./hub.toml."
    )(command)


def _json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="candor-exchange", prog_name="candor-hub")
def cli() -> None:
    """Run the hub of a Candor federation.

    The hub admits members and routes what they send: blinded lookups, signed answers, sealed records. It sees
    neither names nor matches, and no member can be reached from outside through it.

    \b
    First day:
      candor-hub init --dir hub --federation exchange.example.org \\
          --address 0.0.0.0:7443 --enrolment-address 0.0.0.0:7444 \\
          --public-address hub.example.org:7443 --public-enrolment-address hub.example.org:7444
      candor-hub run --config hub/hub.toml
      candor-hub invite CA0340000 --node example-sheriff \\
          --name "Example County Sheriff" --out invitation.txt

    Send the invitation file to the agency, and tell it the root's fingerprint over another channel.
    """


@cli.command()
@click.option("--dir", "folder", required=True, type=_FOLDER, help="New folder for the hub.")
@click.option("--federation", required=True, help="Name of the federation: exchange.example.org. For good.")
@click.option("--address", required=True, help="Where members connect: host:port to listen on.")
@click.option("--enrolment-address", required=True, help="Where they enrol: host:port to listen on.")
@click.option("--log-address", default="", help="Where anybody reads the log; default: the next port.")
@click.option("--public-address", default="", help="What members dial, if not --address.")
@click.option("--public-enrolment-address", default="", help="What invitations say, likewise.")
@click.option("--issuing", type=_FOLDER, help="Issuing authority made by `candor-certs issuing create`.")
@click.option(
    "--new-member-wait-hours", default=24.0, show_default=True, help="Before a new member is answered."
)
@click.option("--nodes", default=1_000, show_default=True, help="Members to expect, at most 2000.")
@click.option("--database-url", default="", help="Empty PostgreSQL database: postgresql://user@host/name.")
@click.option("--database-password-file", type=_FILE, help="File with the password of that user.")
@_json_option
def init(
    folder: Path,
    federation: str,
    address: str,
    enrolment_address: str,
    log_address: str,
    public_address: str,
    public_enrolment_address: str,
    issuing: Path | None,
    new_member_wait_hours: float,
    nodes: int,
    database_url: str,
    database_password_file: Path | None,
    as_json: bool,
) -> None:
    """Make a hub: settings, keys, encrypted database. Nothing is overwritten.

    Without --issuing the federation's root and issuing authorities are made as well, in DIR/authority. That
    is good for a demonstration; for a real federation make them with `candor-certs`, on an offline machine.
    """
    from cryptography.hazmat.primitives.serialization import Encoding

    from candor_certs.folders import load_issuing
    from candor_certs.invitation import fingerprint
    from candor_certs.service_manager import work_as_owner
    from candor_hub.founding import Wishes, found

    wishes = Wishes(
        FederationName(federation),
        address,
        enrolment_address,
        public_address,
        public_enrolment_address,
        issuing,
        new_member_wait_hours,
        nodes,
        log_address,
        database_url,
        database_password_file,
    )
    work_as_owner(folder)
    config = found(folder, wishes, _now())
    root = load_issuing(config.issuing).root.public_bytes(Encoding.DER)
    report = {
        "config": str(folder / "hub.toml"),
        "federation": federation,
        "fingerprint": fingerprint(root),
        "root_key": None if issuing else str(folder / "authority/root/root.key"),
    }
    lines = [f"The hub of {federation} is in {folder}.", f"Root fingerprint: {report['fingerprint']}"]
    if issuing is None:
        lines += [
            f"The root key is in {report['root_key']}: whoever has it can invent members.",
            "Move it to an offline medium now; the hub runs without it.",
        ]
    lines.append(f"Start it with: candor-hub run --config {shlex.quote(str(report['config']))}")
    _print(report, as_json, lines)


@cli.command()
@_config_option
@_json_option
def run(config_file: Path | None, as_json: bool) -> None:
    """Run the hub until SIGTERM or Ctrl-C. Logs go to standard error, as JSON.

    \b
    Settings in the file; CANDOR_HUB_<KEY> in the environment stands above it:
      federation                name of the federation; cannot be changed
      address                   where members connect, host:port
      enrolment_address         where new members enrol, host:port
      public_address            what members are told to dial; default: address
      public_enrolment_address  what invitations say; default: enrolment_address
      log_address               where anybody reads the log, host:port; default: the port after
                                the enrolment port
      log_certificate           PEM file with another certificate for it; default: the hub's own
      log_key                   PEM file with the key of that certificate
      backup_folder             where backups go while the hub runs; default: none are made
      backup_interval_minutes   how often; default: 5
      backup_keep               how many databases are kept there; default: 12
      data                      folder of database, keys, segments, log; default: the file's folder
      issuing                   folder of the issuing authority; default: authority/issuing
      database_url              postgresql://user@host:5432/name, several hosts divided by commas;
                                default: encrypted SQLite in the data folder
      database_password_file    file with the password of that user, if it has one
      segments_url              s3://bucket/prefix for index segments (extra s3); default: in the
                                folder or the database
      new_member_wait_hours     how long a new member's lookups are not answered; default: 24
      nodes                     members to expect, 1-2000; default: 1000
      metrics_address           where metrics and health are read, over HTTP; "off": nowhere;
                                default: 127.0.0.1, the port after the log's
      metrics_allow_remote      whether other machines may reach that address; default: false
      log_level                 debug, info, warning or error; default: info
      traces_endpoint           OTLP collector for traces, http(s)://host:port; default: none
      guard                     whether a process of its own takes connections and bounds floods;
                                default: true
      balancers                 addresses and networks of TCP balancers in front of the hub, behind
                                which many members are; default: none
      quota.total .weak .match .code    elements per asker in 30 days
      quota.day_share           the part of it that a day may take: 10 means a tenth
    """
    import asyncio

    from candor_hub.running import serve

    config = _load(config_file)

    def ready(hub_address: str, enrolment_address: str, log_address: str) -> None:
        line = f"candor-hub: ready on {hub_address}, enrolment on {enrolment_address}, log on {log_address}"
        report = {
            "ready": True,
            "address": hub_address,
            "enrolment_address": enrolment_address,
            "log_address": log_address,
        }
        click.echo(json.dumps(report) if as_json else line)
        sys.stdout.flush()

    asyncio.run(serve(config, ready))


@cli.command()
@click.argument("ori")
@click.option("--node", required=True, help="Node id to be: 1-40 of a-z 0-9 -. For good.")
@click.option("--name", default="", help="The agency's name, as other members will read it.")
@click.option("--out", required=True, type=_FILE, help="New file for the invitation.")
@click.option("--valid-days", default=14.0, show_default=True, help="At most 14.")
@click.option("--rejoin", is_flag=True, help="NODE is a member whose certificate ended while it was away.")
@_config_option
@_json_option
def invite(
    ori: str,
    node: str,
    name: str,
    out: Path,
    valid_days: float,
    rejoin: bool,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Invite the agency with this ORI: writes one file to send to it.

    The file holds a token that admits once: send it as a secret. Tell the agency the fingerprint that is
    printed here over another channel; its staff compare it before they join.

    With --rejoin a member that was away for longer than its certificate comes back under the same node id: it
    needs the keys it had, and keeps records, index and standing.
    """
    from candor_certs.invitation import format_invitation
    from candor_certs.service_manager import work_as_owner
    from candor_certs.store import refuse_existing, write_new_private
    from candor_hub.enrolment import Enrolment

    if not name and not rejoin:
        raise click.UsageError("Give the agency's name with --name.")
    refuse_existing(out)
    agency, node_id = Ori(ori), NodeId(node)
    config = _read_config(config_file)
    # Root works as the hub's user on the hub's files, and writes the invitation where root may.
    back = work_as_owner(config.data, for_good=False)
    with _Office(config) as office:
        enrolment = Enrolment(office.config, office.store, lambda: office.keys, office.directory)
        life = timedelta(days=valid_days)
        invitation = enrolment.invite(agency, node_id, name, _now(), life, rejoin=rejoin)
    back()
    write_new_private(out, format_invitation(invitation).encode())
    report = {
        "file": str(out),
        "ori": ori,
        "node": node,
        "expires_at": _time(invitation.expires_at),
        "fingerprint": invitation.fingerprint,
    }
    _print(
        report,
        as_json,
        [
            f"Invitation for {ori} ({node}) in {out}, good until {report['expires_at']}.",
            f"Root fingerprint, to be told over another channel: {invitation.fingerprint}",
        ],
    )


@cli.command()
@_config_option
@_json_option
def agencies(config_file: Path | None, as_json: bool) -> None:
    """List the members: status, whether they are there, age of the index, quota used in 30 days.

    A node was never seen, is online since, or stale since: the last moment at which it was there.
    """
    from candor_hub.overview import overview

    with _Office(_load(config_file)) as office:
        rows = overview(office.store, office.config.quota, _now())
    if as_json:
        click.echo(json.dumps([row.as_json() for row in rows], indent=2))
        return
    if not rows:
        click.echo("There are no members yet. `candor-hub invite` invites the first.")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("node", "ORI", "status", "node is", "index age", "quota used", "waiting")
    for row in rows:
        table.add_row(
            str(row.node),
            " ".join(map(str, row.oris)),
            row.status,
            row.presence.words,
            _age(row.index_age),
            f"{row.quota_used:,} of {row.quota_total:,}",
            f"{row.waiting:,}",
        )
    Console(width=None if sys.stdout.isatty() else 200).print(table)


@cli.command()
@click.argument("node")
@click.option("--lift", is_flag=True, help="End the suspension.")
@_config_option
@_json_option
def suspend(node: str, lift: bool, config_file: Path | None, as_json: bool) -> None:
    """Suspend NODE: from the next second on it may neither ask nor answer; --lift ends it."""
    from candor_proto.directory import MemberStatus

    status = MemberStatus.ACTIVE if lift else MemberStatus.SUSPENDED
    with _Office(_load(config_file)) as office:
        version = office.directory.set_status(NodeId(node), status, _now())
    word = "active again" if lift else "suspended"
    report = {"node": node, "status": status.name.lower(), "directory_version": version}
    _print(report, as_json, [f"{node} is {word}, in directory version {version}."])


@cli.command()
@click.argument("node")
@_config_option
@_json_option
def revoke(node: str, config_file: Path | None, as_json: bool) -> None:
    """Revoke all certificates of NODE, for good; its open stream is cut within seconds.

    For lost or stolen keys, and for members that leave. The node id is not given again; the agency can be
    invited under another one.
    """
    with _Office(_load(config_file)) as office:
        version, denied = office.directory.revoke(NodeId(node), _now())
    report = {"node": node, "denied_certificates": denied, "directory_version": version}
    _print(
        report,
        as_json,
        [f"{node} is revoked: {denied} certificates denied, in directory version {version}."],
    )


@cli.command()
@click.option("--deep", is_flag=True, help="Read a large database whole; takes minutes.")
@click.option("--strict", is_flag=True, help="Exit status 1 for warnings, and for what is unknown, too.")
@_config_option
@_json_option
def doctor(deep: bool, strict: bool, config_file: Path | None, as_json: bool) -> None:
    """Look at everything that the hub needs, from its keys to its members, and say what to do.

    Works whether or not the hub runs, and within 15 seconds. What is looked at stands in docs/doctor.md.

    \b
    Exit status: 0 nothing is bad · 1 something is · 2 it could not be looked at (settings)
    """
    import asyncio

    from candor_hub.health import examine

    report = asyncio.run(examine(_config_path(config_file), _now(), deep=deep))
    _print(report.as_json(), as_json, report.lines())
    sys.exit(report.exit_status(strict=strict))


for command in (issuing, certificates, deny, readmit):
    cli.add_command(command)
cli.add_command(log_group)
cli.add_command(backup_group)
cli.add_command(restore)
cli.add_command(succession_group)
cli.add_command(migrate_store)


def _print(report: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    click.echo(json.dumps(report, indent=2) if as_json else "\n".join(lines))


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _age(age: timedelta | None) -> str:
    if age is None:
        return "no index"
    hours = age.total_seconds() / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} d"


def main() -> None:
    """Entry point."""
    # gRPC's core writes lines of its own to standard error; what matters comes as an exception.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    tell_shortly("candor-hub")
    try:
        cli.main(standalone_mode=False)
    except CandorError as error:
        _fail(error.message, error.remedy)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_ERROR)
    except (click.Abort, KeyboardInterrupt):
        _fail("Stopped.", "")
    except BrokenPipeError:
        sys.exit(EXIT_ERROR)
    except OSError as error:
        _fail(f"{error.filename or 'The system'}: {error.strerror}.", "Check the path and the disk.")


def _fail(message: str, remedy: str) -> None:
    click.echo(f"candor-hub: {message}", err=True)
    if remedy:
        click.echo(f"  {remedy}", err=True)
    sys.exit(EXIT_ERROR)
