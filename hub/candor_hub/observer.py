"""What the hub counts while it works; who counts is told by argument, and shown by `metrics`.

Nothing here knows which member did it: a counter by member would be a diary of what agencies do, kept in
whatever collects it (docs/leakage.md). Codes and methods are those of the protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol


class Observer(Protocol):
    """Hears what happens. Called on the event loop; must be quick and must not raise."""

    def called(self, method: str, code: str, seconds: float) -> None:
        """A call ended; `code` is empty when it was well."""

    def accepted(self, seconds: float) -> None:
        """An envelope was stored durably, so long after it was handed in."""

    def refused(self, code: str) -> None:
        """An envelope was not."""

    def held_off(self) -> None:
        """A member was refused too often, and is held off."""

    def span(self, name: str) -> Callable[[], None]:
        """Something begins that is traced; what it returns is called at its end."""


class Nobody:
    """Hears nothing."""

    def called(self, method: str, code: str, seconds: float) -> None:
        """Nothing."""

    def accepted(self, seconds: float) -> None:
        """Nothing."""

    def refused(self, code: str) -> None:
        """Nothing."""

    def held_off(self) -> None:
        """Nothing."""

    def span(self, name: str) -> Callable[[], None]:
        return _nothing


def _nothing() -> None:
    return None


@contextmanager
def traced(observer: Observer, name: str) -> Iterator[None]:
    """A block that is traced."""
    end = observer.span(name)
    try:
        yield
    finally:
        end()
