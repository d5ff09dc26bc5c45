"""`candor-node audit`: evidence, the digest of local failures, draws, and openings for an auditor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from candor_node.cli_common import (
    EXIT_FAILED,
    FILE,
    by_option,
    config_option,
    json_option,
    person_in_charge,
    running_node,
    show,
    show_dict,
    table,
)
from candor_node.cli_receipts import stub, write_parts
from candor_node.cli_records import audit

if TYPE_CHECKING:
    from candor_wire.v1 import accountability_pb2 as pb

_SECONDS = 60.0
_LONG_SECONDS = 3600.0
_month_option: Callable[[Any], Any] = click.option(
    "--month", default="", help="A calendar month (UTC), for example 2026-11."
)


# --- status and evidence -------------------------------------------------------------------------------


@audit.command("status")
@config_option
@json_option
def status(config_file: Path | None, as_json: bool) -> None:
    """Say what waits for an auditor, how much evidence is held, and how far openings go back."""
    from candor_wire.v1 import accountability_pb2 as pb

    with running_node(config_file, stub=stub()) as node:
        reply = node.AuditStatus(pb.AuditStatusRequest(), timeout=_SECONDS)
    waiting = ", ".join(reply.digests_waiting) or "none"
    show(
        reply,
        as_json,
        lambda: [
            f"Digests of local failures that wait for a review: {waiting}",
            f"Evidence held: {reply.evidence}, of which exported: {reply.evidence_exported}",
            f"Own lookups that can be opened: {reply.lookups_kept}, in the log: {reply.lookups_logged};"
            f" kept since {reply.openings_kept_from}",
            f"The log was read up to entry {reply.log_size} of shard {reply.shard},"
            f" witnessed {reply.witnessed_at or 'never'}",
        ],
    )


@audit.group("evidence", invoke_without_command=True)
@config_option
@json_option
@click.pass_context
def evidence(context: click.Context, config_file: Path | None, as_json: bool) -> None:
    """List what was noticed against others: signed contradictions that anybody can check."""
    from candor_wire.v1 import accountability_pb2 as pb

    if context.invoked_subcommand is not None:
        return
    with running_node(config_file, stub=stub()) as node:
        reply = node.ListEvidence(pb.ListEvidenceRequest(), timeout=_SECONDS)
    rows = [(str(one.number), one.kind, one.accused, one.noticed_at, one.state) for one in reply.evidence]
    head = ("NUMBER", "KIND", "ACCUSED", "NOTICED", "STATE")
    show(reply, as_json, lambda: table(rows, head) if rows else ["No misbehaviour was noticed."])


@evidence.command("export")
@click.argument("number", type=click.IntRange(1))
@click.option("--out", type=FILE, required=True, help="The file to be written, for its owner's eyes only.")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@by_option
@config_option
@json_option
def export(
    number: int, out: Path, force: bool, by: str | None, config_file: Path | None, as_json: bool
) -> None:
    """Write one piece of evidence to a file, once it was checked as whoever gets it will check it.

    Some kinds show a record of another agency, or hold a case number: docs/evidence.md says which. Nothing is
    sent to anybody; the export is in the ledger.
    """
    from candor_wire.v1 import accountability_pb2 as pb

    person, said = person_in_charge(by), list[Any]()

    def parts(replies: Any) -> Any:
        for reply in replies:
            if reply.shows:
                said.append(reply)
            yield reply.octets

    request = pb.ExportEvidenceRequest(number=number, by=person)
    with running_node(config_file, by=person, stub=stub()) as node:
        size = write_parts(out, parts(node.ExportEvidence(request, timeout=_LONG_SECONDS)), replace=force)
    view, shows = said[0].evidence, said[0].shows
    report = {"number": number, "kind": view.kind, "accused": view.accused, "shows": shows}
    lines = [
        f"{view.kind} against {view.accused}: {shows}.",
        f"In {out}, {size} octets. Anybody can check it:",
    ]
    lines.append(f"  candor-verify evidence {out} --policy POLICY")
    show_dict({**report, "file": str(out), "octets": size}, as_json, lines)


# --- the digest ----------------------------------------------------------------------------------------


@audit.command("digest")
@click.argument("month", default="")
@click.option("--review", is_flag=True, help="Sign that you have read it; evidence is made of what it holds.")
@click.option("--note", default="", help="With --review: what came of it.")
@by_option
@config_option
@json_option
def digest(
    month: str, review: bool, note: str, by: str | None, config_file: Path | None, as_json: bool
) -> None:
    """Read the digest of what did not open in other agencies' indexes during a month, and review it.

    An owner could plant what does not open for one person only, and watch who stumbles. So nothing of it
    shows before its month is over, every month has a digest, and evidence is made when you sign. Without
    MONTH it is the oldest that nobody has reviewed.
    """
    from candor_wire.v1 import accountability_pb2 as pb

    person = person_in_charge(by)
    with running_node(config_file, by=person, stub=stub()) as node:
        found = node.OpenDigest(pb.OpenDigestRequest(month=month, by=person), timeout=_SECONDS)
        if not review:
            show(found, as_json, lambda: _digest_lines(found))
            return
        request = pb.ReviewDigestRequest(month=found.digest.month, by=person, note=note)
        done = node.ReviewDigest(request, timeout=_LONG_SECONDS)
    made = ", ".join(map(str, done.evidence)) or "none"
    show(
        done,
        as_json,
        lambda: [
            *_digest_lines(found),
            f"Reviewed by {done.digest.reviewed_by}. Evidence made: {made}; {done.unproved} prove nothing.",
        ],
    )


def _digest_lines(found: pb.OpenDigestResponse) -> list[str]:
    rows = [(one.node, one.code, str(one.count), str(one.lookups)) for one in found.failed]
    view = found.digest
    state = (
        f"reviewed by {view.reviewed_by} on {view.reviewed_at}" if view.reviewed_at else "not reviewed yet"
    )
    shown = table(rows, ("OWNER", "WHAT", "TIMES", "LOOKUPS")) if rows else ["Nothing failed."]
    return [f"Digest of {view.month}, made {view.made_at}, {state}.", *shown]


# --- draws and openings --------------------------------------------------------------------------------


@audit.command("draw")
@_month_option
@click.option("--ended-shard", type=click.IntRange(1), default=None, help="The last draw of this shard.")
@click.option("--rate", type=click.IntRange(100, 10_000), default=100, show_default=True, help="Of 10,000.")
@by_option
@config_option
@json_option
def draw(
    month: str,
    ended_shard: int | None,
    rate: int,
    by: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """List which own lookups an auditor may demand opened: drawn by a witnessed head that nobody chose.

    Without --month it is the newest draw. Whoever has the log draws the same.
    """
    from candor_wire.v1 import accountability_pb2 as pb

    person = person_in_charge(by)
    request = pb.DrawLookupsRequest(month=month, ended_shard=ended_shard or 0, rate=rate, by=person)
    with running_node(config_file, by=person, stub=stub()) as node:
        reply = node.DrawLookups(request, timeout=_LONG_SECONDS)
    rows = [
        (one.lookup_id, one.issued_at, str(one.entry), str(one.position), "batch" if one.batch else "")
        for one in reply.lookups
    ]
    head = ("LOOKUP", "ISSUED", "ENTRY", "POSITION", "")
    lines = [
        f"Draw {reply.draw} of shard {reply.shard}: entries {reply.first_entry} to {reply.end},"
        f" {reply.rate} in 10,000. {len(rows)} of {reply.own} own lookups are drawn.",
        *(table(rows, head) if rows else []),
    ]
    show(reply, as_json, lambda: lines)


@audit.command("open")
@click.argument("lookup", metavar="LOOKUP")
@click.option("--auditor", type=FILE, required=True, help="The auditor's public key file.")
@click.option("--out", type=FILE, required=True, help="The sealed opening to be written.")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@by_option
@config_option
@json_option
def open_(
    lookup: str,
    auditor: Path,
    out: Path,
    force: bool,
    by: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Open a logged lookup to an auditor: whom it asked about, under which case, slot by slot.

    The file is sealed to the auditor's key: nobody else reads it, not who makes it either. LOOKUP is the id
    from `audit draw`, or its beginning. It is in the ledger.
    """
    from candor_proto.accountability.opening_file import parse_auditor_key
    from candor_proto.errors import InputInvalid, MalformedMessage
    from candor_wire.v1 import accountability_pb2 as pb

    key = auditor.read_bytes()
    try:
        parse_auditor_key(key)
    except MalformedMessage:
        raise InputInvalid(
            f"{auditor} is no auditor's public key.", remedy="Ask the auditor for the file that ends in .pub."
        ) from None
    person, said = person_in_charge(by), list[Any]()

    def parts(replies: Any) -> Any:
        for reply in replies:
            if reply.lookup_id:
                said.append(reply)
            yield reply.octets

    request = pb.OpenLookupRequest(lookup_id=lookup, auditor_key=key, by=person)
    with running_node(config_file, by=person, stub=stub()) as node:
        size = write_parts(out, parts(node.OpenLookup(request, timeout=_LONG_SECONDS)), replace=force)
    report = {"lookup_id": said[0].lookup_id, "auditor": said[0].auditor, "file": str(out), "octets": size}
    words = f"Lookup {said[0].lookup_id}, opened to auditor {said[0].auditor} only, in {out}."
    show_dict(report, as_json, [words])


