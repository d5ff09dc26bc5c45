"""Vectors of §6: entries, shares, blobs, segments, heads."""

from __future__ import annotations

from collections.abc import Callable

from candor_verify import heads, segment
from candor_verify.errors import (
    GateClosed,
    LimitExceeded,
    Refused,
    SealedDataInvalid,
    UnknownObject,
)
from candor_verify.octets import derive
from candor_verify.vectors_basic import Given, Outcome

MAX_AGE = 36 * 3600 * 1000


def _place(given: Given) -> tuple[str, str, int]:
    return given.text("federation"), given.text("node"), given.number("epoch")


def entry_keys(given: Given) -> Outcome:
    federation, node, epoch = _place(given)
    tag, key, nonce = segment.entry_keys(
        given.octets("output"), federation, node, epoch, given.number("segment"), given.number("counter")
    )
    return {"tag": tag.hex(), "key": key.hex(), "nonce": nonce.hex()}


def open_entry(given: Given) -> Outcome:
    federation, node, epoch = _place(given)
    keys = segment.entry_keys(
        given.octets("output"), federation, node, epoch, given.number("segment"), given.number("counter")
    )
    blob_id, slots = segment.unseal_entry(given.octets("entry"), keys)
    return {"blob_id": blob_id.hex(), "slots": [slot.hex() for slot in slots]}


def seal_entry_back(expected: Given, given: Given) -> Outcome:
    return {**given.value, **open_entry(Given({**given.value, "entry": expected.raw("entry")}))}


def probe(given: Given) -> Outcome:
    parsed = segment.parse_segment(given.octets("segment"))
    found: list[object] = []
    for counter in range(256):
        try:
            blob_id, slots = segment.open_entry(parsed, given.octets("output"), counter)
        except SealedDataInvalid:
            found.append(None)
        except UnknownObject:
            break
        else:
            found.append({"blob_id": blob_id.hex(), "slots": [slot.hex() for slot in slots]})
    return {"entries": found}


def field_product(given: Given) -> Outcome:
    a, b = (int.from_bytes(given.octets(key), "big") for key in "ab")
    return {"product": segment.multiply(a, b).to_bytes(16, "big").hex()}


def field_inverse(given: Given) -> Outcome:
    return {"inverse": segment.inverse(int.from_bytes(given.octets("a"), "big")).to_bytes(16, "big").hex()}


def polynomial(given: Given) -> Outcome:
    found = segment.coefficients(given.octets("secret"), given.octets("blob_id"), given.number("threshold"))
    return {"coefficients": [each.to_bytes(16, "big").hex() for each in found]}


def share(given: Given) -> Outcome:
    coefficients = [int.from_bytes(each, "big") for each in given.octets_list("coefficients")]
    return {"share": segment.evaluate(coefficients, given.number("abscissa")).hex()}


def label_shares(given: Given) -> Outcome:
    position, weight = given.number("position"), given.number("weight")
    if position >= segment.POSITIONS or weight > 2:
        raise LimitExceeded("A position is below 32, a weight at most 2.")
    found = segment.coefficients(given.octets("secret"), given.octets("blob_id"), given.number("threshold"))
    places = range(1 + 3 * position, 1 + 3 * position + weight)
    return {"shares": [{"abscissa": x, "share": segment.evaluate(found, x).hex()} for x in places]}


def interpolate(given: Given) -> Outcome:
    points = [(each["abscissa"], bytes.fromhex(each["share"])) for each in given.raw("shares")]
    return {"secret": segment.interpolate(points, given.number("threshold")).hex()}


def field_tag(given: Given) -> Outcome:
    return {"tag": derive(given.octets("output"), "field-tag", given.octets("blob_id"), 8).hex()}


def withdrawal_marker(given: Given) -> Outcome:
    return {"marker": derive(given.octets("secret"), "withdrawn", given.octets("blob_id"), 16).hex()}


def _said(label: segment.Label) -> Outcome:
    return {
        "handle": label.handle.hex(),
        "kind": label.kind,
        "tier": label.tier,
        "expires_days": label.expiry,
        "commitment": label.commitment.hex(),
        "presence": label.presence,
        "field_tags": [tag.hex() for tag in label.field_tags],
    }


