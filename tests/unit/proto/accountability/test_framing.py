"""§17.1: nobody who keeps the protocol can be accused.

The accuser has all keys but those of the accused, and everything that an honest accused ever sent. Each test
is one way to make that look like misbehaviour; all of them are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from candor_proto.accountability.evidence import Evidence, Item, Kind
from candor_proto.accountability.judgement import verify_evidence
from candor_proto.accountability.trust import Trust
from candor_proto.directory import MemberStatus
from candor_proto.disclosure import Outcome
from candor_proto.errors import CandorError, NotEvidence
from candor_proto.ids import FederationName, LookupShape
from candor_proto.merkle import EMPTY_ROOT, root
from candor_proto.record import commit
from candor_proto.segment import Segment, build
from candor_proto.signing import SignedStatement, SigningKey
from candor_proto.statements import AnswerStatus, Target
from candor_proto.tlog import tiles
from candor_proto.tlog.checkpoint import Checkpoint
from candor_proto.tlog.entries import (
    MemberEntry,
    Requests,
    Statement,
    head_entry,
    log_origin,
    member_entry,
    parse_entry,
    request_commitment,
)
from candor_proto.tlog.policy import parse_policy
from candor_proto.tlog.signatures import LogKeys, WitnessKeys
from candor_proto.tlog.statements import witness_name
from tests import misdeeds
from tests.accountable import CHAIN, OTHER, OWNER, RECORD, VICTIM, Court, tiles_prefix
from tests.indexes import ask
from tests.log_scene import LogScene
from tests.parties import FEDERATION, NOW

LATER = NOW + timedelta(minutes=1)
Framing = Callable[[Court], Evidence]
FRAMINGS: dict[str, Framing] = {}


def framing(make: Framing) -> Framing:
    FRAMINGS[make.__name__] = make
    return make


def changed(evidence: Evidence, **items: Item) -> Evidence:
    return replace(evidence, items={**evidence.items, **items})


# --- wrong-key -----------------------------------------------------------------------------------------


@framing
def wrong_key_of_an_honest_answer(court: Court) -> Evidence:
    return changed(misdeeds.wrong_key(court), answer=court.signed_answer)


@framing
def wrong_key_by_the_head_of_the_next_epoch(court: Court) -> Evidence:
    later = replace(court.owner, epoch=2, sequence=2)
    head = later.signing.sign("index-head", replace(later.head(), segments=court.head.segments).encode())
    court.enter("next head", logged_head(head))
    return changed(
        misdeeds.wrong_key(court),
        answer=court.signed_answer,
        head=head,
        head_logged=court.part("next head"),
    )


def logged_head(head: SignedStatement) -> bytes:
    return head_entry(head).encode()


@framing
def wrong_key_by_another_lookup_under_the_same_id(court: Court) -> Evidence:
    """The asker signs other elements under the id that was answered."""
    other = court.parties.draft("asker", VICTIM, lookup_id=court.draft.lookup.lookup_id)
    return changed(misdeeds.wrong_key(court), lookup=other.statement, answer=court.signed_answer)


@framing
def wrong_key_by_the_answer_to_another_lookup(court: Court) -> Evidence:
    other = court.parties.draft("asker", VICTIM)
    return changed(misdeeds.wrong_key(court), answer=court.sign_answer(court.owner.evaluate(other.lookup)))


@framing
def wrong_key_by_a_refusal(court: Court) -> Evidence:
    answer = replace(court.answer, status=AnswerStatus.REFUSED, evaluations={})
    return changed(misdeeds.wrong_key(court), answer=court.sign_answer(answer))


@framing
def wrong_key_by_an_answer_about_nobody(court: Court) -> Evidence:
    nobody = court.parties.draft_all("asker", [])
    answer = court.sign_answer(court.owner.evaluate(nobody.lookup))
    return changed(misdeeds.wrong_key(court), lookup=nobody.statement, answer=answer)


@framing
def wrong_key_by_an_answer_that_the_accuser_signed(court: Court) -> Evidence:
    made = replace(court.owner, seed=bytes(32)).evaluate(court.draft.lookup)
    return changed(misdeeds.wrong_key(court), answer=court.asker.signing.sign("answer", made.encode()))


@framing
def wrong_key_by_a_head_that_the_accuser_signed(court: Court) -> Evidence:
    keys = {key_class: pair.public for key_class, pair in replace(court.owner, seed=bytes(32)).keys().items()}
    head = court.asker.signing.sign("index-head", replace(court.head, keys=keys).encode())
    return changed(misdeeds.wrong_key(court), answer=court.signed_answer, head=head)


@framing
def wrong_key_by_the_log_entry_of_another_head(court: Court) -> Evidence:
    court.enter("other head", logged_head(court.sign_head(replace(court.head, sequence=9))))
    return changed(misdeeds.wrong_key(court), head_logged=court.part("other head"))


@framing
def wrong_key_by_the_member_entry_of_somebody_else(court: Court) -> Evidence:
    made = replace(court.owner, seed=bytes(32)).evaluate(court.draft.lookup)
    return changed(
        misdeeds.wrong_key(court),
        answer=court.parties["other"].signing.sign("answer", made.encode()),
        owner_member=court.part("member other"),
    )


@framing
def wrong_key_by_a_lookup_that_nobody_signed(court: Court) -> Evidence:
    made = replace(court.draft.lookup, asker=OTHER)
    lookup = court.asker.signing.sign("lookup", made.encode())
    answer = court.sign_answer(replace(court.owner, seed=bytes(32)).evaluate(made))
    return changed(
        misdeeds.wrong_key(court), lookup=lookup, answer=answer, asker_member=court.part("member other")
    )


# --- wrong-epoch ---------------------------------------------------------------------------------------


@framing
def wrong_epoch_of_an_honest_answer(court: Court) -> Evidence:
    return changed(misdeeds.wrong_epoch(court), answer=court.signed_answer)


@framing
def wrong_epoch_by_saying_that_the_epoch_is_stale(court: Court) -> Evidence:
    answer = replace(court.answer, status=AnswerStatus.STALE_EPOCH, epoch=2, evaluations={})
    return changed(misdeeds.wrong_epoch(court), answer=court.sign_answer(answer))


@framing
def wrong_epoch_by_another_lookup_under_the_same_id(court: Court) -> Evidence:
    """The asker signs, afterwards, that it had asked for another epoch."""
    targets = tuple(Target(target.node, 7) for target in court.draft.lookup.targets)
    lookup = court.asker.signing.sign("lookup", replace(court.draft.lookup, targets=targets).encode())
    return changed(misdeeds.wrong_epoch(court), lookup=lookup, answer=court.signed_answer)


@framing
def wrong_epoch_by_a_lookup_that_asked_somebody_else(court: Court) -> Evidence:
    lookup = replace(court.draft.lookup, targets=(Target(OTHER, 9),))
    answer = court.sign_answer(court.owner.evaluate(lookup))
    signed = court.asker.signing.sign("lookup", lookup.encode())
    return changed(misdeeds.wrong_epoch(court), lookup=signed, answer=answer)


# --- two-heads -----------------------------------------------------------------------------------------


@framing
def two_heads_that_are_one(court: Court) -> Evidence:
    return misdeeds.two_heads(court, court.head)


@framing
def two_heads_refreshed(court: Court) -> Evidence:
    return misdeeds.two_heads(court, replace(court.head, sequence=2, issued_at=LATER))


@framing
def two_heads_of_the_next_epoch(court: Court) -> Evidence:
    later = replace(court.owner, epoch=2, sequence=2)
    return misdeeds.two_heads(court, later.head())


@framing
def two_heads_one_of_them_by_the_accuser(court: Court) -> Evidence:
    made = court.asker.signing.sign("index-head", replace(court.head, issued_at=LATER).encode())
    return changed(misdeeds.two_heads_of_one_sequence(court), second=made)


@framing
def two_heads_of_two_owners(court: Court) -> Evidence:
    return changed(misdeeds.two_heads_of_one_sequence(court), second=court.parties["other"].signed_head())


@framing
def two_heads_of_two_federations(court: Court) -> Evidence:
    """One department in two federations under one key: its heads count for each by itself."""
    head = replace(court.head, federation=FederationName("elsewhere.example"), issued_at=LATER)
    return changed(misdeeds.two_heads_of_one_sequence(court), second=court.sign_head(head))


# --- the index -----------------------------------------------------------------------------------------


@framing
def malformed_segment_that_is_well_formed(court: Court) -> Evidence:
    return changed(misdeeds.malformed_segment(court), head=court.signed_head, segment=court.segment)


@framing
def malformed_segment_of_octets_that_no_head_names(court: Court) -> Evidence:
    return changed(misdeeds.malformed_segment(court), head=court.signed_head, segment=court.segment[:-1])


@framing
def malformed_segment_of_another_epoch_under_this_ones_head(court: Court) -> Evidence:
    other = replace(court.index_owner, epoch=9)
    segment = build(other, 1, [], [], [])
    return changed(misdeeds.malformed_segment(court), head=court.signed_head, segment=segment)


@framing
def malformed_blob_that_opens(court: Court) -> Evidence:
    return misdeeds.with_blob(court, court.people[0].blob)


@framing
def malformed_blob_under_a_secret_of_the_accuser(court: Court) -> Evidence:
    return changed(misdeeds.with_blob(court, court.people[0].blob), secret=bytes(16))


@framing
def malformed_blob_that_is_a_dummy(court: Court) -> Evidence:
    """Padding looks like blobs: what no secret opens accuses nobody."""
    real = {person.secrets.blob_id.value for person in court.people}
    dummy = next(blob for blob in Segment(court.segment)._blobs if blob[:16] not in real)
    evidence = changed(misdeeds.with_blob(court, court.people[0].blob), head=court.signed_head)
    return changed(evidence, segment=court.segment, blob=dummy[:16], secret=dummy[16:32])


@framing
def malformed_blob_that_the_accuser_put_there(court: Court) -> Evidence:
    evidence = misdeeds.malformed_blob(court)
    return changed(evidence, head=court.signed_head)


@framing
def malformed_entry_that_opens(court: Court) -> Evidence:
    return changed(misdeeds.malformed_entry(court), head=court.signed_head, segment=court.segment)


@framing
def malformed_entry_under_an_output_of_the_accuser(court: Court) -> Evidence:
    return changed(misdeeds.malformed_entry(court), output=bytes(64))


@framing
def malformed_entry_that_the_accuser_put_there(court: Court) -> Evidence:
    return changed(misdeeds.malformed_entry(court), head=court.signed_head)


@framing
def garbage_shares_of_an_entry_that_does_not_open(court: Court) -> Evidence:
    evidence, spoilt = misdeeds.garbage_shares(court), misdeeds.malformed_entry(court)
    return changed(evidence, head=spoilt.items["head"], blob_segment=spoilt.items["segment"])


def honest_shares(court: Court) -> Evidence:
    return changed(misdeeds.garbage_shares(court), head=court.signed_head, blob_segment=court.segment)


@framing
def garbage_shares_of_honest_entries(court: Court) -> Evidence:
    return honest_shares(court)


@framing
def garbage_shares_of_a_field_tags_output(court: Court) -> Evidence:
    asked = ask(VICTIM, LookupShape.DETAILED, court.owner.keys())
    output = next(output for slot, output in asked if slot.label is not None and not slot.label.weight)
    return changed(honest_shares(court), output=output)


@framing
def garbage_shares_under_an_output_of_the_accuser(court: Court) -> Evidence:
    return changed(honest_shares(court), output=bytes(64))


@framing
def garbage_shares_under_another_counter(court: Court) -> Evidence:
    return changed(honest_shares(court), counter=1)


@framing
def garbage_shares_for_another_records_secret(court: Court) -> Evidence:
    other = court.people[1]
    return changed(honest_shares(court), blob=other.secrets.blob_id.value, secret=other.secrets.secret)


@framing
def garbage_shares_under_a_secret_of_the_accuser(court: Court) -> Evidence:
    return changed(honest_shares(court), secret=bytes(16))


@framing
def garbage_shares_of_an_entry_in_a_segment_of_the_accuser(court: Court) -> Evidence:
    evidence = misdeeds.garbage_in_another_segment(court)
    return changed(evidence, head=court.signed_head)


@framing
def garbage_shares_with_one_segment_twice(court: Court) -> Evidence:
    evidence = misdeeds.garbage_shares(court)
    return changed(evidence, entry_segment=evidence.items["blob_segment"])


# --- phantom -------------------------------------------------------------------------------------------


def honest_phantom(court: Court, **changes: object) -> Evidence:
    request = court.request()
    return changed(
        misdeeds.phantom(court),
        request=court.sign_request(request),
        response=court.sign_response(court.response(request, **changes)),
    )


@framing
def phantom_of_a_record_that_opens(court: Court) -> Evidence:
    return honest_phantom(court)


@framing
def phantom_of_an_owner_that_declines(court: Court) -> Evidence:
    return honest_phantom(court, outcome=Outcome.DECLINED, salt=bytes(32), record=b"")


@framing
def phantom_by_another_request_under_the_same_id(court: Court) -> Evidence:
    """The requester signs, afterwards, that it had asked for another commitment."""
    asked = court.request()
    response = court.sign_response(court.response(asked))
    claimed = replace(asked, commitment=commit(bytes(32), RECORD.encode()))
    evidence = misdeeds.phantom(court)
    return changed(evidence, request=court.sign_request(claimed), response=response)


@framing
def phantom_of_another_records_blob(court: Court) -> Evidence:
    other = court.people[1]
    return changed(misdeeds.phantom(court), blob=other.secrets.blob_id.value, secret=other.secrets.secret)


@framing
def phantom_by_a_response_of_the_accuser(court: Court) -> Evidence:
    evidence = misdeeds.phantom(court)
    body = evidence.part("response").body
    return changed(evidence, response=court.asker.signing.sign("disclosure-response", body))


@framing
def phantom_by_a_response_to_another_requester(court: Court) -> Evidence:
    request = court.request()
    response = court.response(request, requester=OTHER, record=b"x")
    return changed(
        misdeeds.phantom(court), request=court.sign_request(request), response=court.sign_response(response)
    )


@framing
def phantom_of_another_epoch(court: Court) -> Evidence:
    request = court.request(epoch=4)
    response = court.response(request, record=b"x")
    return changed(
        misdeeds.phantom(court), request=court.sign_request(request), response=court.sign_response(response)
    )


# --- dropped-lookup ------------------------------------------------------------------------------------


def honest_bits(court: Court) -> list[bool]:
    return [True, False, *(place == court.position for place in range(len(court.commitments)))]


@framing
def dropped_lookup_that_arrived(court: Court) -> Evidence:
    court.enter_heartbeat(court.heartbeat(honest_bits(court)))
    return court.dropped()


@framing
def dropped_lookup_by_leaving_an_entry_out(court: Court) -> Evidence:
    """With fewer entries before it the lookup's bit would be another one, which is 0."""
    court.enter_heartbeat(court.heartbeat(honest_bits(court)))
    evidence = court.dropped()
    return changed(evidence, entries=evidence.octets_list("entries")[:-1])


