"""What SQLAlchemy compiles for one hub of a worker serves the next.

Each engine has a cache of its own, and a test has a hub of its own: every one would compile the same fifty
statements anew, a millisecond or two each. Engines of SQLite are alike here but for their files.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache

ROOM = 2_000


def share_compiled() -> None:
    """From here on, in this process, engines of SQLite share one cache."""
    cache: LRUCache[Any, Any] = LRUCache(ROOM)
    make = sqlalchemy.create_engine

    def create_engine(*args: Any, **kwargs: Any) -> sqlalchemy.Engine:
        engine = make(*args, **kwargs)
        if isinstance(engine.dialect, _Alike):
            engine.update_execution_options(compiled_cache=cache)
        return engine

    sqlalchemy.create_engine = create_engine


# The key of what is compiled has the dialect in it, of which each engine has its own.
_Alike = SQLiteDialect_pysqlite
setattr(_Alike, "__eq__", lambda self, other: type(self) is type(other))  # noqa: B010
setattr(_Alike, "__hash__", lambda self: hash(type(self)))  # noqa: B010
