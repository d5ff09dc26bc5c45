"""Shares over GF(2^128) (docs/protocol.md §6.2, §6.4)."""

from __future__ import annotations

from typing import Any

from candor_proto.ids import BlobId
from candor_proto.sealed_index import abscissae, polynomial
from candor_proto.shamir import (
    evaluate,
    evaluate_each,
    interpolate_at_zero,
    invert_public,
    multiply_by_public,
)
from tools.vectors.book import Book, Given, operation
from tools.vectors.draws import draw
from tools.vectors.shapes import OCTETS, U8, U32, fields, fixed, listed


@operation("field-product", "6.2", "a · b in the field", {"a": OCTETS, "b": OCTETS}, {"product": fixed(16)})
def _field_product(given: Given) -> dict[str, Any]:
    a, b = int(given["a"], 16), int(given["b"], 16)
    product = multiply_by_public(a, b)
    assert product == multiply_by_public(b, a)
    return {"product": product.to_bytes(16, "big").hex()}


@operation("field-inverse", "6.2", "1 / a in the field", {"a": OCTETS}, {"inverse": fixed(16)})
def _field_inverse(given: Given) -> dict[str, Any]:
    return {"inverse": invert_public(int(given["a"], 16)).to_bytes(16, "big").hex()}


@operation(
    "polynomial",
    "6.2",
    "s, a_1, … a_(t-1)",
    {"secret": OCTETS, "blob_id": OCTETS, "threshold": U8},
    {"coefficients": listed(fixed(16))},
)
def _polynomial(given: Given) -> dict[str, Any]:
    blob = BlobId(bytes.fromhex(given["blob_id"]))
    made = polynomial(bytes.fromhex(given["secret"]), blob, given["threshold"])
    return {"coefficients": [octets.hex() for octets in made]}


@operation(
    "share",
    "6.2",
    "f at the abscissa of this number",
    {"coefficients": listed(OCTETS), "abscissa": U32},
    {"share": fixed(16)},
)
def _share(given: Given) -> dict[str, Any]:
    coefficients = [bytes.fromhex(octets) for octets in given["coefficients"]]
    share = evaluate(coefficients, given["abscissa"])
    assert [share] == evaluate_each(coefficients, (given["abscissa"],))
    return {"share": share.hex()}


@operation(
    "label-shares",
    "6.2",
    "abscissae and shares of the label at this position, of this weight",
    {"secret": OCTETS, "blob_id": OCTETS, "threshold": U8, "position": U8, "weight": U8},
    {"shares": listed(fields(abscissa=U32, share=fixed(16)))},
)
def _label_shares(given: Given) -> dict[str, Any]:
    blob = BlobId(bytes.fromhex(given["blob_id"]))
    coefficients = polynomial(bytes.fromhex(given["secret"]), blob, given["threshold"])
    points = abscissae(given["position"], given["weight"])
    return {"shares": [{"abscissa": x, "share": evaluate(coefficients, x).hex()} for x in points]}


@operation(
    "interpolate",
    "6.4",
    "the secret: f at 0 from the `threshold` shares of lowest abscissa",
    {"shares": listed(fields(abscissa=U32, share=OCTETS)), "threshold": U8},
    {"secret": fixed(16)},
)
def _interpolate(given: Given) -> dict[str, Any]:
    shares = {one["abscissa"]: bytes.fromhex(one["share"]) for one in given["shares"]}
    return {"secret": interpolate_at_zero(shares, given["threshold"]).hex()}


def book() -> Book:
    found = Book(
        "shares",
        "Arithmetic in GF(2^128), the polynomial of a record, its shares, and the secret that they give.",
        ("6.2", "6.4"),
        "Operands by hand and drawn; results by candor_proto.shamir, whose field is checked against a second "
        "multiplication "
        "written from §6.2 in tests/unit/proto/test_shamir.py.",
    )
    one, x, top = (f"{value:032x}" for value in (1, 2, 1 << 127))
    a, b = draw("field a", 16).hex(), draw("field b", 16).hex()
    for name, left, right in (
        ("one", one, a),
        ("zero", "00" * 16, a),
        ("x_times_top", x, top),
        ("top_squared", top, top),
        ("two_drawn", a, b),
        ("square", a, a),
        ("all_bits", "ff" * 16, "ff" * 16),
    ):
        found.case(f"product_{name}", "field-product", {"a": left, "b": right})
    for name, value in (("one", one), ("x", x), ("top", top), ("drawn", a), ("three", f"{3:032x}")):
        found.case(f"inverse_{name}", "field-inverse", {"a": value})
    found.case("inverse_of_zero", "field-inverse", {"a": "00" * 16}, refuse="malformed_message")
    secret, blob = draw("shared secret", 16).hex(), draw("shared blob", 16).hex()
    for threshold in (3, 8):
        given = {"secret": secret, "blob_id": blob, "threshold": threshold}
        made = found.case(f"polynomial_of_{threshold}", "polynomial", given)
        for abscissa in (1, 2, 63, 96):
            given_share = {"coefficients": made["coefficients"], "abscissa": abscissa}
            found.case(f"share_{abscissa}_of_{threshold}", "share", given_share)
    for threshold in (2, 9):
        given = {"secret": secret, "blob_id": blob, "threshold": threshold}
        found.case(f"threshold_{threshold}", "polynomial", given, refuse="limit_exceeded")
    base = {"secret": secret, "blob_id": blob, "threshold": 3}
    for position, weight in ((0, 2), (1, 1), (20, 1), (31, 2), (5, 0)):
        found.case(
            f"label_{position}_of_weight_{weight}",
            "label-shares",
            {**base, "position": position, "weight": weight},
        )
    for position, weight in ((32, 1), (0, 3)):
        found.case(
            f"label_{position}_of_weight_{weight}",
            "label-shares",
            {**base, "position": position, "weight": weight},
            refuse="limit_exceeded",
        )
    _interpolations(found, secret, blob)
    return found


def _interpolations(found: Book, secret: str, blob: str) -> None:
    coefficients = polynomial(bytes.fromhex(secret), BlobId(bytes.fromhex(blob)), 3)

    def shares(*points: int) -> list[dict[str, Any]]:
        return [{"abscissa": at, "share": evaluate(coefficients, at).hex()} for at in points]

    for name, points in (
        ("three_lowest", (1, 2, 4)),
        ("far_apart", (3, 50, 96)),
        ("more_than_needed", (1, 2, 4, 5, 7)),
    ):
        given = {"shares": shares(*points), "threshold": 3}
        assert found.case(f"interpolate_{name}", "interpolate", given)["secret"] == secret
    wrong = [*shares(1, 2), {"abscissa": 4, "share": "00" * 16}]
    made = found.case(
        "interpolate_a_wrong_share",
        "interpolate",
        {"shares": wrong, "threshold": 3},
        comment="gives another secret; recomputing the shares from it shows that (6.4)",
    )
    assert made["secret"] != secret
    found.case(
        "interpolate_wrong_share_beyond_the_lowest",
        "interpolate",
        {"shares": [*shares(1, 2, 4), {"abscissa": 9, "share": "00" * 16}], "threshold": 3},
        comment="only the three of lowest abscissa count",
    )
    found.case(
        "interpolate_too_few", "interpolate", {"shares": shares(1, 2), "threshold": 3}, refuse="gate_closed"
    )
    found.case(
        "interpolate_at_zero_itself",
        "interpolate",
        {"shares": [{"abscissa": 0, "share": secret}, *shares(1, 2)], "threshold": 3},
        comment="abscissa 0 is the secret",
        refuse="malformed_message",
    )
