"""`candor-verify`: the command. Exit status 0 means verified; docs/verify.md has the others."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from candor_verify import draw, index, log, opening
from candor_verify.certificates import read_root
from candor_verify.draw import WantedDraw
from candor_verify.entries import Entry
from candor_verify.errors import FindingClass, Malformed, NotLogged, Refused, Unreadable
from candor_verify.evidence import verify_evidence
from candor_verify.form import MAX_FILE_OCTETS, places_in
from candor_verify.log import Wish
from candor_verify.names import say_time
from candor_verify.note import MAX_NOTE_OCTETS
from candor_verify.policy import MAX_POLICY_OCTETS, parse_policy
from candor_verify.proof import Judge
from candor_verify.reading import Reading
from candor_verify.receipt import Verified, verify_receipt
from candor_verify.report import Report
from candor_verify.source import Source, open_source, read_file
from candor_verify.vectors import check_vectors

MAX_AGE_HOURS = 24
MAX_REGISTER_OCTETS = 64 * 1024 * 1024


def main() -> None:
    """Entry point."""
    raise SystemExit(run(sys.argv[1:], _now()))


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the edge reads the clock, once


def run(arguments: Sequence[str], now: datetime, write: Callable[[str], object] = print) -> int:
    """The command; returns its exit status."""
    options = _parser().parse_args(arguments)
    report = Report(f"{options.command}, {say_time(now)}")
    try:
        options.run(options, now, report)
    except Unreadable as error:
        report.finding(FindingClass.UNREADABLE, options.command, error)
    except Exception as error:
        report.finding(FindingClass.UNREADABLE, options.command, f"this verifier failed: {error!r}")
    if report.instead is not None:
        policy = report.instead.decode()
        told = {"policy": policy, "sha256": report.instead_digest}
        write(json.dumps(told, indent=1) if options.json else policy.removesuffix("\n"))
    elif vars(options).get("first_policy") and not options.json:
        # Standard output is where the policy goes: to a file, as a rule.
        print(report.text(), file=sys.stderr)
    else:
        write(report.json() if options.json else report.text())
    return report.status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="candor-verify",
        description="Checks what a Candor federation says of itself, with public keys and nothing else.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="write the report as JSON")
    trust = argparse.ArgumentParser(add_help=False, parents=[common])
    trust.add_argument("--policy", type=Path, required=True, help="the witness policy that you rely on")

    one = commands.add_parser(
        "log", parents=[common], help="the whole log, from a folder or an https address"
    )
    one.add_argument("location")
    how = one.add_mutually_exclusive_group(required=True)
    how.add_argument("--policy", type=Path, help="the witness policy that you rely on")
    how.add_argument(
        "--first-policy",
        action="store_true",
        help="print the log's first policy, unverified, and its SHA-256",
    )
    one.add_argument(
        "--from-checkpoint", type=Path, action="append", default=[], help="a checkpoint kept earlier"
    )
    _server_options(one)
    one.add_argument("--shard", type=int, help="this shard alone")
    one.add_argument(
        "--max-age", type=int, metavar="HOURS", help="of the newest witnessed head (24 for an address)"
    )
    one.add_argument("--draw", metavar="MONTH", help="list the lookups drawn for audit: 2026-11, or 3/end")
    one.add_argument("--rate", type=int, default=draw.LOWEST_RATE, help="of the draw, in 1/10,000 (100)")
    one.set_defaults(run=_log)

    one = commands.add_parser("receipt", parents=[trust], help="receipts of answers and disclosures")
    one.add_argument("file", type=Path, nargs="+")
    _log_options(one)
    one.set_defaults(run=_receipt)

    one = commands.add_parser(
        "evidence", parents=[trust], help="evidence of misbehaviour, or openings for audit"
    )
    one.add_argument("file", type=Path, nargs="*")
    one.add_argument("--root", type=Path, help="the federation's root certificate, in PEM")
    one.add_argument(
        "--log", metavar="LOCATION", help="read this log too: does it bind every key in the files?"
    )
    _server_options(one)
    one.add_argument("--opening", type=Path, action="append", default=[], help="an opening, unsealed")
    one.add_argument("--cases", type=Path, help="the agency's register of cases, one a line")
    one.set_defaults(run=_evidence)

    one = commands.add_parser("index", parents=[trust], help="an index head and its segments")
    one.add_argument("file", type=Path, help="a receipt of an answer, or a signed head")
    one.add_argument("--segments", type=Path, help="a folder with the segments, whatever their names")
    one.add_argument("--proof", type=Path, help="a file with owner_member and head_logged")
    _log_options(one)
    one.set_defaults(run=_index)

    one = commands.add_parser("protocol-vectors", parents=[common], help="the vectors of the protocol")
    one.add_argument("folder", type=Path)
    one.set_defaults(run=_vectors)
    return parser


def _log_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--log", metavar="LOCATION", help="read the whole log, too, and judge by what it holds"
    )
    _server_options(parser)


def _server_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ca", type=Path, help="certificate of the authority of the log's server, in PEM")
    parser.add_argument(
        "--server-name",
        metavar="NAME",
        help="name in the server's certificate; a hub's own has hub.FEDERATION (default: as in the address)",
    )


def _judge(options: argparse.Namespace, now: datetime) -> Judge:
    octets = read_file(options.policy, MAX_POLICY_OCTETS)
    try:
        return Judge(parse_policy(octets), now)
    except Refused as error:
        raise Unreadable(f"{options.policy}: {error}") from None


def _log(options: argparse.Namespace, now: datetime, report: Report) -> None:
    source = open_source(options.location, options.ca, options.server_name)
    if options.first_policy:
        _first_policy(source, report)
        return
    hours = options.max_age if options.max_age is not None else MAX_AGE_HOURS if source.live else None
    wanted = None
    if options.draw is not None:
        if not draw.LOWEST_RATE <= options.rate <= draw.UNITS:
            raise Unreadable(f"--rate is {draw.LOWEST_RATE} to {draw.UNITS} of 1/10,000")
        wanted = WantedDraw(options.draw, options.rate)
    wish = Wish(
        kept=tuple(read_file(path, MAX_NOTE_OCTETS) for path in options.from_checkpoint),
        only_shard=options.shard,
        max_age=None if hours is None else timedelta(hours=hours),
        draw=wanted,
    )
    report.subject = f"log {options.location}, {say_time(now)}"
    log.check_log(source, _judge(options, now).policy, now, report, wish)


def _first_policy(source: Source, report: Report) -> None:
    """The policy for whoever has none yet, to be compared with a member's by another channel."""
    try:
        report.instead = log.first_policy(source)
    except Refused as error:
        report.finding(FindingClass.INCLUSION, "1", error)
        return
    said = f"Nothing was verified. Compare with members, by another channel: SHA-256 {report.instead_digest}"
    print(said, file=sys.stderr)


