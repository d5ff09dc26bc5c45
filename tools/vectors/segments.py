"""Segments: padding, order, names (docs/protocol.md §6.6)."""

from __future__ import annotations

from typing import Any

from candor_proto.ids import BlobId
from candor_proto.sealed_index import EntryKeys, withdrawal_marker
from candor_proto.segment import Segment, address, padded_count
from tools.vectors import world
from tools.vectors.book import Book, Given, changed, edit, operation
from tools.vectors.draws import draw
from tools.vectors.index import index_owner
from tools.vectors.parties import FEDERATION, OWNER
from tools.vectors.shapes import FLAG, OCTETS, U32, fields, fixed, listed, maybe
from tools.vectors.shapes import OWNER as OF_OWNER


@operation(
    "padded-count",
    "6.6",
    "how many items a list of `count` is padded to, when a segment holds at least `minimum`",
    {"count": U32, "minimum": U32},
    {"padded": U32},
)
def _padded_count(given: Given) -> dict[str, Any]:
    return {"padded": padded_count(given["count"], given["minimum"])}


@operation(
    "segment",
    "6.6",
    "header of a segment, its address, and first and last item of each list",
    {"segment": OCTETS},
    {
        **OF_OWNER,
        "number": U32,
        "entries": U32,
        "blobs": U32,
        "markers": U32,
        "address": fixed(32),
        "first_entry": fixed(96),
        "last_entry": fixed(96),
        "first_blob": fixed(475),
        "last_marker": fixed(16),
    },
)
def _segment(given: Given) -> dict[str, Any]:
    octets = bytes.fromhex(given["segment"])
    segment = Segment(octets)
    header = segment.header
    return {
        "federation": str(header.federation),
        "node": str(header.node),
        "epoch": header.epoch,
        "number": header.number,
        "entries": header.entries,
        "blobs": header.blobs,
        "markers": header.markers,
        "address": address(octets).hex(),
        "first_entry": segment._entries[0].hex(),
        "last_entry": segment._entries[-1].hex(),
        "first_blob": segment._blobs[0].hex(),
        "last_marker": max(segment._markers).hex(),
    }


@operation(
    "probe",
    "6.1",
    "the chain of an output in a segment, up to the first tag that is not there; null for an entry that does "
    "not open",
    {"segment": OCTETS, "output": OCTETS},
    {"entries": listed(maybe(fields(blob_id=fixed(16), slots=listed(fixed(16)))))},
)
def _probe(given: Given) -> dict[str, Any]:
    segment = Segment(bytes.fromhex(given["segment"]))
    header = segment.header
    owner = index_owner(
        {"federation": str(header.federation), "node": str(header.node), "epoch": header.epoch}
    )
    found = EntryKeys(bytes.fromhex(given["output"]), owner).probe(header.number, segment.entry)
    return {
        "entries": [
            None if one is None else {"blob_id": one[0].hex(), "slots": [slot.hex() for slot in one[1]]}
            for one in found
        ]
    }


@operation(
    "find-blob",
    "6.5",
    "the blob of this id in a segment, if any, and whether the segment holds the marker",
    {"segment": OCTETS, "blob_id": OCTETS, "marker": OCTETS},
    {"blob": maybe(fixed(475)), "withdrawn": FLAG},
)
def _find_blob(given: Given) -> dict[str, Any]:
    segment = Segment(bytes.fromhex(given["segment"]))
    blob = segment.blob(BlobId(bytes.fromhex(given["blob_id"])))
    return {
        "blob": None if blob is None else blob.hex(),
        "withdrawn": segment.withdrawn(bytes.fromhex(given["marker"])),
    }


