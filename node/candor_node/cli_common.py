"""What all commands share: options, the connection to the running node, output, errors.

Rules of this file:
- an error is one sentence and what to do next, on standard error, and never a traceback;
- `--json` prints every field of the reply under its name in local.proto, numbers as numbers;
- what is slow to import is imported where it is used.
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from candor_proto.errors import (
    CandorError,
    Fault,
    InputInvalid,
    NotAuthenticated,
    PurposeRefused,
    Unreachable,
    WrongRole,
)
from candor_watch.redaction import describe

if TYPE_CHECKING:
    import grpc
    from google.protobuf.message import Message

    from candor_node.config import NodeConfig

F = TypeVar("F", bound=Callable[..., Any])

EXIT_FAILED, EXIT_OPERATOR, EXIT_INCOMPLETE = 1, 2, 3
CALL_SECONDS = 120.0
DEBUG_VARIABLE = "CANDOR_NODE_DEBUG"
USER_VARIABLE = "CANDOR_USER"
FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


# --- options -------------------------------------------------------------------------------------------


def config_option(command: F) -> F:
    option: Callable[[F], F] = click.option(
        "--config",
        "config_file",
        type=FILE,
        help="Settings of the node; default: CANDOR_NODE_CONFIG, else ./node.toml.",
    )
    return option(command)


def json_option(command: F) -> F:
    option: Callable[[F], F] = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    return option(command)


def by_option(command: F) -> F:
    option: Callable[[F], F] = click.option(
        "--by", default=None, help="The user who does this; default: CANDOR_USER, else the user logged in."
    )
    return option(command)


def config_path(given: Path | None) -> Path:
    """Where the settings are: as given, else CANDOR_NODE_CONFIG, else ./node.toml."""
    return given or Path(os.environ.get("CANDOR_NODE_CONFIG") or "node.toml")


def load(given: Path | None) -> NodeConfig:
    from candor_node.config import load_config

    return load_config(config_path(given))


def person_in_charge(given: str | None) -> str:
    """`given`, else the user of CANDOR_USER, else the name of the user who is logged in."""
    found = (given or os.environ.get(USER_VARIABLE) or _login()).strip()
    if not found:
        raise InputInvalid("It is not known who you are.", remedy="Say it with --by.")
    return found


def _login() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


# --- the running node ------------------------------------------------------------------------------------


@contextmanager
def running_node(
    given: Path | None, *, by: str | None = None, stub: Callable[[grpc.Channel], Any] | None = None
) -> Iterator[Any]:
    """A stub for the node that runs with these settings; its errors come out typed.

    `by` is who acts, as `person_in_charge` finds it; `stub` is made of another service than LocalService.
    """
    import grpc

    from candor_node.badge import read_token, signed_in
    from candor_wire.v1 import local_pb2_grpc

    config = load(given)
    user, token = by or os.environ.get(USER_VARIABLE) or _login(), read_token()
    if not config.socket.exists():
        raise _not_running(config)
    with grpc.insecure_channel(f"unix:{config.socket}") as channel:
        try:
            yield (stub or local_pb2_grpc.LocalServiceStub)(signed_in(channel, user, token))
        except grpc.RpcError as error:
            raise said_by_node(error) or _not_running(config) from None


def said_by_node(error: grpc.RpcError) -> CandorError | None:
    """The typed error behind a failed call; None when it is the connection that broke off."""
    from candor_wire.status import from_status

    # What the stub raises is a call as well, which grpc's types do not say.
    call: Any = error
    known = from_status(call.code(), call.details(), _pairs(call.trailing_metadata()))
    broken_off = isinstance(known, Unreachable) and "\n" not in (call.details() or "")
    return None if broken_off else known


def _pairs(metadata: Any) -> list[tuple[str, str | bytes]]:
    return [(str(key), value) for key, value in metadata or ()]


def _not_running(config: NodeConfig) -> Unreachable:
    return Unreachable(
        f"The node {config.node} is not running: nothing answers at {config.socket}.",
        remedy="Start it with `candor-node run` and try again.",
    )


# --- output ----------------------------------------------------------------------------------------------


def to_dict(message: Message) -> dict[str, Any]:
    """Every field of a message by its name; a message that is not set is null."""
    found: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            found[field.name] = dict(sorted(value.items()))
        elif field.is_repeated:
            found[field.name] = [to_dict(item) if field.message_type else item for item in value]
        elif field.message_type is not None:
            found[field.name] = to_dict(value) if message.HasField(field.name) else None
        else:
            found[field.name] = value
    return found


def printable(line: str) -> str:
    """One line of output, whatever other agencies wrote into it.

    A newline or an escape sequence in a case number, a name or a narrative could forge or hide lines just
    before somebody approves.
    """
    return "".join(" " if unicodedata.category(letter).startswith("C") else letter for letter in line)


def show(message: Message, as_json: bool, lines: Callable[[], list[str]]) -> None:
    """Print a reply, for machines or for people."""
    if as_json:
        click.echo(json.dumps(to_dict(message), indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(map(printable, lines())))


def show_dict(report: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    click.echo(
        json.dumps(report, indent=2, ensure_ascii=False) if as_json else "\n".join(map(printable, lines))
    )


def table(rows: Sequence[tuple[str, ...]], head: tuple[str, ...]) -> list[str]:
    """Columns as wide as they need to be, under their heads."""
    shown = [head, *rows]
    widths = [max(len(row[column]) for row in shown) for column in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in shown
    ]


# --- errors ----------------------------------------------------------------------------------------------


# Who may not do it, is not known, or gives no reason to ask, has typed or set up something that is not right.
_NOT_RIGHT = (NotAuthenticated, PurposeRefused, WrongRole)


def guarded(command: Callable[[], int | None]) -> None:
    """Run the whole program: every way out has an exit status, and every error its sentence."""
    # gRPC's core writes lines of its own to standard error; what matters comes as an exception.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        sys.exit(command() or 0)
    except CandorError as error:
        ours = error.fault is Fault.OPERATOR or isinstance(error, _NOT_RIGHT)
        _fail(error.message, error.remedy, EXIT_OPERATOR if ours else EXIT_FAILED)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_OPERATOR)
    except (click.Abort, KeyboardInterrupt):
        _fail("Stopped.", "", EXIT_OPERATOR)
    except BrokenPipeError:
        # Whoever read the output has gone; Python would complain once more when it closes the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)
    except OSError as error:
        place = error.filename or "The system"
        _fail(f"{place}: {error.strerror or error}.", "Check the path and the disk.", EXIT_OPERATOR)
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        _fail(
            f"Something went wrong inside candor-node ({describe(error)}).",
            f"Set {DEBUG_VARIABLE}=1 to see where, and report it.",
            EXIT_FAILED,
        )


def _fail(message: str, remedy: str, status: int) -> None:
    click.echo(f"candor-node: {message}", err=True)
    if remedy:
        click.echo(f"  {remedy}", err=True)
    sys.exit(status)
