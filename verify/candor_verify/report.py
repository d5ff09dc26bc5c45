"""What was checked, what was found, and the verdict: text to paste into a report, or JSON."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

from candor_verify.errors import Finding, FindingClass

MAX_FINDINGS = 1_000


def printable(value: str) -> str:
    """`value` without what could move a terminal's cursor or forge a line."""
    return "".join(
        character if character.isprintable() else f"\\x{ord(character):02x}" for character in value
    )


@dataclass
class Report:
    """Collects; `status` is the exit status."""

    subject: str
    checked: list[str] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    left_out: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    instead: bytes | None = None  # octets to be written in place of the report
    _kinds: set[FindingClass] = field(default_factory=set)

    @property
    def instead_digest(self) -> str:
        return hashlib.sha256(self.instead or b"").hexdigest()

    def fact(self, text: str) -> None:
        """Something that was verified."""
        self.checked.append(printable(text))

    def unchecked(self, text: str) -> None:
        """Something that this run says nothing about."""
        if printable(text) not in self.not_checked:
            self.not_checked.append(printable(text))

    def finding(self, kind: FindingClass, where: str, what: object) -> None:
        """Something that is wrong. Past a thousand, findings are counted only."""
        self._kinds.add(kind)
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(kind, printable(where), printable(str(what))))
        else:
            self.left_out += 1

    def count(self, what: str, number: int) -> None:
        self.counts[what] = self.counts.get(what, 0) + number

    @property
    def status(self) -> int:
        """0, or the lowest status among the classes of the findings."""
        return min((kind.value for kind in self._kinds), default=0)

    @property
    def verdict(self) -> str:
        if not self._kinds:
            return "VERIFIED"
        return f"NOT VERIFIED: {len(self.findings) + self.left_out} finding(s), status {self.status}"

    def text(self) -> str:
        lines = [f"candor-verify: {printable(self.subject)}", ""]
        lines += self.checked
        if self.counts:
            lines += ["", "Counted: " + ", ".join(f"{number} {what}" for what, number in self.counts.items())]
        if self.findings:
            lines += ["", "Findings:"]
            lines += [f"  [{each.kind.words}] {each.where}: {each.what}" for each in self.findings]
        if self.left_out:
            lines.append(f"  … and {self.left_out} more")
        if self.not_checked:
            lines += ["", "Not checked:", *(f"  {text}" for text in self.not_checked)]
        return "\n".join([*lines, "", f"Verdict: {self.verdict}"])

    def json(self) -> str:
        value = {
            "subject": printable(self.subject),
            "verdict": "verified" if not self._kinds else "not verified",
            "status": self.status,
            "checked": self.checked,
            "counts": self.counts,
            "not_checked": self.not_checked,
            "findings": [
                {"class": each.kind.name.lower(), "where": each.where, "what": each.what}
                for each in self.findings
            ],
            "findings_left_out": self.left_out,
        }
        return json.dumps(value, indent=1)