def _say(verified: Verified, path: Path, report: Report) -> None:
    report.fact(f"{path}:")
    for line in verified.lines:
        report.fact(f"  {line}")
    for text in verified.not_checked:
        report.unchecked(text)


def _judge_files(options: argparse.Namespace, now: datetime, files: list[bytes], report: Report) -> Judge:
    """By the policy; with --log, by the whole log, which is read first."""
    judge = _judge(options, now)
    if options.log is None:
        return judge
    reading = Reading(places_in(files))
    source = open_source(options.log, options.ca, options.server_name)
    outcome = log.check_log(source, judge.policy, judge.now, report, watcher=reading.see)
    if outcome is not None:
        reading.logs, reading.known = outcome.logs, outcome.known
    return Judge(judge.policy, judge.now, reading)


def _receipt(options: argparse.Namespace, now: datetime, report: Report) -> None:
    files = [(path, read_file(path, MAX_FILE_OCTETS)) for path in options.file]
    judge = _judge_files(options, now, [octets for _, octets in files], report)
    for path, octets in files:
        try:
            verified = verify_receipt(octets, judge)
        except Refused as error:
            report.finding(FindingClass.RECEIPT, str(path), error)
        else:
            _say(verified, path, report)
            report.count("receipts", 1)
    if options.log is None:
        report.unchecked("whether the log that the receipts rest on keeps its rules: give --log")