@framing
def dropped_lookup_by_another_entry_in_its_place(court: Court) -> Evidence:
    court.enter_heartbeat(court.heartbeat(honest_bits(court)))
    evidence = court.dropped()
    no_requests = court.log.entries[court.logged["head"]]
    return changed(evidence, entries=(*evidence.octets_list("entries")[:-1], no_requests))


@framing
def dropped_lookup_by_a_range_that_begins_elsewhere(court: Court) -> Evidence:
    court.enter_heartbeat(court.heartbeat(honest_bits(court)))
    evidence, start = court.dropped(), court.logged["directory"] + 1
    return changed(
        evidence,
        entries=evidence.octets_list("entries")[1:],
        prefix=tiles_prefix(court.log.entries, start),
    )


@framing
def dropped_lookup_by_a_heartbeat_after_its_end(court: Court) -> Evidence:
    late = court.draft.lookup.expires_at - timedelta(minutes=10) + timedelta(milliseconds=1)
    court.enter_heartbeat(court.heartbeat([False] * 5, issued_at=late))
    return court.dropped()


@framing
def dropped_lookup_by_a_heartbeat_of_a_node_that_was_not_asked(court: Court) -> Evidence:
    lookup = replace(court.draft.lookup, targets=(Target(OTHER, 1),))
    statement = court.asker.signing.sign("lookup", lookup.encode())
    court.enter("request", Requests((request_commitment(statement),)).encode())
    court.enter("receipt", court.log.entries[court.logged["receipt"]])
    court.enter_heartbeat(court.heartbeat([False] * 6))
    return court.dropped(lookup=statement)


