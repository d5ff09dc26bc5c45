"""`tlog_scales` (PyPI tlog-scales, F. Larysch) reads our log, and we read the log that it writes.

It was written by nobody here, from the same specifications: issue 6, line 1. `aics-tlog` needs Python 3.12.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from candor_proto import merkle
from candor_proto.errors import UnknownObject
from candor_proto.tlog import tiles
from candor_proto.tlog.checkpoint import Checkpoint, SignedCheckpoint, parse_checkpoint
from candor_proto.tlog.note import VerifierKey, parse_vkey
from candor_proto.tlog.signatures import LogKeys, WitnessKeys, verify_log, verify_signature
from candor_proto.tlog.tiles import bundle_path, encode_bundle, grown_tiles, tile_path, tile_width
from tests.parties import NOW

pytest.importorskip("tlog_scales", reason="tlog-scales is a development dependency")
from tlog_scales import backend, reader, signing, tlog, writer

ORIGIN = "test.candor.example/log/1"
KEYS = LogKeys(ORIGIN, b"\x01" * 32, b"\x02" * 32)
WITNESS = WitnessKeys("test.candor.example/witness/alpha", b"\x03" * 32, b"\x04" * 32)
# One tile and less, the edges of tiles, several tiles, and the second level.
SIZES = (1, 2, 255, 256, 257, 300, 511, 513, 1_000, 66_000)


def _entries(size: int) -> list[bytes]:
    return [b"entry %d of the log" % number for number in range(size)]


class Files:
    """The folder of a log: what we write into it and read from it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def tile(self, level: int, index: int, width: int) -> bytes:
        for path in (tile_path(level, index, width), tile_path(level, index)):
            if (self.root / path).exists():
                return (self.root / path).read_bytes()[: width * 32]
        raise UnknownObject(f"No {tile_path(level, index, width)}.")

    def write(self, path: str, octets: bytes) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(octets)

    def append(self, entries: list[bytes], before: int) -> None:
        for level, index, width, octets in grown_tiles(
            self, before, [merkle.leaf_hash(entry) for entry in entries[before:]]
        ):
            self.write(tile_path(level, index, width), octets)
        for index in range(before // 256, -(-len(entries) // 256)):
            bundle = entries[index * 256 : (index + 1) * 256]
            self.write(bundle_path(index, len(bundle)), encode_bundle(bundle))


def _our_log(folder: Path, *sizes: int) -> SignedCheckpoint:
    """A log that grew to each of `sizes`, signed by the log and one witness at the last."""
    files, entries, before = Files(folder), _entries(sizes[-1]), 0
    for size in sizes:
        files.append(entries[:size], before)
        before = size
    root = tiles.tree_root(files, before)
    signed = KEYS.sign(Checkpoint(ORIGIN, before, root), NOW)
    signed = signed.with_signatures(WITNESS.cosign(signed.checkpoint, NOW))
    files.write("checkpoint", signed.encode())
    return signed


@pytest.mark.parametrize("size", SIZES)
def test_it_reads_and_verifies_our_log(tmp_path: Path, size: int) -> None:
    _our_log(tmp_path, *sorted({max(1, size // 3), size // 2 or 1, size}))
    theirs = reader.TilesReader(backend.LocalBackend(tmp_path))
    checkpoint = theirs.get_checkpoint()
    assert (checkpoint.origin, checkpoint.size) == (ORIGIN, size)
    assert theirs.calculate_root_hash() == checkpoint.root_hash
    for key in (*KEYS.verifier_keys, *WITNESS.verifier_keys):
        checkpoint.verify(signing.Vkey.from_string(key.encode()))
    for index in {0, size // 2, size - 1}:
        entry = theirs.get_entry(index)
        assert entry == b"entry %d of the log" % index
        theirs.get_inclusion_proof(index, size).check(merkle.leaf_hash(entry), checkpoint.root_hash)


def test_it_refuses_our_signatures_on_another_checkpoint(tmp_path: Path) -> None:
    signed = _our_log(tmp_path, 300)
    text = signed.encode().decode().replace("\n300\n", "\n301\n")
    changed = tlog.Checkpoint.from_text(text)
    for key in (*KEYS.verifier_keys, *WITNESS.verifier_keys):
        with pytest.raises(Exception):  # noqa: B017  # the oracle has no types of its own here
            changed.verify(signing.Vkey.from_string(key.encode()))


@pytest.mark.parametrize("size", SIZES)
def test_its_proofs_are_ours(tmp_path: Path, size: int) -> None:
    signed, files = _our_log(tmp_path, size), Files(tmp_path)
    theirs = reader.TilesReader(backend.LocalBackend(tmp_path))
    theirs.set_size(size)
    root = signed.checkpoint.root
    for index in {0, 1, size // 3, size // 2, size - 2, size - 1} & set(range(size)):
        proof = theirs.get_inclusion_proof(index, size)
        assert tuple(proof.node_hashes) == tiles.inclusion_proof(files, index, size)
        merkle.verify_inclusion(
            merkle.leaf_hash(theirs.get_entry(index)), index, size, proof.node_hashes, root
        )
    for first in {1, 2, size // 3, size // 2, size - 1, size} & set(range(1, size + 1)):
        ours = tiles.consistency_proof(files, first, size)
        assert tuple(theirs.get_consistency_proof(first, size).node_hashes) == ours
        old = merkle.root(_entries(first))
        tlog.ConsistencyProof(first, size, list(ours)).check(old, root)
        merkle.verify_consistency(first, size, ours, old, root)


@pytest.mark.parametrize("size", SIZES)
def test_we_read_and_verify_its_log(tmp_path: Path, size: int) -> None:
    signers = [
        signing.PlainEd25519Signer(ORIGIN, KEYS.ed25519_seed),
        signing.MLDSA44CosignatureSigner(ORIGIN, KEYS.ml_dsa_seed),
    ]
    theirs = writer.TilesWriter.create(tmp_path / "log", ORIGIN)
    entries, written = _entries(size), 0
    for until in sorted({size // 2 or 1, size}):
        for entry in entries[written:until]:
            theirs.add_leaf(entry)
        theirs.commit(signers)
        written = until
    files = Files(tmp_path / "log")
    signed = parse_checkpoint((tmp_path / "log" / "checkpoint").read_bytes())
    verify_log(signed, KEYS.verifier_keys)
    assert signed.checkpoint.size == size
    assert signed.checkpoint.root == tiles.tree_root(files, size) == merkle.root(entries)
    for index in range(-(-size // 256)):
        width = tile_width(0, index, size)
        bundle = (tmp_path / "log" / bundle_path(index, width)).read_bytes()
        found = tiles.decode_bundle(bundle, width)
        assert b"".join(map(merkle.leaf_hash, found)) == files.tile(0, index, width)
    for first in {1, size // 2, size} - {0}:
        proof = tiles.consistency_proof(files, first, size)
        merkle.verify_consistency(first, size, proof, merkle.root(entries[:first]), signed.checkpoint.root)


@pytest.mark.parametrize("key", [*KEYS.verifier_keys, *WITNESS.verifier_keys], ids=lambda key: str(key.kind))
def test_verifier_keys_are_written_the_same_way(key: VerifierKey) -> None:
    theirs = signing.Vkey.from_string(key.encode())
    assert (theirs.name, theirs.sig_type, theirs.pubkey) == (key.name, key.kind, key.key)
    assert theirs.key_id == int.from_bytes(key.key_id, "big")
    assert signing.Vkey(key.name, None, key.kind, key.key).serialize() == key.encode()
    assert parse_vkey(theirs.serialize()) == key


@pytest.mark.parametrize("number", [0, 1])
def test_cosignatures_of_both_types_are_the_same(tmp_path: Path, number: int) -> None:
    signed = _our_log(tmp_path, 7)
    key, line = WITNESS.verifier_keys[number], WITNESS.cosign(signed.checkpoint, NOW)[number]
    theirs = tlog.Checkpoint.from_text(signed.encode().decode())
    verifier = signing.Vkey.from_string(key.encode()).get_verifier()
    verifier.verify(line.payload, theirs)
    assert verifier.get_timestamp(line.payload) == int(NOW.timestamp())
    if number:
        signer = signing.MLDSA44CosignatureSigner(WITNESS.name, WITNESS.ml_dsa_seed)
        payload = signer.sign(theirs)
        ours = type(line)(payload.name, payload.key_id.to_bytes(4, "big"), payload.payload)
        assert verify_signature(key, signed.checkpoint, ours) is not None


@pytest.mark.skipif(find_spec("aics_tlog") is None, reason="aics-tlog needs Python 3.12")
def test_aics_tlog_has_been_tried_where_it_runs() -> None:
    """Written when a supported Python can import it; until then this says that nobody has."""
    assert sys.version_info >= (3, 12)
    pytest.fail("aics-tlog is importable here: compare our tiles and proofs with it as above.")
