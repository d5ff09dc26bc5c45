"""Making a node (`init`) and bringing it into a federation (`join`); docs/protocol.md §8.5, §8.7.

Rules of this file:
- `init` makes everything or nothing; keys are made here and leave this machine never;
- `join` can be repeated after whatever went wrong: the TLS key and the request made with it are kept until
  the hub's answer is on the disk, for the hub admits the very same request again when its reply was lost;
- the settings file is written last: while it names no federation, the node has not joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from cryptography import x509

from candor_certs.chain import load_certificate, verify_peer
from candor_certs.invitation import Invitation
from candor_certs.names import PeerName, Role
from candor_certs.profiles import TlsPrivateKey
from candor_certs.requests import certificate_request, check_request, new_tls_key
from candor_certs.service_manager import new_database_key
from candor_certs.store import (
    TlsIdentity,
    make_private_folder,
    read_certificates,
    read_identity,
    read_key,
    read_private,
    refuse_existing,
    replace_identity,
    write_certificates,
    write_new_key,
    write_new_private,
)
from candor_node.clock import Clock
from candor_node.config import FILE_NAME, NodeConfig, load_config
from candor_node.enrolment_call import Door, enrol
from candor_node.founding import MIGRATIONS, Keys, open_store
from candor_node.hub_client import HubClient
from candor_node.settings_file import fill_in, replace_setting, replace_text, template
from candor_node.store import Store
from candor_node.tlog import log_store
from candor_node.tlog.files import LogFiles
from candor_node.tlog.policies import fingerprint, first_policy
from candor_proto.canonical import to_milliseconds
from candor_proto.errors import (
    AlreadyExists,
    CandorError,
    IdentityMismatch,
    InputInvalid,
    Unreachable,
)
from candor_proto.ids import FederationName, NodeId
from candor_proto.possession import sign_certificate_request
from candor_proto.sealing import DisclosureKey
from candor_proto.signing import SigningKey
from candor_wire.codec import read_chain
from candor_wire.v1 import enrolment_pb2

# --- init ----------------------------------------------------------------------------------------------


def found(folder: Path, node: NodeId) -> Path:
    """A new node's settings, keys and database in `folder`; the path of its settings.

    Raises AlreadyExists or StoreUnusable, and then leaves nothing behind.
    """
    folder = folder.resolve()
    keys, data = folder / "keys", folder / "data"
    made = [folder / FILE_NAME, keys, data]
    refuse_existing(*made)
    was_there = folder.exists()
    try:
        for private in (folder, keys, data):
            make_private_folder(private)
        database_key, passed = new_database_key()
        if not passed:
            write_new_private(keys / "database.key", database_key)
        write_new_private(keys / "signing.key", SigningKey.generate().seed())
        write_new_private(keys / "disclosure.key", DisclosureKey.generate().octets())
        Store.create(data / "node.db", database_key, MIGRATIONS).close()
        write_new_private(folder / FILE_NAME, template(node).encode())
    except BaseException:
        for path in made:
            _remove(path)
        if not was_there and folder.exists():
            folder.rmdir()
        raise
    return folder / FILE_NAME


def _remove(path: Path) -> None:
    if path.is_dir():
        for inner in path.iterdir():
            inner.unlink()
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


# --- join ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Joined:
    """What joining brought."""

    federation: FederationName
    hub_address: str
    certificate_ends: datetime


@dataclass(frozen=True)
class _Request:
    """The TLS key and the certificate request of a join that is under way, as kept on the disk."""

    key: TlsPrivateKey
    der: bytes


async def join(path: Path, invitation: Invitation, clock: Clock, *, rejoin: bool = False) -> Joined:
    """Enrol the node whose settings are at `path`. The caller has compared the root's fingerprint.

    `rejoin` gets a member whose certificate ended another one; it keeps its keys and everything else. Raises
    AlreadyExists, Expired, InvitationInvalid, ClockWrong, Unreachable, CertificateRefused …
    """
    config = load_config(path)
    if rejoin:
        _check_same_federation(config, invitation)
    elif config.federation:
        raise AlreadyExists(
            f"{config.node} has joined {config.federation} already.",
            remedy="To join another federation, make another node with `candor-node init`. If its "
            "certificate has ended, join again with --rejoin.",
        )
    invitation.check_unexpired(clock.now())
    keys = Keys.load(config)
    name = PeerName(invitation.federation, Role.NODE, config.node_id)
    request = _take_up(config, name) or _begin(config, name)
    try:
        response = await _enrol(config, invitation, keys, request, clock, rejoin)
    except Unreachable:
        raise  # the reply may have been lost: the same request again gets the same certificate
    except CandorError:
        forget_request(config)
        raise
    chain = _check(read_chain(list(response.certificate_chain)), invitation, name, request, clock.now())
    if response.federation != str(invitation.federation):
        raise IdentityMismatch("The hub that answered is that of another federation.")
    write_certificates(config.root_certificates_file, [invitation.root_certificate])
    replace_identity(config.tls_identity_file, TlsIdentity(request.key, chain))
    hub_address = response.hub_address or invitation.hub_address
    if rejoin:
        hub_address = config.hub_address  # a person may have changed what stands in the settings
        if config.enrolment_address != invitation.enrolment_address:
            replace_setting(path, "enrolment_address", invitation.enrolment_address)
    else:
        replace_text(path, fill_in(path.read_text("utf-8"), invitation, hub_address))
    forget_request(config)
    return Joined(invitation.federation, hub_address, chain[0].not_valid_after_utc)


@dataclass(frozen=True)
class EnrolledAgain:
    """What a hub that knows this node's keys has certified; nothing of the node has changed by it."""

    identity: TlsIdentity = field(repr=False)
    hub_address: str


