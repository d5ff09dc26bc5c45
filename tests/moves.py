"""An embedded hub with data in every table, which is moved to PostgreSQL: by a call, or by a process.

with stopped_hub(folder) as scene:                 nothing of it runs any more
    copied = scene.copied(other_folder, url)       the same once more, in a folder of its own
    copied.move()
    assert copied.stand() is Stand.TARGET
"""

from __future__ import annotations

import asyncio
import copy
import enum
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

from candor_hub.config import Config, load_config
from candor_hub.driver import sa
from candor_hub.moving import Move, move_store
from candor_hub.store import Store, Transaction
from candor_hub.store.copying import tables
from candor_hub.tlog.rotation import ask_for
from candor_proto.directory import MemberStatus
from candor_proto.errors import StoreUnusable
from candor_proto.segment import address
from candor_wire.codec import Envelope
from tests.hub_members import Member, ShiftedClock
from tests.hubs import RunningHub, stop_for_good
from tests.unit.hub.tlog.desks import LogDesk, log_desk


class Interrupted(Exception):
    """Somebody pulled the plug."""


class Stand(enum.Enum):
    """Which of the two places runs."""

    SOURCE = "the source, and the settings name it"
    NEITHER = "neither, until the move is finished with --again"
    TARGET = "the target, and the settings name it"


@dataclass
class Scene:
    """A stopped hub with data in every table, and what its members will say next."""

    config: Config
    clock: ShiftedClock
    members: list[Member]
    lookup: Envelope
    octets: bytes
    delivered: int
    url: str
    file: Path = field(init=False)

    def __post_init__(self) -> None:
        self.file = self.config.data / "hub.toml"

    def move(self, *, again: bool = False, stop_at: str = "") -> None:
        def progress(what: str, reached: int, total: int) -> None:
            if stop_at and f"{what} {reached}".startswith(stop_at):
                raise Interrupted

        move_store(Move(self.config, self.url, again=again), self.file, self.clock.now(), progress)

    def copied(self, folder: Path, url: str) -> Scene:
        """The same in `folder`, to be moved to `url`."""
        shutil.copytree(self.config.data, folder)
        return replace(self, config=load_config(folder / "hub.toml"), clock=copy.copy(self.clock), url=url)

    def stand(self) -> Stand:
        """Which of the two runs; fails when both do, or when the settings name the one that does not."""
        source = _opens(self.config.database, (self.config.keys / "database.key").read_bytes(), self.config)
        target = _opens(self.url, b"", self.config)
        assert not (source and target), "a hub could run in both places: its log would fork"
        named = load_config(self.file).database
        if source:
            assert named == self.config.database
            return Stand.SOURCE
        return Stand.TARGET if target and named == self.url else Stand.NEITHER


def _opens(url: str, key: bytes, config: Config) -> bool:
    try:
        Store.open(url, key, str(config.federation)).close()
    except StoreUnusable:
        return False
    return True


def fill(tx: Transaction) -> None:
    """At least one row in every table: of plausible types, naming rows that are there."""
    connection = tx.facts._connection
    for table in tables():
        if connection.execute(sa.select(sa.func.count()).select_from(table)).scalar():
            continue
        row: dict[str, object] = {}
        for column in table.columns:
            key = next(iter(column.foreign_keys), None)
            if key is not None:
                row[column.name] = connection.execute(sa.select(key.column).limit(1)).scalar()
            elif isinstance(column.type, sa.LargeBinary):
                row[column.name] = b"\x00\xff octets"
            elif isinstance(column.type, sa.Text):
                row[column.name] = "Ä text with ' and \\"
            else:
                row[column.name] = (1 << 40) + 7 if isinstance(column.type, sa.BigInteger) else 7
        connection.execute(sa.insert(table).values(row))


def grown(desk: LogDesk) -> tuple[list[Member], Envelope, bytes, int]:
    hub = desk.hub
    alpha, bravo = members = [hub.join(name) for name in ("alpha", "bravo")]
    desk.make_witness(alpha)
    desk.settle()
    octets = alpha.segment()
    hub.index.put_segment(address(octets), octets, alpha.node, desk.now)
    head = alpha.signing_key.sign("index-head", alpha.head([octets]).encode())
    hub.index.put_head(head, desk.entry(alpha), desk.now)
    lookup = alpha.lookup([alpha, bravo])
    hub.submit(lookup, alpha)
    for _ in range(3):
        hub.submit(alpha.sealed(bravo.node), alpha)
    (*_, last) = hub.waiting(bravo)
    hub.mailbox.acknowledge(bravo.node, [last.delivery_id])
    hub.directory.set_status(bravo.node, MemberStatus.SUSPENDED, desk.now)
    hub.directory.set_status(bravo.node, MemberStatus.ACTIVE, desk.now)
    desk.settle()
    with hub.store.write() as tx:
        ask_for(tx)
    desk.settle()
    hub.submit(bravo.answer(lookup), bravo)  # waits to be logged
    with hub.store.write() as tx:
        fill(tx)
    return members, lookup, octets, last.delivery_id


async def moved(hub: RunningHub, url: str) -> Config:
    """Stop a running hub and move it to an empty database; its settings, with the address that it had."""
    address = (await stop_for_good(hub)).address
    file = hub.config.data / "hub.toml"
    move = Move(load_config(file), url)
    await asyncio.to_thread(move_store, move, file, hub.clock.now(), lambda what, reached, total: None)
    return replace(load_config(file), address=address, new_member_wait=hub.config.new_member_wait)


def stopped_hub(folder: Path) -> Scene:
    """A hub that was stopped in the middle of its work; it is to be copied before it is moved."""
    with log_desk(folder) as desk:
        members, lookup, octets, delivered = grown(desk)
    return Scene(desk.hub.config, desk.hub.clock, members, lookup, octets, delivered, "")


def rows_of(store: Store) -> dict[str, list[tuple[object, ...]]]:
    with store.read() as tx:
        connection = tx.facts._connection
        return {
            table.name: [
                tuple(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key))
            ]
            for table in tables()
        }
