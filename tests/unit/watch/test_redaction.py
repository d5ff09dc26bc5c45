"""What reaches a log line, whatever was handed to the logger."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from candor_proto.errors import InputInvalid, StoreUnusable, Unreachable
from candor_watch import logs
from candor_watch.redaction import MAX_SENTENCE, describe

PERSON = "Quillon Abernathy-Zhu"


class Lines(io.StringIO):
    """Standard error of a service, line by line."""

    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """What a service logs, with everything of the process put back afterwards."""
    kept = (
        structlog.get_config(),
        logging.getLogger().handlers[:],
        logging.getLogger().level,
        logging.raiseExceptions,
    )
    excepthook, in_threads, unraisable = sys.excepthook, threading.excepthook, sys.unraisablehook
    caught, written = warnings.catch_warnings(), Lines()
    caught.__enter__()
    monkeypatch.setattr(sys, "stderr", written)
    logs.set_up(json_lines=True, level="debug")
    try:
        yield written
    finally:
        logging.captureWarnings(False)
        caught.__exit__(None, None, None)
        config, logging.getLogger().handlers[:], level, logging.raiseExceptions = kept
        logging.getLogger().setLevel(level)
        sys.excepthook, threading.excepthook, sys.unraisablehook = excepthook, in_threads, unraisable
        structlog.configure(**config)


@pytest.fixture
def log(lines: Lines) -> Any:
    return structlog.get_logger("candor_node")


def test_a_line_says_what_when_how_grave_and_the_ids_that_it_may(lines: Lines, log: Any) -> None:
    log.warning("not attached", code="unreachable", reason="Cannot reach the hub at hub.example:7443.")
    (line,) = lines.all()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "not attached",
        "level": "warning",
        "code": "unreachable",
        "reason": "Cannot reach the hub at hub.example:7443.",
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"surname": PERSON},
        {"node": PERSON},
        {"count": PERSON},
        {"count": "19870412"},
        {"task": "q a z"},
        {"code": PERSON},
        {"reason": f"{PERSON} is no date"},
        {"code": "input_invalid", "reason": f"{PERSON} is no date"},
        {"code": "unheard_of", "message": PERSON},
        {"kind": {"name": PERSON}},
        {"status": [PERSON]},
        {"exception": PERSON},
        {"stack": PERSON},
        {PERSON: 1},
        {"serial": b"\x01"},
    ],
    ids=lambda fields: "-".join(map(str, fields)),
)
def test_what_is_not_allowed_is_left_out_and_said_to_be(
    lines: Lines, log: Any, fields: dict[str, Any]
) -> None:
    log.info("lookup answered", **fields)
    (line,) = lines.all()
    assert line["withheld"]
    text = lines.getvalue()
    assert not [part for part in ("Quillon", "Abernathy", "19870412", "q a z", "x01") if part in text]


def test_an_event_made_of_values_is_no_event(lines: Lines, log: Any) -> None:
    log.info(f"lookup of {PERSON}")
    log.info("lookup of " + PERSON)
    log.info("lookup of %s", PERSON)
    text = lines.getvalue()
    assert "Quillon" not in text
    assert len(lines.all()) == 3


def test_an_exception_is_its_class_and_place(lines: Lines, log: Any) -> None:
    def parse(text: str) -> int:
        try:
            return int(text)
        except ValueError:
            raise KeyError(text) from ValueError(text)

    try:
        parse(PERSON)
    except KeyError as error:
        log.error("failed", exc_info=error)
        log.exception("failed")
    for line in lines.all():
        assert line["failure"].startswith("KeyError at tests.unit.watch.test_redaction:")
        assert "in parse" in line["failure"]
        assert "caused by ValueError" in line["failure"]
    assert "Quillon" not in lines.getvalue()


def test_an_operational_error_keeps_its_sentence_and_no_other_does() -> None:
    assert "disk" in describe(StoreUnusable("The disk is full."))
    assert describe(InputInvalid(f"{PERSON} is no date.")) == (
        "candor_proto.errors.InputInvalid [input_invalid]"
    )
    group = ExceptionGroup(PERSON, [ValueError(PERSON), OSError(28, PERSON)])
    assert describe(group) == "ExceptionGroup of (ValueError, OSError [errno 28])"
    named = type(PERSON, (Exception,), {})
    assert describe(named()) == "an exception"


def test_a_peer_cannot_forge_lines_nor_fill_the_disk(lines: Lines, log: Any) -> None:
    said = 'gone\n{"event": "all is well"}\r\x1b[31m\u2028\u202e' + "x" * 100_000
    log.warning("not attached", code="unreachable", reason=Unreachable(said).message)
    assert len(lines.getvalue().splitlines()) == 1
    (line,) = lines.all()
    assert len(line["reason"]) == MAX_SENTENCE
    assert not [
        character for character in line["reason"] if ord(character) < 32 or character in "\u2028\u202e"
    ]


def test_lines_of_libraries_and_warnings_come_without_their_text(lines: Lines) -> None:
    logging.getLogger("some.library").error("cannot parse %s", PERSON)
    try:
        raise ValueError(PERSON)
    except ValueError:
        logging.getLogger("asyncio").exception(f"task of {PERSON}")
    warnings.warn(PERSON, UserWarning, stacklevel=1)
    told = lines.all()
    assert [line["logger"] for line in told] == ["some.library", "asyncio", "py.warnings"]
    assert "ValueError" in told[1]["failure"]
    assert "Quillon" not in lines.getvalue()


def test_what_nobody_caught_is_told_without_its_text(lines: Lines) -> None:
    def fail() -> None:
        raise ValueError(PERSON)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    try:
        fail()
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)
    told = lines.all()
    assert [line["level"] for line in told] == ["error", "critical"]
    assert all("ValueError" in line["failure"] for line in told)
    assert "Quillon" not in lines.getvalue()


def test_a_command_that_crashes_does_not_quote_what_was_typed() -> None:
    program = f"from candor_watch.uncaught import tell_shortly\ntell_shortly('candor-hub')\nint({PERSON!r})\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "ValueError at __main__:3" in done.stderr
    assert "Quillon" not in done.stderr
