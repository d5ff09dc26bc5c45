"""Parts of honest code replaced for one case, and put back for the next one in the same scene."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

_undo: list[Callable[[], None]] = []


def instead(thing: Any, name: str, by: Any) -> None:
    """Put `by` in the place of an attribute or method of one object, until `undo`."""
    if name in vars(thing):
        _undo.append(partial(setattr, thing, name, vars(thing)[name]))
    else:
        _undo.append(partial(delattr, thing, name))
    setattr(thing, name, by)


def undo() -> None:
    """Everything is as it was."""
    while _undo:
        _undo.pop()()
