"""`candor-verify`: the command (docs/protocol.md §14-§18)."""

from __future__ import annotations


def main() -> None:
    """Entry point."""
    raise SystemExit("candor-verify: not there yet")
