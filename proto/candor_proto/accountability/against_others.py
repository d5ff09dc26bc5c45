"""Checks of evidence against the hub and against witnesses (docs/protocol.md §17.1).

As in `against_owner`: each says what the evidence shows, or raises NotEvidence or what a part raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from candor_proto import merkle
from candor_proto.accountability.evidence import Evidence
from candor_proto.accountability.trust import Trust, signed_lookup
from candor_proto.canonical import digest
from candor_proto.directory import Directory
from candor_proto.errors import IdentityMismatch, MalformedMessage, NotEvidence
from candor_proto.ids import NodeId
from candor_proto.merkle import CompactRange
from candor_proto.signing import SignedStatement
from candor_proto.statements import Lookup
from candor_proto.tlog.checkpoint import Checkpoint, SignedCheckpoint
from candor_proto.tlog.entries import DirectoryEntry, Requests, Statement, parse_entry
from candor_proto.tlog.note import VerifierKey
from candor_proto.tlog.state import state_of
from candor_proto.tlog.statements import HEARTBEAT, Heartbeat

# A heartbeat so much older than a lookup's end was logged while the lookup had not expired (§14.8).
HEARTBEAT_MARGIN = timedelta(minutes=10)


# --- a lookup that never arrived -------------------------------------------------------------------------


def dropped_lookup(evidence: Evidence, trust: Trust) -> str:
    owner = evidence.node("owner")
    statement = evidence.part("lookup")
    asker = Lookup.decode(statement.body).asker
    asker_key = trust.signing_key(evidence.logged("asker_member"), asker, evidence.federation)
    lookup = signed_lookup(statement, evidence.federation, asker, asker_key)
    if lookup.epoch_for(owner) is None:
        raise NotEvidence("The lookup does not name this owner.")
    heartbeat = _heartbeat(evidence, trust, owner)
    if heartbeat.issued_at + HEARTBEAT_MARGIN > lookup.expires_at:
        raise NotEvidence("The heartbeat was made when the lookup had ended, or nearly.")
    logged = evidence.logged("request_logged")
    position = trust.request_position(logged, statement, evidence.federation)
    signed, index = logged.proof.signed, logged.proof.index
    if heartbeat.origin != signed.checkpoint.origin or not heartbeat.start <= index < heartbeat.end:
        raise NotEvidence("The heartbeat is not about the entry that names the lookup.")
    before = _commitments_before(evidence, heartbeat, logged.entry, index, signed.checkpoint)
    if heartbeat.has_received(before + position):
        raise NotEvidence("The heartbeat says that the lookup arrived.")
    return (
        f"the hub logged lookup {lookup.lookup_id} of {asker} and a heartbeat of {owner}, made before the"
        " lookup expired, by which it had never arrived there"
    )


def _heartbeat(evidence: Evidence, trust: Trust, owner: NodeId) -> Heartbeat:
    entry = trust.entry(evidence.logged("heartbeat_logged"), Statement, evidence.federation)
    if entry.context != HEARTBEAT:
        raise MalformedMessage("A logged statement that is no heartbeat.")
    key = trust.signing_key(evidence.logged("owner_member"), owner, evidence.federation)
    heartbeat = Heartbeat.decode(entry.signed.verify(HEARTBEAT, key, str(owner)))
    if (heartbeat.federation, heartbeat.node) != (evidence.federation, owner):
        raise IdentityMismatch("A heartbeat of another member or federation.")
    return heartbeat


def _commitments_before(
    evidence: Evidence, heartbeat: Heartbeat, entry: bytes, index: int, checkpoint: Checkpoint
) -> int:
    """How many commitments to lookups stand in a heartbeat's range before entry `index`, proved to be all."""
    entries = evidence.octets_list("entries")
    if len(entries) != index - heartbeat.start:
        raise MalformedMessage("The entries shown are not those from the heartbeat's first one on.")
    known = CompactRange(heartbeat.start, evidence.octets_list("prefix"))
    upto = known.extend(merkle.leaf_hash(each) for each in (*entries, entry))
    merkle.verify_consistency(
        upto.size, checkpoint.size, evidence.octets_list("consistency"), upto.root(), checkpoint.root
    )
    parsed = (parse_entry(each) for each in entries)
    return sum(len(each.commitments) for each in parsed if isinstance(each, Requests))


# --- the log ---------------------------------------------------------------------------------------------


def _checkpoints(evidence: Evidence) -> tuple[SignedCheckpoint, SignedCheckpoint]:
    first, second = evidence.checkpoint("first"), evidence.checkpoint("second")
    if first.checkpoint.origin != second.checkpoint.origin:
        raise NotEvidence("Two checkpoints of two logs are no contradiction.")
    return first, second


