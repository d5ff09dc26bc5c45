"""`candor-node move`, `directory`, `log copy`: for the day when the hub is gone (docs/succession.md)."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from candor_node.cli_common import FILE, FOLDER, config_option, config_path, json_option, load, show_dict
from candor_proto.errors import InputInvalid

if TYPE_CHECKING:
    from candor_node.moving import Prospect


@click.command()
@click.argument("invitation_file", metavar="INVITATION", type=FILE)
@click.option("--fingerprint", help="The root's fingerprint, as the operator said it by another channel.")
@click.option(
    "--policy-sha256", help="Agree without being asked: the SHA-256 of the first policy, compared before."
)
@click.option(
    "--accept-unwitnessed", is_flag=True, help="Go over although the log's last head lacks its quorum."
)
@click.option(
    "--accept-lost",
    is_flag=True,
    help="Go over although entries are lost that this node's witness signed and that no member has.",
)
@config_option
@json_option
def move(
    invitation_file: Path,
    fingerprint: str | None,
    policy_sha256: str | None,
    accept_unwitnessed: bool,
    accept_lost: bool,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Go over to the successor of a hub that is gone. Stop the node first.

    The successor has a copy of the federation's log and one member's directory. This node reads its log,
    refuses one that does not continue what it has seen, shows who is a member and who witnesses from now on,
    and signs its consent when you agree. It keeps its records, its keys and its place. A move that failed can
    be repeated.
    """
    from candor_node.cli_node import read_invitation
    from candor_node.clock import SystemClock
    from candor_node.moving import Accepted
    from candor_node.moving import move as go_over

    invitation = read_invitation(invitation_file, fingerprint)

    def agree(prospect: Prospect) -> None:
        if policy_sha256 is not None:
            if policy_sha256.strip().casefold() != prospect.policy_sha256:
                raise InputInvalid(
                    f"The successor's first policy has the SHA-256 {prospect.policy_sha256}.",
                    remedy="Nothing was agreed. Compare it with what the operator and another member say.",
                )
            return
        click.echo("\n".join(_lines(prospect)), err=True)
        if not sys.stdin.isatty():
            raise InputInvalid(
                "Nobody agreed to go over.",
                remedy="Read what is said above and, if it is right, say so with --policy-sha256.",
            )
        if not click.confirm("Does this node go over? It consents to one successor only.", err=True):
            raise InputInvalid("Nobody agreed; this node stays where it is.")

    accepted = Accepted(unwitnessed=accept_unwitnessed, lost=accept_lost)
    prospect = asyncio.run(go_over(config_path(config_file), invitation, SystemClock(), agree, accepted))
    done = "This node had consented before; its settings name the successor now."
    said: dict[str, object] = {}
    if prospect is not None:
        said = {**asdict(prospect), "members": [list(map(str, one)) for one in prospect.members]}
        said["consented"] = [str(node) for node in prospect.consented]
        done = f"This node has gone over to the hub at {prospect.hub_address}."
    show_dict(said, as_json, [done, "Next: candor-node run. It publishes its index anew by itself."])


def _lines(prospect: Prospect) -> list[str]:
    return [
        f"Federation {prospect.federation}, successor at {prospect.hub_address}",
        f"Root: {prospect.fingerprint}",
        f"It continues shard {prospect.shard} of the log from {prospect.size:,} entries; this node had seen "
        f"{prospect.seen_before:,} of them.",
        *([f"WITHOUT A QUORUM: {prospect.unwitnessed}"] if prospect.unwitnessed else []),
        *(
            [f"LOST: {prospect.lost:,} entries that this node's witness signed and nobody has read"]
            if prospect.lost
            else []
        ),
        "Members:",
        *(f"  {node}: {name} ({status})" for node, name, status in prospect.members),
        f"Witnesses from now on: {', '.join(prospect.witnesses) or 'none'} (quorum {prospect.quorum})",
        f"SHA-256 of the first policy: {prospect.policy_sha256}",
        f"{len(prospect.consented)} of {prospect.active} members have gone over so far.",
        "Lost with the old hub: what was on its way; this node hands it in again, or it expires.",
    ]


@click.command()
@click.option("--out", required=True, type=FILE, help="New file for the directory.")
@config_option
@json_option
def directory(out: Path, config_file: Path | None, as_json: bool) -> None:
    """Write the directory that this node took up last, for whoever founds a successor. No secrets."""
    from candor_certs.store import refuse_existing
    from candor_node.index_client import DIRECTORY_FILE
    from candor_proto.directory_file import DirectoryFile

    refuse_existing(out)
    place = load(config_file).data_folder / DIRECTORY_FILE
    try:
        octets = place.read_bytes()
    except OSError:
        raise InputInvalid(
            "This node has taken up no directory yet.", remedy="It writes one as soon as it is attached."
        ) from None
    found = DirectoryFile.decode(octets).directory
    out.write_bytes(octets)
    said = {"file": str(out), "version": found.version, "issued_at": f"{found.issued_at:%Y-%m-%dT%H:%M:%SZ}"}
    show_dict(said, as_json, [f"Directory version {found.version} of {said['issued_at']} is in {out}."])


@click.group("log")
def log_group() -> None:
    """The federation's log."""


@log_group.command("copy")
@click.option(
    "--out", required=True, type=FOLDER, help="Folder for the copy; one that is there is continued."
)
@config_option
@json_option
def copy(out: Path, config_file: Path | None, as_json: bool) -> None:
    """Copy the whole log into a folder, or bring a copy up to date. Works beside the running node.

    When the hub is gone a copy is all that remains of the log, and a successor is founded from it. A running
    node keeps one by itself: when the hub does not answer, that one is handed over. It holds nothing about
    persons or cases.
    """
    from candor_certs.store import read_certificates, read_identity
    from candor_node.clock import SystemClock
    from candor_node.hub_client import HubClient
    from candor_node.tlog.kept_log import hand_over
    from candor_node.tlog.log_copy import Copied, LogCopy
    from candor_proto.errors import Unreachable

    config, clock = load(config_file), SystemClock()

    async def update() -> Copied:
        identity = read_identity(config.tls_identity_file)
        roots = read_certificates(config.root_certificates_file)
        proxy = config.proxy_to(config.hub_address)
        hub = HubClient(config.hub_address, config.federation_name, identity, roots, clock, proxy=proxy)
        try:
            return await LogCopy(hub.get_log, out).update(clock.now())
        finally:
            await hub.close()

    source, lines = "hub", list[str]()
    try:
        copied = asyncio.run(update())
    except Unreachable as error:
        copied = asyncio.run(hand_over(config.kept_log_folder, out, clock.now()))
        source, lines = "this node", [f"{error.message} This is what this node has read of its log:"]
    said = {"folder": str(out), **asdict(copied), "source": source}
    lines += [f"{out}: {copied.shards} shard(s), {copied.entries:,} entries; {copied.fetched} files copied."]
    show_dict(said, as_json, lines)
