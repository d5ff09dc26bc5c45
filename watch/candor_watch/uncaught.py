"""What a command says when it ends by an exception that nobody foresaw: no text of it, for that can quote
what was typed, or a row of a file of persons.
"""

from __future__ import annotations

import sys
from types import TracebackType

from candor_watch.redaction import describe


def tell_shortly(program: str) -> None:
    """From now on an uncaught exception is told as its class and place, not as a traceback with values."""

    def tell(kind: type[BaseException], error: BaseException, _traceback: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        print(f"{program}: an error of the program itself: {describe(error)}", file=sys.stderr)
        print("  Please report this line; it holds nothing of what you typed.", file=sys.stderr)

    sys.excepthook = tell
