"""Key and certificate files."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from candor_certs import store
from candor_certs.requests import new_tls_key
from candor_certs.store import (
    TlsIdentity,
    read_certificates,
    read_identity,
    read_key,
    read_private,
    replace_identity,
    write_certificates,
    write_new_key,
    write_new_private,
)
from candor_proto.errors import AlreadyExists, InputInvalid, StoreUnusable
from tests.certificates import FlawedCertificates, federation_authority

AUTHORITY = federation_authority()
GOOD = FlawedCertificates(AUTHORITY).good()
IDENTITY = TlsIdentity(GOOD.key, GOOD.chain)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def public_octets(key: store.PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_a_key_comes_back_and_only_its_owner_may_read_it(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        for name, key in (("tls.key", new_tls_key()), ("directory.key", Ed25519PrivateKey.generate())):
            write_new_key(tmp_path / name, key)
            assert mode(tmp_path / name) == 0o600
            assert public_octets(read_key(tmp_path / name)) == public_octets(key)
    finally:
        os.umask(before)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["directory.key", "tls.key"]


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "tls.key"
    write_new_private(path, b"first")
    with pytest.raises(AlreadyExists) as refused:
        write_new_private(path, b"second")
    assert refused.value.remedy
    assert read_private(path) == b"first"
    assert [file.name for file in tmp_path.iterdir()] == ["tls.key"]


def test_not_even_a_dangling_link_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "tls.key"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AlreadyExists):
        write_new_private(path, b"key")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o601, 0o644])
def test_a_secret_that_others_may_open_is_refused(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "tls.key"
    write_new_private(path, b"key")
    path.chmod(bits)
    with pytest.raises(StoreUnusable, match="other users") as refused:
        read_private(path)
    assert f"chmod 600 {path}" in refused.value.remedy


def test_a_secret_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tls.key"
    write_new_private(path, b"key")
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(StoreUnusable, match="belongs to user") as refused:
        read_private(path)
    assert "owner" in refused.value.remedy


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_file_is_refused_and_does_not_hang(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "tls.key")
    with pytest.raises(StoreUnusable):
        read_private(tmp_path / "tls.key")


@pytest.mark.parametrize(
    ("number", "word"),
    [(errno.EROFS, "read-only"), (errno.ENOSPC, "full"), (errno.EACCES, "user"), (errno.EPERM, "FAT")],
)
@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
def test_a_disk_that_cannot_be_written_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, word: str, step: str
) -> None:
    path = tmp_path / "tls.pem"
    replace_identity(path, IDENTITY)
    before = path.read_bytes()

    def fail(*_arguments: object, **_keywords: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(StoreUnusable) as refused:
        replace_identity(path, IDENTITY)
    monkeypatch.undo()
    assert word in refused.value.remedy
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["tls.pem"]


def test_a_real_file_system_that_cannot_be_written() -> None:
    with pytest.raises(StoreUnusable):
        write_new_private(Path("/proc/tls.key"), b"key")


def test_a_file_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contents first, then the name, then the folder: a power cut leaves the old file or the new one."""
    steps: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "contents")
        real_fsync(descriptor)

    def replace(source: Path, target: Path) -> None:
        steps.append("name")
        real_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    replace_identity(tmp_path / "tls.pem", IDENTITY)
    assert steps == ["contents", "name", "folder"]


def test_certificates_come_back(tmp_path: Path) -> None:
    write_certificates(tmp_path / "chain.crt", GOOD.chain)
    assert read_certificates(tmp_path / "chain.crt") == GOOD.chain
    assert mode(tmp_path / "chain.crt") == 0o644


def test_a_renewed_identity_replaces_the_old_one_whole(tmp_path: Path) -> None:
    replace_identity(tmp_path / "tls.pem", IDENTITY)
    renewed = FlawedCertificates(AUTHORITY).good()
    replace_identity(tmp_path / "tls.pem", TlsIdentity(renewed.key, renewed.chain))
    found = read_identity(tmp_path / "tls.pem")
    assert found.chain == renewed.chain
    assert public_octets(found.key) == public_octets(renewed.key)
    assert mode(tmp_path / "tls.pem") == 0o600


def test_halves_of_two_identities_are_refused() -> None:
    with pytest.raises(InputInvalid):
        TlsIdentity(new_tls_key(), GOOD.chain)
    with pytest.raises(InputInvalid):
        TlsIdentity(GOOD.key, ())


def test_an_identitys_repr_does_not_show_its_key() -> None:
    assert "key=" not in repr(IDENTITY)


@pytest.mark.parametrize("content", [b"", b"rubbish", GOOD.chain_pem])
def test_a_file_without_a_key_is_refused(tmp_path: Path, content: bytes) -> None:
    write_new_private(tmp_path / "tls.key", content)
    with pytest.raises(InputInvalid):
        read_key(tmp_path / "tls.key")


@pytest.mark.parametrize("content", [b"", b"rubbish", GOOD.key_pem])
def test_a_file_without_a_certificate_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.crt").write_bytes(content)
    with pytest.raises(InputInvalid):
        read_certificates(tmp_path / "x.crt")


def test_a_directory_key_is_no_tls_identity(tmp_path: Path) -> None:
    write_new_key(tmp_path / "directory.key", Ed25519PrivateKey.generate())
    with pytest.raises(InputInvalid):
        read_identity(tmp_path / "directory.key")


def test_a_missing_or_huge_file_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable) as refused:
        read_private(tmp_path / "nothing")
    assert refused.value.remedy
    write_new_private(tmp_path / "huge", bytes(store.MAX_FILE_OCTETS + 1))
    with pytest.raises(InputInvalid):
        read_private(tmp_path / "huge")
