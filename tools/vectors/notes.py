"""Signed notes, verifier keys, checkpoints and their signatures (C2SP; docs/protocol.md §14.1, §14.2)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from candor_proto.tlog.checkpoint import Checkpoint, SignedCheckpoint, parse_checkpoint
from candor_proto.tlog.note import (
    COSIGNATURE_ML_DSA_44,
    ED25519,
    NoteSignature,
    VerifierKey,
    parse_note,
    parse_vkey,
)
from candor_proto.tlog.signatures import LogKeys, WitnessKeys, _message, verify_log, verify_signature
from tools.vectors.book import Book, Given, changed, edit, operation
from tools.vectors.draws import draw
from tools.vectors.kept import line_kept
from tools.vectors.parties import FEDERATION, NOW
from tools.vectors.shapes import OCTETS, TEXT, U8, U64, fields, fixed, listed, maybe, one_of

_SIGNATURES = listed(fields(name=TEXT, key_id=fixed(4), payload=OCTETS))
_KIND = one_of(1, 4, 6)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CHECKPOINT = {"origin": TEXT, "size": U64, "root": fixed(32), "signatures": _SIGNATURES}

ORIGIN = f"{FEDERATION}/log/1"
LOG_KEYS = LogKeys(ORIGIN, draw("log Ed25519 seed 1", 32), draw("log ML-DSA seed 1", 32))


def witness_keys(node: str) -> WitnessKeys:
    name = f"{FEDERATION}/witness/{node}"
    return WitnessKeys(
        name, draw(f"witness Ed25519 seed {node}", 32), draw(f"witness ML-DSA seed {node}", 32)
    )


def seconds_of(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(seconds=1)


def ed25519_line(keys: LogKeys | WitnessKeys, checkpoint: Checkpoint, at: datetime) -> NoteSignature:
    """Ed25519 is deterministic: the same line each time."""
    return keys._sign(checkpoint, at)[0]


def ml_dsa_line(keys: LogKeys | WitnessKeys, checkpoint: Checkpoint, at: datetime) -> NoteSignature:
    """The line that stands in the files if it verifies, else a new one."""
    return line_kept(keys.verifier_keys[1], checkpoint, at, lambda: keys._sign(checkpoint, at)[1])


def signed(
    checkpoint: Checkpoint,
    at: datetime = NOW,
    keys: LogKeys = LOG_KEYS,
    witnesses: Sequence[tuple[str, datetime]] = (),
) -> SignedCheckpoint:
    """A checkpoint with the log's two lines and the ML-DSA-44 lines of witnesses, each with its time."""
    lines = [ed25519_line(keys, checkpoint, at), ml_dsa_line(keys, checkpoint, at)]
    lines += [ml_dsa_line(witness_keys(node), checkpoint, time) for node, time in witnesses]
    return SignedCheckpoint(checkpoint, tuple(lines))


def shown_signatures(signatures: Sequence[NoteSignature]) -> list[dict[str, str]]:
    return [
        {"name": one.name, "key_id": one.key_id.hex(), "payload": one.payload.hex()} for one in signatures
    ]


@operation(
    "verifier-key",
    "14.1",
    "the vkey text of a key of this signature type, and its key id. Two-way",
    {"name": TEXT, "kind": _KIND, "key": OCTETS},
    {"vkey": TEXT, "key_id": fixed(4)},
)
def _verifier_key(given: Given) -> dict[str, Any]:
    key = VerifierKey(given["name"], given["kind"], bytes.fromhex(given["key"]))
    assert parse_vkey(key.encode()) == key
    return {"vkey": key.encode(), "key_id": key.key_id.hex()}


@operation(
    "read-verifier-key", "14.1", "what a vkey says", {"vkey": TEXT}, {"name": TEXT, "kind": U8, "key": OCTETS}
)
def _read_verifier_key(given: Given) -> dict[str, Any]:
    key = parse_vkey(given["vkey"])
    return {"name": key.name, "kind": key.kind, "key": key.key.hex()}


