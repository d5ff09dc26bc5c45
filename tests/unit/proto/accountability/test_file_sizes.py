"""§16.2: a file that would take more than this machine has is refused before it takes it, by both readers."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from candor_proto.accountability import file_form
from candor_proto.errors import CandorError
from candor_verify import form
from candor_verify.errors import Refused

READERS: list[Callable[[bytes], object]] = [file_form.parse_file, form.parse_file]
DEPTH, ITEMS = 300, 30_000


@pytest.mark.parametrize("read", READERS)
def test_deep_lists_on_one_line_are_not_spelt_out(read: Callable[[bytes], object]) -> None:
    """In the one spelling each of the items has a line with an indentation of its depth."""
    inner = b"[" * DEPTH + b",".join([b"1"] * ITEMS) + b"]" * DEPTH
    tracemalloc.start()
    try:
        with pytest.raises((CandorError, Refused)):
            read(b'{"a":' + inner + b"}\n")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < DEPTH * ITEMS / 4


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("item", [b"1", b"[]", b"{}"])
def test_a_file_of_too_many_items_is_refused(read: Callable[[bytes], object], item: bytes) -> None:
    count = file_form.MAX_ITEMS + 2 if item == b"1" else file_form.MAX_CONTAINERS + 2
    octets = b'{\n "a": [\n  ' + b",\n  ".join([item] * count) + b"\n ]\n}\n"
    with pytest.raises((CandorError, Refused)) as refused:
        read(octets)
    assert getattr(refused.value, "code", "") == "limit_exceeded"


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("end", [b"", b" \n", b"\n\n", b"\nx"])
def test_what_stands_behind_the_object_is_refused(read: Callable[[bytes], object], end: bytes) -> None:
    assert read(b'{\n "a": "b"\n}\n')
    with pytest.raises((CandorError, Refused)):
        read(b'{\n "a": "b"\n}' + end)
