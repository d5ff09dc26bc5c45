"""Evidence against the hub, an asker, or a witness (§17.1)."""

from __future__ import annotations

from candor_verify import entries, names
from candor_verify.case import Case, Check, NotEvidence
from candor_verify.checkpoint import Checkpoint
from candor_verify.errors import Malformed, NotLogged
from candor_verify.form import Logged, same
from candor_verify.merkle import CompactRange, leaf_hash, verify_consistency
from candor_verify.names import HUB, at, say_time
from candor_verify.note import find_line
from candor_verify.proof import MAX_HASHES
from candor_verify.receipt import signed_lookup
from candor_verify.statements import Heartbeat, Lookup, parse_heartbeat, parse_lookup

MAX_RANGE = 2**20
LEAD_MILLISECONDS = 10 * 60 * 1000


def _hub(case: Case) -> None:
    if case.accused != HUB:
        raise Malformed("This kind of evidence accuses the hub.")


def _dropped_lookup(case: Case) -> list[str]:
    _hub(case)
    part, owner = case.fields.part("lookup"), case.fields.node("owner")
    said = parse_lookup(part.body, check_elements=False)
    if said.epoch_of(owner) is None:
        raise NotEvidence("The lookup did not ask the owner.")
    asker_member = case.member("asker_member", said.asker)
    owner_member = case.member("owner_member", owner)
    lookup = signed_lookup(part, case.federation, asker_member)
    requests, beat_logged = case.fields.logged("request_logged"), case.fields.logged("heartbeat_logged")
    requests.verify(case.federation, case.judge)
    beat_logged.verify(case.federation, case.judge)
    entry, statement = entries.parse_entry(requests.entry), entries.parse_entry(beat_logged.entry)
    if not isinstance(entry, entries.Requests):
        raise Malformed("The logged entry is no list of lookups.")
    if not isinstance(statement, entries.Statement) or statement.context != "heartbeat":
        raise Malformed("The logged statement is no heartbeat.")
    commitment = entries.request_commitment(part)
    if commitment not in entry.commitments:
        raise NotLogged("The logged entry does not hold the commitment to the lookup.")
    statement.part.verify("heartbeat", owner_member.signing_key, owner)
    beat = parse_heartbeat(statement.part.body)
    _check_covers(case, beat, lookup, requests, beat_logged, owner)
    number = _commitments_before(case, beat, requests) + entry.commitments.index(commitment)
    if beat.bit(number):
        raise NotEvidence("The heartbeat says that the lookup was received.")
    return [
        f"lookup {lookup.lookup_id.hex()} of {lookup.asker}, entry {requests.proof.index} of {beat.origin},",
        f"names {owner} and is not among what {owner} received by {say_time(at(beat.issued))},",
        f"as its logged heartbeat {beat.number} says; it expires {say_time(at(lookup.expires))}",
    ]


def _check_covers(
    case: Case, beat: Heartbeat, lookup: Lookup, requests: Logged, beat_logged: Logged, owner: str
) -> None:
    """That the heartbeat is the owner's, about this entry, and early enough for the hub to have known."""
    same("parties of the heartbeat", (beat.federation, beat.node), (case.federation, owner))
    origins = (requests.proof.checkpoint.origin, beat_logged.proof.checkpoint.origin)
    same("origin of the heartbeat", beat.origin, *origins)
    if not beat.start <= requests.proof.index < beat.end <= beat_logged.proof.index:
        raise NotEvidence("The heartbeat is not about the entry of the lookup.")
    if beat.issued > lookup.expires - LEAD_MILLISECONDS:
        raise NotEvidence("The lookup had expired, or nearly, when the heartbeat was made.")


def _commitments_before(case: Case, beat: Heartbeat, requests: Logged) -> int:
    """Commitments of the range before the lookup's entry, from entries shown to be all of them."""
    index, head = requests.proof.index, requests.proof.checkpoint
    between = case.fields.list_of_octets("entries", MAX_RANGE)
    if len(between) != index - beat.start:
        raise Malformed("The file does not show every entry of the range before the lookup's.")
    border = CompactRange(beat.start, case.fields.list_of_octets("prefix", MAX_HASHES, 32))
    border.extend([leaf_hash(octets) for octets in (*between, requests.entry)])
    proof = case.fields.list_of_octets("consistency", MAX_HASHES, 32)
    verify_consistency(index + 1, head.size, proof, border.root(), head.root)
    lists = (entries.parse_entry(octets) for octets in between)
    return sum(len(each.commitments) for each in lists if isinstance(each, entries.Requests))


