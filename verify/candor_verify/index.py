"""`candor-verify index`: a signed index head, its place in the log, and its segments (§6.6, §6.7)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from candor_verify import receipt, segment
from candor_verify.entries import HeadEntry, head_entry
from candor_verify.errors import FindingClass, Malformed, Refused
from candor_verify.fold import State
from candor_verify.form import Fields, Logged, parse_file
from candor_verify.heads import IndexHead, parse_head
from candor_verify.names import at, say_time
from candor_verify.proof import Judge
from candor_verify.report import Report
from candor_verify.source import read_file
from candor_verify.statements import Part

MAX_FILES = 100_000


@dataclass(frozen=True)
class HeadFile:
    """A head as somebody has it, and what shows that it is logged, if that came with it."""

    part: Part
    head: IndexHead
    owner_member: Logged | None = None
    head_logged: Logged | None = None


def read_head(octets: bytes) -> HeadFile:
    """From a receipt of an answer, or from a bare part (§16.3). Raises a Refused."""
    value = parse_file(octets)
    fields = Fields(value, "The head file")
    if "format" not in value:
        part = Part(fields.octets("body"), fields.octets("signature", 64))
        fields.done()
        return HeadFile(part, parse_head(part.body))
    fields.exactly("format", receipt.FORMAT)
    fields.exactly("kind", "answer")
    if fields.is_null("head"):
        raise Malformed("This receipt has no head: its answer evaluated nothing.")
    part = fields.part("head")
    return HeadFile(part, parse_head(part.body), fields.logged("owner_member"), fields.logged("head_logged"))


def read_proof(octets: bytes, head: HeadFile) -> HeadFile:
    """With `{"owner_member": logged, "head_logged": logged}` from a file of its own. Raises a Refused."""
    fields = Fields(parse_file(octets), "The proof file")
    found = HeadFile(head.part, head.head, fields.logged("owner_member"), fields.logged("head_logged"))
    fields.done()
    return found


def check_proofs(file: HeadFile, judge: Judge, report: Report) -> None:
    """Signature and place in the log, by proofs. Raises a Refused."""
    if file.owner_member is None or file.head_logged is None:
        raise Malformed("Nothing shows that the head is logged: give --proof or --log.")
    head = file.head
    owner = file.owner_member.member(head.node, head.federation, judge)
    receipt.signed_head(file.part, head.federation, owner)
    receipt.check_head_logged(file.head_logged, file.part, head.federation, judge)
    report.fact(f"Logged at {file.head_logged.place}")


def check_signer(file: HeadFile, state: State) -> None:
    """That the owner signed the head, by its key in the log. Raises a Refused."""
    head = file.head
    known = state.members.get(head.node)
    if known is None or state.federation != head.federation:
        raise Malformed("The log does not know the head's owner.")
    receipt.signed_head(file.part, head.federation, known.member)


class HeadWatcher:
    """Looks for the entry of a head while a log is read."""

    def __init__(self, file: HeadFile) -> None:
        self._entry = head_entry(file.part)
        self._node = file.head.node
        self.place: str | None = None
        self.later = 0

    def see(self, origin: str, index: int, octets: bytes, entry: object) -> None:
        if isinstance(entry, HeadEntry) and entry.node == self._node:
            if octets == self._entry:
                self.place, self.later = f"{origin}, entry {index}", 0
            elif self.place is not None:
                self.later += 1


def check_segments(head: IndexHead, folder: Path, report: Report) -> None:
    """That the folder holds every segment of the head, whole; findings go to the report."""
    wanted = {ref.address: ref for ref in head.segments}
    found: set[bytes] = set()
    totals = [0, 0, 0]
    for path in sorted(folder.iterdir())[:MAX_FILES]:
        if not path.is_file():
            continue
        octets = read_file(path, segment.MAX_SEGMENT_OCTETS)
        ref = wanted.get(segment.address_of(octets))
        if ref is None:
            report.unchecked(f"{path.name}: no segment of this head")
            continue
        found.add(ref.address)
        try:
            parsed = segment.parse_segment(octets)
            named = (parsed.federation, parsed.node, parsed.epoch, parsed.number, len(octets))
            if named != (head.federation, head.node, head.epoch, ref.number, ref.octets):
                raise Malformed("is of another owner, epoch, number or length than the head says")
        except Refused as error:
            report.finding(FindingClass.INDEX, path.name, error)
            continue
        for at_, items in enumerate((parsed.entries, parsed.blobs, parsed.markers)):
            totals[at_] += len(items)
    for ref in head.segments:
        if ref.address not in found:
            report.finding(FindingClass.INDEX, f"segment {ref.number}", f"missing ({ref.address.hex()})")
    report.fact(f"Segments: {len(found)} of {len(head.segments)} held and whole, {head.octets} octets in all")
    for number, what in zip(totals, ("entries", "blobs", "markers"), strict=True):
        report.count(f"{what} (dummies among them)", number)


def say_head(head: IndexHead, report: Report) -> None:
    report.fact(
        f"Index head {head.sequence} of {head.node} in {head.federation}, epoch {head.epoch}, "
        f"{say_time(at(head.issued))}; threshold {head.threshold}, scheme {head.scheme}"
    )
