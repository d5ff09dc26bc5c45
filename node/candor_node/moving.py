"""Going over to the successor of a hub that is gone (docs/protocol.md §19.4, docs/succession.md).

    an invitation, whose root a person compared -> a certificate of the successor, beside the old one -> its
    log read beyond what this node has seen -> shown to a person -> consent stored -> settings changed

Rules of this file:
- before the person agrees only files in `keys/moving` have changed, and how far the old log was read;
- the consent is stored before the settings change: a move that was interrupted goes on where it was;
- whoever the successor is, it can neither take back what this node has seen of the log, nor change a key.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from candor_certs.invitation import Invitation
from candor_certs.names import PeerName, Role
from candor_certs.store import (
    TlsIdentity,
    make_private_folder,
    read_certificates,
    read_identity,
    replace_identity,
    write_certificates,
)
from candor_node import directory_store, joining
from candor_node.clock import Clock
from candor_node.config import NodeConfig, load_config
from candor_node.founding import Keys, open_store
from candor_node.hub_client import HubClient
from candor_node.settings_file import replace_setting
from candor_node.store import Database, Store
from candor_node.tlog import log_store, succession_store, witness_store
from candor_node.tlog.folding import Self
from candor_node.tlog.follower import Follower
from candor_node.tlog.going_over import Succession
from candor_node.tlog.succession_store import KeptConsent
from candor_node.tlog.taking_up import Following
from candor_proto.errors import (
    InputInvalid,
    KeyMismatch,
    LogInconsistent,
    Rollback,
    UnknownObject,
    WrongStanding,
)
from candor_proto.ids import NodeId
from candor_proto.tlog.entries import Entry
from candor_proto.tlog.policy import parse_policy
from candor_proto.tlog.statements import SUCCESSION, SuccessionConsent
from candor_proto.tlog.succession import Successor, check_first_policy, check_opening, consents

STAGING = "moving"


@dataclass(frozen=True)
class Prospect:
    """What a person sees before agreeing: where the log ends, who is a member, who witnesses from now on."""

    federation: str
    hub_address: str
    fingerprint: str
    shard: int
    size: int
    root: str
    seen_before: int
    members: tuple[tuple[NodeId, str, str], ...]
    witnesses: tuple[str, ...]
    quorum: str
    policy_sha256: str
    consented: tuple[NodeId, ...]
    active: int
    # Why the last head does not count by itself; empty when it has its quorum.
    unwitnessed: str
    # Entries that this node's witness signed a head over, has never read, and that the successor lacks.
    lost: int = 0


Agree = Callable[[Prospect], None]


@dataclass(frozen=True)
class _Staged:
    """The successor's certificate for this node, beside the one in use."""

    folder: Path = field(repr=False)
    identity: TlsIdentity = field(repr=False)
    root: x509.Certificate = field(repr=False)
    hub_address: str

    def forget(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class Accepted:
    """What a person said beforehand that the successor may lack (§19.4)."""

    unwitnessed: bool = False
    lost: bool = False


STRICT = Accepted()


async def move(
    path: Path, invitation: Invitation, clock: Clock, agree: Agree, accepted: Accepted = STRICT
) -> Prospect | None:
    """Go over to the successor that `invitation` names; the node must not run. The caller has compared the
    root's fingerprint; `agree` raises unless a person agrees with what it is shown. None when that was done
    before, and only the settings had to be changed.

    Raises InputInvalid, WrongStanding, Rollback, LogInconsistent, LogUnwitnessed, KeyMismatch, what `join`
    raises, and what `agree` raises.
    """
    config = load_config(path)
    if config.federation != str(invitation.federation) or str(invitation.ori) not in config.oris:
        raise InputInvalid(
            f"The invitation is for {invitation.ori} in {invitation.federation}; {config.node} stands for "
            f"{', '.join(config.oris) or 'nobody'} in {config.federation or 'no federation'}.",
            remedy="`move` is for members of a federation whose hub is gone; others use `join`.",
        )
    keys = Keys.load(config)
    staged = await _stage(config, keys, invitation, clock)
    root = hashlib.sha256(staged.root.public_bytes(Encoding.DER)).digest()
    with open_store(config) as store:
        # What was interrupted behind the consent needs no second one.
        if await store.run(lambda db: _was_interrupted(db, root)):
            _settle(path, config, staged, invitation)
            return None
        prospect = await _consent(config, keys, staged, invitation, clock, store, agree, accepted)
    _settle(path, config, staged, invitation)
    return prospect


def _was_interrupted(db: Database, root: bytes) -> bool:
    """Whether the consent to the successor with this root was stored, and the node has not gone over yet.

    A second succession may have the root of the first: that one's consent says nothing of it.
    """
    given, followed = succession_store.newest(db), log_store.last_shard(db)
    if given is None or given.consent.root_certificate_digest != root:
        return False
    return followed is None or followed.number < given.next_shard


# --- a certificate of the successor --------------------------------------------------------------------


async def _stage(config: NodeConfig, keys: Keys, invitation: Invitation, clock: Clock) -> _Staged:
    """The certificate of an earlier attempt, or a new one."""
    folder = config.tls_identity_file.parent / STAGING
    identity_file, root_file, address_file = folder / "tls.pem", folder / "root.crt", folder / "hub_address"
    if address_file.exists() and read_certificates(root_file) == (invitation.root_certificate,):
        identity = read_identity(identity_file)
        if identity.chain[0].not_valid_after_utc > clock.now():
            return _Staged(folder, identity, invitation.root_certificate, address_file.read_text("utf-8"))
    if folder.exists():
        shutil.rmtree(folder)
    invitation.check_unexpired(clock.now())
    name = PeerName(invitation.federation, Role.NODE, config.node_id)
    enrolled = await joining.enrol_again(config, invitation, keys, name, clock)
    make_private_folder(folder)
    replace_identity(identity_file, enrolled.identity)
    write_certificates(root_file, [invitation.root_certificate])
    address_file.write_text(enrolled.hub_address, "utf-8")
    joining.forget_request(config)
    return _Staged(folder, enrolled.identity, invitation.root_certificate, enrolled.hub_address)


# --- what it begins with -------------------------------------------------------------------------------


async def _consent(
    config: NodeConfig,
    keys: Keys,
    staged: _Staged,
    invitation: Invitation,
    clock: Clock,
    store: Store,
    agree: Agree,
    accepted: Accepted,
) -> Prospect:
    federation, own = config.federation_name, config.node_id
    seen = await store.run(log_store.last_shard)
    if seen is None:
        raise WrongStanding(
            "This node has never followed the log of its federation, so it has nothing to go over with.",
            remedy="Ask the successor's operator for an invitation as a new member.",
        )
    proxy = config.proxy_to(staged.hub_address)
    hub = HubClient(staged.hub_address, federation, staged.identity, [staged.root], clock, proxy=proxy)
    try:
        follower = Follower(
            hub.get_log,
            store,
            federation,
            Self(own, keys.signing.public.value, keys.disclosure.public),
            clock,
            config.own_log_policy(),
        )
        following, lack = await follower.read_to_end(unwitnessed=accepted.unwitnessed)
        successor, entries = await _successor(hub, store, config, clock, following)
    finally:
        await hub.close()
    lost = await store.run(lambda db: _check_cosigned(db, following, accepted))
    await store.run(lambda db: _check_keys(db, successor))
    members = consents(successor, entries, lambda node: _signing_key(following, node))
    policy = parse_policy(successor.policy.text)
    prospect = Prospect(
        str(federation), staged.hub_address, invitation.fingerprint, following.shard.number,
        successor.previous_size, successor.previous_root.hex(), seen.seen_size,
        tuple((one.node, one.name, one.status.name.lower()) for one in successor.members),
        tuple(witness.name for witness in policy.witnesses), policy.quorum,
        hashlib.sha256(successor.policy.text).hexdigest(), tuple(sorted(members)), len(successor.active),
        lack.message if lack else "", lost,
    )  # fmt: skip
    agree(prospect)
    now = clock.now()
    ed25519, ml_dsa = successor.keys
    consent = SuccessionConsent(
        federation, own, following.shard.number, successor.previous_size, successor.previous_root,
        hashlib.sha256(staged.root.public_bytes(Encoding.DER)).digest(), ed25519.key, ml_dsa.key,
        successor.policy_digest, now,
    )  # fmt: skip

    def keep(db: Database) -> None:
        kept = KeptConsent(consent, keys.signing.sign(SUCCESSION, consent.encode()))
        succession_store.keep(db, kept, successor.policy, now)

    await store.run(keep)
    return prospect


async def _successor(
    hub: HubClient, store: Store, config: NodeConfig, clock: Clock, following: Following
) -> tuple[Successor, list[Entry]]:
    """What the hub's next shard says of itself; raises WrongStanding or LogInconsistent."""
    from candor_node.tlog.files import LogFiles

    shard = following.shard
    reader = Succession(LogFiles(hub.get_log), store, config.federation_name, clock, own=False)
    try:
        successor, entries = await reader.read(shard.number + 1)
    except UnknownObject:
        raise WrongStanding(
            f"This hub does not continue the log after shard {shard.number}.",
            remedy="It is no successor, or has only begun: ask its operator, and try again in a minute.",
        ) from None
    if (successor.previous_size, successor.previous_root) != (shard.entries.size, shard.entries.root()):
        raise LogInconsistent(
            f"The successor continues shard {shard.number} from {successor.previous_size} entries; this node "
            f"has read {shard.entries.size}, and they are not the same ones.",
            remedy="Do not go over. Tell the other members: the successor was founded from another log.",
        )
    check_first_policy(successor, following.state.shard.policy_version)
    check_opening(successor, entries, following.state)
    return successor, entries


def _check_cosigned(db: Database, following: Following, accepted: Accepted) -> int:
    """How many entries this node's witness signed a head over that the successor lacks; 0 without `lost`.

    It signs before it reads. What was read is kept, so that a copy with it is to be had; what nobody had read
    when the hub died is nowhere, and only a person can say so. Raises Rollback or LogInconsistent.
    """
    entries, cosigned = following.shard.entries, witness_store.cosigned(db, following.shard.origin)
    if cosigned is None:
        return 0
    head = cosigned.checkpoint
    if head.size == entries.size and head.root != entries.root():
        raise LogInconsistent(
            f"This node's witness has signed another head of {head.origin} with {head.size} entries.",
            remedy="Do not go over. Tell the other members: the successor was founded from another log.",
        )
    lost = max(0, head.size - entries.size)
    if lost and not accepted.lost:
        raise Rollback(
            f"The successor continues {entries.size} entries of {head.origin}; this node's witness has "
            f"signed a head with {head.size}, and has not read the last {lost}.",
            remedy=f"Ask every member how many entries its copy holds (`candor-node log copy`). If one has "
            f"{head.size}, the successor's operator founds it from that one. If nobody has, they were lost "
            "with the hub: go over with --accept-lost.",
        )
    return lost


def _check_keys(db: Database, successor: Successor) -> None:
    """Raises KeyMismatch when a member has other keys there than this node has seen."""
    known = directory_store.seen(db).keys
    for member in successor.members:
        seen = known.get(member.node)
        if seen is not None and (seen.signing_key.value, seen.disclosure_key) != (
            member.signing_key,
            member.disclosure_key,
        ):
            raise KeyMismatch(
                f"The successor names other keys for {member.node} than this node has seen.",
                remedy="Do not go over. Tell the other members.",
            )


def _signing_key(following: Following, node: NodeId) -> bytes | None:
    row = following.state.nodes.get(node)
    return row.signing_key if row else None


# --- from now on ---------------------------------------------------------------------------------------


def _settle(path: Path, config: NodeConfig, staged: _Staged, invitation: Invitation) -> None:
    """The successor's root, certificate and address in place of the old ones; can be repeated."""
    write_certificates(config.root_certificates_file, [staged.root])
    replace_identity(config.tls_identity_file, staged.identity)
    replace_setting(path, "enrolment_address", invitation.enrolment_address)
    replace_setting(path, "hub_address", staged.hub_address)
    staged.forget()
