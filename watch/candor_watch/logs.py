"""How a node or a hub logs: one line an event, on standard error, redacted (`redaction`).

`set_up` is called by the command that runs the service, never by a library. It also takes in what would
reach standard error past us: lines of libraries, warnings, and exceptions that nobody caught.
"""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from types import TracebackType
from typing import Any

import structlog

from candor_watch.redaction import redact

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
# The last word of a program that ends by an exception which nobody foresaw.
EXIT_CRASHED = 70

log = structlog.get_logger("candor_watch")


def set_up(*, json_lines: bool = True, level: str = "info") -> None:
    """Log from `level` on, as JSON or for a person's eyes."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if json_lines
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Libraries(logging.WARNING)]
    root.setLevel(logging.WARNING)
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    warnings.simplefilter("ignore", ResourceWarning)
    catch_the_rest()


def catch_the_rest() -> None:
    """Exceptions that nobody caught are told by class and place; their text may quote what was typed."""
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread
    sys.unraisablehook = _unraisable


class _Libraries(logging.Handler):
    """Takes the lines of libraries: which one, and what was raised. Their texts can hold anything."""

    def emit(self, record: logging.LogRecord) -> None:
        write = log.error if record.levelno >= logging.ERROR else log.warning
        write("a library had something to say", logger=record.name, exc_info=record.exc_info)


def _uncaught(kind: type[BaseException], error: BaseException, _traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    log.critical("the program ended by an exception that nobody caught", exc_info=error)


def _uncaught_in_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None:
        log.error("a thread ended by an exception that nobody caught", exc_info=arguments.exc_value)


def _unraisable(arguments: Any) -> None:
    if arguments.exc_value is not None:
        log.error("an exception could not be raised", exc_info=arguments.exc_value)