def open_blob(given: Given) -> Outcome:
    blob = given.octets("blob")
    if len(blob) != segment.BLOB_OCTETS:
        raise SealedDataInvalid("A blob has 475 octets.")
    try:
        return {"label": _said(segment.open_blob(blob, given.octets("secret"), *_place(given)))}
    except Refused as error:
        # To an asker it is all one: the blob does not open (§6.4).
        raise SealedDataInvalid(str(error)) from None


def seal_blob_back(expected: Given, given: Given) -> Outcome:
    blob = expected.octets("blob")
    derived = segment.blob_keys(given.octets("secret"), blob[:16], *_place(given))
    if tuple(expected.octets(key) for key in ("key", "nonce", "key_commitment")) != derived:
        raise SealedDataInvalid("The keys of the blob are others.")
    opened = open_blob(Given({**given.value, "blob": blob.hex()}))
    return {**given.value, "blob_id": blob[:16].hex(), **opened}


def gate(given: Given) -> Outcome:
    hits = given.raw("hits")
    threshold = given.number("threshold")
    segment.check_threshold(threshold)
    if sum(hit["weight"] for hit in hits) < threshold:
        raise GateClosed("The labels hit do not add up to the threshold.")
    points = [
        (1 + 3 * hit["position"] + number, bytes.fromhex(slot))
        for hit in hits
        for number, slot in enumerate(hit["slots"][: hit["weight"]])
    ]
    secret = segment.interpolate(points, threshold)
    blob_id = given.octets("blob")[:16]
    coefficients = segment.coefficients(secret, blob_id, threshold)
    if any(segment.evaluate(coefficients, x) != value for x, value in points):
        raise SealedDataInvalid("A share does not lie on the polynomial of the secret.")
    return {"secret": secret.hex(), **open_blob(Given({**given.value, "secret": secret.hex()}))}


def find_blob(given: Given) -> Outcome:
    parsed = segment.parse_segment(given.octets("segment"))
    try:
        blob = parsed.blob(given.octets("blob_id")).hex()
    except UnknownObject:
        blob = ""
    return {"blob": blob or None, "withdrawn": given.octets("marker") in parsed.markers}


def padded_count(given: Given) -> Outcome:
    return {"padded": segment.padded(given.number("count"), given.number("minimum"))}


def read_segment(given: Given) -> Outcome:
    octets = given.octets("segment")
    parsed = segment.parse_segment(octets)
    return {
        "federation": parsed.federation,
        "node": parsed.node,
        "epoch": parsed.epoch,
        "number": parsed.number,
        "entries": len(parsed.entries),
        "blobs": len(parsed.blobs),
        "markers": len(parsed.markers),
        "address": segment.address_of(octets).hex(),
        "first_entry": parsed.entries[0].hex(),
        "last_entry": parsed.entries[-1].hex(),
        "first_blob": parsed.blobs[0].hex(),
        "last_marker": parsed.markers[-1].hex(),
    }


def decode_head(given: Given) -> Outcome:
    head = heads.parse_head(given.octets("body"))
    weak, match, code = (key.hex() for key in head.keys)
    return {
        "federation": head.federation,
        "node": head.node,
        "sequence": str(head.sequence),
        "epoch": head.epoch,
        "key_weak": weak,
        "key_match": match,
        "key_code": code,
        "threshold": head.threshold,
        "scheme_version": head.scheme,
        "segments": [
            {"number": each.number, "address": each.address.hex(), "octets": each.octets}
            for each in head.segments
        ],
        "issued": str(head.issued),
    }


def head_age(given: Given) -> Outcome:
    return {"stale": given.number("now") - given.number("issued") > MAX_AGE}


FORWARD: dict[str, Callable[[Given], object]] = {
    "entry-keys": entry_keys,
    "open-entry": open_entry,
    "probe": probe,
    "field-product": field_product,
    "field-inverse": field_inverse,
    "polynomial": polynomial,
    "share": share,
    "label-shares": label_shares,
    "interpolate": interpolate,
    "field-tag": field_tag,
    "withdrawal-marker": withdrawal_marker,
    "open-blob": open_blob,
    "gate": gate,
    "find-blob": find_blob,
    "padded-count": padded_count,
    "segment": read_segment,
    "decode-index-head": decode_head,
    "head-age": head_age,
}
BACKWARD: dict[str, Callable[[Given, Given], object]] = {
    "seal-entry": seal_entry_back,
    "seal-blob": seal_blob_back,
    "encode-index-head": lambda expected, _: decode_head(expected),
}
