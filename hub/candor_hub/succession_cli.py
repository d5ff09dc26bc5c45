"""`candor-hub succession`: a new hub out of a copy of the log (docs/succession.md). The edge, like `cli`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from candor_proto.errors import InputInvalid
from candor_proto.ids import FederationName, NodeId

if TYPE_CHECKING:
    from candor_hub.succession.founding import Succession

_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)
MAX_DIRECTORY_FILE_OCTETS = 96 << 20


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251  # the edge reads the clock


def _copy_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--federation", required=True, help="Its name; it stays the same."),
        click.option("--log", "log_folder", required=True, type=_FOLDER, help="The copy of the log."),
        click.option(
            "--directory", "directory_file", required=True, type=_FILE,
            help="What a member wrote with `candor-node directory --out FILE`.",
        ),
        click.option(
            "--policy-sha256", default="",
            help="SHA-256 of the log's first policy, as members were told when they joined.",
        ),
        click.option(
            "--leave-out", multiple=True, metavar="NODE", help="A member that is gone: no witness any more."
        ),
        click.option(
            "--accept-unwitnessed", is_flag=True, help="The quorum is gone: end with a head that lacks it."
        ),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    ):  # fmt: skip
        command = option(command)
    return command


@dataclass(frozen=True)
class _Wanted:
    """What the options say."""

    federation: str
    log_folder: Path
    directory_file: Path
    policy_sha256: str
    leave_out: tuple[str, ...]
    accept_unwitnessed: bool


@click.group("succession")
def succession_group() -> None:
    """Continue a federation whose hub, or whose quorum, is gone for good (docs/succession.md)."""


@succession_group.command("check")
@_copy_options
def check(as_json: bool, **options: Any) -> None:
    """Read a copy of the log whole and say what a successor would begin with. Changes nothing."""
    report, lines = _report(_read(_Wanted(**options)))
    click.echo(json.dumps(report, indent=2) if as_json else "\n".join(lines))


@succession_group.command("found")
@click.option("--dir", "folder", required=True, type=_FOLDER, help="New folder for the hub.")
@click.option("--address", required=True, help="Where members connect: host:port to listen on.")
@click.option("--enrolment-address", required=True, help="Where they enrol: host:port to listen on.")
@click.option("--log-address", default="", help="Where anybody reads the log; default: the next port.")
@click.option("--public-address", default="", help="What members dial, if not --address.")
@click.option("--public-enrolment-address", default="", help="What invitations say, likewise.")
@click.option("--issuing", type=_FOLDER, help="Issuing authority, the old one or a new one.")
@click.option("--nodes", default=1_000, show_default=True, help="Members to expect, at most 2000.")
@_copy_options
def found_command(
    folder: Path,
    address: str,
    enrolment_address: str,
    log_address: str,
    public_address: str,
    public_enrolment_address: str,
    issuing: Path | None,
    nodes: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Found the successor: settings, keys, database, the old log and what its next shard begins with.

    Nothing is overwritten. Then start it, invite the members with `candor-hub succession invite`, and have
    each run `candor-node move`. Without --issuing new root and issuing authorities are made in DIR/authority.
    """
    from cryptography.hazmat.primitives.serialization import Encoding

    from candor_certs.folders import load_issuing
    from candor_certs.invitation import fingerprint
    from candor_hub.founding import Wishes, found
    from candor_hub.succession.founding import begin

    wanted = _Wanted(**options)
    succession, now = _read(wanted), _now()
    wishes = Wishes(
        FederationName(wanted.federation), address, enrolment_address, public_address,
        public_enrolment_address, issuing, 24.0, nodes, log_address,
    )  # fmt: skip
    config = found(folder, wishes, now, begin(wanted.log_folder, succession, now))
    root = load_issuing(config.issuing).root.public_bytes(Encoding.DER)
    report, lines = _report(succession)
    path = str(folder / "hub.toml")
    report |= {"config": path, "fingerprint": fingerprint(root)}
    lines += [
        "",
        f"The successor is in {folder}. Root fingerprint: {report['fingerprint']}",
        f"Start it with: candor-hub run --config {shlex.quote(path)}",
        "Then: candor-hub succession invite --out FOLDER, and send each member its file; tell them the "
        "fingerprint over another channel. Each runs `candor-node move --invitation FILE`.",
    ]
    click.echo(json.dumps(report, indent=2) if as_json else "\n".join(lines))