def book() -> Book:
    found = Book(
        "segments",
        "Segments: padded counts, a segment of one record, one that withdraws it, and segments that must be "
        "refused.",
        ("6.1", "6.5", "6.6"),
        "Segment 1 holds the record of the story (README.md), the marker of another one and drawn dummies; "
        "made "
        "by candor_proto.segment. The refused ones are segment 1 with edits. Padmé figures agree with PURBs "
        "§4.2.",
    )
    for minimum in (8, 256):
        for count in (
            0,
            1,
            minimum,
            minimum + 1,
            1000,
            4095,
            4096,
            4097,
            5000,
            8191,
            65_535,
            100_000,
            524_288,
        ):
            found.case(f"padded_{count}_of_{minimum}", "padded-count", {"count": count, "minimum": minimum})
    segment = found.keep("segment 1", world.sealed().segment)
    secrets = world.SECRETS
    marker = withdrawal_marker(secrets.secret, secrets.blob_id)
    found.case("segment_1", "segment", {"segment": changed("segment 1")})
    for number, (_, output, _) in enumerate(world.sealed().entries[:3]):
        found.case(f"probe_key_{number}", "probe", {"segment": changed("segment 1"), "output": output.hex()})
    first = world.sealed().entries[0]
    at = segment.index(first[2])
    found.case(
        "probe_an_entry_that_does_not_open",
        "probe",
        {
            "segment": changed("segment 1", edit(at + 95, 1, bytes([segment[at + 95] ^ 1]))),
            "output": first[1].hex(),
        },
        comment="a miss (7.6)",
    )
    found.case(
        "probe_another_output",
        "probe",
        {"segment": changed("segment 1"), "output": draw("no output", 64).hex()},
    )
    given = {"blob_id": secrets.blob_id.hex(), "marker": marker.hex()}
    found.case("find_the_blob", "find-blob", {**given, "segment": changed("segment 1")})
    given = {"blob_id": world.WITHDRAWN_BLOB.hex(), "marker": world.MARKER.hex()}
    found.case("find_a_blob_withdrawn", "find-blob", {**given, "segment": changed("segment 1")})
    _refused(found, segment)
    return found


def _refused(found: Book, segment: bytes) -> None:
    # Behind the label (18 octets) and the two names: epoch, number, entries, blobs, markers.
    names = 4 + len(str(FEDERATION)) + 4 + len(OWNER.name)
    counts = 18 + names + 8
    body = counts + 12
    assert segment[counts:body] == (256).to_bytes(4, "big") + (16).to_bytes(4, "big") + (8).to_bytes(4, "big")
    entries, blobs, end = body, body + 256 * 96, len(segment)
    markers = blobs + 16 * 475
    first, second = segment[entries : entries + 96], segment[entries + 96 : entries + 192]

    def u32(value: int) -> bytes:
        return value.to_bytes(4, "big")

    for flaw, edits, refuse, comment in (
        ("octet_behind", [edit(end, 0, b"\0")], "not_canonical", ""),
        ("octet_missing", [edit(end - 1, 1)], "malformed_message", ""),
        ("header_only", [edit(body, end - body)], "malformed_message", ""),
        ("nothing", [edit(0, end)], "malformed_message", ""),
        ("another_label", [edit(1, 1, b"C")], "malformed_message", ""),
        ("node_malformed", [edit(18 + 4 + len(str(FEDERATION)) + 4, 1, b"-")], "malformed_message", ""),
        ("federation_malformed", [edit(18 + 4, 1, b".")], "malformed_message", ""),
        ("entries_swapped", [edit(entries, 192, second + first)], "not_canonical", ""),
        ("entry_twice", [edit(entries, 192, first + first)], "not_canonical", "sorted, but not strictly"),
        (
            "blobs_swapped",
            [edit(blobs, 950, segment[blobs + 475 : blobs + 950] + segment[blobs : blobs + 475])],
            "not_canonical",
            "",
        ),
        (
            "markers_swapped",
            [edit(markers, 32, segment[markers + 16 : markers + 32] + segment[markers : markers + 16])],
            "not_canonical",
            "",
        ),
        ("entries_257", [edit(counts, 4, u32(257))], "not_canonical", "a count that padding cannot give"),
        ("entries_255", [edit(counts, 4, u32(255))], "not_canonical", "fewer than the minimum"),
        ("entries_none", [edit(counts, 4, u32(0))], "not_canonical", ""),
        ("blobs_17", [edit(counts + 4, 4, u32(17))], "not_canonical", ""),
        ("markers_9", [edit(counts + 8, 4, u32(9))], "not_canonical", ""),
        ("entries_over_the_limit", [edit(counts, 4, u32(524_289))], "limit_exceeded", ""),
        ("blobs_over_the_limit", [edit(counts + 4, 4, u32(65_537))], "limit_exceeded", ""),
        ("markers_over_the_limit", [edit(counts + 8, 4, u32(65_537))], "limit_exceeded", ""),
        (
            "longer_than_64_mib",
            [edit(counts, 8, u32(524_288) + u32(65_536))],
            "limit_exceeded",
            "both counts within their limits, 64 MiB are not enough",
        ),
    ):
        given = {"segment": changed("segment 1", *edits)}
        found.case(f"segment_{flaw}", "segment", given, comment=comment, refuse=refuse)
