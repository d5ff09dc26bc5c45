"""Misbehaviour of each kind of docs/protocol.md §17.1, and the evidence that it yields: for tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from candor_proto.accountability.evidence import Evidence, Item, Kind
from candor_proto.directory import IndexHead
from candor_proto.ids import KeyClass, NodeId
from candor_proto.merkle import root
from candor_proto.sealed_index import EntryKeys, check_blob_commitment
from candor_proto.segment import address, build
from candor_proto.statements import Evaluation
from candor_proto.tlog import tiles
from candor_proto.tlog.checkpoint import Checkpoint
from candor_proto.tlog.statements import witness_name
from tests.accountable import CHAIN, OWNER, RECORD, VICTIM, Court
from tests.indexes import ask
from tests.log_scene import LogScene
from tests.parties import FEDERATION, NOW

LATER = NOW + timedelta(minutes=1)


def wrong_key(court: Court) -> Evidence:
    """The owner evaluates under another key for this asker."""
    other = replace(court.owner, seed=bytes(32))
    answer = court.sign_answer(other.evaluate(court.draft.lookup))
    items: dict[str, Item] = {
        "lookup": court.lookup,
        "answer": answer,
        "head": court.signed_head,
        "head_logged": court.part("head"),
        **court.members(),
    }
    return court.evidence(Kind.WRONG_KEY, items)


def wrong_proof_of_one_class(court: Court) -> Evidence:
    """One element of one class is another one: the batch proof of that class does not hold."""
    good = court.answer.evaluations[KeyClass.WEAK]
    elements = (good.elements[1], good.elements[0], *good.elements[2:])
    evaluations = {**court.answer.evaluations, KeyClass.WEAK: Evaluation(elements, good.proof)}
    answer = court.sign_answer(replace(court.answer, evaluations=evaluations))
    return replace(wrong_key(court), items={**wrong_key(court).items, "answer": answer})


def wrong_epoch(court: Court) -> Evidence:
    next_epoch = replace(court.owner, epoch=2)
    items: dict[str, Item] = {
        "lookup": court.lookup,
        "answer": court.sign_answer(next_epoch.evaluate(court.draft.lookup)),
        **court.members(),
    }
    return court.evidence(Kind.WRONG_EPOCH, items)


def two_heads_of_one_sequence(court: Court) -> Evidence:
    return two_heads(court, replace(court.head, issued_at=LATER))


def two_heads(court: Court, *heads: IndexHead) -> Evidence:
    first, second = (court.head, *heads) if len(heads) == 1 else heads
    items: dict[str, Item] = {
        "first": court.sign_head(first),
        "second": court.sign_head(second),
        "owner_member": court.part("member owner"),
    }
    return court.evidence(Kind.TWO_HEADS, items)


def two_sets_of_keys(court: Court) -> Evidence:
    keys = {key_class: pair.public for key_class, pair in replace(court.owner, seed=bytes(32)).keys().items()}
    return two_heads(court, replace(court.head, sequence=2, keys=keys))


def back_to_an_old_epoch(court: Court) -> Evidence:
    return two_heads(
        court, replace(court.head, sequence=5, epoch=3), replace(court.head, sequence=6, epoch=2)
    )


def malformed_segment(court: Court, shown: bytes = b"", **stated: int) -> Evidence:
    octets = shown or court.segment[:-1]
    ref = replace(court.head.segments[0], address=address(octets), **{"octets": len(octets), **stated})
    items: dict[str, Item] = {
        "head": court.sign_head(replace(court.head, segments=(ref,))),
        "segment": octets,
        "owner_member": court.part("member owner"),
    }
    return court.evidence(Kind.MALFORMED_SEGMENT, items)


def segment_of_another_number(court: Court) -> Evidence:
    return malformed_segment(court, court.segment, number=2)


def segment_of_another_length(court: Court) -> Evidence:
    return malformed_segment(court, court.segment, octets=len(court.segment) + 1)


def segment_of_another_epoch(court: Court) -> Evidence:
    evidence = malformed_segment(court, court.segment)
    head = replace(court.head, epoch=2)
    return replace(evidence, items={**evidence.items, "head": court.sign_head(head)})


def with_blob(court: Court, blob: bytes) -> Evidence:
    """A segment in which the first person's blob is this one, said to be malformed."""
    first, *others = court.people
    segment = court.sealer().segment([replace(first, blob=blob), *others])
    items: dict[str, Item] = {
        "head": court.sign_head(court.head_of(segment)),
        "segment": segment,
        "blob": first.secrets.blob_id.value,
        "secret": first.secrets.secret,
        "owner_member": court.part("member owner"),
    }
    return court.evidence(Kind.MALFORMED_BLOB, items)


