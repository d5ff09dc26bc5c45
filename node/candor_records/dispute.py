"""The subject's dispute of a record (RECORDS.md §4.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import Enum

from candor_proto.record import DisputeStatus


class DisputeGround(Enum):
    FACTUAL_INACCURACY = "FACTUAL_INACCURACY"
    NOT_REPORTABLE = "NOT_REPORTABLE"
    WRONG_PERSON = "WRONG_PERSON"


@dataclass(frozen=True)
class Dispute:
    """What the subject says against the record, and how far that is."""

    ground: DisputeGround
    status: DisputeStatus
    opened_on: date

    @property
    def open(self) -> bool:
        return self.status in (DisputeStatus.OPEN, DisputeStatus.IN_RESOLUTION)

    def fields(self) -> dict[str, str]:
        """As texts, which `read` takes back."""
        return {
            "ground": self.ground.name,
            "status": self.status.name,
            "opened_on": self.opened_on.isoformat(),
        }

    @classmethod
    def read(cls, fields: Mapping[str, str]) -> Dispute:
        return cls(
            DisputeGround[fields["ground"]],
            DisputeStatus[fields["status"]],
            date.fromisoformat(fields["opened_on"]),
        )
