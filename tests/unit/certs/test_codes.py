"""Codes of persons: nobody opens the root's key alone, and a slip of the pen is found (docs/ceremony.md)."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st

from candor_certs import codes
from candor_certs.authority import create_root
from candor_certs.folders import ROOT_KEY, load_root, persons, save_root
from candor_proto.errors import InputInvalid
from tests.certificates import FEDERATION

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def test_a_code_is_read_back_however_it_is_typed() -> None:
    drawn = codes.draw()
    for typed in (drawn, drawn.lower(), drawn.replace("-", ""), drawn.replace("-", " "), f" {drawn}\n"):
        assert codes.parse(typed) == drawn
    assert len({codes.draw() for _ in range(100)}) == 100


@given(st.data())
def test_every_single_slip_is_found(data: st.DataObject) -> None:
    drawn = codes.draw().replace("-", "")
    at = data.draw(st.integers(0, 15))
    other = data.draw(st.sampled_from([letter for letter in codes._ALPHABET if letter != drawn[at]]))
    with pytest.raises(InputInvalid):
        codes.parse(drawn[:at] + other + drawn[at + 1 :])
    with pytest.raises(InputInvalid):
        codes.parse(drawn[:at] + drawn[at + 1 :])


@given(st.text(max_size=40))
def test_no_text_gets_out_of_the_parser_but_as_a_code_or_a_typed_error(text: str) -> None:
    try:
        assert codes.parse(text) == codes.parse(codes.parse(text))
    except InputInvalid:
        return


def test_the_key_opens_with_all_codes_in_any_order_and_with_no_fewer(tmp_path: Path) -> None:
    drawn = [codes.draw() for _ in range(3)]
    root = create_root(FEDERATION, NOW)
    save_root(root, tmp_path / "root", drawn)
    assert persons(tmp_path / "root") == 3
    for order in (drawn, drawn[::-1]):
        assert load_root(tmp_path / "root", order).certificate == root.certificate
    for fewer in [(), *((one,) for one in drawn), *combinations(drawn, 2)]:
        with pytest.raises(InputInvalid):
            load_root(tmp_path / "root", fewer)
    octets = (tmp_path / "root" / ROOT_KEY).read_bytes()
    assert b"BEGIN PRIVATE KEY" not in octets
    # Without this program, too: the medium may be older than the next one.
    assert load_pem_private_key(octets, codes.passphrase(drawn)).public_key() == root.key.public_key()


def test_a_root_without_codes_is_as_it_was(tmp_path: Path) -> None:
    root = create_root(FEDERATION, NOW)
    save_root(root, tmp_path / "root")
    assert persons(tmp_path / "root") == 0
    assert load_root(tmp_path / "root").certificate == root.certificate
