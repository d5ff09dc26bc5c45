"""One shard: its heads, its files, its entries, and what was signed about it besides (§14)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import pairwise

from candor_verify import draw, entries, note, succession
from candor_verify.chain import PolicyChain, unknown_lines
from candor_verify.checkpoint import Checkpoint, LogKeys, parse_checkpoint, verify_log
from candor_verify.entries import Entry
from candor_verify.errors import FindingClass, LogInconsistent, LogUnwitnessed, Refused, SignatureInvalid
from candor_verify.fold import End, State
from candor_verify.names import at, shard_of
from candor_verify.report import Report
from candor_verify.source import Source
from candor_verify.walk import Walk

Watcher = Callable[[str, int, bytes, Entry], None]  # origin, index, octets, entry
CHECKPOINT, SIGNED = "checkpoint", "signed"


class ShardCheck:
    """Checks one shard and writes findings; `state` is what its entries led to."""

    def __init__(
        self,
        source: Source,
        origin: str,
        keys: LogKeys,
        chain: PolicyChain,
        previous: End | None,
        report: Report,
        watcher: Watcher | None = None,
        wanted: draw.WantedDraw | None = None,
    ) -> None:
        federation, number = shard_of(origin)
        self.origin = origin
        self.state = State(federation, number, previous)
        self.newest: Checkpoint | None = None
        self.time_of_witness: datetime | None = None
        self._source = source
        self._number = number
        self._keys = keys
        self._chain = chain
        self._report = report
        self._watcher = watcher
        self._wanted = wanted
        self._heads: dict[str, tuple[Checkpoint, datetime]] = {}
        self._walk: Walk | None = None
        self._broken = False
        # Of the newest head with a quorum: what stands behind it may be written otherwise yet.
        self._shown = 0

    def run(self, listed: int, kept: list[Checkpoint], *, is_last: bool) -> End | None:
        """All of it; returns where the shard ended, None if it did not end or cannot be relied on."""
        checkpoint = self._head(CHECKPOINT, FindingClass.QUORUM)
        signed = self._head(SIGNED, FindingClass.SIGNATURE)
        size = max((head.size for head in (checkpoint, signed) if head is not None), default=None)
        if size is None:
            return None
        self._shown = 0 if checkpoint is None else checkpoint.size
        walk = self._walk = Walk(self._source, self._number, size, self._report, self._take)
        for number, head in enumerate(kept, 1):
            self._add(f"the checkpoint kept ({number})", head)
        for name, (head, _) in self._heads.items():
            walk.mark(head.size, head.root, name)
        walk.run()
        if self.state.size != size and not self._broken:
            self._stop(f"{self.origin}: the rules of entries from {self.state.size} on")
        self._compare(walk)
        self._compare_sizes(listed, size, checkpoint, signed, is_last=is_last)
        self._judge(checkpoint, is_last=is_last)
        self._summary(size)
        end = None if self._broken else self.state.end(walk.root)
        self.state.counts.close()
        if end is None and not is_last and not self._broken:
            return self._succeeded(walk.root)
        return end

    def _succeeded(self, root: bytes) -> End | None:
        """A further shard begins, and this one was not closed: whether it is a successor's (§19.5)."""
        try:
            found = succession.find(self._source, self.state, root)
        except Refused as error:
            self._report.finding(FindingClass.RULE, self.origin, error)
            return None
        judged = found.judged
        self._report.fact(
            f"{self.origin}: not closed; a successor goes on from {self.state.size} entries, which "
            f"{len(judged.consents)} of {judged.active} members consented to: {', '.join(judged.consents)}"
        )
        self._chain.succeed(judged.policy, self._number + 1)
        return found.end

    def _name(self, path: str) -> str:
        return f"{self._number}/{path}"

    def _head(self, path: str, missing: FindingClass | None = None) -> Checkpoint | None:
        """A head from a file, if it is one that the log signed."""
        name = self._name(path)
        octets = self._source.read(name, note.MAX_NOTE_OCTETS)
        if octets is None:
            if missing is not None:
                self._report.finding(missing, name, "missing")
            return None
        try:
            head = parse_checkpoint(octets)
        except Refused as error:
            self._report.finding(FindingClass.SIGNATURE, name, error)
            return None
        return head if self._add(name, head) else None

    def _add(self, name: str, head: Checkpoint) -> bool:
        """Take a head for one that the log signed, to be compared with its entries."""
        try:
            if head.origin != self.origin:
                raise SignatureInvalid(f"is of {head.origin}, not of {self.origin}")
            self._heads[name] = (head, verify_log(head, self._keys))
        except Refused as error:
            self._report.finding(FindingClass.SIGNATURE, name, error)
            return False
        return True

    def _mark(self, path: str) -> Checkpoint | None:
        """A head from a file that the walk has not come to yet."""
        head = self._head(path)
        if head is not None and self._walk is not None:
            self._walk.mark(head.size, head.root, self._name(path))
        return head

    def _take(self, index: int, octets: bytes) -> None:
        """The next entry, unless an earlier one broke the rules or could not be read."""
        if self._broken:
            return
        if index != self.state.size:
            self._stop(f"{self.origin}: the rules of entries from {self.state.size} on")
            return
        try:
            entry = self.state.apply(octets)
        except LogInconsistent as error:
            self._report.finding(FindingClass.RULE, self.origin, error)
            self._stop(f"{self.origin}: the rules of entries behind {index}")
            return
        if isinstance(entry, entries.Requests):
            if self._wanted is not None:
                self._wanted.see(self.origin, index, entry)
        elif isinstance(entry, entries.Opened):
            self._draws(entry)
        elif isinstance(entry, entries.PolicyEntry):
            self._policy(index, entry)
        if self._watcher is not None and index < self._shown:
            self._watcher(self.origin, index, octets, entry)

    def _stop(self, what: str) -> None:
        self._broken = True
        self._report.unchecked(what)

    def _draws(self, opened: entries.Opened) -> None:
        """The draws of each month since, and of the end, where there are any (§18.1)."""
        listed = [name for name in self._source.names(self._name("draw")) if draw.MONTH.match(name)]
        months = sorted({*draw.months(at(opened.opened), self._chain.now), *listed})
        heads = [(name, self._mark(f"draw/{name}")) for name in (*months, draw.END)]
        if self._wanted is not None:
            self._wanted.choose(self.origin, [(name, head) for name, head in heads if head is not None])

    def _policy(self, index: int, entry: entries.PolicyEntry) -> None:
        """The head that brought it into force."""
        shown = self._chain.see(entry, self._number, index)
        path = f"policy/{entry.version}"
        head = self._mark(path)
        if not shown:
            return
        if head is None:
            newest = self._heads.get(self._name(CHECKPOINT))
            if newest is not None and newest[0].size > index:
                what = "missing or refused: nothing shows that the policy before it was satisfied"
                self._report.finding(FindingClass.QUORUM, self._name(path), what)
            return
        try:
            self._chain.advance(entry, index, head, self._keys)
        except Refused as error:
            self._report.finding(class_of(error), self._name(path), error)

    def _compare(self, walk: Walk) -> None:
        """Heads with the entries, and with each other."""
        # Two heads that the log signed, of which one fits its entries and the other does not, are a fork;
        # where files are damaged, or no head fits, the entries may be to blame.
        forked = bool(walk.fitting) and not walk.damaged
        for name in walk.differing:
            kind = FindingClass.CONSISTENCY if forked else FindingClass.INCLUSION
            self._report.finding(kind, name, "has another root than the entries at its size")
        for name in walk.unseen:
            size = self._heads[name][0].size
            if size > walk.size:
                what = f"was signed for {size} entries, and the log now shows {walk.size}: it was rolled back"
                self._report.finding(FindingClass.CONSISTENCY, name, what)
            else:
                self._report.finding(FindingClass.INCLUSION, name, "its entries could not be read")
        ordered = sorted((head.size, when, name) for name, (head, when) in self._heads.items())
        for (size, early, smaller), (larger_size, late, larger) in pairwise(ordered):
            if size < larger_size and early > late:
                what = f"smaller than {larger}, and signed later: the log was rolled back"
                self._report.finding(FindingClass.CONSISTENCY, smaller, what)

    def _compare_sizes(
        self,
        listed: int,
        size: int,
        checkpoint: Checkpoint | None,
        signed: Checkpoint | None,
        *,
        is_last: bool,
    ) -> None:
        """The list of shards, `signed` and the end with the newest head that has a quorum."""
        shown = 0 if checkpoint is None else checkpoint.size
        if signed is not None and signed.size < shown:
            what = "older than the newest head with a quorum"
            self._report.finding(FindingClass.CONSISTENCY, self._name(SIGNED), what)
        what = f"says {listed} entries of {self.origin}; the head with a quorum has {shown}"
        if listed > shown:
            self._report.finding(FindingClass.INCLUSION, "shards", what)
        elif listed < shown and not self._source.live:
            self._report.unchecked(f"shards: {what}; was it copied while the log grew?")
        if shown < size:
            if not is_last:
                what = f"covers {shown} of {size} entries of a shard that ended"
                self._report.finding(FindingClass.QUORUM, self._name(CHECKPOINT), what)
            self._report.fact(
                f"{self.origin}: entries {shown} to {size - 1} are signed, but not witnessed yet"
            )

    def _judge(self, checkpoint: Checkpoint | None, *, is_last: bool) -> None:
        """Cosignatures and quorum, now that every key is known."""
        known = self._chain.known | self.state.witness_keys
        for name, (head, signed_at) in self._heads.items():
            try:
                for line in unknown_lines(head, self._keys, known):
                    what = f"a line of “{line.name}” ({line.key_id.hex()})"
                    if self._broken:  # the log may name the key further on
                        self._report.unchecked(f"{name}: {what}")
                    else:
                        self._report.finding(FindingClass.SIGNATURE, name, f"{what}, whose key nobody knows")
                if head is not checkpoint and not name.startswith(self._name("draw/")):
                    continue
                if self._chain.predates(head):
                    self._report.unchecked(f"{name}: its quorum; it is older than the policy given")
                    continue
                if self._chain.version is None and not is_last:
                    # The policy given may be one that the log comes to further on.
                    self._chain.deferred.append((name, head, self._keys))
                    continue
                witnessed_at = self._chain.judge(head, self._keys)
            except Refused as error:
                self._report.finding(class_of(error), name, error)
                continue
            month = name.rpartition("/")[2]
            if head is checkpoint:
                self.newest, self.time_of_witness = head, witnessed_at
            elif month != draw.END and f"{signed_at:%Y-%m}" != month:
                # Of the log's own time (§18.1): a witness's clock may be a little behind it.
                what = f"was signed in {signed_at:%Y-%m}"
                self._report.finding(FindingClass.RULE, name, what)

    def _summary(self, size: int) -> None:
        opened, closed = self.state.opened, self.state.closed
        since = f", opened {at(opened.opened):%Y-%m-%d}" if opened is not None else ""
        until = f", closed {at(closed.closed):%Y-%m-%d}" if closed is not None else ""
        self._report.fact(f"{self.origin}: {self.state.size} of {size} entries read{since}{until}")
        self._report.fact(f"  heads compared with the entries: {', '.join(self._heads)}")
        if self.newest is not None:
            self._report.fact(
                f"  newest with a quorum: size {self.newest.size}, root {self.newest.root.hex()}"
            )
        self._report.count("entries", self.state.size)
        self._report.count("lookups", self.state.lookups)
        self._report.count("other envelopes", self.state.other_envelopes)
        for what, number in self.state.tally.items():
            self._report.count(what, number)


def class_of(error: Refused) -> FindingClass:
    """Of what is wrong with a head."""
    return FindingClass.QUORUM if isinstance(error, LogUnwitnessed) else FindingClass.SIGNATURE
