"""What may stand in a log line, and what becomes of the rest.

Rules of this file:
- a key stands in a line only if `ALLOWED` names it, and only with a value of the shape that stands there;
  anything else is left out, and the line says under which keys something was (`withheld`);
- an event is a constant of the function that logs it: a text made of values is no event;
- `reason`, `message` and `remedy` are sentences of errors about machines, keys, clocks and connections
  (`OPERATIONAL`), and stand beside the error's `code`. Errors about what somebody typed or sent can quote it;
- of an exception remain its class and where it was raised. Its text, its values and the source line do not:
  a parser's exception quotes what it could not parse.

Sources say the same at their place, and a test reads them (`tests/unit/watch/test_call_sites.py`); this is
the second net, for what a library logs and for the mistake of next year.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from types import FrameType, TracebackType
from typing import Any

from candor_proto import errors
from candor_proto.errors import CandorError

MAX_SENTENCE = 400
MAX_FRAMES = 12
MAX_CAUSES = 4

_NUMBER = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,9})?\Z")
_WORD = re.compile(r"[a-z_]{1,40}\Z")
_NODE = re.compile(r"[a-z0-9-]{1,40}\Z")
_HOST = re.compile(r"[A-Za-z0-9.:/\[\]%_-]{1,300}\Z")
_PATH = re.compile(r"[A-Za-z0-9./_-]{1,120}\Z")
_HEX = re.compile(r"[0-9a-f]{1,64}\Z")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,15}(Z|\+00:00)\Z")
_SENTENCE = re.compile(r"(?s).*\Z")

# Of which errors the sentence may be read by whoever reads the log: they are about machines.
OPERATIONAL = frozenset(
    kind.code
    for kind in (
        errors.Unreachable,
        errors.ClockWrong,
        errors.StoreUnusable,
        errors.ConfigInvalid,
        errors.CertificateRefused,
        errors.CertificateRevoked,
        errors.InvitationInvalid,
        errors.DenyListStale,
        errors.NotAMember,
        errors.MemberSuspended,
        errors.LogUnwitnessed,
        errors.LogInconsistent,
        errors.NotLogged,
        errors.NotYetValid,
        errors.CurveLibraryMissing,
        errors.QuotaSpent,
        errors.StaleEpoch,
        errors.WrongStanding,
    )
)
_NUMBERS = (
    *(
        "attempts",
        "blobs",
        "consents",
        "count",
        "delivered",
        "directory_version",
        "dropped_segments",
        "enrolment_port",
    ),
    *("entries", "epoch", "expired_deliveries", "failures", "fraction_left", "generation", "hub_port"),
    *(
        "in_seconds",
        "log_port",
        "members",
        "metrics_port",
        "nodes",
        "number",
        "octets",
        "pid",
        "port",
        "rows",
    ),
    *("seconds", "segments", "sequence", "shard", "size", "submissions", "term"),
)
SENTENCES = frozenset({"reason", "message", "remedy"})

# Key, what it is, and the shape of its values. Protocol objects only as far as docs/leakage.md goes.
ALLOWED: Mapping[str, tuple[str, re.Pattern[str]]] = {
    "event": ("what happened: a constant of the program", _SENTENCE),
    "level": ("debug, info, warning, error, critical", _WORD),
    "timestamp": ("when, UTC, ISO 8601", _TIME),
    "logger": ("the library that logged, where it is none of ours", _PATH),
    "code": ("code of the error (docs/protocol.md §12)", _WORD),
    "reason": ("the error's sentence, of operational errors", _SENTENCE),
    "message": ("the same", _SENTENCE),
    "remedy": ("what to do about it", _SENTENCE),
    "failure": ("class of an exception and where it was raised", _SENTENCE),
    "withheld": ("keys whose values were left out", _SENTENCE),
    # who
    "node": ("a member of the federation", _NODE),
    "sender": ("the member an envelope came from", _NODE),
    "asker": ("the member that asked", _NODE),
    "owner": ("the member that was asked for a record", _NODE),
    "recipient": ("the member an envelope is for", _NODE),
    "replica": ("a process of the hub", _NODE),
    "witness": ("a witness of the log", _PATH),
    "federation": ("name of the federation", _HOST),
    "peer": ("network address of who was refused", _HOST),
    "hub": ("address of the hub", _HOST),
    "address": ("address of this process or of a service that it uses", _HOST),
    # what
    "method": ("a method of the protocol", _PATH),
    "kind": ("kind of an envelope or of an object", re.compile(r"[A-Za-z_]{1,40}\Z")),
    "status": (
        "a status of the protocol, in words or as a number",
        re.compile(r"([A-Za-z_]{1,40}|[0-9]{3})\Z"),
    ),
    "task": ("a part of the program", re.compile(r"[a-z_]{1,30}( [a-z_]{1,30})?\Z")),
    "recall_id": ("id of a recall, which two members know", _HEX),
    "batch_id": ("id of a batch, known here alone", _HEX),
    "final": ("whether it is not tried again", _WORD),
    "serial": ("serial of a certificate", _HEX),
    "sha256": ("digest of a public file", _HEX),
    "ends": ("end of a certificate", _TIME),
    "until": ("until when", _TIME),
    "version": ("version of the software", _PATH),
    # how many, how long
    **dict.fromkeys(_NUMBERS, ("a number", _NUMBER)),
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def redact(_logger: object, _method: str, line: Mapping[str, Any]) -> dict[str, Any]:
    """A structlog processor, the last one before the renderer: `line` with nothing in it that may not be."""
    code = line.get("code")
    shown: dict[str, Any] = {}
    withheld: list[str] = []
    for key, value in line.items():
        if key in ("exc_info", "stack_info", "exception", "stack"):
            continue
        if key == "event":
            shown[key] = value if is_constant(value) else "an event that is no constant was withheld"
        elif key in SENTENCES:
            if isinstance(value, str) and code in OPERATIONAL:
                shown[key] = sentence(value)
            else:
                withheld.append(key)
        elif (clean := _clean(key, value)) is not None:
            shown[key] = clean
        else:
            withheld.append(key if _WORD.match(key) else "?")
    raised = _raised(line.get("exc_info"))
    if raised is not None:
        shown["failure"] = describe(raised)
    elif "exception" in line or "stack" in line:
        withheld.append("exception")
    if withheld:
        shown["withheld"] = ",".join(sorted(set(withheld)))
    return shown


def _clean(key: str, value: object) -> Any:
    """`value`, or None if it may not stand under `key`."""
    allowed = ALLOWED.get(key)
    if allowed is None:
        return None
    shape = allowed[1]
    if isinstance(value, bool):
        return value if shape is _NUMBER or shape is _WORD else None
    if isinstance(value, int | float):
        return value if shape is _NUMBER or shape.match(str(value)) else None
    # A number that somebody made a text of is as good as none: texts under such a key are no numbers.
    if isinstance(value, str) and shape is not _NUMBER and shape.match(value):
        return value
    return None


def sentence(text: str, length: int = MAX_SENTENCE) -> str:
    """A sentence on one line, cut to a `length` that a peer cannot choose."""
    line = _CONTROL.sub(" ", text).strip()
    return line if len(line) <= length else line[: length - 1] + "…"


# --- exceptions ----------------------------------------------------------------------------------------


def describe(error: BaseException) -> str:
    """Classes and places of `error` and of what caused it: `ValueError at candor_node.csv_file:41 in read`.

    The sentence of an operational error of ours follows; no other text does.
    """
    told: list[str] = []
    seen: set[int] = set()
    present: BaseException | None = error
    while present is not None and id(present) not in seen and len(told) < MAX_CAUSES:
        seen.add(id(present))
        told.append(_one(present))
        present = present.__cause__ or (None if present.__suppress_context__ else present.__context__)
    return "; caused by ".join(told)


def _one(error: BaseException) -> str:
    kind = type(error)
    name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    text = name if is_identifier(name) else "an exception"
    if isinstance(error, CandorError):
        text += f" [{error.code}]" + (f" {sentence(error.message)}" if error.code in OPERATIONAL else "")
    elif isinstance(error, OSError) and isinstance(error.errno, int):
        text += f" [errno {error.errno}]"
    if isinstance(error, BaseExceptionGroup):
        inner = ", ".join(_one(part) for part in error.exceptions[:MAX_CAUSES])
        return f"{text} of ({inner})"
    places = " < ".join(_places(error.__traceback__))
    return f"{text} at {places}" if places else text


def _places(traceback: TracebackType | None) -> list[str]:
    """Where it was raised, innermost first."""
    frames: list[str] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        module = traceback.tb_frame.f_globals.get("__name__", "?")
        if isinstance(module, str) and is_identifier(module):
            frames.append(f"{module}:{traceback.tb_lineno} in {code.co_name}")
        traceback = traceback.tb_next
    return frames[::-1][:MAX_FRAMES]


def is_identifier(name: str) -> bool:
    """Whether `name` is a dotted name of the language: classes can be made of values, too."""
    return len(name) <= 200 and all(part.isidentifier() and part.isascii() for part in name.split("."))


def _raised(given: object) -> BaseException | None:
    """The exception that a caller named by `exc_info`, in any of the ways that logging knows."""
    if isinstance(given, BaseException):
        return given
    if isinstance(given, tuple) and len(given) == 3:
        return given[1] if isinstance(given[1], BaseException) else None
    return sys.exc_info()[1] if given else None


# --- events --------------------------------------------------------------------------------------------


def is_constant(event: object) -> bool:
    """Whether the function that logs `event` has it as a constant."""
    if not isinstance(event, str):
        return False
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if not module.startswith(("structlog", "candor_watch.redaction")):
            return event in frame.f_code.co_consts
        frame = frame.f_back
    return False