@framing
def dropped_lookup_before_the_range_of_the_heartbeat(court: Court) -> Evidence:
    court.enter_heartbeat(court.heartbeat([False] * 5, start=court.logged["receipt"]))
    return court.dropped()


@framing
def dropped_lookup_behind_the_range_of_the_heartbeat(court: Court) -> Evidence:
    court.enter_heartbeat(court.heartbeat([False] * 5, end=court.logged["request"]))
    return court.dropped()


@framing
def dropped_lookup_by_a_heartbeat_about_another_shard(court: Court) -> Evidence:
    court.enter_heartbeat(court.heartbeat([False] * 5, origin=log_origin(FEDERATION, 2)))
    return court.dropped()


@framing
def dropped_lookup_by_a_heartbeat_of_somebody_else(court: Court) -> Evidence:
    body = court.heartbeat([False] * 5).body
    court.enter_heartbeat(court.parties["other"].signing.sign("heartbeat", body))
    return court.dropped()


@framing
def dropped_lookup_that_was_never_logged(court: Court) -> Evidence:
    court.enter_heartbeat(court.heartbeat([False] * 5))
    return court.dropped(lookup=court.parties.draft("asker").statement)


@framing
def dropped_lookup_by_a_statement_of_another_context(court: Court) -> Evidence:
    statement = court.owner.signing.sign("pack-adoption", court.heartbeat([False] * 5).body)
    court.enter("heartbeat", Statement("pack-adoption", statement).encode())
    return court.dropped()


