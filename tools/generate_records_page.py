"""Write the tables of docs/records.md from the code: `tools/generate_records_page.py`; a test compares.

Between `<!-- NAME: begin -->` and `<!-- NAME: end -->` stands what is generated; all else is written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from candor_proto.record import RecordKind
from candor_records.kinds import DECISION, EMPLOYMENT, OWN_FIELDS, Field
from candor_records.refusals import REASONS
from candor_records.template import COMMON

PAGE = Path(__file__).resolve().parents[1] / "docs/records.md"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _field(field: Field) -> tuple[str, ...]:
    return f"`{field.name}`{' *' if field.expected else ''}", field.type.words, field.meaning


def _fields(fields: Iterable[Field]) -> str:
    return _table(("column", "holds", "meaning"), map(_field, fields))


def kinds() -> str:
    """The columns of every file, then what may stand beside them, kind by kind."""
    common = _table(
        ("column", "holds", "meaning"),
        ((f"`{name}`", words, meaning) for name, (words, meaning) in COMMON.items()),
    )
    parts = [
        "### In every file", common,
        "### Beside them, all kinds", _fields(EMPLOYMENT),
        "### Beside them, all kinds but COMMENDATION", _fields(DECISION),
    ]  # fmt: skip
    for kind in RecordKind:
        parts += [f"### {kind.name}", _fields(OWN_FIELDS[kind])]
    return "\n\n".join(parts)


def refusals() -> str:
    """Each refusal with its sentence and where the rule comes from."""
    return _table(
        ("code", "what the clerk reads", "what to do", "comes from (verify)"),
        ((f"`{one.name}`", why.sentence, why.remedy, why.source) for one, why in REASONS.items()),
    )


def page(text: str) -> str:
    """`text` with its tables made anew."""
    for name, table in (("kinds", kinds()), ("refusals", refusals())):
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.S)
        made = f"{begin}\n\n{table}\n\n{end}"
        text = pattern.sub(lambda _, made=made: made, text)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), encoding="utf-8")
