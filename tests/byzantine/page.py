"""docs/byzantine.md, made of the table: `python -m tests.byzantine` writes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.byzantine.case import Case, Covered, Proved, Refused
from tests.byzantine.cases import CASES

PAGE = Path(__file__).resolve().parents[2] / "docs/byzantine.md"

_HEAD = """\
# Dishonest hubs and nodes

What happens when somebody lies, case by case. Each row is played in the simulator, against the real code of
those who are honest, by `tests/byzantine/test_byzantine.py`; this page is made of that table (`python -m
tests.byzantine`) and a test compares the two.

alpha asks, bravo has a record of the officer, charlie has one of somebody else. A case has one of three
outcomes:

- **refused**: an honest party says no by an error of [protocol.md](protocol.md) §12 (capitals: by a signed
  answer), and nothing that counts is stored;
- **shown**: a person at the place named sees it, and the result of the lookup is what stands there;
- **evidence**: a file of the kind named (§17) is made without anybody's doing, and `candor-verify evidence`
  accepts it.

Of every case alike it is checked that no result was ever "no record" (but where that is what the owner's
whole, signed index says, and everybody answered), that no evidence of any party names anybody but the liar,
and that databases, ledgers and quotas of all who are honest are as they should be. Of the rows marked
*local*, which are failures that an owner can aim at one person (§7.6), it is checked besides that what the
asker sends (kinds, counts, sizes, order and times of its frames) and what its commands say are the same,
octet for octet, as when the owner has no such record.
"""
_TITLES = {
    "directory": "The directory",
    "lookup": "Lookups",
    "answer": "Answers",
    "index": "What an owner seals",
    "segments": "Segments, heads and stolen keys",
    "disclosure": "Disclosure",
    "recall": "Recall",
    "log": "The log",
    "witness": "Witnesses",
    "audit": "Audit",
}


def page() -> str:
    lines = [_HEAD, f"{len(CASES)} cases.\n"]
    for section in dict.fromkeys(case.section for case in CASES):
        lines += [f"## {_TITLES[section]}\n", "| attack | by | what is done | outcome |", "|---|---|---|---|"]
        lines += [_row(case) for case in CASES if case.section == section]
        lines.append("")
    return "\n".join(lines)


def _row(case: Case) -> str:
    does = f"{case.does} (*local*)" if case.local else case.does
    return f"| {case.name} | {case.liar.value} | {does} | {_outcome(case)} |"


def _outcome(case: Case) -> str:
    match case.expect:
        case Refused(code, by):
            return f"refused by {by}: `{code}`"
        case Covered(shown, overall, where, at):
            result = f"; {overall}" if overall else ""
            return f"shown by `{where}` at {at}: `{shown}`{result}"
        case Proved(kind, by, also):
            after = ", once a person has reviewed the digest" if case.local else ""
            shown = "" if also is None else f"; {_outcome(replace(case, expect=also))}"
            return f"evidence `{kind}` at {by}{after}{shown}"