# --- the log -------------------------------------------------------------------------------------------


def honest_pair(court: Court, earlier: int, later: int, **items: Item) -> Evidence:
    proof = tuple(tiles.consistency_proof(court.log.tiles, earlier, later)) if earlier else ()
    found: Mapping[str, Item] = {
        "first": court.log.signed(earlier),
        "second": court.log.signed(later),
        "proof": proof,
        "prefix_root": root(court.log.entries[:earlier]),
        **items,
    }
    return court.evidence(Kind.FORKED_LOG, found, "hub")


@framing
def forked_log_that_grew(court: Court) -> Evidence:
    return honest_pair(court, 3, len(court.log.entries))


@framing
def forked_log_that_did_not_grow(court: Court) -> Evidence:
    return honest_pair(court, 3, 3)


@framing
def forked_log_by_a_root_that_no_proof_gives(court: Court) -> Evidence:
    return honest_pair(court, 3, 5, prefix_root=bytes(32))


@framing
def forked_log_from_an_empty_one(court: Court) -> Evidence:
    """From size 0 nothing needs a proof: any root would pass."""
    return honest_pair(court, 0, 5, prefix_root=bytes(32))


@framing
def forked_log_from_an_empty_one_as_it_was(court: Court) -> Evidence:
    return honest_pair(court, 0, 5, prefix_root=EMPTY_ROOT)


