"""§10.1, §17.1: the chain of the directory key, as of a moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from cryptography import x509

from candor_verify.certificates import directory_key
from candor_verify.errors import Refused
from tests.parties import FEDERATION, NOW
from tests.unit.verify.scene import DAY, Chain


def test_the_directory_key_of_a_federation() -> None:
    chain = Chain()
    key = directory_key(chain.der, chain.root, str(FEDERATION), NOW)
    assert key == chain.key.public_key().public_bytes_raw()


@dataclass(frozen=True)
class Odd:
    name: str
    parameters: dict[str, Any] = field(default_factory=dict)


@pytest.mark.parametrize(
    "odd",
    [
        Odd("of a node", {"name": f"spiffe://{FEDERATION}/node/owner"}),
        Odd("of the hub", {"name": f"spiffe://{FEDERATION}/hub"}),
        Odd("of another federation", {"name": "spiffe://elsewhere.example/hub/directory"}),
        Odd("ended", {"not_after": NOW - DAY / 2}),
        Odd("not begun", {"not_before": NOW + DAY, "not_after": NOW + 2 * DAY}),
        Odd("issued by no authority", {"authority": x509.BasicConstraints(ca=False, path_length=None)}),
        Odd("outside the root's names", {"permitted": "elsewhere.example"}),
        Odd("not for signatures", {"leaf_signs": False}),
    ],
    ids=lambda odd: odd.name,
)
def test_a_chain_that_does_not_say_so_is_refused(odd: Odd) -> None:
    chain = Chain(**odd.parameters)
    with pytest.raises(Refused):
        directory_key(chain.der, chain.root, str(FEDERATION), NOW)


def test_another_root_and_another_order_are_refused() -> None:
    chain = Chain()
    for der, root in (
        (chain.der, Chain().root),
        (chain.der[::-1], chain.root),
        (chain.der[:1], chain.root),
        ((), chain.root),
        (chain.der * 3, chain.root),
        ((b"0", *chain.der[1:]), chain.root),
    ):
        with pytest.raises(Refused):
            directory_key(der, root, str(FEDERATION), NOW)
