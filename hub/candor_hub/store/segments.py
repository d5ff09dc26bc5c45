"""Rows of stored segments; their octets are files (`candor_hub.segment_files` says why)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from candor_hub.driver import Connection, RowMapping, sa
from candor_hub.tables import segments
from candor_proto.canonical import to_milliseconds
from candor_proto.ids import Digest, NodeId

_BATCH = 500


@dataclass(frozen=True)
class SegmentRecord:
    """What a stored segment said of itself."""

    address: Digest
    node: NodeId
    epoch: int
    number: int
    octets: int
    stored_as: str = ""

    @property
    def name(self) -> str:
        """What its octets are called where they are."""
        return self.stored_as or self.address.hex()


class Segments:
    """Segments by address."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> list[SegmentRecord]:
        """Every one, in the order of the addresses."""
        rows = self._connection.execute(sa.select(segments).order_by(segments.c.address)).mappings()
        return list(map(_record, rows))

    def find(self, addresses: Iterable[Digest]) -> dict[Digest, SegmentRecord]:
        """Those of the addresses that are stored."""
        found: dict[Digest, SegmentRecord] = {}
        for batch in _batches(addresses):
            query = sa.select(segments).where(segments.c.address.in_(batch))
            for row in self._connection.execute(query).mappings():
                record = _record(row)
                found[record.address] = record
        return found

    def add(self, record: SegmentRecord, now: datetime) -> bool:
        """Store a segment that no head names yet; a known one keeps its place and starts its grace anew.

        Whether it was not known.
        """
        moment = to_milliseconds(now)
        known = segments.c.address == record.address.value
        if self._connection.execute(sa.select(segments.c.address).where(known)).first() is not None:
            again = sa.update(segments).where(known, segments.c.released_at.is_not(None))
            self._connection.execute(again.values(released_at=moment))
            return False
        self._connection.execute(
            sa.insert(segments).values(
                address=record.address.value,
                node=str(record.node),
                epoch=record.epoch,
                number=record.number,
                octets=record.octets,
                stored_at=moment,
                released_at=moment,
                stored_as=record.stored_as,
            )
        )
        return True

    def name_only(self, node: NodeId, addresses: Iterable[Digest], now: datetime) -> None:
        """From now on the head of `node` names exactly these."""
        own = segments.c.node == str(node)
        self._connection.execute(
            sa.update(segments)
            .where(own, segments.c.released_at.is_(None))
            .values(released_at=to_milliseconds(now))
        )
        for batch in _batches(addresses):
            self._connection.execute(
                sa.update(segments).where(own, segments.c.address.in_(batch)).values(released_at=None)
            )

    def unnamed_octets(self, node: NodeId) -> int:
        """Octets stored for `node` that no head names."""
        query = sa.select(sa.func.sum(segments.c.octets)).where(
            segments.c.node == str(node), segments.c.released_at.is_not(None)
        )
        return int(self._connection.execute(query).scalar() or 0)

    def drop_released(self, before: datetime) -> tuple[str, ...]:
        """Forget segments that no head has named since `before`; what their octets are called."""
        old = segments.c.released_at < to_milliseconds(before)
        query = sa.select(segments.c.address, segments.c.stored_as).where(old)
        found = self._connection.execute(query).all()
        self._connection.execute(sa.delete(segments).where(old))
        return tuple(row.stored_as or row.address.hex() for row in found)

    def named(self, names: Iterable[str]) -> set[str]:
        """Those of the names, of objects, that are a segment's."""
        query = sa.select(segments.c.stored_as).where(segments.c.stored_as.in_(list(names)))
        return set(self._connection.execute(query).scalars())


def _record(row: RowMapping) -> SegmentRecord:
    return SegmentRecord(
        Digest(row["address"]),
        NodeId(row["node"]),
        row["epoch"],
        row["number"],
        row["octets"],
        row["stored_as"],
    )


def _batches(addresses: Iterable[Digest]) -> list[list[bytes]]:
    values = [address.value for address in addresses]
    return [values[at : at + _BATCH] for at in range(0, len(values), _BATCH)]
