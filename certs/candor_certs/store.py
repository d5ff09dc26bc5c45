"""Key and certificate files.

Rules of this file:
- a private file is mode 0600, belongs to the user who runs the program, and is refused otherwise;
- a key is never overwritten: `write_new_*` fails if the name is taken, even in a race;
- a file is whole or absent: written beside its place, fsynced, moved, the folder fsynced;
- a renewed key and its chain live in one file (`TlsIdentity`), so that a crash cannot leave halves of two.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from candor_certs.authority import certificates_pem
from candor_certs.profiles import TlsPrivateKey
from candor_proto.errors import AlreadyExists, InputInvalid, StoreUnusable

PrivateKey = TlsPrivateKey | Ed25519PrivateKey
MAX_FILE_OCTETS = 1 << 20
_PRIVATE_MODE = 0o600
_PUBLIC_MODE = 0o644


@dataclass(frozen=True)
class TlsIdentity:
    """A TLS key and the chain that certifies it, own certificate first."""

    key: TlsPrivateKey = field(repr=False)
    chain: tuple[x509.Certificate, ...]

    def __post_init__(self) -> None:
        if not self.chain or self.chain[0].public_key() != self.key.public_key():
            raise InputInvalid(
                "The private key does not belong to the certificate.",
                remedy="Put back the pair that was made together, or enrol again.",
            )


# --- private octets ---------------------------------------------------------------------------------


def write_new_private(path: Path, data: bytes) -> None:
    """Store secret octets under a name that is still free; raises AlreadyExists, StoreUnusable."""
    _write(path, data, _PRIVATE_MODE, replace=False)


def read_private(path: Path) -> bytes:
    """Secret octets of a file that nobody else can read; raises StoreUnusable."""
    return _read(path, private=True)


def replace_private(path: Path, data: bytes) -> None:
    """Store secret octets, replacing the file in one step; raises StoreUnusable."""
    _write(path, data, _PRIVATE_MODE, replace=True)


def read_public(path: Path) -> bytes:
    """Octets of a file that everybody may read; raises StoreUnusable."""
    return _read(path, private=False)


def replace_public(path: Path, data: bytes) -> None:
    """Store what everybody may read, replacing the file in one step; raises StoreUnusable."""
    _write(path, data, _PUBLIC_MODE, replace=True)


# --- keys and certificates --------------------------------------------------------------------------


def write_new_key(path: Path, key: PrivateKey) -> None:
    """Store a key as PKCS #8 PEM under a name that is still free; raises AlreadyExists, StoreUnusable."""
    write_new_private(path, key_pem(key))


def read_key(path: Path, passphrase: bytes | None = None) -> PrivateKey:
    """`passphrase` is for one that lies under one. Raises StoreUnusable or InputInvalid."""
    return parse_key(read_private(path), path, passphrase)


def write_certificates(path: Path, certificates: Iterable[x509.Certificate]) -> None:
    """Store certificates as PEM, replacing the file in one step; raises StoreUnusable."""
    _write(path, certificates_pem(certificates), _PUBLIC_MODE, replace=True)


def read_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """At least one certificate; raises StoreUnusable or InputInvalid."""
    return parse_certificates(_read(path, private=False), path)


def replace_identity(path: Path, identity: TlsIdentity) -> None:
    """Store a TLS key with its chain, replacing an older pair in one step; raises StoreUnusable."""
    _write(path, key_pem(identity.key) + certificates_pem(identity.chain), _PRIVATE_MODE, replace=True)


def read_identity(path: Path) -> TlsIdentity:
    """Raises StoreUnusable or InputInvalid."""
    data = read_private(path)
    key = parse_key(data, path)
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        raise InputInvalid(f"{path} does not hold a TLS key.", remedy="Enrol again.")
    try:
        return TlsIdentity(key, parse_certificates(data, path))
    except InputInvalid as error:
        named = error.message if str(path) in error.message else f"{path}: {error.message}"
        raise InputInvalid(named, remedy=error.remedy) from None


def key_pem(key: PrivateKey) -> bytes:
    """PKCS #8 PEM, not encrypted: for private files and for gRPC only."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def locked_key_pem(key: PrivateKey, passphrase: bytes) -> bytes:
    """PKCS #8 PEM under a passphrase, which has to be a strong one: it is stretched only a little."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))


