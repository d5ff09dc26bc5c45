"""Every vector of tests/vectors/protocol, replayed through the production code (docs/protocol.md)."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from candor_proto.errors import CandorError
from tools.vectors import __main__ as vectors
from tools.vectors.book import FOLDER, OPERATIONS, given_of, perform

ROOT = Path(__file__).resolve().parents[3]
FILES = {path.stem: json.loads(path.read_text("ascii")) for path in sorted(FOLDER.glob("*.json"))}
SCHEMA = FILES.pop("schema")
MOST_OCTETS = 3 * 1024 * 1024


def cases() -> Iterator[Any]:
    for name, document in FILES.items():
        for case in document["cases"]:
            yield pytest.param(document, case, id=f"{name}-{case['name']}")


@pytest.mark.parametrize(("document", "case"), list(cases()))
def test_the_production_code_does_what_the_vector_says(document: Any, case: Any) -> None:
    given = given_of(case, document["cases"], document.get("material", {}))
    if "refuse" in case:
        with pytest.raises(CandorError) as refused:
            perform(case["operation"], given)
        assert refused.value.code == case["refuse"]
    else:
        assert perform(case["operation"], given) == case["expect"]


@pytest.mark.parametrize("name", FILES)
def test_the_file_keeps_the_schema(name: str) -> None:
    import jsonschema  # takes two seconds

    jsonschema.Draft202012Validator(SCHEMA).validate(FILES[name])


def test_the_schema_is_one() -> None:
    import jsonschema  # takes two seconds

    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_files_are_what_the_generator_makes() -> None:
    made = dict(vectors.files())
    others = [path.name for path in FOLDER.iterdir() if made.get(path.name) != path.read_text("utf-8")]
    assert others == [], "run python -m tools.vectors"
    assert {path.name for path in FOLDER.iterdir()} == set(made)


def test_every_operation_is_used() -> None:
    used = {case["operation"] for document in FILES.values() for case in document["cases"]}
    assert used == set(OPERATIONS)


def test_names_are_unique_within_a_file() -> None:
    for name, document in FILES.items():
        names = [case["name"] for case in document["cases"]]
        assert len(names) == len(set(names)), name


def test_all_material_is_used() -> None:
    for document in FILES.values():
        text = json.dumps(document["cases"])
        assert all(f'"material": "{name}"' in text for name in document.get("material", {}))


def test_sections_cited_stand_in_the_text() -> None:
    text = (ROOT / "docs" / "protocol.md").read_text("utf-8")
    known = set(re.findall(r"(?:^|[.!] |\n)(\d+\.\d+) ", text)) | set(re.findall(r"^## (\d+)\.", text, re.M))
    cited = {case["section"] for document in FILES.values() for case in document["cases"]}
    cited |= {section for document in FILES.values() for section in document["sections"]}
    assert cited <= known, sorted(cited - known)


def test_the_vectors_stay_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < MOST_OCTETS


# --- cross-checks: the same octets by another way ------------------------------------------------------


def expected(file: str, name: str) -> Any:
    return next(case for case in FILES[file]["cases"] if case["name"] == name)


def test_encodings_are_those_of_struct() -> None:
    def text(value: str) -> bytes:
        return struct.pack(">I", len(value.encode())) + value.encode()

    for name, octets in {
        "u8_most": b"\xff",
        "u16": struct.pack(">H", 0x0102),
        "u64_most": struct.pack(">Q", 2**64 - 1),
        "text_decomposed": text("Se\u00f1or"),
        "list_two": struct.pack(">I", 2) + text("birch-so") + b"\0\0\0\7" + text("cedar-post") + b"\0\0\0\1",
        "behind_a_label": b"\x13candor/v1/epoch-key" + text("alder-pd") + b"\0\0\0\7",
    }.items():
        assert expected("canonical", name)["expect"]["octets"] == octets.hex(), name


def test_h_is_sha256_of_label_and_parts() -> None:
    whole = b"\x10candor/v1/lookup" + b"\0\0\0\2ab" + b"\0\0\0\1c"
    assert expected("canonical", "hash_two_parts")["expect"]["digest"] == hashlib.sha256(whole).hexdigest()


@pytest.mark.parametrize("name", ["kdf_one", "kdf_hash", "kdf_longer_than_a_hash", "kdf_three_blocks"])
def test_kdf_is_hkdf_with_the_label_as_salt(name: str) -> None:
    case = expected("canonical", name)
    given = case["given"]
    hkdf = HKDF(SHA256(), given["octets"], b"\x15candor/v1/index-entry", bytes.fromhex(given["info"]))
    assert hkdf.derive(bytes.fromhex(given["ikm"])).hex() == case["expect"]["output"]


def test_the_first_key_is_that_of_rfc8032() -> None:
    """RFC 8032 §7.1 TEST 1."""
    public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert expected("signatures", "seed_of_rfc8032")["expect"]["public_key"] == public


@pytest.mark.parametrize(
    "case",
    [case for case in FILES["slots"]["cases"] if case["operation"] == "plan"],
    ids=lambda case: case["name"],
)
def test_slots_can_be_filled_from_the_keys_alone(case: Any) -> None:
    """A second reading of docs/matching.md §5: no name is normalised here."""
    given = case["given"]
    match = "L3+Dc Fc+D Ls+Dc SW3+MD SW3+YM SWp+YM F1+L4+YM L3+S Lk+S SW3+So YD+S YM+S"
    codes = "F Fc Fp Fo Fz L Ls Lz SW SW1 SW3 D Yo YM YD MD Y S P PS M M1 X G"
    labels = {"W": ["SW1+So", "F1+Lz+MD", "F+Dc", "F+S"], "M": match.split(), "C": codes.split()}

    def octets(label: str, values: list[str]) -> str:
        framed = b"".join(struct.pack(">H", len(value.encode())) + value.encode() for value in values)
        return (struct.pack(">BB", 3, len(label)) + label.encode() + bytes([len(values)]) + framed).hex()

    def of(keys: list[Any], names: list[str], prefix: str) -> list[tuple[str, str]]:
        wanted = {f"{prefix}:{name}" for name in names}
        return [
            (key["label"][2:], octets(key["label"], key["values"])) for key in keys if key["label"] in wanted
        ]

    classes = "WM" if given["shape"] == 1 else "WMC"
    arranged: dict[str, list[list[str]]] = {}
    for letter in classes:
        names, prefix = labels[letter], "C" if letter == "C" else "K"
        slots = dict.fromkeys(range(len(names)), "")
        for name, value in of(given["keys"]["whole"], names, prefix):
            slots[names.index(name)] = value
        waiting = [value for _, value in of(given["keys"]["others"], names, prefix)]
        free = [slot for slot, value in slots.items() if not value]
        if len(waiting) < len(free):
            waiting += [value for _, value in of(given["keys"]["spare"], names, prefix)]
            reserves = [octets(key["label"], key["values"]) for key in given["keys"]["reserves"]]
            waiting = [*waiting, *(reserves if letter == "M" else [])][: len(free)]
        arranged[letter] = []
        while True:
            for slot in free:
                slots[slot] = waiting.pop(0) if waiting else ""
            arranged[letter].append(list(slots.values()))
            if not waiting:
                break
            free = list(slots)
    needed = min(3, max(given["least_lookups"], *(len(lookups) for lookups in arranged.values())))
    lookups = [
        {
            letter: [
                value or octets("filler", [given["filler_seed"], letter, str(slot)])
                for slot, value in enumerate(
                    arranged[letter][number] if number < len(arranged[letter]) else [""] * len(labels[letter])
                )
            ]
            for letter in classes
        }
        | ({} if "C" in classes else {"C": []})
        for number in range(needed)
    ]
    assert lookups == case["expect"]["lookups"]


def test_a_sealed_message_opens_by_hand() -> None:
    """§4.3 as written: X-Wing's secret, the key schedule of RFC 9180 §5.1 (base mode), AES-128-GCM."""
    document = FILES["sealing"]
    case = expected("sealing", "opens")
    given = given_of(case, document["cases"], document["material"])
    sealed, private = bytes.fromhex(given["sealed"]), bytes.fromhex(given["private_key"])
    suite = b"HPKE" + bytes.fromhex("647a00010001")

    def extract(label: bytes, ikm: bytes, salt: bytes = bytes(32)) -> bytes:
        return hmac.digest(salt, b"HPKE-v1" + suite + label + ikm, "sha256")

    def expand(secret: bytes, label: bytes, info: bytes, octets: int) -> bytes:
        labelled = struct.pack(">H", octets) + b"HPKE-v1" + suite + label + info
        return hmac.digest(secret, labelled + b"\x01", "sha256")[:octets]

    ml_kem = MLKEM768PrivateKey.from_seed_bytes(private[:64]).decapsulate(sealed[:1088])
    x25519 = X25519PrivateKey.from_private_bytes(private[64:])
    shared = x25519.exchange(X25519PublicKey.from_public_bytes(sealed[1088:1120]))
    own = x25519.public_key().public_bytes_raw()
    secret = hashlib.sha3_256(
        ml_kem + shared + sealed[1088:1120] + own + bytes.fromhex("5c2e2f2f5e5c")
    ).digest()
    assert secret.hex() == case["expect"]["kem_shared_secret"]

    names = [given[name].encode() for name in ("federation", "kind", "sender", "recipient")]
    parts = [names[0], names[1], bytes.fromhex(given["envelope_id"]), names[2], names[3], b""]
    info = hashlib.sha256(
        b"\x0ecandor/v1/seal" + b"".join(struct.pack(">I", len(part)) + part for part in parts)
    ).digest()
    schedule = b"\x00" + extract(b"psk_id_hash", b"") + extract(b"info_hash", info)
    scheduled = extract(b"secret", b"", secret)
    key, nonce = expand(scheduled, b"key", schedule, 16), expand(scheduled, b"base_nonce", schedule, 12)
    padded = AESGCM(key).decrypt(nonce, sealed[1120:], b"")

    statement = bytes.fromhex(case["expect"]["body"])
    inside = struct.pack(">I", len(statement)) + statement + bytes.fromhex(case["expect"]["signature"])
    whole = struct.pack(">I", len(inside)) + inside
    assert padded == whole + bytes(1024 - len(whole))