def malformed_blob(court: Court) -> Evidence:
    blob = court.people[0].blob
    return with_blob(court, blob[:-1] + bytes([blob[-1] ^ 1]))


def blob_of_another_version(court: Court) -> Evidence:
    first = court.people[0]
    key, nonce = check_blob_commitment(first.blob, first.secrets.secret, court.index_owner)
    text = AESGCM(key).decrypt(nonce, first.blob[48:], first.blob[:48])
    return with_blob(court, first.blob[:48] + AESGCM(key).encrypt(nonce, b"\2" + text[1:], first.blob[:48]))


def garbage_shares(court: Court) -> Evidence:
    """One label's entries of the first person carry random octets in place of its shares."""
    first, *others = court.people
    asked = ask(VICTIM, court.draft.lookup.shape, court.owner.keys())
    name = "L3+Dc"
    output = next(output for slot, output in asked if slot.label is not None and slot.label.name == name)
    keys = EntryKeys(output, court.index_owner)
    garbage = keys.seal(1, 0, first.secrets.blob_id, [bytes([n]) * 16 for n in range(3)])
    entries = tuple(
        (label, garbage if entry[:16] == keys.tag(1, 0) else entry) for label, entry in first.entries
    )
    assert entries != first.entries
    segment = court.sealer().segment([replace(first, entries=entries), *others])
    items: dict[str, Item] = {
        "head": court.sign_head(court.head_of(segment)),
        "blob_segment": segment,
        "entry_segment": None,
        "blob": first.secrets.blob_id.value,
        "secret": first.secrets.secret,
        "output": output,
        "counter": 0,
        "owner_member": court.part("member owner"),
    }
    return court.evidence(Kind.GARBAGE_SHARES, items)


def malformed_entry(court: Court) -> Evidence:
    """An entry of the first person, spoilt behind its tag."""
    first, *others = court.people
    evidence = garbage_shares(court)
    keys = EntryKeys(evidence.octets("output"), court.index_owner)
    entries = tuple(
        (label, entry[:-1] + bytes([entry[-1] ^ 1]) if entry[:16] == keys.tag(1, 0) else entry)
        for label, entry in first.entries
    )
    segment = court.sealer().segment([replace(first, entries=entries), *others])
    items: dict[str, Item] = {
        "head": court.sign_head(court.head_of(segment)),
        "segment": segment,
        "output": evidence.items["output"],
        "counter": 0,
        "owner_member": court.part("member owner"),
    }
    return court.evidence(Kind.MALFORMED_ENTRY, items)


def garbage_in_another_segment(court: Court) -> Evidence:
    first = court.people[0]
    output = bytes(range(64))
    garbage = EntryKeys(output, court.index_owner).seal(2, 0, first.secrets.blob_id, [bytes(16)] * 3)
    second = build(court.index_owner, 2, [garbage], [], [])
    evidence = garbage_shares(court)
    head = court.sign_head(court.head_of(court.segment, second))
    changes: dict[str, Item] = {
        "head": head,
        "blob_segment": court.segment,
        "entry_segment": second,
        "output": output,
    }
    return replace(evidence, items={**evidence.items, **changes})


def phantom(court: Court) -> Evidence:
    """The owner releases, for the blob, a record that the blob is not committed to."""
    first = court.people[0]
    request = court.request()
    made_up = replace(RECORD, fields={"dcn": "C-2", "last": "Mustermann"})
    response = court.response(request, record=made_up.encode())
    items: dict[str, Item] = {
        "head": court.signed_head,
        "segment": court.segment,
        "blob": first.secrets.blob_id.value,
        "secret": first.secrets.secret,
        "request": court.sign_request(request),
        "response": court.sign_response(response),
        **court.members(),
    }
    return court.evidence(Kind.PHANTOM, items)