def parse_key(data: bytes, path: Path | str, passphrase: bytes | None = None) -> PrivateKey:
    """The key in these octets of PEM; `path` is what messages call their place. Raises InputInvalid."""
    if b"BEGIN ENCRYPTED PRIVATE KEY" not in data:
        passphrase = None
    elif passphrase is None:
        raise InputInvalid(
            f"The key in {path} lies under a passphrase.", remedy="Only `candor-certs` asks for it."
        )
    try:
        key = load_pem_private_key(data, password=passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InputInvalid(
            f"{path} does not hold a readable private key"
            + (", or that is not what it lies under." if passphrase else "."),
            remedy="Type the codes as they were written down." if passphrase else "Restore it from a backup.",
        ) from None
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey, Ed25519PrivateKey)):
        raise InputInvalid(f"{path} holds a private key of a kind that is not used here.")
    return key


def parse_certificates(data: bytes, path: Path | str) -> tuple[x509.Certificate, ...]:
    """At least one certificate in these octets of PEM, as `parse_key`. Raises InputInvalid."""
    try:
        return tuple(x509.load_pem_x509_certificates(data))
    except (ValueError, TypeError, x509.InvalidVersion):
        raise InputInvalid(
            f"{path} does not hold a readable certificate in PEM.", remedy="Name another file, or restore it."
        ) from None


# --- files ------------------------------------------------------------------------------------------


def _read(path: Path, *, private: bool) -> bytes:
    try:
        # Non-blocking: a pipe in a key's place must not hang the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            # Asked of the open file, not of the name: what was checked is what is read.
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise StoreUnusable(f"{path} is not a file.", remedy="Check the path.")
            if private:
                _check_private(path, status)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data = file.read(MAX_FILE_OCTETS + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unusable(path, "read", error) from None
    if len(data) > MAX_FILE_OCTETS:
        raise InputInvalid(f"{path} is too large to be a key or certificate.", remedy="Check the path.")
    return data


def _check_private(path: Path, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        raise StoreUnusable(
            f"{path} belongs to user {status.st_uid}, but this program runs as user {os.geteuid()}.",
            remedy="Run it as the owner, or give the file to the service's user with chown.",
        )
    if status.st_mode & 0o077:
        raise StoreUnusable(
            f"{path} holds a secret, and other users of this machine may open it "
            f"(mode {stat.S_IMODE(status.st_mode):04o}).",
            remedy=f"Run: chmod 600 {path}. If others had access to this machine, make a new key.",
        )


def _write(path: Path, data: bytes, mode: int, *, replace: bool) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, mode)  # the process's umask may have taken bits away
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            if replace:
                os.replace(temporary, path)
            else:
                os.link(temporary, path)  # unlike rename, refuses a name that is taken
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except FileExistsError:
        raise _taken(path) from None
    except OSError as error:
        raise _unusable(path, "written", error) from None


def make_private_folder(folder: Path) -> None:
    """Create the folder, mode 0700, unless it exists; raises StoreUnusable."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(folder, "created", error) from None


def refuse_existing(*paths: Path) -> None:
    """Raises AlreadyExists if one of the names is taken."""
    for path in paths:
        if os.path.lexists(path):
            raise _taken(path)


def _taken(path: Path) -> AlreadyExists:
    return AlreadyExists(
        f"{path} exists already and is not overwritten.",
        remedy="Choose another folder, or move the file away if you are sure that nobody needs it.",
    )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Removable media come formatted as FAT, which has neither modes nor links.
_NO_RIGHTS = "This file system may keep no access rights (FAT, exFAT): choose a folder on ext4 or the like."
_REMEDIES = {
    errno.EROFS: "The disk is mounted read-only: choose a folder on another one, or mount it read-write.",
    errno.EACCES: "Run it as a user who may use this folder.",
    errno.EPERM: _NO_RIGHTS,
    errno.ENOTSUP: _NO_RIGHTS,
    errno.ENOSPC: "The disk is full: make room and try again.",
    errno.EDQUOT: "The disk quota is used up: make room and try again.",
    errno.ENOENT: "Check the path; the folder must exist.",
    errno.ENOTDIR: "Check the path: part of it is a file.",
}


def _unusable(path: Path, verb: str, error: OSError) -> StoreUnusable:
    reason = os.strerror(error.errno) if error.errno else "unknown error"
    remedy = _REMEDIES.get(error.errno or 0, "Check the path and the disk.")
    return StoreUnusable(f"{path} cannot be {verb}: {reason}.", remedy=remedy)