# --- the auditor's side: no node, no network ---------------------------------------------------------------


@audit.command("auditor-key")
@click.argument("auditor", metavar="ID")
@click.option("--federation", required=True, help="The federation whose lookups are audited.")
@click.option("--out", type=FILE, required=True, help="The private key; the public one is written beside it.")
@json_option
def auditor_key(auditor: str, federation: str, out: Path, as_json: bool) -> None:
    """Make an auditor's key pair: OUT is private and stays with the auditor, OUT.pub goes to the agencies."""
    from candor_node import table_out
    from candor_node.accountability import auditing

    public = out.with_name(f"{out.name}.pub")
    for path in (out, public):
        table_out.check_free(path, replace=False)
    private_octets, public_octets = auditing.make_key(auditor, federation)
    for path, octets in ((out, private_octets), (public, public_octets)):
        write_parts(path, [octets], replace=False)
    words = [f"Private key in {out}: keep it. Public key in {public}: give it to the agencies."]
    show_dict({"private": str(out), "public": str(public)}, as_json, words)


@audit.command("read")
@click.argument("file", type=FILE)
@click.option("--key", type=FILE, required=True, help="The auditor's private key.")
@click.option("--out", type=FILE, required=True, help="The opening to be written, for your eyes only.")
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@json_option
def read(file: Path, key: Path, out: Path, force: bool, as_json: bool) -> None:
    """Unseal an opening that was made for this auditor. It names the person who was asked about."""
    from candor_node.accountability import auditing

    octets = auditing.unseal(file.read_bytes(), key.read_bytes())
    write_parts(out, [octets], replace=force)
    words = [f"The opening is in {out}. Check it: candor-node audit check {out} --policy POLICY"]
    show_dict({"file": str(out), "octets": len(octets)}, as_json, words)