@framing
def forked_log_the_wrong_way_round(court: Court) -> Evidence:
    evidence = honest_pair(court, 3, 5)
    return changed(evidence, first=evidence.items["second"], second=evidence.items["first"])


@framing
def forked_log_by_a_log_of_the_accuser(court: Court) -> Evidence:
    keys = LogKeys.generate(court.log.origin)
    made = keys.sign(Checkpoint(court.log.origin, 3, bytes(32)), NOW)
    return honest_pair(court, 3, 3, second=made, prefix_root=bytes(32))


@framing
def forked_log_under_the_signatures_of_another_head(court: Court) -> Evidence:
    honest = court.log.signed(3)
    made = replace(honest, checkpoint=Checkpoint(court.log.origin, 3, bytes(32)))
    return honest_pair(court, 3, 3, second=made, prefix_root=bytes(32))


@framing
def forked_log_under_one_signature_of_the_log(court: Court) -> Evidence:
    """Who broke the classical key of the log alone accuses nobody."""
    made = court.log.keys.sign(Checkpoint(court.log.origin, 3, bytes(32)), NOW)
    one = replace(made, signatures=made.signatures[:1])
    return honest_pair(court, 3, 3, second=one, prefix_root=bytes(32))


@framing
def forked_log_of_two_shards(court: Court) -> Evidence:
    other = LogScene(shard=2, names=court.log.names, entries=[b"opened", b"one", b"two"])
    return honest_pair(court, 3, 3, second=other.signed(), prefix_root=root(other.entries))


