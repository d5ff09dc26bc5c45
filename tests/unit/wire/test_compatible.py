"""What the release before says and hears keeps its number and its type (docs/releasing.md).

The descriptors come out of the kept wheel, read in a process of its own; ours out of this checkout.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.upgrades.versions import CHECKOUT, previous_wheel, unpacked

DESCRIBE = """
import importlib, json, pathlib, candor_wire.v1
from google.protobuf import descriptor_pool
found = {"messages": {}, "enums": {}, "methods": {}}
def kind(f):
    of = f.message_type or f.enum_type
    return of.full_name if of else ""
def message(one):
    found["messages"][one.full_name] = {
        "fields": {f.number: [f.name, f.type, f.is_repeated, kind(f),
                   f.containing_oneof.name if f.containing_oneof else ""]
                   for f in one.fields}}
    for inner in one.nested_types: message(inner)
    for inner in one.enum_types: enum(inner)
def enum(one):
    found["enums"][one.full_name] = {v.number: v.name for v in one.values}
for path in sorted(pathlib.Path(candor_wire.v1.__path__[0]).glob("*_pb2.py")):
    file = importlib.import_module("candor_wire.v1." + path.stem).DESCRIPTOR
    for one in file.message_types_by_name.values(): message(one)
    for one in file.enum_types_by_name.values(): enum(one)
    for service in file.services_by_name.values():
        for m in service.methods:
            streaming = [m.client_streaming, m.server_streaming]
            found["methods"][m.full_name] = [m.input_type.full_name, m.output_type.full_name, *streaming]
print(json.dumps(found))
"""


def described(places: tuple[Any, ...]) -> Any:
    done = subprocess.run(
        [sys.executable, "-P", "-c", DESCRIBE],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def breaks(old: Any, new: Any) -> list[str]:
    """What a program of `old` would not understand, or would misunderstand, of one of `new`."""
    found = []
    for name, message in old["messages"].items():
        if name not in new["messages"]:
            found.append(f"{name} is gone")
            continue
        ours = new["messages"][name]["fields"]
        for number, field in message["fields"].items():
            if number not in ours:
                found.append(f"{name}.{field[0]} (number {number}) is gone")
            elif ours[number] != field:
                found.append(f"{name}, number {number}: {field} became {ours[number]}")
    for name, values in old["enums"].items():
        ours = new["enums"].get(name, {})
        found += [
            f"{name}: {value} = {number} changed"
            for number, value in values.items()
            if ours.get(number) != value
        ]
    for name, method in old["methods"].items():
        if new["methods"].get(name) != method:
            found.append(f"{name}: {method} became {new['methods'].get(name)}")
    return found


@pytest.mark.skipif(previous_wheel() is None, reason="no release is kept yet")
def test_every_field_of_the_release_before_keeps_its_number_and_type() -> None:
    wheel = previous_wheel()
    assert wheel is not None
    assert breaks(described(unpacked(wheel)), described(CHECKOUT)) == []


OLD: Any = {
    "messages": {"m": {"fields": {"1": ["a", 9, False, "", ""], "2": ["b", 5, False, "", ""]}}},
    "enums": {"e": {"0": "NONE", "1": "ONE"}},
    "methods": {"s.call": ["m", "m", False, False]},
}


@pytest.mark.parametrize(
    ("where", "key", "value", "sentence"),
    [
        ("messages", "m", {"fields": {"1": ["a", 9, False, "", ""]}}, "is gone"),
        (
            "messages",
            "m",
            {"fields": {"1": ["a", 12, False, "", ""], "2": ["b", 5, False, "", ""]}},
            "number 1",
        ),
        (
            "messages",
            "m",
            {"fields": {"1": ["a", 9, True, "", ""], "2": ["b", 5, False, "", ""]}},
            "number 1",
        ),
        ("enums", "e", {"0": "NONE", "1": "TWO"}, "ONE = 1 changed"),
        ("methods", "s.call", ["m", "m", True, False], "s.call"),
    ],
    ids=["gone", "type", "repeated", "value-reused", "streaming"],
)
def test_a_break_is_noticed(where: str, key: str, value: Any, sentence: str) -> None:
    assert breaks(OLD, OLD) == []
    (found,) = breaks(OLD, {**OLD, where: {**OLD[where], key: value}})
    assert sentence in found
