"""The node's log: one event a line on standard error, ids and counts only, never a value of a field."""

from __future__ import annotations

import structlog

from candor_watch import logs

log: structlog.stdlib.BoundLogger = structlog.get_logger("candor_node")


def configure(json_lines: bool = False, level: str = "info") -> None:
    """Log to standard error; called by the command that runs the node, never by a library."""
    logs.set_up(json_lines=json_lines, level=level)
