"""`candor-hub issuing`, `certificates`, `deny` and `readmit`: the operator's commands about certificates.

The edge: it reads the clock and prints. What is slow to import (the database) is imported where it is used.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from candor_hub.office import Office, load, now
from candor_proto.ids import NodeId

if TYPE_CHECKING:
    from candor_hub.authorities import AuthorityStanding

_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    config = click.option(
        "--config", "config_file", type=_FILE, help="Settings; default: CANDOR_HUB_CONFIG, else ./hub.toml."
    )
    return config(click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command))


# --- issuing authorities ----------------------------------------------------------------------------------


@click.group()
def issuing() -> None:
    """The issuing authority that this hub certifies members with, and those before it.

    \b
    Once a year, without anybody noticing (docs/certificates.md):
      candor-certs issuing create --root /media/safe/root --out /media/transfer/issuing-2
      candor-hub issuing adopt /media/transfer/issuing-2
      candor-hub issuing list            until nobody goes by the old one: two hours as a rule
      candor-hub deny --authority SERIAL of the old one
    """


@issuing.command()
@click.argument("folder", type=_FOLDER)
@_options
def adopt(folder: Path, config_file: Path | None, as_json: bool) -> None:
    """Take the authority in FOLDER into use: its key is copied to the hub's keys.

    A hub that runs takes it up within seconds; one that does not, when it starts. Members renew to it by
    themselves, spread over two hours; until then both are good. It can be repeated after whatever went wrong.
    Destroy FOLDER's key afterwards, and the folder `issuing` names if there is one: the hub needs neither.
    """
    from candor_certs.folders import load_issuing
    from candor_hub.authorities import adopt as take_into_use
    from candor_hub.authorities import check_adoptable
    from candor_hub.founding import open_store
    from candor_hub.places import vault

    # Read before this process becomes the hub's user: a medium that root mounted is root's.
    authority, serial = load_issuing(folder), ""
    config = load(config_file)
    store = open_store(config)
    try:
        with store.write() as tx:
            check_adoptable(tx, authority, config.federation, now())
            is_new = take_into_use(tx, vault(config, store), authority, now())
    finally:
        store.close()
    certificate = authority.certificate
    serial = f"{certificate.serial_number:x}"
    ends = _time(certificate.not_valid_after_utc)
    report = {"serial": serial, "ends": ends, "new": is_new}
    lines = [
        f"The authority {serial} is in use{'' if is_new else ' already'}, good until {ends}.",
        "Members renew to it by themselves, within two hours of running: `candor-hub issuing list` says how "
        "many still have to, and how to deny the one before when nobody is left.",
        f"The hub has its own copy of the key: destroy {folder / 'issuing.key'}.",
    ]
    _print(report, as_json, lines)


@issuing.command("list")
@_options
def issuing_list(config_file: Path | None, as_json: bool) -> None:
    """List the authorities that this hub used, and how many members go by a certificate of each.

    A member counts where its newest certificate that it has shown to the hub hangs from. An authority that
    was replaced may be denied when nobody is left.
    """
    from candor_hub.authorities import overview
    from candor_hub.founding import open_store

    store = open_store(load(config_file))
    try:
        with store.read() as tx:
            found = overview(tx, now())
    finally:
        store.close()
    if as_json:
        click.echo(json.dumps([_as_json(each) for each in found], indent=2))
        return
    for each in found:
        click.echo(f"{each.serial:x}  {each.state}, {each.standing.sentence}")
        names = f": {', '.join(map(str, each.members))}" if 0 < len(each.members) <= 10 else ""
        click.echo(f"  members that go by it: {len(each.members)}{'' if each.in_use else names}")
        if each.state == "replaced" and not each.members:
            click.echo(f"  nobody is left: candor-hub deny --authority {each.serial:x}")


def _as_json(each: AuthorityStanding) -> dict[str, Any]:
    return {
        "serial": f"{each.serial:x}",
        "state": each.state.replace(" ", "_"),
        "adopted_at": _time(each.adopted_at),
        "ends": _time(each.standing.ends),
        "alarm": each.standing.level.word,
        "members": [str(node) for node in each.members],
    }


# --- certificates of members ------------------------------------------------------------------------------


@click.command()
@click.argument("node")
@_options
def certificates(node: str, config_file: Path | None, as_json: bool) -> None:
    """List the certificates of NODE: serial, issued, ends, state, and the serial it was renewed with."""
    from candor_hub.overview import certificate_overview

    with Office(load(config_file)) as office:
        rows = certificate_overview(office.store, NodeId(node), now())
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        source = f"renewed with {row['renewed_with']}" if row["renewed_with"] else "joined"
        click.echo(f"{row['serial']}  {row['state']:7}  {row['issued_at']} to {row['expires_at']}  {source}")


@click.command()
@click.argument("serial")
@click.option("--authority", is_flag=True, help="SERIAL is an issuing authority's: denies all it certified.")
@click.option("--cut-off", is_flag=True, help="Even members who still go by it: for a stolen issuing key.")
@_options
def deny(serial: str, authority: bool, cut_off: bool, config_file: Path | None, as_json: bool) -> None:
    """Deny the one certificate with this SERIAL (hexadecimal), for good; its open streams are cut.

    The member's other certificates stay good: for a copied TLS key, or a backup that got lost. What was
    renewed with it, `candor-hub certificates NODE` says. To shut out the member, `revoke` it.

    An authority is denied when it was replaced and no member goes by a certificate of it any more
    (`candor-hub issuing list`); with --cut-off also before, and `candor-hub readmit` lets them back.
    """
    try:
        number = int(serial.replace(":", ""), 16)
    except ValueError:
        raise click.UsageError("A serial is a hexadecimal number.") from None
    with Office(load(config_file)) as office:
        version, node = office.directory.deny(number, now(), authority=authority, cut_off=cut_off)
    whose = f"of {node}" if node else "of an authority, and with it all that it certified,"
    report = {"serial": f"{number:x}", "node": str(node or ""), "directory_version": version}
    lines = [f"The certificate {number:x} {whose} is denied, in directory version {version}."]
    if node is not None:
        lines.append(
            f"Streams that show it are cut within seconds. If {node} has no other, it comes back by itself "
            f"after: candor-hub readmit {node}"
        )
    elif cut_off:
        lines.append(
            "Whoever goes by it is cut off within seconds, and comes back by itself after: "
            "candor-hub readmit --all"
        )
    _print(report, as_json, lines)


@click.command()
@click.argument("nodes", nargs=-1)
@click.option(
    "--all",
    "everybody",
    is_flag=True,
    help="Every active member whose certificates have all ended, unless its last one was denied by itself.",
)
@click.option("--hours", default=72.0, show_default=True, help="For how long they may come: at most 336.")
@_options
def readmit(
    nodes: tuple[str, ...], everybody: bool, hours: float, config_file: Path | None, as_json: bool
) -> None:
    """Let NODES back whose certificates ended while they, or this hub, were off; no file has to be sent.

    Each comes back by itself, once, with the signing key that the directory holds, and gets a certificate for
    a fresh TLS key. A node older than this needs an invitation: `candor-hub invite --rejoin`.
    """
    from candor_hub.enrolment import Enrolment

    if bool(nodes) == everybody:
        raise click.UsageError("Name the nodes, or say --all.")
    with Office(load(config_file)) as office:
        enrolment = Enrolment(office.config, office.store, lambda: office.keys, office.directory)
        wanted = None if everybody else {NodeId(node) for node in nodes}
        let_in = enrolment.readmit(wanted, now(), timedelta(hours=hours))
    report = {"nodes": [str(node) for node in let_in], "hours": hours}
    if not let_in:
        _print(report, as_json, ["Nobody has to be let back: each active member has a good certificate."])
        return
    names = f": {', '.join(map(str, let_in))}" if len(let_in) <= 10 else ""
    told = "1 member" if len(let_in) == 1 else f"{len(let_in)} members"
    lines = [
        f"{told} may come back within {hours:g} hours{names}.",
        "Each node comes back by itself, within a quarter of an hour of running: `candor-hub agencies` "
        "shows it.",
    ]
    _print(report, as_json, lines)


def _print(report: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    click.echo(json.dumps(report, indent=2) if as_json else "\n".join(lines))


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
