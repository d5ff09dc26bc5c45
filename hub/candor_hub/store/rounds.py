"""Rows of the head that is being witnessed, and of what witnesses have signed of it so far."""

from __future__ import annotations

from dataclasses import dataclass, field

from candor_hub.driver import Connection, sa
from candor_hub.tables import log_cosignatures, log_round


@dataclass(frozen=True)
class RoundRecord:
    """`signed` is the checkpoint as the log signed it."""

    number: int
    shard: int
    signed: bytes = field(repr=False)


class LogRounds:
    """One round at a time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def present(self) -> RoundRecord | None:
        row = self._connection.execute(sa.select(log_round)).mappings().first()
        return RoundRecord(row["number"], row["shard"], row["signed"]) if row else None

    def begin(self, shard: int, signed: bytes) -> int:
        """The next round; what was signed in others is dropped. Its number."""
        present = self.present()
        number = present.number + 1 if present else 1
        self._connection.execute(sa.delete(log_cosignatures))
        self._connection.execute(sa.delete(log_round))
        self._connection.execute(
            sa.insert(log_round).values(one=1, number=number, shard=shard, signed=signed)
        )
        return number

    def add(self, number: int, witness: str, lines: bytes) -> None:
        """What a witness signed; a later signature of one takes the place of the earlier."""
        own = (log_cosignatures.c.round == number) & (log_cosignatures.c.witness == witness)
        self._connection.execute(sa.delete(log_cosignatures).where(own))
        self._connection.execute(
            sa.insert(log_cosignatures).values(round=number, witness=witness, lines=lines)
        )

    def cosigned(self, number: int) -> dict[str, bytes]:
        """Checkpoints with the lines of each witness, by what it is called in `add`."""
        query = sa.select(log_cosignatures.c.witness, log_cosignatures.c.lines).where(
            log_cosignatures.c.round == number
        )
        return {row.witness: row.lines for row in self._connection.execute(query)}
