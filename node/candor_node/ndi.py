"""A list in the shape of the National Decertification Index: who, what action, whom to ask.

Rules of this file:
- a pointer and nothing more: no birth date, no number of a person, no conduct. Who finds a name asks;
- decertifications only, and of those only what the fair-process gate lets be found, is not RED, and names
  its certificate and what was done to it;
- how the index itself wants its upload is agreed with its operator: the columns are ours, in the order in
  which it shows them (verify).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from candor_node.niem import Exported
from candor_node.table_out import Line
from candor_proto.policy import Sharing
from candor_proto.record import RecordKind
from candor_records.codes import Missing
from candor_records.records import Standing

HEADER = (
    "last_name", "first_name", "middle_name", "name_suffix", "state", "certificate_number", "action",
    "action_date", "reporting_agency_ori", "agency_contact",
)  # fmt: skip
_NEEDED = ("post_id", "certificate_action")
MAX_CONTACT_CHARACTERS = 200


def lines(records: Iterable[Exported], contact: str, left_out: list[str]) -> Iterator[Line]:
    """The rows of the list; control numbers of decertifications that are not in it go to `left_out`."""
    for record in records:
        fields = record.fields
        if fields["record_kind"] != RecordKind.DECERTIFICATION.name:
            continue
        found = record.standing == Standing.ACTIVE.name and fields["sharing"] != Sharing.RED.name
        if not found or any(_text(fields.get(name, "")) == "" for name in _NEEDED):
            left_out.append(record.dcn)
            continue
        # Who acted is the deciding body; where it is not said, the state that issued the certificate.
        state = _text(fields.get("deciding_post", "")) or _text(fields["post_state"])
        yield Line(
            (
                fields["last"],
                fields["first"],
                _text(fields["middle"]),
                _text(fields["suffix"]),
                state,
                fields["post_id"],
                fields["certificate_action"],
                fields["effective_on"],
                record.ori,
                contact,
            )
        )


def _text(field: str) -> str:
    """A field's value, empty when it has none."""
    return "" if field in Missing.__members__ else field