@succession_group.command("invite")
@click.option(
    "--out", required=True, type=_FOLDER, help="Folder for the invitations, a file for each member."
)
@click.option("--valid-days", default=14.0, show_default=True, help="At most 14.")
@click.option("--config", "config_file", type=_FILE, help="Settings of the successor.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def invite(out: Path, valid_days: float, config_file: Path | None, as_json: bool) -> None:
    """Write an invitation for each active member that has not come over yet. Send each as a secret."""
    from candor_certs.invitation import format_invitation
    from candor_certs.store import make_private_folder, write_new_private
    from candor_hub.config import config_path, load_config
    from candor_hub.enrolment import Enrolment
    from candor_hub.founding import open_directory, open_store
    from candor_proto.directory import MemberStatus

    config, now = load_config(config_path(config_file)), _now()
    make_private_folder(out)
    store = open_store(config)
    written = []
    try:
        held, directory = open_directory(config, store, now)
        enrolment = Enrolment(config, store, lambda: held, directory)
        with store.read() as tx:
            members = [record.member for record in tx.members.all()]
            missing = [one for one in members if not tx.certificates.of(one.node)]
        for member in missing:
            if member.status is MemberStatus.ACTIVE and not (out / f"{member.node}.txt").exists():
                life = timedelta(days=valid_days)
                invitation = enrolment.invite(member.oris[0], member.node, "", now, life, rejoin=True)
                file = out / f"{member.node}.txt"
                write_new_private(file, format_invitation(invitation).encode())
                written.append({"node": str(member.node), "file": str(file)})
    finally:
        store.close()
    report = {"written": written, "members": len(members), "came": len(members) - len(missing)}
    lines = [f"{one['node']}: {one['file']}" for one in written]
    lines.append(f"{report['came']} of {report['members']} members have come over.")
    click.echo(json.dumps(report, indent=2) if as_json else "\n".join(lines))


def _read(wanted: _Wanted) -> Succession:
    from candor_hub.succession.copied_log import LogCopy
    from candor_hub.succession.founding import Succession, check_directory, check_left_out, source_files
    from candor_proto.directory_file import DirectoryFile

    try:
        with wanted.directory_file.open("rb") as file:
            octets = file.read(MAX_DIRECTORY_FILE_OCTETS + 1)
    except OSError as error:
        raise InputInvalid(
            f"{wanted.directory_file} cannot be read: {error.strerror}.", remedy="Check the path."
        ) from None
    copy = LogCopy(source_files(wanted.log_folder), FederationName(wanted.federation), _now()).read()
    if wanted.policy_sha256 and wanted.policy_sha256.strip().casefold() != copy.first_policy_sha256:
        raise InputInvalid(
            f"The first policy of this copy has the SHA-256 {copy.first_policy_sha256}: it is another log.",
            remedy="Find another copy, and ask several members what they were told when they joined.",
        )
    if copy.unwitnessed and not wanted.accept_unwitnessed:
        raise InputInvalid(
            f"The last head of this copy lacks its quorum: {copy.unwitnessed}",
            remedy="Look for a copy that ends with a witnessed head; if the quorum is gone for good, say "
            "--accept-unwitnessed: each member is told so and has to agree.",
        )
    directory = DirectoryFile.decode(octets)
    check_directory(copy, directory)
    left_out = frozenset(NodeId(name) for name in wanted.leave_out)
    check_left_out(copy, left_out)
    return Succession(copy, directory, left_out)


def _report(succession: Succession) -> tuple[dict[str, Any], list[str]]:
    copy = succession.copy
    last, members = copy.last, sorted(copy.members)
    report: dict[str, Any] = {
        "federation": str(copy.federation),
        "shard": last.number,
        "size": last.range.size,
        "root": last.range.root().hex(),
        "first_policy_sha256": copy.first_policy_sha256,
        "witnessed": not copy.unwitnessed,
        "directory_version": copy.directory.version,
        "members": [str(node) for node in members],
        "left_out": sorted(map(str, succession.left_out)),
        "denied": len(copy.denied),
    }
    lines = [
        f"{copy.federation}: {len(copy.shards)} shard(s); shard {last.number} ends with "
        f"{last.range.size:,} entries, signed {last.signed_at:%Y-%m-%d %H:%M} UTC.",
        f"SHA-256 of the first policy: {copy.first_policy_sha256} (compare it with what members were told).",
        f"Directory version {copy.directory.version} of {copy.directory.issued_at:%Y-%m-%d %H:%M} UTC, "
        f"{len(members)} members: {', '.join(map(str, members))}.",
    ]
    if copy.unwitnessed:
        lines.append(f"The last head LACKS ITS QUORUM: {copy.unwitnessed}")
    if succession.left_out:
        lines.append(f"No witnesses any more: {', '.join(report['left_out'])}.")
    lines.append(
        "Lost with the old hub: mail on its way, quotas spent, who was revoked for good (they come over as "
        "suspended: revoke them again), certificates (each member gets a new one)."
    )
    return report, lines
