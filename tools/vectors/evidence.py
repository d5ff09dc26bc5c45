"""Evidence of every kind, and attempts to frame who kept the protocol (docs/protocol.md §17.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from cryptography import x509

from candor_certs.chain import load_certificate
from candor_proto import merkle
from candor_proto.accountability.evidence import parse_evidence
from candor_proto.accountability.file_form import encode_file
from candor_proto.accountability.judgement import verify_evidence
from candor_proto.accountability.trust import Trust
from candor_proto.directory import SegmentRef
from candor_proto.disclosure import DisclosureRequest, DisclosureResponse, Outcome
from candor_proto.exchange import AskedPerson, draft_lookup
from candor_proto.ids import KeyClass, LookupShape, Purpose
from candor_proto.merkle import CompactRange
from candor_proto.record import CanonicalRecord
from candor_proto.sealed_index import EntryKeys
from candor_proto.segment import address
from candor_proto.signing import VerifyingKey
from candor_proto.statements import Answer, AnswerStatus, Evaluation
from candor_proto.tlog.checkpoint import Checkpoint, SignedCheckpoint
from candor_proto.tlog.entries import Statement, request_commitment
from candor_proto.tlog.policy import parse_policy
from candor_proto.tlog.proof import LogProof
from candor_proto.tlog.tiles import consistency_proof, inclusion_proof
from tools.vectors import certificates, logs, world
from tools.vectors.answers import _evaluated_with
from tools.vectors.book import Book, Given, changed, edit, operation
from tools.vectors.disclosure import request, response
from tools.vectors.draws import draw
from tools.vectors.index import _spoiled
from tools.vectors.merkle import HeldTiles
from tools.vectors.notes import ORIGIN
from tools.vectors.parties import (
    ASKER,
    DIRECTORY_KEY,
    EPOCH,
    FEDERATION,
    HOUR,
    MINUTE,
    NOW,
    OWNER,
    THIRD,
    Party,
    moment,
    ms,
)
from tools.vectors.receipts import FileValue, Filing
from tools.vectors.shapes import OCTETS, TEXT, TIME, maybe

_LATER = NOW + HOUR


@operation(
    "verify-evidence",
    "17.1",
    "whether the evidence of this value holds under the policy and, for directories, the federation's root "
    "(DER); kind and "
    "accused. What does not follow from parts that all verify is refused as `not_evidence`",
    {"file": {"type": "object"}, "policy": OCTETS, "root": maybe(OCTETS), "now": TIME},
    {"kind": TEXT, "accused": TEXT},
)
def _verify_evidence(given: Given) -> dict[str, Any]:
    root = None if given["root"] is None else load_certificate(bytes.fromhex(given["root"]))
    trust = Trust(parse_policy(bytes.fromhex(given["policy"])), moment(given["now"]))
    if root is not None:
        trust = replace(trust, directory_key=_directory_key_of(root))
    finding = verify_evidence(parse_evidence(encode_file(given["file"])), trust)
    return {"kind": finding.kind.value, "accused": finding.accused}


def _directory_key_of(root: x509.Certificate) -> Any:
    from candor_certs.chain import verify_directory_certificate

    def directory_key(chain: Sequence[bytes], at: datetime) -> VerifyingKey:
        key = verify_directory_certificate(chain, [root], FEDERATION, at)
        return VerifyingKey(key.public_bytes_raw())

    return directory_key


def book() -> Book:
    found = Book(
        "evidence",
        "Evidence of every kind of misbehaviour that holds, and attempts to accuse who kept the protocol, "
        "all refused.",
        ("17.1",),
        "The story (README.md) with one party misbehaving at a time; by candor_proto.accountability. The "
        "certificates of the "
        "directory's key were made once and are kept.",
    )
    found.keep("policy", logs.POLICY.text)
    for name, octets in zip(certificates.NAMES, certificates.certificates(), strict=True):
        found.keep(name, octets)
    court = _Court(found)
    court.answers()
    court.heads()
    court.indexes()
    court.phantoms()
    court.lookups()
    court.dropped()
    court.logs()
    court.directories()
    court.forms()
    return found


class _Court:
    """Cases under construction."""

    def __init__(self, found: Book) -> None:
        self.found = found
        self.filing = Filing(found)
        self.draft = world.draft()
        self.answer = world.answer(self.draft)
        self.head = world.owner_head()

    def signed(self, name: str, made: Answer, party: Party = OWNER) -> FileValue:
        return self.filing.part(name, world.sign_answer(party, made))

    def file(self, kind: str, accused: str = OWNER.name, **keys: Any) -> FileValue:
        named = {
            "format": "candor-evidence/1",
            "kind": kind,
            "federation": str(FEDERATION),
            "accused": accused,
        }
        return {**named, **keys}

    def holds(self, name: str, file: FileValue, comment: str = "") -> None:
        self.found.case(name, "verify-evidence", self.given(file), comment=comment)

    def refused(
        self, name: str, file: FileValue, refuse: str = "not_evidence", comment: str = "", **change: Any
    ) -> None:
        given = {**self.given(file), **change}
        self.found.case(f"framing_{name}", "verify-evidence", given, comment=comment, refuse=refuse)

    def given(self, file: FileValue) -> dict[str, Any]:
        root = changed("root certificate") if "chain" in file else None
        return {"file": file, "policy": changed("policy"), "root": root, "now": ms(NOW + 3 * HOUR)}

    @property
    def lookup(self) -> FileValue:
        return self.filing.part("lookup", self.draft.statement)

    @property
    def honest_head(self) -> FileValue:
        return self.filing.part("head", world.sign_head(OWNER, self.head))

    # --- answers -----------------------------------------------------------------------------------------

    def answers(self) -> None:
        wrong = replace(self.answer, evaluations=_evaluated_with(OWNER.keys_of(EPOCH + 1), self.draft.lookup))
        filing = self.filing
        good = self.file(
            "wrong-key",
            lookup=self.lookup,
            answer=self.signed("answer under another key", wrong),
            head=self.honest_head,
            head_logged=filing.logged("head birch-so"),
            **filing.members(),
        )
        self.holds("wrong_key", good)
        weak = self.answer.evaluations[KeyClass.WEAK]
        swapped = Evaluation((weak.elements[1], weak.elements[0], *weak.elements[2:]), weak.proof)
        one_class = replace(self.answer, evaluations={**self.answer.evaluations, KeyClass.WEAK: swapped})
        self.holds("wrong_key_in_one_class", {**good, "answer": self.signed("answer swapped", one_class)})
        honest = self.signed("answer", self.answer)
        self.refused("wrong_key_of_an_honest_answer", {**good, "answer": honest})
        refusal = self.signed("refusal", world.answer(self.draft, status=AnswerStatus.REFUSED))
        self.refused("wrong_key_by_a_refusal", {**good, "answer": refusal})
        by_asker = self.signed("answer signed by the asker", wrong, ASKER)
        self.refused(
            "wrong_key_by_an_answer_of_the_accuser", {**good, "answer": by_asker}, "signature_invalid"
        )
        others = world.answer(world.draft(LookupShape.SCREENING, 4))
        to_another = self.signed("answer to another lookup", others)
        self.refused(
            "wrong_key_by_an_answer_to_another_lookup", {**good, "answer": to_another}, "identity_mismatch"
        )
        later = replace(self.head, sequence=6, issued_at=NOW)
        unlogged = filing.part("later head", world.sign_head(OWNER, later))
        self.refused("wrong_key_by_a_head_not_logged", {**good, "head": unlogged}, "not_logged")
        exchanged = {**good, "owner_member": good["asker_member"]}
        self.refused("wrong_key_by_another_member", exchanged, "identity_mismatch")
        self.refused("wrong_key_of_another_owner", {**good, "accused": THIRD.name}, "identity_mismatch")
        self.refused(
            "wrong_key_of_another_federation",
            {**good, "federation": "other.candor.example"},
            "identity_mismatch",
        )
        other_epoch = replace(wrong, epoch=EPOCH + 1)
        good = self.file(
            "wrong-epoch",
            lookup=self.lookup,
            answer=self.signed("answer of another epoch", other_epoch),
            **filing.members(),
        )
        self.holds("wrong_epoch", good)
        self.refused("wrong_epoch_of_an_honest_answer", {**good, "answer": honest})
        stale = replace(world.answer(self.draft, status=AnswerStatus.STALE_EPOCH), epoch=EPOCH + 1)
        self.refused(
            "wrong_epoch_by_saying_that_it_is_stale", {**good, "answer": self.signed("stale", stale)}
        )

    # --- heads -------------------------------------------------------------------------------------------

    def heads(self) -> None:
        owner = self.filing.logged("member birch-so")

        def two(name: str, second: Any, party: Party = OWNER) -> FileValue:
            other = self.filing.part(f"head {name}", world.sign_head(party, second))
            return self.file("two-heads", first=self.honest_head, second=other, owner_member=owner)

        self.holds("two_heads_of_one_sequence", two("of one sequence", replace(self.head, issued_at=NOW)))
        keys = world.head_of(OWNER, [], 6, EPOCH + 1).keys
        self.holds("two_heads_of_other_keys", two("of other keys", replace(self.head, sequence=6, keys=keys)))
        self.holds(
            "two_heads_back_to_an_epoch", two("of an earlier epoch", world.head_of(OWNER, [], 6, EPOCH - 1))
        )
        self.refused("two_heads_that_are_one", two("once more", self.head))
        self.refused("two_heads_refreshed", two("refreshed", replace(self.head, sequence=6, issued_at=NOW)))
        self.refused(
            "two_heads_of_the_next_epoch", two("of the next epoch", world.head_of(OWNER, [], 6, EPOCH + 1))
        )
        forged = two("by the accuser", replace(self.head, issued_at=NOW), ASKER)
        self.refused("two_heads_one_by_the_accuser", forged, "signature_invalid")

    # --- the index ---------------------------------------------------------------------------------------

    def naming(self, name: str, *segments: tuple[int, bytes]) -> FileValue:
        """A head of the owner's that names these octets as segments of these numbers."""
        refs = tuple(SegmentRef(number, address(octets), len(octets)) for number, octets in segments)
        return self.filing.part(name, world.sign_head(OWNER, replace(self.head, segments=refs)))

    def segment(self, name: str, octets: bytes, *edits: dict[str, Any]) -> Any:
        """A segment as edits of the story's: only what differs is stated."""
        self.found.keep("segment", world.sealed().segment)
        assert edits or octets == world.sealed().segment, name
        return {"base64": changed("segment", *edits)}

    def indexes(self) -> None:
        owner = self.filing.logged("member birch-so")
        octets = world.sealed().segment
        cut = octets[:-1]
        shown = self.segment("cut", cut, edit(len(octets) - 1, 1))
        good = self.file(
            "malformed-segment",
            head=self.naming("head of a cut segment", (1, cut)),
            segment=shown,
            owner_member=owner,
        )
        self.holds("malformed_segment", good)
        self.holds(
            "segment_of_another_number",
            {
                **good,
                "head": self.naming("head of segment 2", (2, octets)),
                "segment": self.segment("1", octets),
            },
        )
        ref = SegmentRef(1, address(octets), len(octets) + 1)
        longer = self.filing.part(
            "head of another length", world.sign_head(OWNER, replace(self.head, segments=(ref,)))
        )
        self.holds(
            "segment_of_another_length", {**good, "head": longer, "segment": self.segment("1", octets)}
        )
        self.refused(
            "malformed_segment_that_is_none",
            {**good, "head": self.honest_head, "segment": self.segment("1", octets)},
        )
        self.refused("malformed_segment_not_named", {**good, "head": self.honest_head})
        self.entries(owner, octets)
        self.blobs(owner, octets)
        self.shares(owner, octets)

    def blobs(self, owner: FileValue, octets: bytes) -> None:
        secrets = world.SECRETS
        at = octets.index(world.sealed().blob)

        def spoilt(name: str, blob: bytes) -> tuple[FileValue, Any]:
            first = next(n for n, (a, b) in enumerate(zip(blob, world.sealed().blob, strict=True)) if a != b)
            whole = octets[:at] + blob + octets[at + 475 :]
            shown = self.segment(name, whole, edit(at + first, 475 - first, blob[first:]))
            return self.naming(f"head of {name}", (1, whole)), shown

        box = world.sealed().blob
        head, segment = spoilt("a blob that does not open", box[:100] + bytes([box[100] ^ 1]) + box[101:])
        good = self.file(
            "malformed-blob",
            head=head,
            segment=segment,
            blob={"base64": secrets.blob_id.hex()},
            secret={"base64": secrets.secret.hex()},
            owner_member=owner,
        )
        self.holds("malformed_blob", good)
        head, segment = spoilt("a blob of version 2", _spoiled(secrets.secret, b"\2", 0))
        self.holds("malformed_blob_of_another_version", {**good, "head": head, "segment": segment})
        honest = {"head": self.honest_head, "segment": self.segment("1", octets)}
        self.refused("malformed_blob_that_opens", {**good, **honest})
        wrong = {"base64": draw("a guessed secret", 16).hex()}
        self.refused("malformed_blob_by_another_secret", {**good, **honest, "secret": wrong})
        elsewhere = {"base64": draw("no blob", 16).hex()}
        self.refused("malformed_blob_that_is_not_there", {**good, "blob": elsewhere})
        self.refused("malformed_blob_in_a_segment_not_named", {**good, "head": self.honest_head})

    def entries(self, owner: FileValue, octets: bytes) -> None:
        _, output, entry = world.sealed().entries[0]
        at = octets.index(entry)
        spoilt = edit(at + 95, 1, bytes([entry[95] ^ 1]))
        whole = octets[: at + 95] + bytes([entry[95] ^ 1]) + octets[at + 96 :]
        good = self.file(
            "malformed-entry",
            head=self.naming("head of a spoilt entry", (1, whole)),
            segment=self.segment("entry", whole, spoilt),
            output={"base64": output.hex()},
            counter=0,
            owner_member=owner,
        )
        self.holds("malformed_entry", good)
        honest = {"head": self.honest_head, "segment": self.segment("1", octets)}
        self.refused("malformed_entry_that_opens", {**good, **honest})
        self.refused("malformed_entry_of_another_counter", {**good, "counter": 1})
        self.refused(
            "malformed_entry_of_another_output", {**good, "output": {"base64": draw("output", 64).hex()}}
        )

    def shares(self, owner: FileValue, octets: bytes) -> None:
        secrets = world.SECRETS
        _, output, entry = world.sealed().entries[0]
        garbage = EntryKeys(output, world.INDEX_OWNER).seal(
            1, 0, secrets.blob_id, [draw(f"garbage {n}", 16) for n in range(3)]
        )
        at = octets.index(entry)
        whole = octets[:at] + garbage + octets[at + 96 :]
        segment = self.segment("garbage", whole, edit(at + 16, 80, garbage[16:]))
        good = self.file(
            "garbage-shares",
            head=self.naming("head of garbage shares", (1, whole)),
            blob_segment=segment,
            entry_segment=None,
            blob={"base64": secrets.blob_id.hex()},
            secret={"base64": secrets.secret.hex()},
            output={"base64": output.hex()},
            counter=0,
            owner_member=owner,
        )
        self.holds("garbage_shares", good)
        honest = {"head": self.honest_head, "blob_segment": self.segment("1", octets)}
        self.refused("garbage_shares_that_are_right", {**good, **honest})
        self.refused("garbage_shares_of_another_counter", {**good, "counter": 7})
        self.refused(
            "garbage_shares_of_another_output", {**good, "output": {"base64": draw("output", 64).hex()}}
        )
        wrong = {"base64": draw("a guessed secret", 16).hex()}
        self.refused("garbage_shares_by_another_secret", {**good, "secret": wrong}, "not_evidence")

    # --- disclosure --------------------------------------------------------------------------------------

    def phantoms(self) -> None:
        fields = {**world.RECORD.fields, "case_number": "C-2032"}
        other = CanonicalRecord(world.RECORD.kind, world.RECORD.tier, fields)
        secrets = world.SECRETS

        def asked(name: str, made: DisclosureRequest) -> FileValue:
            return self.filing.part(name, ASKER.signing.sign("disclosure-request", made.encode()))

        def answered(name: str, made: DisclosureResponse) -> FileValue:
            return self.filing.part(name, OWNER.signing.sign("disclosure-response", made.encode()))

        good = self.file(
            "phantom",
            head=self.honest_head,
            segment=self.segment("1", world.sealed().segment),
            blob={"base64": secrets.blob_id.hex()},
            secret={"base64": secrets.secret.hex()},
            request=asked("request", request()),
            response=answered("another record", replace(response(), record=other.encode())),
            **self.filing.members(),
        )
        self.holds("phantom", good)
        self.refused("phantom_of_the_right_record", {**good, "response": answered("response", response())})
        declined = answered("declined", response(Outcome.DECLINED))
        self.refused("phantom_by_a_refusal", {**good, "response": declined})
        asked_for = replace(request(), commitment=request().consent)
        for_it = replace(response(), request=asked_for.digest(), record=other.encode())
        made_up = {
            "request": asked("request of another commitment", asked_for),
            "response": answered("response to it", for_it),
        }
        self.refused(
            "phantom_by_a_commitment_of_the_accuser", {**good, **made_up}, comment="com is not the blob's"
        )

    # --- lookups -----------------------------------------------------------------------------------------

    def lookups(self) -> None:
        member = self.filing.logged("member alder-pd")
        lookup = self.draft.lookup
        slots = tuple(item for item in self.draft.persons[0])
        again = draft_lookup(
            [AskedPerson(slots, world.paperwork(1))],
            LookupShape.SCREENING,
            Purpose.C,
            FEDERATION,
            ASKER.node,
            lookup.targets,
            ASKER.signing,
            NOW + MINUTE,
            lookup.lookup_id,
        )
        good = self.file(
            "two-lookups",
            ASKER.name,
            first=self.lookup,
            second=self.filing.part("second lookup", again.statement),
            asker_member=member,
        )
        self.holds("two_lookups", good)
        self.refused("two_lookups_that_are_one", {**good, "second": self.lookup})
        other = self.filing.part("lookup of another id", world.draft(LookupShape.SCREENING, 4).statement)
        self.refused("two_lookups_of_two_ids", {**good, "second": other})
        forged = self.filing.part(
            "lookup signed by another", OWNER.signing.sign("lookup", again.statement.body)
        )
        self.refused("two_lookups_one_by_the_accuser", {**good, "second": forged}, "signature_invalid")

    # --- a lookup that never arrived ----------------------------------------------------------------------

    def dropped(self) -> None:
        own = logs.index_of("requests")
        entries = [octets for _, octets in logs.first_shard()[: logs.SIZE]]
        position = logs.lookup_commitments().index(request_commitment(self.draft.statement))
        bits = [number != position for number in range(3)]

        def file(name: str, heartbeat: Statement, **change: Any) -> FileValue:
            log = [*entries, heartbeat.encode()]
            leaves = [merkle.leaf_hash(octets) for octets in log]
            head = logs.witnessed(Checkpoint(ORIGIN, len(log), merkle.root(log)), NOW + 15 * MINUTE)

            def logged(entry: str, index: int) -> FileValue:
                proof = LogProof(index, inclusion_proof(HeldTiles(leaves), index, len(log)), head)
                return self.filing.proved(entry, log[index], proof.encode(), f"head of {name}")

            consistency = consistency_proof(HeldTiles(leaves), own + 1, len(log))
            start = 2
            return (
                self.file(
                    "dropped-lookup",
                    "hub",
                    lookup=self.lookup,
                    owner=OWNER.name,
                    request_logged=logged("requests", own),
                    heartbeat_logged=logged(f"heartbeat {name}", len(log) - 1),
                    prefix=[
                        {"base64": piece.hex()} for piece in CompactRange.EMPTY.extend(leaves[:start]).hashes
                    ],
                    entries=[
                        self.filing.entry(logs.first_shard()[index][0], log[index])
                        for index in range(start, own)
                    ],
                    consistency=[{"base64": piece.hex()} for piece in consistency],
                    **self.filing.members(),
                )
                | change
            )

        good = file("a bit missing", logs.sign_heartbeat(logs.heartbeat(1, 2, 12, bits)))
        self.holds("dropped_lookup", good)
        arrived = logs.sign_heartbeat(logs.heartbeat(1, 2, 12, [True] * 3))
        self.refused("dropped_lookup_that_arrived", file("all bits", arrived))
        late = replace(logs.heartbeat(1, 2, 12, bits), issued_at=self.draft.lookup.expires_at - 9 * MINUTE)
        self.refused(
            "dropped_lookup_by_a_heartbeat_too_late", file("a late heartbeat", logs.sign_heartbeat(late))
        )
        before = logs.sign_heartbeat(logs.heartbeat(1, 2, 10, []))
        self.refused("dropped_lookup_by_a_heartbeat_about_less", file("a short range", before))
        self.refused(
            "dropped_lookup_with_an_entry_left_out",
            {**good, "entries": good["entries"][:-1]},
            "malformed_message",
        )
        exchanged = [good["entries"][1], good["entries"][0], *good["entries"][2:]]
        self.refused("dropped_lookup_with_entries_exchanged", {**good, "entries": exchanged}, "proof_invalid")
        self.refused("dropped_lookup_of_no_target", {**good, "owner": ASKER.name})
        self.refused(
            "dropped_lookup_that_accuses_a_member", {**good, "accused": OWNER.name}, "malformed_message"
        )
        forged = Statement(
            "heartbeat", ASKER.signing.sign("heartbeat", logs.heartbeat(1, 2, 12, bits).encode())
        )
        self.refused(
            "dropped_lookup_by_a_heartbeat_of_the_accuser",
            file("a forged heartbeat", forged),
            "signature_invalid",
        )

    # --- the log -----------------------------------------------------------------------------------------

    def text(self, name: str, head: SignedCheckpoint) -> Any:
        self.found.keep(name, head.encode())
        return {"join": [changed(name)]}

    def logs(self) -> None:
        entries = [octets for _, octets in logs.first_shard()[:12]]
        fork = [*entries[:-1], logs.first_shard()[13][1]]
        leaves = [merkle.leaf_hash(octets) for octets in fork]
        ten = logs.witnessed(logs.checkpoint(12), logs.SIGNED_AT)
        longer = [*fork, entries[0]]
        head = logs.witnessed(Checkpoint(ORIGIN, 13, merkle.root(longer)), NOW + HOUR)
        proof = consistency_proof(HeldTiles([*leaves, merkle.leaf_hash(entries[0])]), 12, 13)
        good = self.file(
            "forked-log",
            "hub",
            first=self.text("head of 12", ten),
            second=self.text("head of a fork", head),
            proof=[{"base64": piece.hex()} for piece in proof],
            prefix_root={"base64": merkle.root(fork).hex()},
        )
        self.holds("forked_log", good)
        same = logs.witnessed(Checkpoint(ORIGIN, 12, merkle.root(fork)), NOW + HOUR)
        equal = {
            "second": self.text("head of 12 others", same),
            "proof": [],
            "prefix_root": {"base64": merkle.root(fork).hex()},
        }
        self.holds("forked_log_of_one_size", {**good, **equal})
        honest = [octets for _, octets in logs.first_shard()[:13]]
        tiles = HeldTiles([merkle.leaf_hash(octets) for octets in honest])
        grown = {
            "second": self.text("head of 13", logs.witnessed(logs.checkpoint(13), NOW + HOUR)),
            "proof": [{"base64": piece.hex()} for piece in consistency_proof(tiles, 12, 13)],
            "prefix_root": {"base64": merkle.root(entries).hex()},
        }
        self.refused("forked_log_that_grew", {**good, **grown})
        invented = {**grown, "prefix_root": {"base64": "00" * 32}}
        self.refused("forked_log_by_a_root_made_up", {**good, **invented}, "proof_invalid")
        self.refused(
            "forked_log_that_is_one",
            {
                **good,
                "second": good["first"],
                "proof": [],
                "prefix_root": {"base64": merkle.root(entries).hex()},
            },
        )
        unsigned = logs.witnessed(Checkpoint(ORIGIN, 12, merkle.root(fork)), NOW + HOUR, None)
        lines = (unsigned.signatures[0], ten.signatures[1], unsigned.signatures[2])
        forged = SignedCheckpoint(unsigned.checkpoint, lines)
        self.refused(
            "forked_log_half_signed",
            {**good, **equal, "second": self.text("head half signed", forged)},
            "signature_invalid",
        )
        self.rolled_back(ten)
        self.cosigned(ten, same)

    def rolled_back(self, twelve: SignedCheckpoint) -> None:
        first = self.text("head of 12", twelve)
        earlier = logs.witnessed(logs.checkpoint(7), NOW - HOUR)
        later = logs.witnessed(logs.checkpoint(7), NOW + HOUR)
        good = self.file("rolled-back-log", "hub", first=first, second=self.text("head of 7 later", later))
        self.holds("rolled_back_log", good)
        self.refused(
            "rolled_back_log_that_grew", {**good, "first": self.text("head of 7", earlier), "second": first}
        )
        self.refused(
            "rolled_back_log_the_wrong_way_round", {**good, "first": good["second"], "second": first}
        )
        same_time = logs.witnessed(logs.checkpoint(7), logs.SIGNED_AT)
        at_once = {**good, "second": self.text("head of 7 at once", same_time)}
        self.refused(
            "rolled_back_log_within_a_second",
            at_once,
            comment="times are whole seconds: which came first is not known",
        )

    def cosigned(self, first: SignedCheckpoint, second: SignedCheckpoint) -> None:
        name = logs.OUTSIDE.name
        good = self.file(
            "two-cosignatures",
            name,
            first=self.text("head of 12", first),
            second=self.text("head of 12 others", second),
        )
        self.holds("two_cosignatures", good)
        self.refused("two_cosignatures_on_one_head", {**good, "second": good["first"]})
        alone = SignedCheckpoint(second.checkpoint, second.signatures[:2])
        self.refused(
            "two_cosignatures_of_which_one_is_missing",
            {**good, "second": self.text("head not cosigned", alone)},
        )
        grown = self.text("head of 13", logs.witnessed(logs.checkpoint(13), NOW + HOUR))
        self.refused("two_cosignatures_on_two_sizes", {**good, "second": grown})
        self.refused(
            "two_cosignatures_of_somebody_unknown", {**good, "accused": f"{FEDERATION}/witness/birch-so"}
        )

    # --- directories -------------------------------------------------------------------------------------

    def directories(self) -> None:
        filing, chain = self.filing, [{"base64": changed(name)} for name in certificates.NAMES[:2]]
        honest = logs.directory(1)

        def signed(name: str, made: Any, key: Any = DIRECTORY_KEY) -> FileValue:
            return filing.part(name, key.sign("directory", made.encode()))

        first = signed("directory 1", honest)
        left_out = signed("directory without one", replace(honest, members=honest.members[:2]))
        good = self.file(
            "false-directory",
            "hub",
            directory=left_out,
            chain=chain,
            directory_logged=filing.logged("directory 1"),
        )
        self.holds("false_directory", good)
        other_time = signed("directory of another time", replace(honest, issued_at=NOW - 2 * HOUR))
        self.holds("false_directory_of_another_time", {**good, "directory": other_time})
        self.refused("false_directory_that_was_logged", {**good, "directory": first})
        second = signed("directory 2", logs.directory(2))
        self.refused("false_directory_of_another_version", {**good, "directory": second})
        forged = signed(
            "directory signed by another", replace(honest, members=honest.members[:2]), OWNER.signing
        )
        self.refused("false_directory_of_the_accuser", {**good, "directory": forged}, "signature_invalid")
        self.refused("false_directory_without_the_root", good, "certificate_refused", root=None)
        self.refused("false_directory_under_a_chain_cut", {**good, "chain": chain[:1]}, "certificate_refused")
        good = self.file("two-directories", "hub", first=first, second=left_out, chain=chain)
        self.holds("two_directories", good)
        self.refused("two_directories_that_are_one", {**good, "second": first})
        self.refused("two_directories_of_two_versions", {**good, "second": second})

    # --- the form ----------------------------------------------------------------------------------------

    def forms(self) -> None:
        member = self.filing.logged("member birch-so")
        other = self.filing.part(
            "head of one sequence", world.sign_head(OWNER, replace(self.head, issued_at=NOW))
        )
        good = self.file("two-heads", first=self.honest_head, second=other, owner_member=member)
        self.refused("form_of_an_unknown_kind", {**good, "kind": "three-heads"}, "malformed_message")
        self.refused("form_with_a_remark", {**good, "remark": "guilty"}, "malformed_message")
        self.refused("form_with_a_key_of_another_kind", {**good, "lookup": self.lookup}, "malformed_message")
        without = {key: value for key, value in good.items() if key != "second"}
        self.refused("form_with_a_key_missing", without, "malformed_message")
        self.refused("form_of_another_version", {**good, "format": "candor-evidence/2"}, "malformed_message")
        self.refused("form_with_a_malformed_name", {**good, "accused": "Birch"}, "malformed_message")