@framing
def rolled_back_log_that_grew(court: Court) -> Evidence:
    items = {"first": court.log.signed(3), "second": court.log.signed(now=LATER)}
    return court.evidence(Kind.ROLLED_BACK_LOG, items, "hub")


@framing
def rolled_back_log_within_one_second(court: Court) -> Evidence:
    """Two heads of one second: which came first nobody knows."""
    return court.evidence(
        Kind.ROLLED_BACK_LOG, {"first": court.log.signed(), "second": court.log.signed(3)}, "hub"
    )


@framing
def rolled_back_log_by_signing_the_same_again(court: Court) -> Evidence:
    items = {"first": court.log.signed(), "second": court.log.signed(now=LATER)}
    return court.evidence(Kind.ROLLED_BACK_LOG, items, "hub")


@framing
def rolled_back_log_the_wrong_way_round(court: Court) -> Evidence:
    items = {"first": court.log.signed(now=LATER), "second": court.log.signed(3)}
    return court.evidence(Kind.ROLLED_BACK_LOG, items, "hub")


# --- the directory -------------------------------------------------------------------------------------


@framing
def false_directory_that_was_logged(court: Court) -> Evidence:
    return changed(misdeeds.false_directory(court), directory=court.sign_directory(court.directory))


@framing
def false_directory_by_the_entry_of_another_version(court: Court) -> Evidence:
    newer = replace(court.directory, version=2, members=court.directory.members[1:])
    return changed(misdeeds.false_directory(court), directory=court.sign_directory(newer))


@framing
def false_directory_of_the_accuser(court: Court) -> Evidence:
    body = misdeeds.false_directory(court).part("directory").body
    return changed(misdeeds.false_directory(court), directory=court.asker.signing.sign("directory", body))


@framing
def false_directory_by_another_chain(court: Court) -> Evidence:
    """A certificate of an authority of the accuser's."""
    return changed(misdeeds.false_directory(court), chain=(b"mine", CHAIN[1]))


@framing
def false_directory_of_another_federation(court: Court) -> Evidence:
    """One operator, two federations, one directory key."""
    other = replace(court.directory, federation=FederationName("elsewhere.example"), members=())
    return changed(misdeeds.false_directory(court), directory=court.sign_directory(other))


@framing
def two_directories_that_are_one(court: Court) -> Evidence:
    one = court.sign_directory(court.directory)
    return changed(misdeeds.two_directories(court), second=one)


@framing
def two_directories_of_two_versions(court: Court) -> Evidence:
    newer = replace(court.directory, version=2, members=court.directory.members[1:])
    return changed(misdeeds.two_directories(court), second=court.sign_directory(newer))


# --- askers and witnesses ------------------------------------------------------------------------------


@framing
def two_lookups_that_are_one(court: Court) -> Evidence:
    return changed(misdeeds.two_lookups(court), second=court.lookup)


@framing
def two_lookups_under_two_ids(court: Court) -> Evidence:
    return changed(misdeeds.two_lookups(court), second=court.parties.draft("asker").statement)


