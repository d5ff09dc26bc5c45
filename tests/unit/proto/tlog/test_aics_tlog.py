"""`aics_tlog` (PyPI aics-tlog, P. Politopoulos) reads our log, and we read the log that it writes.

It needs Python 3.12, so it is no dependency of ours: where it can be imported it is a second oracle, for the
Ed25519 types (docs/dependencies.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from candor_proto import merkle
from candor_proto.tlog import tiles
from tests.unit.proto.tlog.folder import (
    KEYS,
    ORIGIN,
    SIZES,
    WITNESS,
    Folder,
    check_entries,
    places,
    some_entries,
    write_log,
)

aics_tlog: Any = pytest.importorskip("aics_tlog", reason="aics-tlog needs Python 3.12")


@pytest.mark.parametrize("size", SIZES)
def test_it_reads_and_verifies_our_log(tmp_path: Path, size: int) -> None:
    signed, folder = write_log(tmp_path, size), Folder(tmp_path)
    note = aics_tlog.parse_note((tmp_path / "checkpoint").read_bytes())
    log, witness = (aics_tlog.parse_vkey(keys.verifier_keys[0].encode()) for keys in (KEYS, WITNESS))
    checked = aics_tlog.verify_checkpoint(note, log, [witness], 1, expected_origin=ORIGIN)
    assert (checked.ok, checked.size, checked.root) == (True, size, signed.checkpoint.root)
    theirs = aics_tlog.FileSystemTileReader(tmp_path)
    report = aics_tlog.audit_tiles(theirs, size, signed.checkpoint.root)
    assert (report.size, report.bundles) == (size, -(-size // 256))
    for index in places(size):
        assert aics_tlog.read_entry(theirs, index, size) == b"entry %d of the log" % index
        ours = tiles.inclusion_proof(folder, index, size)
        assert tuple(aics_tlog.inclusion_proof_from_tiles(theirs, index, size)) == ours
        first = index + 1
        ours = tiles.consistency_proof(folder, first, size)
        assert tuple(aics_tlog.consistency_proof_from_tiles(theirs, first, size)) == ours


@pytest.mark.parametrize("size", SIZES)
def test_we_read_and_verify_its_log(tmp_path: Path, size: int) -> None:
    entries, folder = some_entries(size), Folder(tmp_path)
    aics_tlog.TileWriter(entries).write_to(tmp_path)
    assert tiles.tree_root(folder, size) == merkle.root(entries)
    check_entries(folder, entries)


def test_it_refuses_our_signatures_on_another_checkpoint(tmp_path: Path) -> None:
    octets = write_log(tmp_path, 300).encode().replace(b"\n300\n", b"\n301\n")
    log, witness = (aics_tlog.parse_vkey(keys.verifier_keys[0].encode()) for keys in (KEYS, WITNESS))
    assert not aics_tlog.verify_checkpoint(aics_tlog.parse_note(octets), log, [witness], 1).ok