@operation(
    "note",
    "14.1",
    "text and signature lines of a note, none of them verified. Two-way",
    {"note": OCTETS},
    {"text": TEXT, "signatures": _SIGNATURES},
)
def _note(given: Given) -> dict[str, Any]:
    note = parse_note(bytes.fromhex(given["note"]))
    assert note.encode().hex() == given["note"]
    return {"text": note.text, "signatures": shown_signatures(note.signatures)}


@operation(
    "checkpoint",
    "14.2",
    "a checkpoint, its signatures not verified. Two-way",
    {"checkpoint": OCTETS},
    CHECKPOINT,
)
def _checkpoint(given: Given) -> dict[str, Any]:
    made = parse_checkpoint(bytes.fromhex(given["checkpoint"]))
    assert made.encode().hex() == given["checkpoint"]
    return {
        "origin": made.checkpoint.origin,
        "size": str(made.checkpoint.size),
        "root": made.checkpoint.root.hex(),
        "signatures": shown_signatures(made.signatures),
    }


@operation(
    "signed-octets",
    "14.2",
    "what a key of this type signs of a checkpoint, at `seconds` since 1970 (not used for type 1)",
    {"name": TEXT, "kind": _KIND, "origin": TEXT, "size": U64, "root": fixed(32), "seconds": U64},
    {"octets": OCTETS},
)
def _signed_octets(given: Given) -> dict[str, Any]:
    checkpoint = Checkpoint(given["origin"], int(given["size"]), bytes.fromhex(given["root"]))
    return {"octets": _message(given["kind"], given["name"], checkpoint, int(given["seconds"])).hex()}


@operation(
    "signature-line",
    "14.2",
    "the line of an Ed25519 key of type 1 or 4 (deterministic)",
    {
        "seed": OCTETS,
        "name": TEXT,
        "kind": one_of(1, 4),
        "origin": TEXT,
        "size": U64,
        "root": fixed(32),
        "seconds": U64,
    },
    {"line": TEXT},
)
def _signature_line(given: Given) -> dict[str, Any]:
    seed = bytes.fromhex(given["seed"])
    keys = (LogKeys if given["kind"] == ED25519 else WitnessKeys)(given["name"], seed, bytes(32))
    checkpoint = Checkpoint(given["origin"], int(given["size"]), bytes.fromhex(given["root"]))
    return {"line": ed25519_line(keys, checkpoint, _EPOCH + timedelta(seconds=int(given["seconds"]))).line()}


@operation(
    "verify-checkpoint-signature",
    "14.2",
    "the time that the signature of this key on the checkpoint states, in seconds since 1970; null for type "
    "1",
    {"checkpoint": OCTETS, "vkey": TEXT},
    {"seconds": maybe(U64)},
)
def _verify_signature(given: Given) -> dict[str, Any]:
    made, key = parse_checkpoint(bytes.fromhex(given["checkpoint"])), parse_vkey(given["vkey"])
    own = [line for line in made.signatures if line.is_by(key)]
    assert len(own) == 1, "a case names a key that signed once"
    moment = verify_signature(key, made.checkpoint, own[0])
    return {"seconds": None if moment is None else str(seconds_of(moment))}


@operation(
    "verify-log",
    "14.2",
    "whether a checkpoint begins with both signatures of its log, whose keys are these (Ed25519, ML-DSA-44); "
    "the "
    "time of the second",
    {"checkpoint": OCTETS, "vkeys": listed(TEXT)},
    {"seconds": U64},
)
def _verify_log(given: Given) -> dict[str, Any]:
    made = parse_checkpoint(bytes.fromhex(given["checkpoint"]))
    return {"seconds": str(seconds_of(verify_log(made, [parse_vkey(text) for text in given["vkeys"]])))}