async def enrol_again(
    config: NodeConfig, invitation: Invitation, keys: Keys, name: PeerName, clock: Clock
) -> EnrolledAgain:
    """A certificate from the hub of `invitation` for a member that it has the keys of (§8.7, §19.6).

    The request is kept until `forget_request`: a reply may be lost. Raises as `join`.
    """
    request = _take_up(config, name) or _begin(config, name)
    try:
        response = await _enrol(config, invitation, keys, request, clock, True)
    except Unreachable:
        raise
    except CandorError:
        forget_request(config)
        raise
    chain = _check(read_chain(list(response.certificate_chain)), invitation, name, request, clock.now())
    if response.federation != str(invitation.federation):
        raise IdentityMismatch("The hub that answered is that of another federation.")
    return EnrolledAgain(TlsIdentity(request.key, chain), response.hub_address or invitation.hub_address)


async def first_log_policy(path: Path, clock: Clock) -> str:
    """The SHA-256 of the policy that the log's first head is judged by, for people to compare (§15.4).

    What is shown is what the node will use. Raises Unreachable, or what is wrong with the hub's log.
    """
    config = load_config(path)
    own = config.own_log_policy()
    if own is not None:
        return fingerprint(own.text)
    identity = read_identity(config.tls_identity_file)
    roots = read_certificates(config.root_certificates_file)
    proxy = config.proxy_to(config.hub_address)
    hub = HubClient(config.hub_address, config.federation_name, identity, roots, clock, proxy=proxy)
    try:
        position, entry = await first_policy(LogFiles(hub.get_log), config.federation_name)
    finally:
        await hub.close()
    with open_store(config) as store:
        known = await store.run(log_store.first_policy)
        if known is None:
            await store.run(lambda db: log_store.keep_policy(db, 1, position, entry))
    return fingerprint(entry.text if known is None else known.text)


def _check_same_federation(config: NodeConfig, invitation: Invitation) -> None:
    """Raises InputInvalid, or IdentityMismatch when the root is not the one this node has always trusted."""
    if config.federation != str(invitation.federation) or str(invitation.ori) not in config.oris:
        raise InputInvalid(
            f"The invitation is for {invitation.ori} in {invitation.federation}; {config.node} stands for "
            f"{', '.join(config.oris) or 'nobody'} in {config.federation or 'no federation'}.",
            remedy="--rejoin is for a member whose certificate ended; a new node joins without it.",
        )
    if invitation.root_certificate not in read_certificates(config.root_certificates_file):
        raise IdentityMismatch(
            "The invitation carries another root certificate than the one that this node trusts.",
            remedy="Ask the hub's operator; a new root is a new federation.",
        )


async def _enrol(
    config: NodeConfig, invitation: Invitation, keys: Keys, request: _Request, clock: Clock, rejoin: bool
) -> enrolment_pb2.EnrolResponse:
    address = invitation.enrolment_address
    proxy = config.proxy_to(address)
    federation, node = invitation.federation, config.node_id
    message = enrolment_pb2.EnrolRequest(
        token=invitation.token,
        ori=str(invitation.ori),
        node=config.node,
        certificate_request=request.der,
        signing_key=keys.signing.public.value,
        disclosure_key=keys.disclosure.public,
        node_time_milliseconds=to_milliseconds(clock.now()),
        signature=sign_certificate_request(keys.signing, federation, node, request.der) if rejoin else b"",
    )
    shares = address == invitation.hub_address
    return await enrol(
        Door(federation, address, shares, [invitation.root_certificate], proxy), message, clock
    )


def _check(
    chain_der: Sequence[bytes], invitation: Invitation, name: PeerName, request: _Request, now: datetime
) -> tuple[x509.Certificate, ...]:
    """The chain, once it is known to be ours and to hang from the root that was compared."""
    identity = verify_peer(chain_der, [invitation.root_certificate], now)
    if identity.name != name or identity.public_key != request.key.public_key():
        raise IdentityMismatch("The hub certified somebody else.", remedy="Tell the hub's operator.")
    return tuple(load_certificate(der) for der in chain_der)


# --- what is kept while joining ------------------------------------------------------------------------


def _paths(config: NodeConfig) -> tuple[Path, Path]:
    folder = config.tls_identity_file.parent
    return folder / "joining.key", folder / "joining.csr"


def _begin(config: NodeConfig, name: PeerName) -> _Request:
    key_path, request_path = _paths(config)
    forget_request(config)
    key = new_tls_key()
    der = certificate_request(key, name.federation, config.node_id)
    write_new_key(key_path, key)
    write_new_private(request_path, der)
    return _Request(key, der)


def _take_up(config: NodeConfig, name: PeerName) -> _Request | None:
    """The request of an earlier attempt, if it is for the same name."""
    key_path, request_path = _paths(config)
    if not (key_path.exists() and request_path.exists()):
        return None
    try:
        key, der = read_key(key_path), read_private(request_path)
        public = check_request(der, name)
    except CandorError:
        return None
    if public != key.public_key() or not isinstance(key, TlsPrivateKey):
        return None
    return _Request(key, der)


def forget_request(config: NodeConfig) -> None:
    """The hub's answer is on the disk, or final: another attempt begins anew."""
    for path in _paths(config):
        # Asked first: on a read-only disk even a name that is not there cannot be removed.
        if path.exists():
            path.unlink()
