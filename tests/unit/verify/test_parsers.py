"""Every parser of the verifier raises one family of errors, whatever it is given."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from candor_verify import (
    checkpoint,
    disclosure,
    entries,
    form,
    heads,
    index,
    inputs,
    note,
    policy,
    proof,
    segment,
    statements,
    tiles,
)
from candor_verify.errors import Malformed, Refused
from candor_verify.log import parse_shards

FOLDER = Path(__file__).resolve().parents[2] / "vectors/protocol"
ROUNDS = 150
PARSERS: dict[str, Callable[[bytes], object]] = {
    "lookup": statements.parse_lookup,
    "answer": statements.parse_answer,
    "heartbeat": statements.parse_heartbeat,
    "witness key": statements.parse_witness_key,
    "pack adoption": statements.parse_pack_adoption,
    "head": heads.parse_head,
    "directory": heads.parse_directory,
    "entry": entries.parse_entry,
    "request": disclosure.parse_request,
    "response": disclosure.parse_response,
    "record": disclosure.parse_record,
    "segment": segment.parse_segment,
    "note": note.parse_note,
    "checkpoint": checkpoint.parse_checkpoint,
    "policy": policy.parse_policy,
    "proof": proof.parse_proof,
    "file": form.parse_file,
    "head file": index.read_head,
    "input": inputs.read_input,
    "shards": parse_shards,
    "bundle": lambda octets: tiles.decode_bundle(octets, 5),
    "vkey": lambda octets: note.parse_vkey(octets.decode("latin-1")),
}


def material() -> list[bytes]:
    found = []
    for path in sorted(FOLDER.glob("*.json")):
        for value in json.loads(path.read_text()).get("material", {}).values():
            octets = value["text"].encode() if isinstance(value, dict) else bytes.fromhex(value)
            found.append(octets[:6_000])
    return found


def spoilt(octets: bytes, chance: random.Random) -> bytes:
    data = bytearray(octets)
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(4):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del data[at:]
            case 2:
                data[at:at] = chance.randbytes(4)
            case _:
                data[at : at + 4] = b"\xff\xff\xff\xff"
    return bytes(data)


@pytest.mark.parametrize("name", PARSERS)
def test_a_parser_raises_nothing_but_its_own_errors(name: str) -> None:
    chance, octets = random.Random(name), material()
    for _ in range(ROUNDS):
        try:
            PARSERS[name](spoilt(chance.choice(octets), chance))
        except Refused:
            continue


@pytest.mark.parametrize(
    "path",
    ["tile/0/1", "tile/0/0000", "tile/00/000", "tile/64/000", "tile/0/x000/000", "tile/0/000.p/0",
     "tile/0/000.p/256", "tile/0/000.p/01", "tile/0/000/", "tile/entries/x1/000", "tile/0/../000", "x"],
)  # fmt: skip
def test_a_path_that_is_not_the_only_one_is_refused(path: str) -> None:
    with pytest.raises(Malformed):
        tiles.parse_tile_path(path)