@framing
def two_lookups_one_of_them_by_the_accuser(court: Court) -> Evidence:
    body = misdeeds.two_lookups(court).part("second").body
    return changed(misdeeds.two_lookups(court), second=court.owner.signing.sign("lookup", body))


@framing
def two_lookups_under_the_member_entry_of_the_accuser(court: Court) -> Evidence:
    """The accuser signs both in the other's name, and shows the own key."""
    found = misdeeds.two_lookups(court)
    parts = {name: court.owner.signing.sign("lookup", found.part(name).body) for name in ("first", "second")}
    return changed(found, **parts, asker_member=court.part("member owner"))


@framing
def two_lookups_under_a_member_entry_that_was_never_logged(court: Court) -> Evidence:
    """The accuser makes an entry that gives the other's name its own key."""
    found = misdeeds.two_lookups(court)
    parts = {name: court.owner.signing.sign("lookup", found.part(name).body) for name in ("first", "second")}
    entry = parse_entry(found.logged("asker_member").entry)
    assert isinstance(entry, MemberEntry)
    made = replace(entry, signing_key=court.owner.signing.public.value)
    return changed(found, **parts, asker_member=replace(found.logged("asker_member"), entry=made.encode()))


@framing
def two_lookups_of_two_askers(court: Court) -> Evidence:
    """Somebody else takes the id that this asker drew."""
    made = court.parties.draft("other", lookup_id=court.draft.lookup.lookup_id)
    return changed(misdeeds.two_lookups(court), second=made.statement)


@framing
def two_cosignatures_of_one_root(court: Court) -> Evidence:
    evidence = misdeeds.two_cosignatures(court)
    return changed(evidence, second=evidence.items["first"])


@framing
def two_cosignatures_of_two_sizes(court: Court) -> Evidence:
    known = court.log.policy.knows
    evidence = misdeeds.two_cosignatures(court)
    return changed(evidence, first=known(court.log.cosigned(3)), second=known(court.log.cosigned()))


@framing
def two_cosignatures_one_of_them_by_another_witness(court: Court) -> Evidence:
    evidence = misdeeds.two_cosignatures(court)
    checkpoint = evidence.checkpoint("second").checkpoint
    signed = court.log.keys.sign(checkpoint, NOW)
    signed = signed.with_signatures(court.log.witnesses[0].cosign(checkpoint, NOW))
    return changed(evidence, second=court.log.policy.knows(signed))


@framing
def two_cosignatures_by_a_key_of_the_accuser(court: Court) -> Evidence:
    evidence = misdeeds.two_cosignatures(court)
    made = WitnessKeys.generate(witness_name(FEDERATION, OTHER))
    checkpoint = evidence.checkpoint("second").checkpoint
    signed = court.log.keys.sign(checkpoint, NOW).with_signatures(made.cosign(checkpoint, NOW)[1:])
    return changed(evidence, second=signed)


def a_witness_that_was_restored(court: Court) -> tuple[Evidence, bytes]:
    """It has new keys since, and forgot what it cosigned with the old ones; the policy knows both."""
    old, new = court.log.witnesses[1], WitnessKeys.generate(witness_name(FEDERATION, OTHER))
    logs = "".join(f"log {key.encode()}\n" for key in court.log.keys.verifier_keys)
    lines = "".join(
        f"witness {name} {keys.verifier_keys[1].encode()}\n"
        for name, keys in zip("ab", (old, new), strict=True)
    )
    text = f"{logs}{lines}quorum none\n".encode()
    items: dict[str, Item] = {}
    for name, keys, head_root in (("first", old, root(court.log.entries)), ("second", new, bytes(32))):
        checkpoint = Checkpoint(court.log.origin, len(court.log.entries), head_root)
        signed = court.log.keys.sign(checkpoint, NOW).with_signatures(keys.cosign(checkpoint, NOW))
        items[name] = parse_policy(text).knows(signed)
    return court.evidence(Kind.TWO_COSIGNATURES, items, witness_name(FEDERATION, OTHER)), text


