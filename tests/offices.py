"""Users of a node, for tests: registered, signed in, and acting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc.aio

from candor_node import badge, users
from candor_node.app import Node
from candor_node.store import Database, Store
from candor_node.users import NewUser
from candor_records.roles import ALL_ROLES, Actor, Role
from candor_wire.v1 import intake_pb2_grpc, local_pb2_grpc, office_pb2_grpc
from tests.empty import empty_store
from tests.records import NOW, STORE_KEY

ADMIN, CLERK, ASKER = "admin-1", "clerk-7", "asker-3"
APPROVER, AUDITOR = "approver-2", "auditor-5"
STAFF = {
    ADMIN: Role.ADMINISTRATOR,
    CLERK: Role.CLERK,
    ASKER: Role.INVESTIGATOR,
    APPROVER: Role.APPROVER,
    AUDITOR: Role.AUDITOR,
}
# What registers the first user of an open node.
OPEN = Actor("root", ALL_ROLES)


def office_store(folder: Path) -> Store:
    """A new database with every table of a node."""
    return empty_store(folder / "node.db", STORE_KEY)


def actor(user: str) -> Actor:
    return Actor(user, frozenset({STAFF[user]}))


def register(db: Database, now: datetime = NOW, names: Sequence[str] = tuple(STAFF)) -> dict[str, str]:
    """Register the staff; their tokens.

    The administrator is alone until the approver is there, who agrees to what follows.
    """
    tokens: dict[str, str] = {}
    for name in names:
        by = OPEN if not tokens else actor(ADMIN)
        tokens[name], held = users.add(db, now, by, NewUser(name, frozenset({STAFF[name]})))
        if held:
            users.grant(db, now, APPROVER, name, held)
    return tokens


class Stubs:
    """The services of a node's socket, called as somebody."""

    def __init__(self, channel: grpc.aio.Channel, user: str, token: str) -> None:
        self.metadata = badge.metadata(user, token)
        self.local: Any = _Called(local_pb2_grpc.LocalServiceStub(channel), self.metadata)
        self.intake: Any = _Called(intake_pb2_grpc.IntakeServiceStub(channel), self.metadata)
        self.office: Any = _Called(office_pb2_grpc.OfficeServiceStub(channel), self.metadata)


class _Called:
    """A stub whose calls carry metadata."""

    def __init__(self, stub: Any, metadata: Any) -> None:
        self._stub = stub
        self._metadata = metadata

    def __getattr__(self, name: str) -> Any:
        return lambda request: getattr(self._stub, name)(request, metadata=self._metadata)


def channel_to(node: Node) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(f"unix:{node.config.socket}")


@contextmanager
def opened(folder: Path) -> Iterator[Store]:
    with office_store(folder) as store:
        yield store


def everything(db: Database) -> str:
    """Every cell of every table, in lower case: where nothing may stand that names somebody."""
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    rows = (row for name in tables for row in db.execute(f'SELECT * FROM "{name}"').fetchall())
    return "\n".join(repr(row) for row in rows).lower()
