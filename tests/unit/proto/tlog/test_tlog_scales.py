"""`tlog_scales` (PyPI tlog-scales, F. Larysch) reads our log, and we read the log that it writes.

It was written by nobody here, from the same specifications (docs/dependencies.md).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from candor_proto import merkle
from candor_proto.tlog import tiles
from candor_proto.tlog.checkpoint import parse_checkpoint
from candor_proto.tlog.note import NoteSignature, VerifierKey, parse_vkey
from candor_proto.tlog.signatures import verify_log, verify_signature
from tests.parties import NOW
from tests.unit.proto.tlog.folder import (
    KEYS,
    ORIGIN,
    SIZES,
    WITNESS,
    Folder,
    check_entries,
    grows_to,
    places,
    some_entries,
    write_log,
)

pytest.importorskip("tlog_scales", reason="tlog-scales is a development dependency")
from tlog_scales import backend, reader, signing, tlog, writer

ALL_KEYS = (*KEYS.verifier_keys, *WITNESS.verifier_keys)


@pytest.mark.parametrize("size", SIZES)
def test_it_reads_and_verifies_our_log(tmp_path: Path, size: int) -> None:
    write_log(tmp_path, size)
    theirs = reader.TilesReader(backend.LocalBackend(tmp_path))
    checkpoint = theirs.get_checkpoint()
    assert (checkpoint.origin, checkpoint.size) == (ORIGIN, size)
    assert theirs.calculate_root_hash() == checkpoint.root_hash
    for key in ALL_KEYS:
        checkpoint.verify(signing.Vkey.from_string(key.encode()))
    assert len(signing.VkeySet(*_their_keys()).verify(checkpoint.signatures, checkpoint)) == 4
    for index in places(size):
        entry = theirs.get_entry(index)
        assert entry == b"entry %d of the log" % index
        theirs.get_inclusion_proof(index, size).check(merkle.leaf_hash(entry), checkpoint.root_hash)


def _their_keys() -> list[signing.Vkey]:
    return [signing.Vkey.from_string(key.encode()) for key in ALL_KEYS]


def test_it_refuses_our_signatures_on_another_checkpoint(tmp_path: Path) -> None:
    signed = write_log(tmp_path, 300)
    changed = tlog.Checkpoint.from_text(signed.encode().decode().replace("\n300\n", "\n301\n"))
    for key in _their_keys():
        with pytest.raises(Exception):  # noqa: B017  # the oracle has no types of its own here
            changed.verify(key)


@pytest.mark.parametrize("size", SIZES)
def test_its_proofs_are_ours(tmp_path: Path, size: int) -> None:
    root, folder = write_log(tmp_path, size).checkpoint.root, Folder(tmp_path)
    theirs = reader.TilesReader(backend.LocalBackend(tmp_path))
    theirs.set_size(size)
    for index in places(size):
        proof, leaf = theirs.get_inclusion_proof(index, size), merkle.leaf_hash(theirs.get_entry(index))
        assert tuple(proof.node_hashes) == tiles.inclusion_proof(folder, index, size)
        merkle.verify_inclusion(leaf, index, size, proof.node_hashes, root)
    for first in {index + 1 for index in places(size)}:
        ours, old = tiles.consistency_proof(folder, first, size), merkle.root(some_entries(first))
        assert tuple(theirs.get_consistency_proof(first, size).node_hashes) == ours
        tlog.ConsistencyProof(first, size, list(ours)).check(old, root)
        merkle.verify_consistency(first, size, ours, old, root)


@pytest.mark.parametrize("size", SIZES)
def test_we_read_and_verify_its_log(tmp_path: Path, size: int) -> None:
    signers: list[signing.CheckpointSigner] = [
        signing.PlainEd25519Signer(ORIGIN, KEYS.ed25519_seed),
        signing.MLDSA44CosignatureSigner(ORIGIN, KEYS.ml_dsa_seed),
    ]
    folder, entries, written = Folder(tmp_path / "log"), some_entries(size), 0
    theirs = writer.TilesWriter.create(folder.root, ORIGIN)
    for until in grows_to(size):
        for entry in entries[written:until]:
            theirs.add_leaf(entry)
        theirs.commit(signers)
        written = until
    signed = parse_checkpoint((folder.root / "checkpoint").read_bytes())
    verify_log(signed, KEYS.verifier_keys)
    assert signed.checkpoint.size == size
    assert signed.checkpoint.root == tiles.tree_root(folder, size) == merkle.root(entries)
    check_entries(folder, entries)
    for first in grows_to(size):
        proof = tiles.consistency_proof(folder, first, size)
        merkle.verify_consistency(first, size, proof, merkle.root(entries[:first]), signed.checkpoint.root)


@pytest.mark.parametrize("key", ALL_KEYS, ids=lambda key: f"{key.kind:#04x}")
def test_verifier_keys_are_written_the_same_way(key: VerifierKey) -> None:
    theirs = signing.Vkey.from_string(key.encode())
    assert (theirs.name, theirs.sig_type, theirs.pubkey) == (key.name, key.kind, key.key)
    assert theirs.key_id == int.from_bytes(key.key_id, "big")
    made: str = signing.Vkey(key.name, None, key.kind, key.key).serialize()  # type: ignore[no-untyped-call]
    assert (made, parse_vkey(made)) == (key.encode(), key)


def test_cosignatures_of_both_types_are_the_same(tmp_path: Path) -> None:
    signed = write_log(tmp_path, 7)
    theirs = tlog.Checkpoint.from_text(signed.encode().decode())
    for key, line in zip(WITNESS.verifier_keys, WITNESS.cosign(signed.checkpoint, NOW), strict=True):
        verifier = signing.Vkey.from_string(key.encode()).get_verifier()
        verifier.verify(line.payload, theirs)
        assert int.from_bytes(line.payload[:8], "big") == int(NOW.timestamp())
    made = signing.MLDSA44CosignatureSigner(WITNESS.name, WITNESS.ml_dsa_seed).sign(theirs)
    ours = NoteSignature(made.name, made.key_id.to_bytes(4, "big"), made.payload)
    assert verify_signature(WITNESS.verifier_keys[1], signed.checkpoint, ours) is not None