def test_a_witness_that_was_restored_is_not_accused_by_its_two_keys() -> None:
    court = Court()
    evidence, policy = a_witness_that_was_restored(court)
    with pytest.raises(NotEvidence):
        verify_evidence(evidence, Trust(parse_policy(policy), NOW))


# --- whatever the kind ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FRAMINGS)
def test_an_honest_party_is_not_accused(name: str) -> None:
    court = Court()
    evidence = FRAMINGS[name](court)
    with pytest.raises(CandorError):
        verify_evidence(evidence, court.trust())


def test_every_kind_is_tried() -> None:
    for kind in Kind:
        word = kind.value.replace("-", "_")
        assert sum(name.startswith(word) for name in FRAMINGS) >= 2, kind


@pytest.mark.parametrize("name", misdeeds.MISDEEDS)
def test_evidence_accuses_nobody_but_whom_it_names(name: str) -> None:
    court = Court()
    evidence = misdeeds.MISDEEDS[name](court)
    for somebody in ("asker", "owner", "other", "hub", witness_name(FEDERATION, OWNER), "", "nobody"):
        if somebody != evidence.accused:
            with pytest.raises(CandorError):
                verify_evidence(replace(evidence, accused=somebody), court.trust())


@pytest.mark.parametrize("name", misdeeds.MISDEEDS)
def test_evidence_is_of_one_federation(name: str) -> None:
    court = Court()
    evidence = misdeeds.MISDEEDS[name](court)
    with pytest.raises(CandorError):
        verify_evidence(replace(evidence, federation=FederationName("elsewhere.example")), court.trust())


class LogElsewhere(LogScene):
    """The log of another federation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.origin = "elsewhere.example/log/1"
        self.keys = LogKeys.generate(self.origin)


def test_a_log_that_went_on_in_another_shard_contradicts_nothing() -> None:
    """After a rotation a policy names the logs of both shards, and the later one is smaller (§14.7)."""
    court = Court()
    second = LogScene(shard=2, names=(), entries=[b"opened", b"one", b"two"])
    text = "".join(
        f"log {key.encode()}\n" for key in (*court.log.keys.verifier_keys, *second.keys.verifier_keys)
    )
    trust = Trust(parse_policy(f"{text}quorum none\n".encode()), LATER)
    rolled_back: dict[str, Item] = {"first": court.log.signed(), "second": second.signed(now=LATER)}
    forked: dict[str, Item] = {
        "first": court.log.signed(3),
        "second": second.signed(),
        "proof": (),
        "prefix_root": root(second.entries),
    }
    for kind, items in ((Kind.ROLLED_BACK_LOG, rolled_back), (Kind.FORKED_LOG, forked)):
        with pytest.raises(NotEvidence, match="two logs"):
            verify_evidence(court.evidence(kind, items, "hub"), trust)


def test_a_namesake_in_another_federation_accuses_nobody() -> None:
    """A policy may list logs of two federations; in the other one the accuser is called `owner`."""
    court = Court()
    elsewhere = LogElsewhere(names=())
    namesake = SigningKey.generate()
    member = court.owner.member(signing_key=namesake.public, status=MemberStatus.ACTIVE, head=None)
    elsewhere.append([member_entry(member).encode()])
    text = "".join(
        f"log {key.encode()}\n" for key in (*court.log.keys.verifier_keys, *elsewhere.keys.verifier_keys)
    )
    trust = Trust(parse_policy(f"{text}quorum none\n".encode()), NOW)
    made = replace(court.owner, signing=namesake, seed=bytes(32)).evaluate(court.draft.lookup)
    court.log.names = ()
    court.log.witnesses = []
    evidence = misdeeds.wrong_epoch(court)
    verify_evidence(evidence, trust)
    proof = replace(court.part("head").proof, index=0, hashes=(), signed=elsewhere.signed())
    logged = replace(court.part("head"), entry=elsewhere.entries[0], proof=proof)
    answer = namesake.sign("answer", replace(made, epoch=2).encode())
    framed = changed(evidence, answer=answer, owner_member=logged)
    with pytest.raises(CandorError, match="not one of this federation"):
        verify_evidence(framed, trust)
