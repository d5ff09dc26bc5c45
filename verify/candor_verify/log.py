"""`candor-verify log`: every shard, from its files, under the reviewer's policy (§14, §15)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from candor_verify import note
from candor_verify.chain import PolicyChain
from candor_verify.checkpoint import Checkpoint, LogKeys, parse_checkpoint
from candor_verify.draw import WantedDraw
from candor_verify.entries import PolicyEntry, parse_entry
from candor_verify.errors import FindingClass, Malformed, Refused, Unreadable
from candor_verify.fold import End, State
from candor_verify.names import say_time, shard_of
from candor_verify.note import VerifierKey
from candor_verify.policy import Policy
from candor_verify.report import Report
from candor_verify.shard import ShardCheck, Watcher, class_of
from candor_verify.source import Source
from candor_verify.tiles import MAX_BUNDLE_OCTETS, WIDTH, decode_bundle, tile_path

MAX_SHARDS = 4_096
_LINE = re.compile(r"([^ ]+) (0|[1-9][0-9]{0,18})\Z")


@dataclass(frozen=True)
class Wish:
    """What the reviewer asked for besides."""

    kept: tuple[bytes, ...] = ()
    only_shard: int | None = None
    max_age: timedelta | None = None
    draw: WantedDraw | None = None


@dataclass
class Outcome:
    """What the log turned out to be."""

    federation: str
    heads: dict[str, Checkpoint]
    last: State | None
    time_of_witness: datetime | None
    logs: dict[str, LogKeys] = field(default_factory=dict)
    known: set[VerifierKey] = field(default_factory=set)


def parse_shards(octets: bytes) -> list[tuple[str, int]]:
    """Origins and sizes, shard 1 first (§14.6). Raises Malformed or LimitExceeded."""
    try:
        lines = octets.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise Malformed("The list of shards is not ASCII.") from None
    if lines.pop() or not lines or len(lines) > MAX_SHARDS:
        raise Malformed("The list of shards is empty, too long, or not whole lines.")
    shards = []
    for number, line in enumerate(lines, 1):
        found = _LINE.match(line)
        if not found:
            raise Malformed("A line of the list of shards is none.")
        federation, shard = shard_of(found[1])
        if shard != number or federation != shard_of(lines[0].partition(" ")[0])[0]:
            raise Malformed("The list of shards is not one federation's, from 1 on.")
        shards.append((found[1], note.read_decimal(found[2])))
    return shards


def check_log(
    source: Source,
    policy: Policy,
    now: datetime,
    report: Report,
    wish: Wish | None = None,
    watcher: Watcher | None = None,
) -> Outcome | None:
    """Check all of it; findings go to the report. Raises Unreadable."""
    wish = wish or Wish()
    octets = source.read("shards", MAX_SHARDS * 300)
    if octets is None:
        raise Unreadable(f"{source.where}: there is no log (no file “shards”)")
    try:
        shards = parse_shards(octets)
    except Refused as error:
        report.finding(FindingClass.INCLUSION, "shards", error)
        return None
    kept = _kept(wish.kept, shards, report)
    outcome = Outcome(shard_of(shards[0][0])[0], {}, None, None)
    report.fact(f"Federation: {outcome.federation}; shards: {len(shards)}; policy: {policy.summary}")
    chain = PolicyChain(policy, now)
    end: End | None = None
    check: ShardCheck | None = None
    for number, (origin, listed) in enumerate(shards, 1):
        if wish.only_shard not in (None, number):
            report.unchecked(f"shard {number}")
            end = None
            continue
        keys = _keys(policy, origin, end, report)
        if keys is None:
            end = None
            continue
        check = ShardCheck(source, origin, keys, chain, end, report, watcher, wish.draw)
        end = check.run(listed, kept.get(origin, []), is_last=number == len(shards))
        if check.newest is not None:
            outcome.heads[origin] = check.newest
        outcome.last = check.state
        outcome.logs[origin] = keys
        outcome.known |= check.state.witness_keys
    if check is None:
        report.finding(FindingClass.SIGNATURE, "policy", "names the keys of none of these shards")
    elif wish.only_shard in (None, len(shards)):
        outcome.time_of_witness = check.time_of_witness
        _check_age(check, now, wish.max_age, report)
    elif wish.only_shard > len(shards):
        report.finding(FindingClass.UNREADABLE, "shards", f"there is no shard {wish.only_shard}")
    outcome.known |= chain.known
    for name, head, keys in chain.deferred:
        _judge_deferred(chain, name, head, keys, report)
    if chain.version is None and check is not None:
        report.fact("The policy given is none of the log's own: it alone was used, for every head.")
    elif chain.version is not None:
        report.fact(f"Policies: followed up to version {chain.version}, now {chain.in_force.summary}")
    if wish.draw is not None:
        _say_draw(wish.draw, report)
    _check_files(source, shards, report)
    return outcome


def _judge_deferred(chain: PolicyChain, name: str, head: Checkpoint, keys: LogKeys, report: Report) -> None:
    """A head of an ended shard, now that it is known what the policy given is."""
    if chain.version is not None:
        report.unchecked(f"{name}: its quorum; it is older than the policy given")
        return
    try:
        chain.judge(head, keys)
    except Refused as error:
        report.finding(class_of(error), name, error)


def _say_draw(wanted: WantedDraw, report: Report) -> None:
    if wanted.draw is None:
        report.finding(FindingClass.UNREADABLE, wanted.name, "there is no such draw")
        return
    found = wanted.draw
    report.fact(
        f"Draw {wanted.name} of {wanted.origin}: entries {found.start} to {found.end - 1}, "
        f"{wanted.covered} lookups, {len(wanted.found) + wanted.left_out} drawn at {found.rate}/10,000; "
        f"seed {found.seed.hex()}"
    )
    for index, position, commitment in wanted.found:
        report.fact(f"  {index} {position} {commitment.hex()}")


def first_policy(source: Source) -> bytes:
    """The text of the policy that shard 1 began with, unverified (§15.4). Raises a Refused or Unreadable."""
    octets = source.read("shards", MAX_SHARDS * 300)
    if octets is None:
        raise Unreadable(f"{source.where}: there is no log (no file “shards”)")
    size = parse_shards(octets)[0][1]
    width = min(WIDTH, size)
    bundle = source.read(f"1/{tile_path(None, 0, width)}", MAX_BUNDLE_OCTETS)
    for entry in map(parse_entry, decode_bundle(bundle or b"", width)):
        if isinstance(entry, PolicyEntry):
            if entry.version != 1:
                raise Malformed(f"The log begins with policy version {entry.version}, and not with 1.")
            if not entry.text.isascii():
                raise Malformed("The log's first policy is not ASCII.")
            return entry.text
    raise Malformed("The log does not begin with a policy.")


def _kept(
    octets: tuple[bytes, ...], shards: list[tuple[str, int]], report: Report
) -> dict[str, list[Checkpoint]]:
    kept: dict[str, list[Checkpoint]] = {}
    for each in octets:
        try:
            head = parse_checkpoint(each)
        except Refused as error:
            report.finding(FindingClass.UNREADABLE, "the checkpoint kept", error)
            continue
        if head.origin not in dict(shards):
            what = f"is of {head.origin}, which this log does not list"
            report.finding(FindingClass.CONSISTENCY, "the checkpoint kept", what)
        kept.setdefault(head.origin, []).append(head)
    return kept


def _keys(policy: Policy, origin: str, end: End | None, report: Report) -> LogKeys | None:
    """As the shard before handed them over; else, and for comparison, as the policy names them."""
    named: LogKeys | None
    try:
        named = policy.log_keys(origin)
    except Refused:
        named = None
    if end is None:
        if named is None:
            report.unchecked(f"{origin}: the policy does not name its keys, and no shard before it was read")
        return named
    if named is not None and named != end.next_keys:
        what = "the keys that the shard before names are not those of the policy"
        report.finding(FindingClass.CONSISTENCY, origin, what)
    return end.next_keys


def _check_age(check: ShardCheck, now: datetime, max_age: timedelta | None, report: Report) -> None:
    witnessed_at = check.time_of_witness
    if witnessed_at is None:
        return
    age = max(now - witnessed_at, timedelta())
    report.fact(f"Newest witnessed head: {say_time(witnessed_at)}, {_in_words(age)} ago")
    if max_age is not None and age > max_age:
        what = f"the newest witnessed head is {_in_words(age)} old"
        report.finding(FindingClass.QUORUM, check.origin, what)


def _in_words(age: timedelta) -> str:
    minutes = int(age.total_seconds() // 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 72 * 60 else f"{minutes // 1440} days"


def _check_files(source: Source, shards: list[tuple[str, int]], report: Report) -> None:
    """Say which files of a folder belong to no log; what they hold is nobody's."""
    strange: list[str] = []
    for path in source.files():
        number, _, rest = path.partition("/")
        known = path in ("shards", "lock") or (
            number.isascii()
            and number.isdigit()
            and number[0] != "0"
            and int(number) <= len(shards)
            and re.match(
                r"(?:checkpoint|signed|tile/.+|policy/[1-9][0-9]*|draw/(?:[0-9]{4}-[0-9]{2}|end))\Z", rest
            )
        )
        if not known and len(strange) < 20:
            strange.append(path)
    for path in sorted(strange):
        report.unchecked(f"{path}: no file of a log")
