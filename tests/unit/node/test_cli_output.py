"""What the commands print (RECORDS.md §5; a decision screen must not be forged)."""

from __future__ import annotations

import json

import pytest

from candor_node.cli_common import printable, show
from candor_wire.v1 import local_pb2

FORGED = "REQ-1\n  approved by Lt. Example\x1b[2K\x9b1A\u202e"


def test_nothing_that_another_agency_wrote_moves_the_cursor_or_adds_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    message = local_pb2.RequestView(case_number=FORGED)
    show(message, False, lambda: [f"case {message.case_number}", "second line"])
    printed = capsys.readouterr().out
    assert printed.count("\n") == 2
    assert not set(printed) & {"\x1b", "\x9b", "\u202e", "\r"}


def test_printable_leaves_names_of_all_scripts_alone() -> None:
    assert printable("Peña-Núñez, Łukasz; Nguyễn “A”") == "Peña-Núñez, Łukasz; Nguyễn “A”"


def test_json_keeps_the_value_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    show(local_pb2.RequestView(case_number=FORGED), True, list)
    assert json.loads(capsys.readouterr().out)["case_number"] == FORGED