def _evidence(options: argparse.Namespace, now: datetime, report: Report) -> None:
    if not options.file and not options.opening:
        raise Unreadable("give evidence files, or --opening")
    try:
        root = None if options.root is None else read_root(read_file(options.root, 64 * 1024))
    except Refused as error:
        raise Unreadable(f"{options.root}: {error}") from None
    files = [(path, read_file(path, MAX_FILE_OCTETS)) for path in options.file]
    openings = [(path, read_file(path, MAX_FILE_OCTETS)) for path in options.opening]
    shown = [octets for _, octets in (*files, *openings)]
    judge = _judge_files(options, now, shown, report)
    for path, octets in files:
        try:
            verified, case = verify_evidence(octets, judge, root)
        except Refused as error:
            report.finding(FindingClass.EVIDENCE, str(path), error)
        else:
            _say(verified, path, report)
            report.count("pieces of evidence", 1)
            if case.members and options.log is None:
                report.unchecked("that the log names no other key for these members: give --log")
    _openings(options, judge, openings, report)


def _openings(
    options: argparse.Namespace, judge: Judge, files: list[tuple[Path, bytes]], report: Report
) -> None:
    register = None
    if options.cases is not None:
        try:
            register = opening.read_register(read_file(options.cases, MAX_REGISTER_OCTETS))
        except Malformed as error:
            raise Unreadable(f"{options.cases}: {error}") from None
    for path, octets in files:
        try:
            opened = opening.verify_opening(octets, judge)
        except Refused as error:
            report.finding(FindingClass.EVIDENCE, str(path), error)
            continue
        _say(Verified("opening", opened.lines), path, report)
        report.count("openings", 1)
        for number, case in [] if register is None else opened.not_in(register):
            what = f"person {number}: case {case!r} is not in the register"
            report.finding(FindingClass.REGISTER, str(path), what)
    if options.opening:
        report.unchecked("that the inputs follow from the particulars: the auditor's own node computes that")
        if register is None:
            report.unchecked("whether the cases exist: give --cases")


def _index(options: argparse.Namespace, now: datetime, report: Report) -> None:
    judge = _judge(options, now)
    octets = read_file(options.file, MAX_FILE_OCTETS)
    proof = None if options.proof is None else read_file(options.proof, MAX_FILE_OCTETS)
    try:
        file = index.read_head(octets)
        index.say_head(file.head, report)
        if proof is not None:
            file = index.read_proof(proof, file)
        if options.log is None:
            index.check_proofs(file, judge, report)
        else:
            _index_in_log(options, judge, file, report)
    except Refused as error:
        report.finding(FindingClass.INDEX, str(options.file), error)
        return
    if options.segments is None:
        report.unchecked("the segments: give --segments")
    elif not options.segments.is_dir():
        raise Unreadable(f"{options.segments}: no such folder")
    else:
        index.check_segments(file.head, options.segments, report)
    report.unchecked("what the entries say: only outputs under the owner's epoch keys open them")


def _index_in_log(options: argparse.Namespace, judge: Judge, file: index.HeadFile, report: Report) -> None:
    watcher = index.HeadWatcher(file)

    def see(origin: str, number: int, octets: bytes, entry: Entry) -> None:
        watcher.see(origin, number, octets, entry)

    source = open_source(options.log, options.ca, options.server_name)
    outcome = log.check_log(source, judge.policy, judge.now, report, watcher=see)
    state = None if outcome is None else outcome.last
    if watcher.place is None or state is None:
        raise NotLogged("The log does not hold this head.")
    index.check_signer(file, state)
    report.fact(f"Logged at {watcher.place}; {watcher.later} later head(s) of this owner")


def _vectors(options: argparse.Namespace, now: datetime, report: Report) -> None:
    check_vectors(options.folder, now, report)
