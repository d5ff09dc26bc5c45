"""`candor-node records retention` and `certificates`: what comes to its end, and the proof that it did."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from candor_node.cli_common import (
    FILE,
    by_option,
    config_option,
    json_option,
    load,
    show,
    show_dict,
    table,
)
from candor_node.cli_desk import CALL_SECONDS, desk, records
from candor_proto.errors import InputInvalid

if TYPE_CHECKING:
    from candor_wire.v1 import records_pb2 as pb

_HEAD = ("ENDS", "DCN", "KIND", "STANDING", "RULE")


@records.group()
def retention() -> None:
    """The end of records whose time is over: what is due, and the run that destroys it."""


@retention.command("due")
@click.option("--days", type=click.IntRange(1, 36_525), default=90, show_default=True, help="So far ahead.")
@by_option
@config_option
@json_option
def retention_due(days: int, by: str | None, config_file: Path | None, as_json: bool) -> None:
    """What ends in the next days, and by which rule. The gate closes on that day by itself."""
    from candor_wire.v1 import records_pb2 as pb

    with desk(config_file, by) as node:
        reply = node.PlanRetention(pb.PlanRetentionRequest(days=days), timeout=CALL_SECONDS)
    show(reply, as_json, lambda: _plan_lines(reply, "to end in that time", "Nothing ends in that time."))


@retention.command("run")
@click.option("--dry-run", is_flag=True, help="Only show what would be destroyed, and what a hold keeps.")
@click.option("--reason", default="Retention is over.", show_default=True, help="Why, for who decides.")
@by_option
@config_option
@json_option
def retention_run(
    dry_run: bool, reason: str, by: str | None, config_file: Path | None, as_json: bool
) -> None:
    """Destroy the records whose time is over. Takes two people.

    The command proposes exactly what --dry-run shows; somebody else decides, and then it is done: the keys of
    the records are destroyed and a certificate is issued. What a legal hold keeps stays; what comes to its
    end after the proposal waits for the next run.
    """
    from candor_wire.v1 import records_pb2 as pb

    with desk(config_file, by) as node:
        if dry_run:
            plan = node.PlanRetention(pb.PlanRetentionRequest(), timeout=CALL_SECONDS)
            show(
                plan, as_json, lambda: _plan_lines(plan, "would be destroyed", "Nothing would be destroyed.")
            )
            return
        reply = node.ProposeDestruction(pb.ProposeDestructionRequest(reason=reason), timeout=CALL_SECONDS)
    kept = f" {reply.kept} are kept by a legal hold." if reply.kept else ""
    show(
        reply,
        as_json,
        lambda: [
            f"{reply.records} records are to be destroyed.{kept}",
            f"This takes two people and waits for the second one as approval {reply.approval_id}.",
            f"Somebody else decides: candor-node approvals approve {reply.approval_id}",
        ],
    )


def _plan_lines(reply: pb.PlanRetentionResponse, what: str, nothing: str) -> list[str]:
    lines = [nothing]
    if reply.destroy:
        lines = [*table([_row(end) for end in reply.destroy], _HEAD), "", f"{len(reply.destroy)} {what}."]
    if reply.kept:
        lines += ["", "A legal hold keeps:", *table([_row(end) for end in reply.kept], _HEAD)]
    return lines


def _row(end: pb.EndingRecord) -> tuple[str, ...]:
    return end.ends_on, end.dcn, end.kind, end.standing, end.rule


# --- certificates -----------------------------------------------------------------------------------------


@records.group()
def certificates() -> None:
    """Certificates of destruction: which records, when, by whom, under which rule. They name nobody."""


@certificates.command("list")
@by_option
@config_option
@json_option
def certificates_list(by: str | None, config_file: Path | None, as_json: bool) -> None:
    """All certificates, newest first."""
    from candor_wire.v1 import records_pb2 as pb

    with desk(config_file, by) as node:
        reply = node.ListCertificates(pb.ListCertificatesRequest(), timeout=CALL_SECONDS)
    rows = [
        (str(one.number), one.at, str(one.destroyed), str(one.kept), one.by, one.second)
        for one in reply.certificates
    ]
    head = ("NO.", "AT", "DESTROYED", "KEPT", "BY", "APPROVED BY")
    show(reply, as_json, lambda: table(rows, head) if rows else ["Nothing was destroyed yet."])


@certificates.command("show")
@click.argument("number", type=click.IntRange(1))
@click.option("--out", type=FILE, help="Write the signed certificate, as JSON, into this file.")
@by_option
@config_option
@json_option
def certificates_show(
    number: int, out: Path | None, by: str | None, config_file: Path | None, as_json: bool
) -> None:
    """Show one certificate, as it is printed; --json shows the signed form."""
    from candor_wire.v1 import records_pb2 as pb

    with desk(config_file, by) as node:
        reply = node.ShowCertificate(pb.ShowCertificateRequest(number=number), timeout=CALL_SECONDS)
    if out is not None:
        try:
            out.write_bytes(reply.file)
        except OSError as error:
            raise InputInvalid(
                f"{out} cannot be written: {error.strerror}.", remedy="Check the path."
            ) from None
    if as_json:
        click.echo(reply.file.decode().rstrip("\n"))
    else:
        click.echo(reply.text.rstrip("\n"))


@certificates.command("verify")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--key",
    default="",
    metavar="HEX",
    help="The signing key of the node that issued it; default: this node's.",
)
@config_option
@json_option
def certificates_verify(file: Path, key: str, config_file: Path | None, as_json: bool) -> None:
    """Check a certificate, without a running node. The key that the file itself names proves nothing."""
    from candor_certs.store import read_private
    from candor_proto.signing import SigningKey, VerifyingKey
    from candor_records.retention import verify_file

    if key:
        try:
            known = VerifyingKey(bytes.fromhex(key))
        except ValueError:
            raise InputInvalid("--key is no key.", remedy="Give the 64 digits of the signing key.") from None
    else:
        known = SigningKey(read_private(load(config_file).signing_key_file)).public
    certificate = verify_file(file.read_bytes(), known)
    report = {
        "verified": True,
        "number": certificate.number,
        "node": str(certificate.node),
        "destroyed": len(certificate.destroyed),
        "ledger_number": certificate.ledger_number,
        "ledger_digest": certificate.ledger_digest.hex(),
    }
    lines = ["The signature is right.", "", *certificate.text().splitlines()]
    show_dict(report, as_json, lines)
