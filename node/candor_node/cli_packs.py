"""`candor-node packs`: the rules of a jurisdiction, read, tested, and adopted by two people.

Rule of this file: `show`, `test` and `verify` read files and what is installed, and need no running node.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from candor_node.cli_common import (
    EXIT_FAILED,
    by_option,
    config_option,
    config_path,
    json_option,
    load,
    running_node,
    show,
    show_dict,
    table,
)
from candor_proto.errors import InputInvalid

if TYPE_CHECKING:
    from candor_records.pack_cases import Outcome
    from candor_records.pack_rules import Case, Pack, Rule
    from candor_wire.v1 import packs_pb2

_SECONDS = 60
# Every record is opened and judged anew before the proposal is even made.
_ADOPT_SECONDS = 600


@dataclass(frozen=True)
class _File:
    """A pack as it lies on the disk or in the installation; `signature` is empty if none lies beside it."""

    shown: str
    octets: bytes
    signature: str


@contextmanager
def running_packs(config_file: Path | None, by: str | None) -> Iterator[Any]:
    """A stub for the packs of the running node."""
    from candor_wire.v1 import packs_pb2_grpc

    with running_node(config_file, by=by, stub=packs_pb2_grpc.PacksServiceStub) as node:
        yield node


def _find(name: str) -> _File:
    """The shipped pack of that name, else the file."""
    from candor_node import shipped_packs

    if name in shipped_packs.names():
        pack = shipped_packs.shipped(name)
        return _File(name, pack.pack.octets, pack.signature.text)
    return _read_file(Path(name))


def _adopted(name: str, by: str | None, config_file: Path | None) -> bytes:
    """The pack of that name as the running node adopted it last."""
    from candor_wire.v1 import packs_pb2

    with running_packs(config_file, by) as node:
        octets: bytes = node.ReadPack(packs_pb2.ReadPackRequest(name=name), timeout=_SECONDS).octets
    return octets


def _read_file(path: Path) -> _File:
    from candor_records.pack_signature import SUFFIX

    beside = path.with_name(path.name + SUFFIX)
    try:
        return _File(str(path), path.read_bytes(), beside.read_text("ascii") if beside.exists() else "")
    except FileNotFoundError:
        raise InputInvalid(
            f"There is no pack and no file {path}.",
            remedy="`candor-node packs test` names the packs that come with Candor.",
        ) from None
    except (OSError, UnicodeDecodeError):
        raise InputInvalid(f"{path} or its signature cannot be read.", remedy="Check the file.") from None


@click.group()
def packs() -> None:
    """The rules of a jurisdiction: what may be shared, for how long it is kept, when a report is late.

    A pack is a signed file of rules, each with its source and with two cases that show what it does. None is
    legal advice: each says "verify with counsel". The default pack is always in force; that of a state lies
    over it. Changing the policy takes two people.

    \b
      candor-node packs show california
      candor-node packs test
      candor-node packs adopt california --reason "counsel's letter of 3 May"
      candor-node approvals approve ID --by chief-1          (somebody else)
    """


@packs.command("list")
@by_option
@config_option
@json_option
def list_packs(by: str | None, config_file: Path | None, as_json: bool) -> None:
    """List the packs that are in force, those that were, and those that come with Candor."""
    from candor_wire.v1 import packs_pb2

    with running_packs(config_file, by) as node:
        reply = node.ListPacks(packs_pb2.ListPacksRequest(), timeout=_SECONDS)
    show(reply, as_json, lambda: _list_lines(reply))


def _list_lines(reply: packs_pb2.ListPacksResponse) -> list[str]:
    rows = [
        (
            f"{each.name} {each.version}",
            "in force" if each.in_force else "",
            each.adopted_at[:10],
            each.by,
            each.second or "-",
            each.issuer,
        )
        for each in reply.adopted
    ]
    shipped = ", ".join(f"{each.name} {each.version}" for each in reply.shipped)
    return [
        f"In force: {reply.policy}",
        *table(rows, ("PACK", "", "ADOPTED", "BY", "SECOND", "ISSUER")),
        f"With this version of Candor come: {shipped}",
    ]


@packs.command("show")
@click.argument("name", metavar="NAME|FILE")
@click.argument("rule", required=False, default="")
@click.option("--adopted", is_flag=True, help="As the running node adopted it last.")
@by_option
@config_option
@json_option
def show_pack(
    name: str, rule: str, adopted: bool, by: str | None, config_file: Path | None, as_json: bool
) -> None:
    """Show a pack rule by rule, in words: what holds, where it comes from, and its two cases.

    With RULE, only that rule. Needs no running node but for --adopted.
    """
    from candor_records.pack_reader import read_pack

    pack = read_pack(_adopted(name, by, config_file) if adopted else _find(name).octets)
    rules = [each for each in pack.rules if rule in ("", each.id)]
    if not rules:
        raise InputInvalid("The pack has no rule of that id.", remedy="Leave it out to see them all.")
    report = {**_head(pack), "rules": [_rule_dict(each) for each in rules]}
    lines = [line for each in rules for line in ("", *_rule_lines(each))]
    show_dict(report, as_json, [*_head_lines(pack), *lines])


def _head(pack: Pack) -> dict[str, Any]:
    return {
        "name": pack.name,
        "version": pack.version,
        "title": pack.title,
        "jurisdiction": pack.jurisdiction,
        "effective_on": pack.effective_on.isoformat(),
        "issuer": pack.issuer,
        "status": _status(),
    }


def _status() -> str:
    from candor_records.pack_rules import STATUS

    return STATUS


def _head_lines(pack: Pack) -> list[str]:
    return [
        f"{pack.title} ({pack.name}, version {pack.version}), in effect from {pack.effective_on}",
        f"Issued by {pack.issuer}. This is no legal advice: {_status()}.",
    ]


def _rule_dict(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "term": rule.term.name,
        "words": rule.terms.words,
        "kinds": [kind.name for kind in rule.kinds],
        "citation": rule.source.citation,
        "url": rule.source.url,
        "verified": rule.source.verified,
        "note": rule.source.note,
        "passes": {"case": rule.passes.words, "expect": rule.passes.expect},
        "refuses": {"case": rule.refuses.words, "expect": rule.refuses.expect},
    }


def _rule_lines(rule: Rule) -> list[str]:
    source = rule.source
    state = "compared with the text" if source.verified else "not compared with the official text"
    lines = [
        f"{rule.id} ({rule.term.name})",
        f"  {rule.terms.words[0].upper()}{rule.terms.words[1:]}.",
        *([f"  For: {', '.join(kind.name for kind in rule.kinds)}"] if rule.kinds else []),
        f"  Source: {source.citation} ({state})",
        *([f"          {source.url}"] if source.url else []),
        *([f"  Note: {source.note}"] if source.note else []),
    ]
    for case in (rule.passes, rule.refuses):
        lines += [f"  Case: {case.words}{_facts(case)}", f"        -> {case.expect}"]
    return lines


def _facts(case: Case) -> str:
    """What the case puts over its complete and fair record."""
    facts = [f"{name} = {value or 'empty'}" for name, value in case.fields]
    return f" [{', '.join(facts)}]" if facts else ""


@packs.command("test")
@click.argument("names", metavar="[NAME|FILE]...", nargs=-1)
@json_option
@click.pass_context
def test_packs(context: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Run both cases of every rule through the gate, the clocks and the retention that nodes run.

    Without arguments, those of all packs that come with Candor. Needs no running node. Exit status 1 if a
    case does not come out as it says.
    """
    from candor_node import shipped_packs
    from candor_records.pack_cases import run_cases
    from candor_records.pack_reader import read_pack
    from candor_records.pack_rules import DEFAULT_PACK

    default = shipped_packs.shipped(DEFAULT_PACK).pack
    found = [read_pack(_find(name).octets) for name in names or shipped_packs.names()]
    outcomes = [(pack, outcome) for pack in found for outcome in run_cases(pack, default)]
    failed = sum(not outcome.holds for _, outcome in outcomes)
    report = {"cases": [_outcome_dict(pack, each) for pack, each in outcomes], "failed": failed}
    show_dict(report, as_json, [*_outcome_lines(outcomes), f"{len(outcomes)} cases, {failed} failed"])
    if failed:
        context.exit(EXIT_FAILED)