@audit.command("check")
@click.argument("file", type=FILE)
@click.option("--policy", type=FILE, required=True, help="The witness policy that the log is checked with.")
@click.option("--cases", type=FILE, default=None, help="The agency's register: one case number a line.")
@json_option
@click.pass_context
def check(context: click.Context, file: Path, policy: Path, cases: Path | None, as_json: bool) -> None:
    """Check an opening: that the lookup was logged, and that it asked what is shown and nothing else.

    Every slot is computed anew from the particulars; the case number must stand in the register, if one is
    given. Needs no node. Exit status 1 when a case does not stand there, or the opening is not that lookup's.
    """
    from candor_node.accountability import auditing
    from candor_node.clock import SystemClock

    register = None if cases is None else auditing.read_register(cases.read_bytes())
    found = auditing.check(file.read_bytes(), policy.read_bytes(), register, SystemClock().now())
    lines = [
        f"Lookup {found.lookup_id} of {found.asker}, {found.purpose}, {found.shape.lower()}, issued"
        f" {found.issued_at}: logged, and explained slot by slot.",
        f"  {found.persons} persons asked about, cases: {', '.join(found.cases) or '-'}",
        *(f"FINDING: case not in the register: {case or '(none)'}" for case in found.findings),
    ]
    if register is None:
        lines.append("  No register was given: whether these cases exist was not checked (--cases).")
    show_dict(found.report(), as_json, lines)
    if found.findings:
        context.exit(EXIT_FAILED)
