"""What became of one node that a lookup or a flight asked, as both tables of targets hold it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from candor_proto.canonical import from_milliseconds, to_milliseconds
from candor_proto.errors import StoreUnusable
from candor_proto.result import TargetState
from candor_proto.signing import SignedStatement


@dataclass(frozen=True)
class TargetRow:
    """One node asked by one lookup; `answer` is kept as evidence and to evaluate again after a restart.

    `answered_at` is the owner's signed time, `taken_at` when its answer was taken in, with the index of
    `index_issued_at` and `index_sequence`; `late`: after the result had been shown.
    """

    state: TargetState
    reason: str = ""
    index_issued_at: datetime | None = None
    answer: SignedStatement | None = field(default=None, repr=False)
    answered_at: datetime | None = None
    taken_at: datetime | None = None
    index_sequence: int | None = None
    late: bool = False

    def columns(self) -> tuple[str | int | bytes | None, ...]:
        """As both tables of targets hold it (TARGET_COLUMNS)."""
        times = (self.index_issued_at, self.answered_at, self.taken_at)
        issued, answered, taken = (None if time is None else to_milliseconds(time) for time in times)
        body = self.answer.body if self.answer else None
        signature = self.answer.signature if self.answer else None
        late = int(self.late)
        return (
            self.state.value,
            self.reason,
            issued,
            body,
            signature,
            answered,
            taken,
            self.index_sequence,
            late,
        )


TARGET_COLUMNS = (
    "state, reason, index_issued_at, answer_body, answer_signature, answered_at, taken_at,"
    " index_sequence, late"
)


def read_target(columns: Sequence[object]) -> TargetRow:
    """The columns of TARGET_COLUMNS; body and signature may be left NULL where nobody needs them."""
    state, reason, issued, body, signature, answered, taken, sequence, late = columns
    answer = None if body is None else SignedStatement(bytes_in(body), bytes_in(signature))
    return TargetRow(
        TargetState(state),
        str(reason),
        time_in(issued),
        answer,
        time_in(answered),
        time_in(taken),
        None if sequence is None else int_in(sequence),
        bool(late),
    )


def bytes_in(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise StoreUnusable("A column of the database holds something else than octets.")
    return value


def int_in(value: object) -> int:
    if not isinstance(value, int):
        raise StoreUnusable("A column of the database holds something else than a number.")
    return value


def time_in(value: object) -> datetime | None:
    return None if value is None else from_milliseconds(int_in(value))