def _outcome_dict(pack: Pack, outcome: Outcome) -> dict[str, Any]:
    return {
        "pack": pack.label,
        "rule": outcome.rule.id,
        "case": outcome.case.words,
        "passes": outcome.passes,
        "expected": outcome.expected,
        "found": outcome.found,
        "why": outcome.why,
        "ok": outcome.holds,
    }


def _outcome_lines(outcomes: Sequence[tuple[Pack, Outcome]]) -> Iterator[str]:
    for pack, outcome in outcomes:
        which = "passes" if outcome.passes else "refuses"
        if outcome.holds:
            yield f"ok      {pack.label}  {outcome.rule.id} {which}: {outcome.found}"
        else:
            yield f"FAILED  {pack.label}  {outcome.rule.id} {which}: {outcome.case.words}"
            yield f"        expected: {outcome.expected}"
            yield f"        found:    {outcome.found}"
            yield f"        {outcome.why}"


@packs.command("verify")
@click.argument("name", metavar="NAME|FILE")
@click.option("--issuer", default="", metavar="KEY", help="Trust this key of an issuer as well.")
@config_option
@json_option
def verify(name: str, issuer: str, config_file: Path | None, as_json: bool) -> None:
    """Check who signed a pack, that nobody changed it, and that every case comes out.

    Trusted are the release key, the keys of `pack_issuers` in node.toml, and KEY. The signature is expected
    beside FILE, as FILE.sig.
    """
    from candor_node import shipped_packs
    from candor_records.pack_cases import check_cases
    from candor_records.pack_reader import read_pack
    from candor_records.pack_rules import DEFAULT_PACK
    from candor_records.pack_signature import SUFFIX, PackSignature, check_signature

    settings = load(config_file).pack_issuers if config_path(config_file).exists() else ()
    trusted = shipped_packs.trusted_keys([*settings, *([issuer] if issuer else [])])
    found = _find(name)
    if not found.signature:
        raise InputInvalid(
            f"There is no signature {name}{SUFFIX} beside the pack.",
            remedy="Put the file that came with the pack there, unchanged.",
        )
    signature = PackSignature.parse(found.signature)
    check_signature(found.octets, signature, trusted)
    pack = read_pack(found.octets)
    check_cases(pack, shipped_packs.shipped(DEFAULT_PACK).pack)
    key = signature.issuer.value.hex()
    report = {**_head(pack), "rules": len(pack.rules), "issuer_key": key}
    lines = [
        *_head_lines(pack),
        f"Signed by the key {key}.",
        f"All cases of its {len(pack.rules)} rules come out.",
    ]
    show_dict(report, as_json, lines)


@packs.command("adopt")
@click.argument("name", metavar="NAME|FILE")
@click.option("--reason", required=True, help="Why; the second person reads it.")
@by_option
@config_option
@json_option
def adopt(name: str, reason: str, by: str | None, config_file: Path | None, as_json: bool) -> None:
    """Propose that a pack shall hold. It holds once a second person has approved.

    Then every record is dated and judged anew: some may be shared that were not, others no longer.
    """
    from candor_wire.v1 import packs_pb2

    found = _find(name)
    request = packs_pb2.AdoptPackRequest(octets=found.octets, signature=found.signature, reason=reason)
    with running_packs(config_file, by) as node:
        reply = node.AdoptPack(request, timeout=_ADOPT_SECONDS)
    show(
        reply,
        as_json,
        lambda: [
            f"{reply.name} {reply.version} is checked: issuer, octets, every case. A second person decides:",
            f"  candor-node approvals approve {reply.approval_id}",
            *([f"WARNING: {reply.warning}"] if reply.warning else []),
        ],
    )
