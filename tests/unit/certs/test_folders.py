"""Folders of authorities."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from candor_certs.authority import Authority, create_issuing, create_root
from candor_certs.folders import load_issuing, load_root, save_issuing, save_root
from candor_certs.store import write_certificates
from candor_proto.errors import AlreadyExists, CertificateRefused, InputInvalid, StoreUnusable
from tests.certificates import FEDERATION, FlawedCertificates

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ROOT = create_root(FEDERATION, NOW)
ISSUING = create_issuing(ROOT, FEDERATION, NOW)


def test_authorities_come_back(tmp_path: Path) -> None:
    save_root(ROOT, tmp_path / "root")
    save_issuing(ISSUING, tmp_path / "issuing")
    found = load_root(tmp_path / "root")
    assert (found.federation, found.certificate, found.parents) == (FEDERATION, ROOT.certificate, ())
    found = load_issuing(tmp_path / "issuing")
    assert (found.federation, found.certificate, found.root) == (
        FEDERATION,
        ISSUING.certificate,
        ROOT.certificate,
    )
    names = {file.name for file in (tmp_path / "issuing").iterdir()}
    assert names == {"issuing.key", "issuing.crt", "chain.crt"}


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    save_root(ROOT, tmp_path)
    with pytest.raises(AlreadyExists):
        save_root(create_root(FEDERATION, NOW), tmp_path)
    (tmp_path / "root.key").unlink()
    with pytest.raises(AlreadyExists):
        save_root(create_root(FEDERATION, NOW), tmp_path)
    assert not (tmp_path / "root.key").exists()


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    save_issuing(ISSUING, tmp_path)
    (tmp_path / "issuing.key").chmod(0o640)
    with pytest.raises(StoreUnusable):
        load_issuing(tmp_path)


def test_mixed_folders_are_refused(tmp_path: Path) -> None:
    other = create_issuing(ROOT, FEDERATION, NOW)
    save_issuing(ISSUING, tmp_path / "a")
    save_issuing(other, tmp_path / "b")
    shutil.copy(tmp_path / "b" / "issuing.crt", tmp_path / "a" / "issuing.crt")
    with pytest.raises(InputInvalid):
        load_issuing(tmp_path / "a")
    shutil.copy(tmp_path / "b" / "chain.crt", tmp_path / "a" / "chain.crt")
    with pytest.raises(InputInvalid):
        load_issuing(tmp_path / "a")


def test_a_chain_without_a_root_is_refused(tmp_path: Path) -> None:
    save_issuing(ISSUING, tmp_path)
    write_certificates(tmp_path / "chain.crt", [ISSUING.certificate])
    with pytest.raises(InputInvalid):
        load_issuing(tmp_path)
    write_certificates(tmp_path / "chain.crt", [ISSUING.certificate, ISSUING.certificate])
    with pytest.raises(CertificateRefused):
        load_issuing(tmp_path)


def test_an_issuing_authority_of_another_root_is_refused(tmp_path: Path) -> None:
    """Somebody put his own issuing certificate beside the federation's root."""
    save_issuing(ISSUING, tmp_path)
    foreign = create_issuing(create_root(FEDERATION, NOW), FEDERATION, NOW)
    for path in tmp_path.iterdir():
        path.unlink()
    save_issuing(replace(foreign, parents=(ROOT.certificate,)), tmp_path)
    with pytest.raises(CertificateRefused, match="not certified by the root"):
        load_issuing(tmp_path)


def test_a_members_certificate_is_no_issuing_authority(tmp_path: Path) -> None:
    """The root certifies none, but another program could have."""
    key = ec.generate_private_key(ec.SECP256R1())
    flawed = FlawedCertificates(ISSUING).certify(key, [], signer=ROOT.key, issuer=ROOT.certificate.subject)
    save_issuing(Authority(FEDERATION, flawed, key, (ROOT.certificate,)), tmp_path)
    with pytest.raises(CertificateRefused, match="not that of an issuing authority"):
        load_issuing(tmp_path)
