"""Operations, cases and the files they stand in."""

from __future__ import annotations

import base64
import copy
import json
import re
from collections.abc import Callable, Mapping, Sequence
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
    """`value` with texts and references to material replaced by the octets meant, in hexadecimal.

    Inside of files (§16.2), `base64` and `join` are replaced by the text that they make.
    """
    if isinstance(value, list):
        return [resolved(item, material) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"text"} and isinstance(value["text"], str):
        return value["text"].encode("utf-8").hex()
    if set(value) == {"base64"}:
        return base64.b64encode(bytes.fromhex(resolved(value["base64"], material))).decode("ascii")
    if set(value) == {"join"}:
        pieces = (item if isinstance(item, str) else _text(item, material) for item in value["join"])
        return "".join(pieces)
    if "material" not in value or not set(value) <= {"material", "edits"}:
        return {name: resolved(item, material) for name, item in value.items()}
    octets = bytes.fromhex(resolved(material[value["material"]], {}))
    for edit in value.get("edits", ()):
        at, end = edit["at"], edit["at"] + edit["remove"]
        assert end <= len(octets), "an edit beyond the end"
        octets = octets[:at] + bytes.fromhex(edit["insert"]) + octets[end:]
    return octets.hex()


def given_of(
    case: Mapping[str, Any], cases: Sequence[Mapping[str, Any]], material: Mapping[str, Any]
) -> Given:
    """What is given in a case, in plain values: files written out, octets in hexadecimal."""
    given = dict(case["given"])
    if "file" in given:
        given["file"] = written_out(given["file"], cases)
    made: Given = resolved(given, material)
    return made


def written_out(file: Mapping[str, Any], cases: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A file that is said to be like that of another case, with what is set and dropped."""
    if "like" not in file:
        return dict(file)
    other = next(case for case in cases if case["name"] == file["like"])
    made = copy.deepcopy(written_out(other["given"]["file"], cases))
    for path, value in file.get("set", {}).items():
        where, key = _place(made, path)
        where[key] = value
    for path in file.get("drop", ()):
        where, key = _place(made, path)
        del where[key]
    return made


def _place(file: Any, path: str) -> tuple[Any, Any]:
    """Where a path like `persons/0/case` leads: object or list, and key or number in it."""
    *above, last = [int(step) if step.isdecimal() else step for step in path.split("/")]
    for step in above:
        file = file[step]
    return file, last


def difference(old: Any, new: Any, path: str = "") -> tuple[dict[str, Any], list[str]]:
    """What to set, and what to drop, to make `new` of `old`, which are not equal."""
    if isinstance(old, dict) and isinstance(new, dict) and not _ATOMS & (set(old) | set(new)):
        found: dict[str, Any] = {f"{path}{key}": new[key] for key in new if key not in old}
        dropped = [f"{path}{key}" for key in old if key not in new]
        pairs = [(key, old[key], new[key]) for key in old if key in new]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        found, dropped, pairs = {}, [], list(zip(range(len(old)), old, new, strict=True))
    else:
        return {path.rstrip("/"): new}, []
    for key, one, other in pairs:
        if one != other:
            below = difference(one, other, f"{path}{key}/")
            found |= below[0]
            dropped += below[1]
    return found, dropped


_ATOMS = {"base64", "join", "material", "text"}


def _text(octets: Any, material: Mapping[str, Any]) -> str:
    return bytes.fromhex(resolved(octets, material)).decode("utf-8")


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
        if set(value) & {"material", "base64", "join"}:
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
        if "file" in given:
            made["given"]["file"] = self._short(made["given"]["file"])
        expected, error = self._done(operation, made)
        said = f"{self.name}: {name}: {error.code if error else 'not refused'}, not {refuse}: {error}"
        assert (error.code if error else None) == refuse, said
        made |= {"refuse": refuse} if error else {"expect": expected}
        self.cases.append(made)
        return expected

    def _short(self, file: Mapping[str, Any]) -> Mapping[str, Any]:
        """A file as it differs from that of the case from which it differs least, if that is shorter."""
        best: Mapping[str, Any] = file
        for case in self.cases:
            other = case["given"].get("file")
            if other is None or "like" in other or other == file:
                continue
            found, dropped = difference(other, dict(file))
            if "" in found:
                continue
            short = {"like": case["name"], "set": found, **({"drop": dropped} if dropped else {})}
            best = min(best, short, key=lambda one: len(json.dumps(one)))
        return best

    def _done(self, operation: str, case: Mapping[str, Any]) -> tuple[dict[str, Any], CandorError | None]:
        try:
            return dict(perform(operation, given_of(case, self.cases, self.material))), None
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
