"""How the demo tells its story: steps, checked facts, waiting; all on one console."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console

console = Console(highlight=False, width=min(110, shutil.get_terminal_size((110, 40)).columns))
PATIENCE_SECONDS = 30


class StepFailed(Exception):
    """A step that was not as it should be; the message says what was expected."""


def expect(condition: object, what: str) -> None:
    """Record one checked fact on the screen, or end the demo."""
    if not condition:
        raise StepFailed(what)
    console.print(f"   [green]✓[/green] {what}")


def step(number: int, title: str) -> None:
    console.print()
    console.rule(f"[bold]{number}. {title}[/bold]", align="left")


def say(text: str) -> None:
    console.print(f"   {text}")


def wait_for(look: Callable[[], Any], what: str) -> Any:
    """What `look` returns once that is true; raises StepFailed."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        found = look()
        if found:
            expect(True, what)
            return found
        time.sleep(0.3)
    raise StepFailed(f"{what}: not within {PATIENCE_SECONDS} s")
