"""Operations, cases and the files they stand in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from candor_proto.errors import CandorError
from tools.vectors.shapes import DEFINITIONS, Shape, fields

FORMAT = "candor-vectors/1"
_HEX = re.compile("(?:[0-9a-f]{2})+")
FOLDER = Path(__file__).resolve().parents[2] / "tests" / "vectors" / "protocol"

Given = Mapping[str, Any]
Work = Callable[[Given], Mapping[str, Any]]


@dataclass(frozen=True)
class Operation:
    """One thing that whoever reads docs/protocol.md can do: what it takes, gives, and where that is said."""

    name: str
    section: str
    says: str
    given: Mapping[str, Shape]
    expect: Mapping[str, Shape]
    work: Work


OPERATIONS: dict[str, Operation] = {}


def operation(
    name: str, section: str, says: str, given: Mapping[str, Shape], expect: Mapping[str, Shape]
) -> Callable[[Work], Work]:
    """Register the decorated function as what the production code does for `name`."""

    def register(work: Work) -> Work:
        assert name not in OPERATIONS, name
        OPERATIONS[name] = Operation(name, section, says, given, expect, work)
        return work

    return register


def perform(name: str, given: Given) -> Mapping[str, Any]:
    """What the production code gives; raises CandorError where it refuses. `given` is resolved."""
    return OPERATIONS[name].work(given)


def resolved(value: Any, material: Mapping[str, Any]) -> Any:
    """`value` with every text and reference to material replaced by the octets meant, in hexadecimal."""
    if isinstance(value, list):
        return [resolved(item, material) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"text"} and isinstance(value["text"], str):
        return value["text"].encode("utf-8").hex()
    if "material" not in value or not set(value) <= {"material", "edits"}:
        return {name: resolved(item, material) for name, item in value.items()}
    octets = bytes.fromhex(resolved(material[value["material"]], {}))
    for edit in value.get("edits", ()):
        at, end = edit["at"], edit["at"] + edit["remove"]
        assert end <= len(octets), "an edit beyond the end"
        octets = octets[:at] + bytes.fromhex(edit["insert"]) + octets[end:]
    return octets.hex()


def shown(octets: bytes) -> Any:
    """Octets as a file states them: as text where that says more."""
    try:
        text = octets.decode("ascii" if len(octets) < 64 else "utf-8")
    except UnicodeDecodeError:
        return octets.hex()
    plain = all(character.isprintable() or character == "\n" for character in text)
    return {"text": text} if "\n" in text and plain else octets.hex()


def _readable(value: Any) -> Any:
    """`value` with longer octets that are lines of text written as text."""
    if isinstance(value, Mapping):
        if "material" in value:
            return dict(value)
        return {name: _readable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_readable(item) for item in value]
    if isinstance(value, str) and len(value) >= 200 and _HEX.fullmatch(value):
        return shown(bytes.fromhex(value))
    return value


def edit(at: int, remove: int, insert: bytes = b"") -> dict[str, Any]:
    return {"at": at, "remove": remove, "insert": insert.hex()}


def changed(material: str, *edits: Mapping[str, Any]) -> dict[str, Any]:
    """A reference to material of the same file, with edits."""
    return {"material": material, **({"edits": list(edits)} if edits else {})}


@dataclass
class Book:
    """A file of vectors in the making."""

    name: str
    about: str
    sections: tuple[str, ...]
    made: str
    material: dict[str, Any] = field(default_factory=dict)
    cases: list[dict[str, Any]] = field(default_factory=list)

    def keep(self, name: str, octets: bytes) -> bytes:
        """Put octets that several cases use under a name."""
        assert self.material.get(name, shown(octets)) == shown(octets), name
        self.material[name] = shown(octets)
        return octets

    def case(
        self,
        name: str,
        operation: str,
        given: Given,
        *,
        comment: str = "",
        section: str = "",
        refuse: str | None = None,
    ) -> dict[str, Any]:
        """Add a case; gives what is expected. Raises AssertionError when the code does not do as said."""
        assert all(case["name"] != name for case in self.cases), f"{self.name}: {name} twice"
        made: dict[str, Any] = {
            "name": name,
            "comment": comment,
            "section": section or OPERATIONS[operation].section,
            "operation": operation,
            "given": _readable(given),
        }
        expected, error = self._done(operation, made["given"])
        said = f"{self.name}: {name}: {error.code if error else 'not refused'}, not {refuse}: {error}"
        assert (error.code if error else None) == refuse, said
        made |= {"refuse": refuse} if error else {"expect": expected}
        self.cases.append(made)
        return expected

    def _done(self, operation: str, given: Given) -> tuple[dict[str, Any], CandorError | None]:
        try:
            return dict(perform(operation, resolved(given, self.material))), None
        except CandorError as error:
            return {}, error

    def text(self) -> str:
        """The file, octet for octet."""
        document = {
            "format": FORMAT,
            "about": self.about,
            "sections": list(self.sections),
            "made": self.made,
            **({"material": self.material} if self.material else {}),
            "cases": self.cases,
        }
        return json.dumps(document, indent=1, ensure_ascii=True) + "\n"


def schema() -> str:
    """JSON schema of every file: the envelope, and by operation what is given and expected."""
    case = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "pattern": "^[a-z0-9_.-]+$"},
            "comment": {"type": "string"},
            "section": {"type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?$"},
            "operation": {"enum": sorted(OPERATIONS)},
            "given": {"type": "object"},
            "expect": {"type": "object"},
            "refuse": {"type": "string", "pattern": "^[a-z_]+$"},
        },
        "required": ["name", "comment", "section", "operation", "given"],
        "oneOf": [{"required": ["expect"]}, {"required": ["refuse"]}],
        "additionalProperties": False,
        "allOf": [
            {
                "if": {"properties": {"operation": {"const": one.name}}},
                "then": {"properties": {"given": fields(**one.given), "expect": fields(**one.expect)}},
            }
            for _, one in sorted(OPERATIONS.items())
        ],
    }
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Candor protocol vectors, version 1",
        "type": "object",
        "properties": {
            "format": {"const": FORMAT},
            "about": {"type": "string"},
            "sections": {"type": "array", "items": {"type": "string"}},
            "made": {"type": "string"},
            "material": {
                "type": "object",
                "additionalProperties": {"oneOf": [{"$ref": "#/$defs/hex"}, {"$ref": "#/$defs/text"}]},
            },
            "cases": {"type": "array", "items": {"$ref": "#/$defs/case"}, "minItems": 1},
        },
        "required": ["format", "about", "sections", "made", "cases"],
        "additionalProperties": False,
        "$defs": {**DEFINITIONS, "case": case},
    }
    return json.dumps(document, ensure_ascii=True) + "\n"


_BEGIN, _END = "<!-- made by python -m tools.vectors -->\n", "<!-- end -->\n"


def readme() -> str:
    """The README with its table of operations made anew."""
    before, _, rest = (FOLDER / "README.md").read_text("utf-8").partition(_BEGIN)
    _, _, behind = rest.partition(_END)
    lines = ["| operation | § | given | expected | what |", "|---|---|---|---|---|"]
    for one in sorted(
        OPERATIONS.values(), key=lambda one: ([int(n) for n in one.section.split(".")], one.name)
    ):
        given, expect = (", ".join(f"`{name}`" for name in some) or "–" for some in (one.given, one.expect))
        lines.append(f"| `{one.name}` | {one.section} | {given} | {expect} | {one.says} |")
    return before + _BEGIN + "\n".join(lines) + "\n" + _END + behind