# --- the tables of the text --------------------------------------------------------------------------------


def tables() -> list[list[list[str]]]:
    """Every table of docs/protocol.md, as rows of cells."""
    found: list[list[list[str]]] = [[]]
    for line in (ROOT / "docs" / "protocol.md").read_text("utf-8").splitlines():
        if line.startswith("|"):
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        elif found[-1]:
            found.append([])
    return [table for table in found if table]


def transitions(first_row: str) -> set[tuple[str, str, str]]:
    """State, event and next state of each cell of the table that begins so."""
    header, _, *rows = next(table for table in tables() if table[0][0:2] == first_row.split("|"))
    events = [re.sub(r" \(.*\)", "", event) for event in header[1:]]
    return {
        (row[0].lower(), event, re.sub(r" \(.*\)", "", after).lower())
        for row in rows
        for event, after in zip(events, row[1:], strict=True)
        if after != "–"
    }


@pytest.mark.parametrize(
    ("machine", "first_row"),
    [
        ("lookup", "state|store"),
        ("disclosure_owner", "state (owner)|rule releases"),
        ("disclosure_requester", "state (requester)|response opens"),
        ("recall_owner", "state (owner)|sends"),
        ("recall_recipient", "state (recipient)|the notice again"),
    ],
)
def test_state_tables_are_those_of_the_text(machine: str, first_row: str) -> None:
    rows = expected("rules", f"states_of_{machine}")["expect"]["transitions"]
    assert {(row["state"], row["event"], row["next"]) for row in rows} == transitions(first_row)


def test_the_states_of_a_target_are_those_of_the_text() -> None:
    rows = expected("rules", "states_of_target")["expect"]["transitions"]
    found = {(row["state"], row["event"]): row["next"] for row in rows}
    moves = {
        "evaluated": "answered",
        "refused": "refused",
        "quota": "quota",
        "stale epoch": "stale epoch",
        "invalid": "invalid answer",
        "expires": "expired",
    }
    moving = ("pending", "invalid answer")
    states = {state for state, _ in found}
    assert found == {
        (state, event): after if state in moving else state
        for state in states
        for event, after in moves.items()
    }
    assert {"stale index", "no index", "unknown scheme"} < states


def test_errors_are_those_of_the_text() -> None:
    table = next(table for table in tables() if table[0][:2] == ["code", "gRPC status"])
    stated = {code: row[1] for row in table[2:] for code in re.findall(r"`([a-z_]+)`", row[0])}
    given = {
        case["given"]["code"]: case["expect"]["status"]
        for case in FILES["rules"]["cases"]
        if case["operation"] == "error-status"
    }
    assert stated == given
    refusals = {
        case["refuse"] for document in FILES.values() for case in document["cases"] if "refuse" in case
    }
    assert refusals <= set(stated)