def dropped_lookup(court: Court) -> Evidence:
    """The hub logs a heartbeat by which the lookup never arrived, long before it expires."""
    bits = [False, False, *(False for _ in court.commitments)]
    court.enter_heartbeat(court.heartbeat(bits))
    return court.dropped()


def forked_log(court: Court) -> Evidence:
    """A second log that differs in its last entry, one further on."""
    fork = LogScene(names=court.log.names)
    fork.keys, fork.witnesses = court.log.keys, court.log.witnesses
    fork.append([*court.log.entries[:-1], b"another entry", b"one more"])
    size = len(court.log.entries)
    items: dict[str, Item] = {
        "first": court.log.signed(),
        "second": fork.signed(),
        "proof": tuple(tiles.consistency_proof(fork.tiles, size, size + 1)),
        "prefix_root": root(fork.entries[:size]),
    }
    return court.evidence(Kind.FORKED_LOG, items, "hub")


def two_roots_of_one_size(court: Court) -> Evidence:
    other = court.log.keys.sign(Checkpoint(court.log.origin, len(court.log.entries), bytes(32)), NOW)
    items: dict[str, Item] = {
        "first": court.log.signed(),
        "second": other,
        "proof": (),
        "prefix_root": bytes(32),
    }
    return court.evidence(Kind.FORKED_LOG, items, "hub")


def rolled_back_log(court: Court) -> Evidence:
    items: dict[str, Item] = {"first": court.log.signed(now=NOW), "second": court.log.signed(3, now=LATER)}
    return court.evidence(Kind.ROLLED_BACK_LOG, items, "hub")


def false_directory(court: Court) -> Evidence:
    members = tuple(member for member in court.directory.members if member.node != OWNER)
    items: dict[str, Item] = {
        "directory": court.sign_directory(replace(court.directory, members=members)),
        "chain": CHAIN,
        "directory_logged": court.part("directory"),
    }
    return court.evidence(Kind.FALSE_DIRECTORY, items, "hub")


def two_directories(court: Court) -> Evidence:
    other = replace(court.directory, members=court.directory.members[1:])
    items: dict[str, Item] = {
        "first": court.sign_directory(court.directory),
        "second": court.sign_directory(other),
        "chain": CHAIN,
    }
    return court.evidence(Kind.TWO_DIRECTORIES, items, "hub")


def two_lookups(court: Court) -> Evidence:
    again = court.parties.draft("asker", VICTIM, lookup_id=court.draft.lookup.lookup_id)
    items: dict[str, Item] = {
        "first": court.lookup,
        "second": again.statement,
        "asker_member": court.part("member asker"),
    }
    return court.evidence(Kind.TWO_LOOKUPS, items, "asker")


def two_cosignatures(court: Court) -> Evidence:
    """The witness of `other` signs two roots of one size: by its ML-DSA-44 key, which the policy names."""
    size = len(court.log.entries)
    witness = court.log.witnesses[1]
    items: dict[str, Item] = {}
    for name, head_root in (("first", root(court.log.entries)), ("second", bytes(32))):
        checkpoint = Checkpoint(court.log.origin, size, head_root)
        signed = court.log.keys.sign(checkpoint, NOW).with_signatures(witness.cosign(checkpoint, NOW))
        items[name] = court.log.policy.knows(signed)
    return court.evidence(Kind.TWO_COSIGNATURES, items, witness_name(FEDERATION, NodeId("other")))


MISDEEDS: Mapping[str, Callable[[Court], Evidence]] = {
    each.__name__: each
    for each in (
        wrong_key,
        wrong_proof_of_one_class,
        wrong_epoch,
        two_heads_of_one_sequence,
        two_sets_of_keys,
        back_to_an_old_epoch,
        malformed_segment,
        segment_of_another_number,
        segment_of_another_length,
        segment_of_another_epoch,
        malformed_entry,
        malformed_blob,
        blob_of_another_version,
        garbage_shares,
        garbage_in_another_segment,
        phantom,
        dropped_lookup,
        forked_log,
        two_roots_of_one_size,
        rolled_back_log,
        false_directory,
        two_directories,
        two_lookups,
        two_cosignatures,
    )
}
