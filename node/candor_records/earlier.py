"""Earlier reports that a later one does not replace; a release shows them in order (RECORDS.md §4.1).

Rules of this file:
- a correction replaces what it corrects; every other report stands beside those before it;
- of an earlier report its number, type, day and what it said in the fields that changed since;
- lengths are bounded, for the whole chain travels in one field: the latest MAX_REPORTS reports, or as many
  as fit into MAX_OCTETS; the first MAX_CHARACTERS of each text.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

MAX_REPORTS = 12
MAX_CHARACTERS = 200
MAX_CHANGES = 5
# Below what a field of a release may hold (candor_proto.record): letters beyond ASCII take up to four octets.
MAX_OCTETS = 12_000


@dataclass(frozen=True)
class EarlierReport:
    """A report that still stands: what it said where the one after it says something else."""

    dcn: str
    report_type: str
    filed_on: date
    said: Mapping[str, str] = field(repr=False)

    def words(self) -> str:
        """One line for whoever reads the release."""
        changes = [f"{name} was {_cut(value)}" for name, value in list(self.said.items())[:MAX_CHANGES]]
        more = len(self.said) - len(changes)
        if more > 0:
            changes.append(f"{more} more fields differ")
        said = "; ".join(changes) or "the same facts"
        return f"{self.filed_on} {self.report_type} {self.dcn}: {said}"

    def without(self, names: Collection[str]) -> EarlierReport:
        """The same, but for what it said in the fields of these names."""
        return replace(self, said={name: value for name, value in self.said.items() if name not in names})

    def fields(self) -> dict[str, object]:
        """As it is stored; `read` takes it back."""
        return {
            "dcn": self.dcn,
            "report_type": self.report_type,
            "filed_on": self.filed_on.isoformat(),
            "said": dict(self.said),
        }

    @classmethod
    def read(cls, stored: Mapping[str, object]) -> EarlierReport:
        said = stored["said"]
        texts = {str(name): str(value) for name, value in said.items()} if isinstance(said, dict) else {}
        filed_on = date.fromisoformat(str(stored["filed_on"]))
        return cls(str(stored["dcn"]), str(stored["report_type"]), filed_on, texts)


def chain_words(earlier: Sequence[EarlierReport]) -> str:
    """All of them, oldest first, as one text; empty when there is none."""
    lines = [report.words() for report in earlier[-MAX_REPORTS:]]
    while sum(len(line.encode()) + 1 for line in lines) > MAX_OCTETS:
        del lines[0]
    left_out = len(earlier) - len(lines)
    first = [f"{left_out} earlier reports are not listed"] if left_out else []
    return "\n".join([*first, *lines])


def _cut(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= MAX_CHARACTERS else plain[: MAX_CHARACTERS - 1] + "…"
