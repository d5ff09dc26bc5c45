"""The canonical encoding, H and KDF (docs/protocol.md §3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from candor_proto.canonical import Reader, Writer, digest, from_milliseconds, label_bytes, to_milliseconds
from candor_proto.derive import derive
from tools.vectors.book import Book, Given, operation
from tools.vectors.draws import draw
from tools.vectors.shapes import OCTETS, TEXT, U32, fixed, listed, maybe

_WIDTHS = {"u8": 1, "u16": 2, "u32": 4, "u64": 8}
# A field: {"type", "value"}; of a list also "of", the types of one item, and the value is a list of lists.
_FIELD = {"type": "object"}
_TYPES = listed({"type": "object"})


def _write(writer: Writer, kind: Mapping[str, Any], value: Any) -> None:
    match kind["type"]:
        case "u8" | "u16" | "u32" | "u64":
            writer.integer(int(value), _WIDTHS[kind["type"]])
        case "time":
            writer.integer(int(value), 8)
            assert to_milliseconds(from_milliseconds(int(value))) == int(value)
        case "text":
            writer.text(value)
        case "octets":
            writer.octets(bytes.fromhex(value))
        case "fixed":
            writer.fixed(bytes.fromhex(value), kind["octets"])
        case "list":
            writer.sequence(value, lambda out, item: _write_all(out, kind["of"], item))


def _write_all(writer: Writer, kinds: Sequence[Mapping[str, Any]], values: Sequence[Any]) -> None:
    for kind, value in zip(kinds, values, strict=True):
        _write(writer, kind, value)


def _read(reader: Reader, kind: Mapping[str, Any]) -> Any:
    match kind["type"]:
        case "u8" | "u16" | "u32":
            return reader.integer(_WIDTHS[kind["type"]])
        case "u64":
            return str(reader.integer(8))
        case "time":
            return str(to_milliseconds(reader.time()))
        case "text":
            return reader.text(kind["most"])
        case "octets":
            return reader.octets(kind["most"]).hex()
        case "fixed":
            return reader.fixed(kind["octets"]).hex()
        case "list":
            return list(reader.sequence(kind["most"], lambda read: _read_all(read, kind["of"])))
    raise AssertionError(kind)


def _read_all(reader: Reader, kinds: Sequence[Mapping[str, Any]]) -> list[Any]:
    return [_read(reader, kind) for kind in kinds]


@operation(
    "encode",
    "3.1",
    "the canonical encoding of `values`, of the `types`, behind the domain label of `label` if that is not "
    "null. "
    "A type is {type: u8 u16 u32 u64 time}, {type: text or octets, most: octets}, {type: fixed, octets} or "
    "{type: list, of: types of an item, most: items}; `most` is the limit that a receiver sets. Two-way",
    {"label": maybe(TEXT), "types": _TYPES, "values": {"type": "array"}},
    {"octets": OCTETS},
)
def _encode(given: Given) -> dict[str, Any]:
    writer = Writer(given["label"])
    _write_all(writer, given["types"], given["values"])
    octets = writer.finish()
    again = perform_decode(given["label"], octets, given["types"])
    second = Writer(given["label"])
    _write_all(second, given["types"], again)
    assert second.finish() == octets
    return {"octets": octets.hex()}


def perform_decode(label: str | None, octets: bytes, types: Sequence[Mapping[str, Any]]) -> list[Any]:
    reader = Reader(octets, label)
    values = _read_all(reader, types)
    reader.finish()
    return values


@operation(
    "decode",
    "3.4",
    "the values of these types in `octets`, and nothing behind them",
    {"label": maybe(TEXT), "types": _TYPES, "octets": OCTETS},
    {"values": {"type": "array"}},
)
def _decode(given: Given) -> dict[str, Any]:
    return {"values": perform_decode(given["label"], bytes.fromhex(given["octets"]), given["types"])}


@operation("domain-label", "3.2", "the octets of a domain label", {"label": TEXT}, {"octets": OCTETS})
def _domain_label(given: Given) -> dict[str, Any]:
    return {"octets": label_bytes(given["label"]).hex()}


@operation("hash", "3.3", "H(label, parts…)", {"label": TEXT, "parts": listed(OCTETS)}, {"digest": fixed(32)})
def _hash(given: Given) -> dict[str, Any]:
    return {"digest": digest(given["label"], *map(bytes.fromhex, given["parts"])).hex()}


@operation(
    "kdf",
    "3.5",
    "KDF(ikm, label, info, n) with n = `octets`",
    {"ikm": OCTETS, "label": TEXT, "info": OCTETS, "octets": U32},
    {"output": OCTETS},
)
def _kdf(given: Given) -> dict[str, Any]:
    ikm, info = bytes.fromhex(given["ikm"]), bytes.fromhex(given["info"])
    return {"output": derive(ikm, given["label"], info, given["octets"]).hex()}


_TEXT64 = {"type": "text", "most": 64}
_U32 = {"type": "u32"}


def book() -> Book:
    found = Book(
        "canonical",
        "The canonical encoding: values to octets and back, and octets that must be refused; domain labels, "
        "H and KDF.",
        ("3.1", "3.2", "3.3", "3.4", "3.5"),
        "Values written by hand from §3, octets by candor_proto.canonical and candor_proto.derive. "
        "Cross-checked in "
        "tests/unit/proto/test_protocol_vectors.py against struct and hashlib, and against HKDF of "
        "`cryptography`.",
    )
    _encodings(found)
    _refusals(found)
    for name, label in {"lookup": "lookup", "with_slash": "commitment/case", "longest": "x" * 245}.items():
        found.case(f"label_{name}", "domain-label", {"label": label})
    found.case(
        "label_too_long",
        "domain-label",
        {"label": "x" * 246},
        comment="with candor/v1/ before it 256 octets, which no u8 counts",
        refuse="malformed_message",
    )
    for name, parts in {
        "no_part": [],
        "one_empty_part": [b""],
        "two_parts": [b"ab", b"c"],
        "two_parts_cut_elsewhere": [b"a", b"bc"],
        "one_part_of_both": [b"abc"],
        "long_part": [draw("hash part", 300)],
    }.items():
        found.case(f"hash_{name}", "hash", {"label": "lookup", "parts": [part.hex() for part in parts]})
    found.case(
        "hash_another_label", "hash", {"label": "disclosure-request", "parts": [b"ab".hex(), b"c".hex()]}
    )
    for name, octets in {"one": 1, "hash": 32, "longer_than_a_hash": 76, "three_blocks": 96}.items():
        given = {
            "ikm": draw("kdf ikm", 64).hex(),
            "label": "index-entry",
            "info": b"info".hex(),
            "octets": octets,
        }
        found.case(f"kdf_{name}", "kdf", given)
    found.case("kdf_no_info", "kdf", {"ikm": "00" * 16, "label": "withdrawn", "info": "", "octets": 16})
    return found


def _encodings(found: Book) -> None:
    for name, kind, value in (
        ("u8_zero", "u8", 0),
        ("u8_most", "u8", 255),
        ("u16", "u16", 0x0102),
        ("u32_most", "u32", 0xFFFFFFFF),
        ("u64_most", "u64", str(2**64 - 1)),
        ("time_zero", "time", "0"),
        ("time_today", "time", "1788264000123"),
        ("time_last", "time", "253402300799999"),
    ):
        found.case(name, "encode", {"label": None, "types": [{"type": kind}], "values": [value]})
    for name, text, comment in (
        ("text_empty", "", ""),
        ("text_ascii", "alder-pd", ""),
        ("text_two_octets", "Se\u00f1or", ""),
        ("text_decomposed", "Sen\u0303or", "a text that is not in NFC is normalised before it is encoded"),
        ("text_astral", "\U0001f600", "four octets of UTF-8, one code point"),
        ("text_compatibility_form_stays", "\ufb01", "NFC, not NFKC: the ligature stays"),
        ("text_hangul", "\u1112\u1161\u11ab", "composed to one syllable"),
        ("text_nul", "a\0b", "no character is special"),
    ):
        found.case(name, "encode", {"label": None, "types": [_TEXT64], "values": [text]}, comment=comment)
    found.case(
        "octets_behind_a_length",
        "encode",
        {"label": None, "types": [{"type": "octets", "most": 16}], "values": ["00ff10"]},
    )
    found.case(
        "fixed_without_length",
        "encode",
        {"label": None, "types": [{"type": "fixed", "octets": 4}], "values": ["00ff10aa"]},
    )
    for name, items in {"empty": [], "two": [["birch-so", 7], ["cedar-post", 1]]}.items():
        pairs = {"type": "list", "of": [_TEXT64, _U32], "most": 4}
        found.case(f"list_{name}", "encode", {"label": None, "types": [pairs], "values": [items]})
    nested = {"type": "list", "of": [{"type": "list", "of": [{"type": "u8"}], "most": 3}, _TEXT64], "most": 3}
    found.case(
        "list_of_lists",
        "encode",
        {"label": None, "types": [nested], "values": [[[[[1], [2]], "x"], [[], ""]]]},
    )
    found.case(
        "behind_a_label",
        "encode",
        {"label": "epoch-key", "types": [_TEXT64, _U32], "values": ["alder-pd", 7]},
    )
    found.case(
        "integer_too_large_to_encode",
        "encode",
        {"label": None, "types": [{"type": "u8"}], "values": [256]},
        refuse="malformed_message",
    )
    found.case(
        "fixed_of_another_length_to_encode",
        "encode",
        {"label": None, "types": [{"type": "fixed", "octets": 4}], "values": ["00ff10"]},
        refuse="malformed_message",
    )


def _refusals(found: Book) -> None:
    three = {"type": "list", "of": [{"type": "u8"}], "most": 3}
    for name, types, octets, refuse, comment in (
        ("trailing_octet", [_U32], "0000000100", "not_canonical", ""),
        ("nothing_at_all", [_U32], "", "malformed_message", ""),
        ("integer_too_short", [_U32], "000001", "malformed_message", ""),
        ("text_shorter_than_its_length", [_TEXT64], "0000000361 62", "malformed_message", ""),
        ("length_cut", [_TEXT64], "000000", "malformed_message", ""),
        ("text_not_nfc", [_TEXT64], "00000003 6ecc83", "not_canonical", "n and a combining tilde"),
        ("text_not_utf8", [_TEXT64], "00000001 ff", "malformed_message", ""),
        ("text_overlong_utf8", [_TEXT64], "00000002 c0af", "malformed_message", "an overlong slash"),
        ("text_surrogate", [_TEXT64], "00000003 eda080", "malformed_message", "U+D800 in UTF-8"),
        ("text_beyond_unicode", [_TEXT64], "00000004 f4908080", "malformed_message", "U+110000"),
        ("text_over_its_limit", [{"type": "text", "most": 2}], "00000003 616263", "limit_exceeded", ""),
        (
            "text_over_its_limit_and_cut",
            [_TEXT64],
            "ffffffff 61",
            "limit_exceeded",
            "the limit is checked before anything is read",
        ),
        ("octets_over_their_limit", [{"type": "octets", "most": 2}], "00000003 616263", "limit_exceeded", ""),
        ("list_over_its_limit", [three], "00000004 01020304", "limit_exceeded", ""),
        ("list_shorter_than_its_count", [three], "00000003 0102", "malformed_message", ""),
        ("list_longer_than_its_count", [three], "00000001 0102", "not_canonical", ""),
        (
            "time_beyond_9999",
            [{"type": "time"}],
            f"{253402300800000:016x}",
            "malformed_message",
            "the year 10000",
        ),
        ("time_most", [{"type": "time"}], "ff" * 8, "malformed_message", ""),
    ):
        given = {"label": None, "types": types, "octets": octets.replace(" ", "")}
        found.case(name, "decode", given, comment=comment, refuse=refuse)
    good = Writer("epoch-key").integer(7, 4).finish()
    for name, spoilt in {
        "label_of_something_else": Writer("epoch-kez").integer(7, 4).finish(),
        "label_of_another_version": good.replace(b"/v1/", b"/v2/"),
        "label_length_wrong": bytes([good[0] + 1]) + good[1:],
        "label_cut": good[:10],
        "label_missing": good[-4:],
    }.items():
        given = {"label": "epoch-key", "types": [_U32], "octets": spoilt.hex()}
        found.case(name, "decode", given, section="3.2", refuse="malformed_message")
