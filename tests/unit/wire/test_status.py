"""The one error table (docs/protocol.md §12)."""

from __future__ import annotations

import inspect

import grpc
import pytest

from candor_proto import errors
from candor_proto.errors import CandorError, Unreachable
from candor_wire.status import ERROR_METADATA_KEY, STATUS, WITHHELD, from_status, to_status

ALL = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, CandorError) and kind is not CandorError
]


def test_every_error_is_in_the_table_and_every_code_is_its_own() -> None:
    assert set(STATUS) == set(ALL)
    assert len({kind.code for kind in ALL}) == len(ALL)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.code)
def test_an_error_crosses_the_wire_intact(kind: type[CandorError]) -> None:
    status, details, code = to_status(kind("What is wrong.", remedy="What to do."))
    again = from_status(status, details, [(ERROR_METADATA_KEY, code)])
    assert type(again) is kind
    assert (again.message, again.remedy) == ("What is wrong.", "What to do.")


def test_what_is_not_ours_is_internal_and_withheld() -> None:
    status, details, code = to_status(ValueError("secret detail"))
    assert status is grpc.StatusCode.INTERNAL
    assert code == "internal"
    assert details == WITHHELD
    assert "secret" not in details


def test_transport_failures_are_unreachable() -> None:
    for status in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        assert isinstance(from_status(status, "connection refused", None), Unreachable)


@pytest.mark.parametrize("status", [grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL])
def test_a_connection_that_broke_off_in_a_call_is_unreachable(status: grpc.StatusCode) -> None:
    """ "Stream removed" is UNKNOWN and a reset is INTERNAL to gRPC; a server of ours would name its code."""
    assert type(from_status(status, "Stream removed", ())) is errors.Unreachable
    assert type(from_status(status, "x", [(ERROR_METADATA_KEY, CandorError.code)])) is CandorError


def test_an_unknown_code_is_an_error_of_the_other_side() -> None:
    error = from_status(grpc.StatusCode.INTERNAL, "x", [(ERROR_METADATA_KEY, "not_a_code")])
    assert type(error) is CandorError