def forked_log(evidence: Evidence, trust: Trust) -> str:
    first, second = _checkpoints(evidence)
    trust.checkpoint(first, evidence.federation)
    trust.checkpoint(second, evidence.federation)
    smaller, larger, proof = first.checkpoint, second.checkpoint, evidence.octets_list("proof")
    prefix_root = evidence.octets("prefix_root")
    if not 1 <= smaller.size <= larger.size:
        raise NotEvidence("Nothing follows from an empty log, or from one that is larger than the second.")
    merkle.verify_consistency(smaller.size, larger.size, proof, prefix_root, larger.root)
    if prefix_root == smaller.root:
        raise NotEvidence("The second checkpoint continues the first.")
    return (
        f"the hub signed two logs of {smaller.origin}: one of {smaller.size} entries, and one of"
        f" {larger.size} that begins with others"
    )


def rolled_back_log(evidence: Evidence, trust: Trust) -> str:
    first, second = _checkpoints(evidence)
    earlier, later = (
        trust.checkpoint(first, evidence.federation),
        trust.checkpoint(second, evidence.federation),
    )
    if not earlier < later or not first.checkpoint.size > second.checkpoint.size:
        raise NotEvidence("The later checkpoint is no smaller than the earlier one.")
    return (
        f"the hub signed {first.checkpoint.size} entries of {first.checkpoint.origin} at"
        f" {earlier:%Y-%m-%d %H:%M:%S} UTC and {second.checkpoint.size} at {later:%Y-%m-%d %H:%M:%S}"
    )


def two_cosignatures(evidence: Evidence, trust: Trust) -> str:
    first, second = _checkpoints(evidence)
    trust.checkpoint(first, evidence.federation)
    trust.checkpoint(second, evidence.federation)
    if first.checkpoint.size != second.checkpoint.size or first.checkpoint.root == second.checkpoint.root:
        raise NotEvidence("The two checkpoints are of two sizes, or have one root.")
    # Both were verified above. A witness that was restored has new keys, and does not know what it signed
    # with the old ones: two keys of one name accuse nobody.
    own = [one.key for one in trust.policy.witnesses if one.key.name == evidence.accused]
    if not any(_signed_by(key, first) and _signed_by(key, second) for key in own):
        raise NotEvidence(f"{evidence.accused} did not cosign both checkpoints with one key.")
    return (
        f"the witness {evidence.accused} cosigned two roots of {first.checkpoint.size} entries of"
        f" {first.checkpoint.origin}"
    )


def _signed_by(key: VerifierKey, signed: SignedCheckpoint) -> bool:
    return any(line.is_by(key) for line in signed.signatures)


# --- the directory ---------------------------------------------------------------------------------------


def chain_digest(chain: Sequence[bytes]) -> bytes:
    """What a directory says of the certificates that it comes with (§17.1)."""
    return digest("certificate-chain", *chain)


def _directory(evidence: Evidence, trust: Trust, statement: SignedStatement) -> Directory:
    """A directory signed under the federation's root, as of its own time."""
    chain = evidence.octets_list("chain")
    directory = Directory.decode(statement.body)
    key = trust.directory_key(chain, directory.issued_at)
    statement.verify("directory", key, "the hub")
    if directory.federation != evidence.federation:
        raise IdentityMismatch("A directory of another federation.")
    if directory.chain_digest.value != chain_digest(chain):
        raise IdentityMismatch("A directory that came with other certificates.")
    return directory


def false_directory(evidence: Evidence, trust: Trust) -> str:
    directory = _directory(evidence, trust, evidence.part("directory"))
    entry = trust.entry(evidence.logged("directory_logged"), DirectoryEntry, evidence.federation)
    if entry.version != directory.version:
        raise NotEvidence("The log entry is that of another version of the directory.")
    shown = (directory.issued_at, directory.chain_digest.value, state_of(directory))
    if shown == (entry.issued_at, entry.chain_digest, entry.state):
        raise NotEvidence("The directory is the one that was logged.")
    return f"the hub signed a directory of version {directory.version} that is not the one it logged"


def two_directories(evidence: Evidence, trust: Trust) -> str:
    first = _directory(evidence, trust, evidence.part("first"))
    second = _directory(evidence, trust, evidence.part("second"))
    if first.version != second.version:
        raise NotEvidence("Two directories of two versions are no contradiction.")
    if evidence.part("first").body == evidence.part("second").body:
        raise NotEvidence("The two directories are one.")
    return f"the hub signed two directories of version {first.version}"
