"""JSON schema pieces by which operations say what they take and give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Shape = Mapping[str, Any]

OCTETS: Shape = {"$ref": "#/$defs/octets"}
U8: Shape = {"$ref": "#/$defs/u8"}
U16: Shape = {"$ref": "#/$defs/u16"}
U32: Shape = {"$ref": "#/$defs/u32"}
U64: Shape = {"$ref": "#/$defs/u64"}
TIME: Shape = {"$ref": "#/$defs/time"}
TEXT: Shape = {"type": "string"}
FLAG: Shape = {"type": "boolean"}

DEFINITIONS: Mapping[str, Shape] = {
    "hex": {"type": "string", "pattern": "^([0-9a-f]{2})*$"},
    "text": {
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
        "additionalProperties": False,
    },
    "octets": {
        "description": "hexadecimal, the UTF-8 of a text, or material of this file with one edit after "
        "another",
        "oneOf": [
            {"$ref": "#/$defs/hex"},
            {"$ref": "#/$defs/text"},
            {
                "type": "object",
                "properties": {
                    "material": {"type": "string"},
                    "edits": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {
                                "at": {"$ref": "#/$defs/u32"},
                                "remove": {"$ref": "#/$defs/u32"},
                                "insert": {"$ref": "#/$defs/hex"},
                            },
                            "required": ["at", "remove", "insert"],
                            "additionalProperties": False,
                        },
                    },
                },
                "required": ["material"],
                "additionalProperties": False,
            },
        ],
    },
    "u8": {"type": "integer", "minimum": 0, "maximum": 0xFF},
    "u16": {"type": "integer", "minimum": 0, "maximum": 0xFFFF},
    "u32": {"type": "integer", "minimum": 0, "maximum": 0xFFFFFFFF},
    "u64": {"description": "decimal text", "type": "string", "pattern": "^(0|[1-9][0-9]{0,19})$"},
    "time": {"description": "milliseconds since 1970-01-01 UTC, decimal text", "$ref": "#/$defs/u64"},
}


def fixed(octets: int) -> Shape:
    """So many octets in hexadecimal."""
    return {"type": "string", "pattern": f"^[0-9a-f]{{{2 * octets}}}$"}


def listed(items: Shape) -> Shape:
    return {"type": "array", "items": items}


def fields(**shapes: Shape) -> Shape:
    """An object with exactly these fields."""
    return {
        "type": "object",
        "properties": dict(shapes),
        "required": list(shapes),
        "additionalProperties": False,
    }


def maybe(shape: Shape) -> Shape:
    """The shape, or null."""
    return {"oneOf": [{"type": "null"}, shape]}


def one_of(*words: str | int) -> Shape:
    return {"enum": list(words)}


PART = fields(body=OCTETS, signature=OCTETS)
OWNER = {"federation": TEXT, "node": TEXT, "epoch": U32}