def book() -> Book:
    found = Book(
        "checkpoints",
        "Verifier keys, signed notes, checkpoints, and the signatures of logs and witnesses with both kinds "
        "of key.",
        ("14.1", "14.2"),
        "The log and the members of the story (README.md). Ed25519 lines are deterministic; ML-DSA-44 "
        "signatures were made once "
        "by `cryptography` and are kept as long as they verify. The example of signed-note is C2SP's own. "
        "Cross-checked with "
        "the wheel `tlog-scales` in the tests of candor_proto.tlog.",
    )
    _keys(found)
    _notes(found)
    checkpoint = Checkpoint(ORIGIN, 7, draw("root of seven", 32))
    _signatures(found, checkpoint)
    _refused(found, checkpoint)
    return found


def _keys(found: Book) -> None:
    example = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    key = parse_vkey(example)
    made = found.case(
        "key_of_signed_note", "verifier-key", {"name": key.name, "kind": 1, "key": key.key.hex()}
    )
    assert made["vkey"] == example
    for name, keys in (("log", LOG_KEYS), ("witness", witness_keys("birch-so"))):
        for own in keys.verifier_keys:
            given = {"name": own.name, "kind": own.kind, "key": own.key.hex()}
            found.case(f"key_of_{name}_type_{own.kind}", "verifier-key", given)
    public = LOG_KEYS.verifier_keys[0].key
    for flaw, given, refuse in (
        ("name_with_plus", {"name": "a+b", "kind": 1, "key": public.hex()}, "malformed_message"),
        ("name_with_space", {"name": "a b", "kind": 1, "key": public.hex()}, "malformed_message"),
        ("name_with_a_wide_space", {"name": "a\u3000b", "kind": 1, "key": public.hex()}, "malformed_message"),
        ("name_empty", {"name": "", "kind": 1, "key": public.hex()}, "malformed_message"),
        ("name_of_256_octets", {"name": "a" * 256, "kind": 1, "key": public.hex()}, "malformed_message"),
        ("key_cut", {"name": "a", "kind": 1, "key": public[:-1].hex()}, "malformed_message"),
        ("ml_dsa_key_of_32", {"name": "a", "kind": 6, "key": public.hex()}, "malformed_message"),
        ("key_of_small_order", {"name": "a", "kind": 4, "key": "01" + "00" * 31}, "malformed_message"),
    ):
        found.case(f"key_{flaw}", "verifier-key", given, refuse=refuse)
    for flaw, text, refuse in (
        ("another_id", example.replace("c74f20a3", "c74f20a4"), "not_canonical"),
        ("id_in_capitals", example.replace("c74f20a3", "C74F20A3"), "not_canonical"),
        ("base64_bits_behind", example[:-1] + "X", "not_canonical"),
        ("base64_of_the_web", example.replace("/", "_"), "malformed_message"),
        ("no_key", "PeterNeumann+c74f20a3+", "malformed_message"),
        ("no_id", "PeterNeumann", "malformed_message"),
        ("another_type", "a+00000000+AwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "unsupported_version"),
    ):
        found.case(f"vkey_{flaw}", "read-verifier-key", {"vkey": text}, refuse=refuse)


def _notes(found: Book) -> None:
    example = (
        "If you think cryptography is the answer to your problem,\nthen you don't know what your problem "
        "is.\n\n"
        "\u2014 PeterNeumann "
        "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    ).encode()
    found.case("note_of_signed_note", "note", {"note": found.keep("note", example).hex()})
    line = example[example.index(b"\n\n") + 2 :]
    two = b"one\n\ntwo\n\n" + line + line.replace(b"PeterNeumann", b"EnochRoot")
    found.case("note_with_an_empty_line_inside", "note", {"note": two.hex()})
    end = len(example)
    text = example.index(b"\n\n")
    name = text + 2 + 4
    for flaw, edits, refuse in (
        ("nothing", [edit(0, end)], "malformed_message"),
        ("no_signature", [edit(text + 2, end - text - 2)], "malformed_message"),
        ("no_empty_line", [edit(text, 1)], "malformed_message"),
        ("newline_missing_at_the_end", [edit(end - 1, 1)], "malformed_message"),
        ("newline_behind", [edit(end, 0, b"\n")], "malformed_message"),
        ("text_behind_the_signatures", [edit(end, 0, b"x\n")], "malformed_message"),
        ("carriage_returns", [edit(text, 2, b"\r\n\r\n")], "malformed_message"),
        ("tab_in_the_text", [edit(3, 1, b"\t")], "malformed_message"),
        ("not_utf8", [edit(3, 1, b"\xff")], "malformed_message"),
        ("hyphen_for_the_dash", [edit(text + 2, 3, b"-")], "malformed_message"),
        ("two_spaces", [edit(name + 12, 0, b" ")], "malformed_message"),
        ("name_with_plus", [edit(name + 3, 1, b"+")], "malformed_message"),
        ("signature_of_four_octets", [edit(name + 13, end - name - 14, b"x08gow==")], "malformed_message"),
        ("base64_without_padding", [edit(end - 2, 1)], "malformed_message"),
        ("base64_bits_behind", [edit(end - 3, 1, b"N")], "not_canonical"),
        ("one_key_twice", [edit(end, 0, line)], "not_canonical"),
    ):
        found.case(f"note_{flaw}", "note", {"note": changed("note", *edits)}, refuse=refuse)


def _signatures(found: Book, checkpoint: Checkpoint) -> None:
    witness = witness_keys("birch-so")
    shown = {"origin": checkpoint.origin, "size": str(checkpoint.size), "root": checkpoint.root.hex()}
    seconds = str(seconds_of(NOW))
    for own in (*LOG_KEYS.verifier_keys, *witness.verifier_keys):
        name = "log" if own.name == ORIGIN else "witness"
        given = {"name": own.name, "kind": own.kind, **shown, "seconds": seconds}
        found.case(f"octets_of_{name}_type_{own.kind}", "signed-octets", given)
        if own.kind != COSIGNATURE_ML_DSA_44:
            seed = (LOG_KEYS if name == "log" else witness).ed25519_seed.hex()
            found.case(f"line_of_{name}_type_{own.kind}", "signature-line", {"seed": seed, **given})
    made = signed(checkpoint, witnesses=[("birch-so", NOW)])
    made = made.with_signatures([ed25519_line(witness, checkpoint, NOW)])
    octets = found.keep("checkpoint", made.encode())
    found.case("checkpoint_with_cosignatures", "checkpoint", {"checkpoint": changed("checkpoint")})
    for own in (*LOG_KEYS.verifier_keys, *witness.verifier_keys):
        name = "log" if own.name == ORIGIN else "witness"
        given = {"checkpoint": changed("checkpoint"), "vkey": own.encode()}
        found.case(f"verifies_{name}_type_{own.kind}", "verify-checkpoint-signature", given)
        at = octets.index(own.name.encode() + b" ", octets.index(b"\n\n"))
        lines = [line for line in made.signatures if line.is_by(own)]
        at = octets.index(lines[0].line().encode()) + 4 + len(own.name)
        for flaw, edits in {
            "size": [edit(octets.index(b"\n7\n") + 1, 1, b"8")],
            "root": [
                edit(
                    octets.index(b"\n7\n") + 3,
                    1,
                    b"A" if octets[octets.index(b"\n7\n") + 3 :][:1] != b"A" else b"B",
                )
            ],
            "signature": [edit(at + 40, 1, b"A" if octets[at + 40 : at + 41] != b"A" else b"B")],
        }.items():
            given = {"checkpoint": changed("checkpoint", *edits), "vkey": own.encode()}
            name_of = f"verifies_not_{name}_type_{own.kind}_{flaw}_changed"
            found.case(name_of, "verify-checkpoint-signature", given, refuse="signature_invalid")
    for own in (witness.verifier_keys[0], LOG_KEYS.verifier_keys[1], witness.verifier_keys[1]):
        line = next(line for line in made.signatures if line.is_by(own))
        later = NoteSignature(line.name, line.key_id, b"\0" * 7 + b"\1" + line.payload[8:])
        spoilt = SignedCheckpoint(checkpoint, tuple(later if one is line else one for one in made.signatures))
        given = {"checkpoint": spoilt.encode().hex(), "vkey": own.encode()}
        name = f"verifies_not_{'log' if own.name == ORIGIN else 'witness'}_type_{own.kind}_time_changed"
        found.case(name, "verify-checkpoint-signature", given, refuse="signature_invalid")


def _refused(found: Book, checkpoint: Checkpoint) -> None:
    good = signed(checkpoint)
    octets = found.keep("signed", good.encode())
    vkeys = [key.encode() for key in LOG_KEYS.verifier_keys]
    base = {"checkpoint": changed("signed"), "vkeys": vkeys}
    found.case("log_signed", "verify-log", base)
    ed25519, ml_dsa = good.signatures
    cosigned = ml_dsa_line(witness_keys("birch-so"), checkpoint, NOW)

    def of(*lines: NoteSignature) -> str:
        return SignedCheckpoint(checkpoint, lines).encode().hex()

    other = LogKeys(ORIGIN, draw("log Ed25519 seed 1", 32), draw("another ML-DSA seed", 32))
    flaws: dict[str, dict[str, Any]] = {
        "ed25519_alone": {"checkpoint": of(ed25519)},
        "ml_dsa_alone": {"checkpoint": of(ml_dsa)},
        "the_other_way_round": {"checkpoint": of(ml_dsa, ed25519)},
        "witness_in_between": {"checkpoint": of(ed25519, cosigned, ml_dsa)},
        "another_key": {"vkeys": [key.encode() for key in other.verifier_keys]},
        "one_key_known": {"vkeys": vkeys[:1]},
    }
    for flaw, change in flaws.items():
        found.case(f"log_signed_not_{flaw}", "verify-log", {**base, **change}, refuse="signature_invalid")
    size = octets.index(b"\n7\n") + 1
    text = octets.index(b"\n\n")
    for flaw, edits, refuse in (
        ("size_with_leading_zero", [edit(size, 0, b"0")], "malformed_message"),
        ("size_with_plus", [edit(size, 0, b"+")], "malformed_message"),
        ("size_negative", [edit(size, 0, b"-")], "malformed_message"),
        ("size_of_64_bits", [edit(size, 1, b"9223372036854775808")], "malformed_message"),
        ("size_in_digits_of_another_script", [edit(size, 1, "\u0667".encode())], "malformed_message"),
        ("root_cut", [edit(size + 2, text - size - 2, b"AAAA")], "malformed_message"),
        ("root_not_base64", [edit(size + 2, 1, b"!")], "malformed_message"),
        ("extension_line", [edit(text, 0, b"\nextension")], "malformed_message"),
        ("two_lines", [edit(size + 1, text - size - 1)], "malformed_message"),
        ("origin_empty", [edit(0, len(ORIGIN))], "malformed_message"),
    ):
        given = {"checkpoint": changed("signed", *edits)}
        found.case(f"checkpoint_{flaw}", "checkpoint", given, refuse=refuse)
    many = tuple(NoteSignature(f"w{n}", b"\0\0\0\1", b"\1") for n in range(65))
    counts: tuple[tuple[int, str | None], ...] = ((64, None), (65, "limit_exceeded"))
    for count, refusal in counts:
        lines = "".join(line.line() for line in many[:count])
        octets = (checkpoint.text() + "\n" + lines).encode()
        found.case(
            f"checkpoint_with_{count}_signatures", "checkpoint", {"checkpoint": octets.hex()}, refuse=refusal
        )