def _forked_log(case: Case) -> list[str]:
    _hub(case)
    first, second = case.head_pair()
    proof = case.fields.list_of_octets("proof", MAX_HASHES, 32)
    prefix_root = case.fields.octets("prefix_root", 32)
    # A tree of no entries begins every tree, so that a "proof" from it would show nothing.
    if not 1 <= first.size <= second.size:
        raise Malformed("The first head is of one entry at least, and not larger than the second.")
    verify_consistency(first.size, second.size, proof, prefix_root, second.root)
    if prefix_root == first.root:
        raise NotEvidence("The second head goes on from the first.")
    return [
        f"{first.origin}: a head of {first.size} entries with root {first.root.hex()},",
        f"and one of {second.size} whose first {first.size} entries have root {prefix_root.hex()}",
    ]


def _rolled_back_log(case: Case) -> list[str]:
    _hub(case)
    first, second = case.head_pair()
    early, late = (_signed_seconds(head) for head in (first, second))
    if early >= late or first.size <= second.size:
        raise NotEvidence("The second head is not both later and smaller than the first.")
    return [
        f"{first.origin}: {first.size} entries signed at {say_time(names.at_seconds(early))},",
        f"and {second.size} at {say_time(names.at_seconds(late))}",
    ]


def _signed_seconds(head: Checkpoint) -> int:
    """The log's own time, in the second line, which was verified (`check_lines`)."""
    return int.from_bytes(head.signatures[1].payload[:8], "big")


def _false_directory(case: Case) -> list[str]:
    _hub(case)
    directory = case.directory(case.fields.part("directory"), case.fields.list_of_octets("chain", 4))
    logged = case.fields.logged("directory_logged")
    logged.verify(case.federation, case.judge)
    entry = entries.parse_entry(logged.entry)
    if not isinstance(entry, entries.DirectoryEntry):
        raise Malformed("The logged entry is not that of a directory.")
    if entry.version != directory.version:
        raise NotEvidence("The logged entry is that of another version.")
    differing = [
        what
        for what, said, held in (
            ("time", entry.issued, directory.issued),
            ("chain", entry.chain_digest, directory.chain_digest),
            ("state", entry.state, entries.state_of(directory)),
        )
        if said != held
    ]
    if not differing:
        raise NotEvidence("The directory is the one that the log holds.")
    return [f"directory {directory.version} was signed with another {' and '.join(differing)} than is logged"]


def _two_directories(case: Case) -> list[str]:
    _hub(case)
    chain = case.fields.list_of_octets("chain", 4)
    parts = [case.fields.part(key) for key in ("first", "second")]
    first, second = (case.directory(part, chain) for part in parts)
    if first.version != second.version or parts[0].body == parts[1].body:
        raise NotEvidence("The directories are one, or of different versions.")
    return [f"two directories of version {first.version} were signed"]


def _two_lookups(case: Case) -> list[str]:
    asker = case.member("asker_member", names.check_node(case.accused))
    parts = [case.fields.part(key) for key in ("first", "second")]
    first, second = (signed_lookup(part, case.federation, asker) for part in parts)
    if first.lookup_id != second.lookup_id or parts[0].body == parts[1].body:
        raise NotEvidence("The lookups are one, or have different ids.")
    return [f"two lookups were signed under the id {first.lookup_id.hex()}"]


def _two_cosignatures(case: Case) -> list[str]:
    first, second = case.head_pair()
    if first.size != second.size or first.root == second.root:
        raise NotEvidence("The heads are not of one size with two roots.")
    # By one key: a witness that was restored has new ones, and forgot what it signed with the old ones.
    own = [key for key in case.judge.witness_keys() if key.name == case.accused]
    if not any(all(find_line(key, head.signatures[2:]) for head in (first, second)) for key in own):
        raise NotEvidence("The accused did not cosign both heads with one key.")
    return [f"{first.origin}: two roots of size {first.size} were cosigned by {case.accused}"]


KINDS: dict[str, Check] = {
    "dropped-lookup": _dropped_lookup,
    "forked-log": _forked_log,
    "rolled-back-log": _rolled_back_log,
    "false-directory": _false_directory,
    "two-directories": _two_directories,
    "two-lookups": _two_lookups,
    "two-cosignatures": _two_cosignatures,
}
