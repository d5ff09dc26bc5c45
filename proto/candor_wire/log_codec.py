"""Messages about the log ↔ values: requests to witnesses, files, statements (docs/protocol.md §14, §15)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from candor_proto.errors import LimitExceeded, MalformedMessage
from candor_proto.signing import SIGNATURE_OCTETS, SignedStatement
from candor_wire import limits
from candor_wire.strict import exactly, refuse_unknown_fields
from candor_wire.v1 import hub_pb2

_LOG_PATH = re.compile(r"[a-z0-9][a-z0-9.-]*(?:/[a-z0-9][a-z0-9.-]*)*")
_CONTEXT = re.compile(r"[a-z][a-z-]{0,63}")


@dataclass(frozen=True)
class Cosign:
    """A tlog-witness add-checkpoint request; `number` is the hub's own (docs/protocol.md §15.3)."""

    number: int
    request: bytes = field(repr=False)


@dataclass(frozen=True)
class Cosigned:
    """The response to the request of this number; `status` is as over HTTP."""

    number: int
    status: int
    body: bytes = field(repr=False)


def read_cosigned(message: hub_pb2.Cosigned) -> Cosigned:
    if message.status not in limits.WITNESS_STATUSES:
        raise MalformedMessage("A response of a witness with a status that it cannot have.")
    if len(message.body) > limits.MAX_COSIGNED_BYTES:
        raise LimitExceeded("A response of a witness is over its limit.")
    return Cosigned(message.number, message.status, message.body)


def write_cosigned(cosigned: Cosigned) -> hub_pb2.AttachRequest:
    return hub_pb2.AttachRequest(
        cosigned=hub_pb2.Cosigned(number=cosigned.number, status=cosigned.status, body=cosigned.body)
    )


def read_cosign(message: hub_pb2.Cosign) -> Cosign:
    if not 0 < len(message.request) <= limits.MAX_COSIGN_BYTES:
        raise LimitExceeded("A request to a witness is empty or over its limit.")
    return Cosign(message.number, message.request)


def read_directory_version(message: hub_pb2.GetDirectoryRequest) -> int | None:
    """The version asked for, None for the newest witnessed one; raises MalformedMessage."""
    refuse_unknown_fields(message)
    if message.version >= 1 << 63:
        raise MalformedMessage("A directory version that cannot be.")
    return message.version or None


def read_log_path(message: hub_pb2.GetLogRequest) -> str:
    """The path of a file of the log below `/log`, such as `1/tile/0/x001/234`; raises MalformedMessage.

    A path has no empty part and none that begins with a dot: it leads nowhere else.
    """
    refuse_unknown_fields(message)
    if len(message.path) > limits.MAX_LOG_PATH_BYTES or not _LOG_PATH.fullmatch(message.path):
        raise MalformedMessage("This is no path of the log.")
    return message.path


def write_log_path(path: str) -> hub_pb2.GetLogRequest:
    return hub_pb2.GetLogRequest(path=path)


def read_put_statement(message: hub_pb2.PutStatementRequest) -> tuple[str, SignedStatement]:
    """Context and statement; raises MalformedMessage or LimitExceeded."""
    refuse_unknown_fields(message)
    if not 0 < len(message.body) <= limits.MAX_LOGGED_STATEMENT_BYTES:
        raise LimitExceeded("A statement is empty or over its limit.")
    if not _CONTEXT.fullmatch(message.context):
        raise MalformedMessage("This is no context of a signature.")
    signature = exactly(message.signature, SIGNATURE_OCTETS, "The signature of a statement")
    return message.context, SignedStatement(message.body, signature)


def write_put_statement(context: str, statement: SignedStatement) -> hub_pb2.PutStatementRequest:
    return hub_pb2.PutStatementRequest(context=context, body=statement.body, signature=statement.signature)
