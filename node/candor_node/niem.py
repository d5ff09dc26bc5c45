"""Records in the words of NIEM: JSON with the names of NIEM 6.0 where it has them, ours where not.

Rules of this file:
- NIEM has no element for discipline or decertification: what is ours stands in a namespace of ours, and is
  described by `docs/niem.schema.json`, which a test holds against this module;
- the last four digits are no `nc:PersonSSNIdentification`: who reads that expects nine;
- a field without a value is not left out silently: `candor:NotGiven` says which and why, so that unknown is
  not taken for none;
- the officer is one object; the role refers to it by `@id`, as NIEM 6 refers (`structures:uri`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import IO

from candor_records.codes import Missing
from candor_records.content import DUE_PROCESS_FIELDS
from candor_records.field_types import DATE
from candor_records.kinds import FIELDS

NAMESPACES: Mapping[str, str] = {
    "nc": "https://docs.oasis-open.org/niemopen/ns/model/niem-core/6.0/#",
    "j": "https://docs.oasis-open.org/niemopen/ns/model/domains/justice/6.0/#",
    "candor": "https://candor.example/ns/officer-accountability/1.0/#",
}
_NAMES = {
    "first": "nc:PersonGivenName",
    "middle": "nc:PersonMiddleName",
    "last": "nc:PersonSurName",
    "suffix": "nc:PersonNameSuffixText",
}
_DATE_NAMES = {4: "nc:YearDate", 7: "nc:YearMonthDate", 10: "nc:Date"}
# Fields of the content that have a place of their own below; all others are written by `_name`.
_PLACED = frozenset(
    {
        *_NAMES,
        "former_last",
        "birth_date",
        "ssn4",
        "sex",
        "post_state",
        "post_id",
        "effective_on",
        "docket",
        "agency_record_id",
    }
)
_DATES = frozenset(
    {name for name in DUE_PROCESS_FIELDS if name.endswith(("_on", "_until"))}
    | {name for name, field in FIELDS.items() if field.type is DATE}
    | {"reported_on", "expires_on"}
)
_LISTS = frozenset({"allegation_categories", "document_hashes"}) | {
    name for name, field in FIELDS.items() if field.type.codes and ";" in field.type.words
}

Json = str | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True, repr=False)
class Exported:
    """A record as the node exports it: fields as texts by column, with how it stands."""

    dcn: str
    standing: str
    ori: str
    fields: Mapping[str, str]


def write(out: IO[str], records: Iterable[Exported], now: datetime, node: str) -> int:
    """Write one document; records come one by one. Returns how many."""
    head = {"@context": dict(NAMESPACES), "candor:ExportingNodeID": node}
    head["nc:DocumentCreationDate"] = {"nc:DateTime": now.isoformat(timespec="seconds")}
    opening = json.dumps(head, ensure_ascii=False, indent=1)
    out.write(opening.removesuffix("\n}") + ',\n "candor:AccountabilityRecord": [')
    count = 0
    for record in records:
        out.write(",\n" if count else "\n")
        out.write(json.dumps(element(record), ensure_ascii=False))
        count += 1
    out.write("\n ]\n}\n")
    return count


def element(record: Exported) -> dict[str, Json]:
    """One record as a `candor:AccountabilityRecord`."""
    fields = record.fields
    given = {name: text for name, text in fields.items() if text not in Missing.__members__}
    person: dict[str, Json] = {"@id": f"_:officer-{record.dcn}", **_person(given)}
    found: dict[str, Json] = {
        "nc:ActivityIdentification": {"nc:IdentificationID": record.dcn},
        "nc:ActivityDate": {"nc:Date": fields["effective_on"]},
        "nc:Person": person,
        "j:EnforcementOfficial": _official(given, record.dcn),
        "candor:ReportingAgency": {
            "j:OrganizationAugmentation": {
                "j:OrganizationORIIdentification": {"nc:IdentificationID": record.ori}
            }
        },
        "candor:StandingCode": record.standing,
    }
    if "docket" in given:
        found["nc:CaseDocketID"] = given["docket"]
    found |= {_name(name): _value(name, text) for name, text in given.items() if name not in _PLACED}
    absent: list[Json] = [
        {"candor:FieldName": name, "candor:ReasonCode": text}
        for name, text in fields.items()
        if text in Missing.__members__ and text != Missing.NOT_APPLICABLE.name
    ]
    if absent:
        found["candor:NotGiven"] = absent
    return found


def _person(given: Mapping[str, str]) -> dict[str, Json]:
    names: dict[str, Json] = {name: given[field] for field, name in _NAMES.items() if field in given}
    found: dict[str, Json] = {"nc:PersonName": names}
    if "former_last" in given:
        found["nc:PersonAlternateName"] = {"nc:PersonSurName": given["former_last"]}
    if "birth_date" in given:
        text = given["birth_date"]
        found["nc:PersonBirthDate"] = {_DATE_NAMES[len(text)]: text}
    if "sex" in given:
        found["nc:PersonSexText"] = given["sex"]
    if "ssn4" in given:
        found["candor:PersonSSNLastFourText"] = given["ssn4"]
    return found


def _official(given: Mapping[str, str], dcn: str) -> dict[str, Json]:
    found: dict[str, Json] = {"@id": f"_:officer-{dcn}"}
    if "post_id" in given:
        found["candor:OfficerCertification"] = {
            "nc:IdentificationID": given["post_id"],
            "candor:CertifyingStateCode": given["post_state"],
        }
    return found


def _name(field: str) -> str:
    """A field of ours as an element of ours: `notice_given_on` is `candor:NoticeGivenDate`."""
    words = field.removesuffix("_on") if field in _DATES else field
    name = "".join(word.capitalize() for word in words.split("_"))
    return f"candor:{name}Date" if field in _DATES else f"candor:{name}"


def _value(field: str, text: str) -> Json:
    if field in _DATES:
        return {"nc:Date": text}
    if field in _LISTS:
        return list(text.split(";"))
    return text


# --- the schema ----------------------------------------------------------------------------------------


def schema(columns: Iterable[str]) -> dict[str, object]:
    """The JSON Schema of a document whose records may have `columns`; `docs/niem.schema.json` is this."""
    text: dict[str, object] = {"type": "string", "minLength": 1}
    day = {"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}
    dated = _object({"nc:Date": day}, ["nc:Date"])
    identified = _object({"nc:IdentificationID": text}, ["nc:IdentificationID"])
    names = _object(dict.fromkeys(_NAMES.values(), text), ["nc:PersonGivenName", "nc:PersonSurName"])
    ours: dict[str, object] = {}
    for column in columns:
        if column in _PLACED:
            continue
        several = {"type": "array", "items": text, "minItems": 1}
        ours[_name(column)] = dated if column in _DATES else several if column in _LISTS else text
    person = _object(
        {
            "@id": text,
            "nc:PersonName": names,
            "nc:PersonAlternateName": _object({"nc:PersonSurName": text}, ["nc:PersonSurName"]),
            "nc:PersonBirthDate": {"type": "object", "minProperties": 1, "maxProperties": 1},
            "nc:PersonSexText": text,
            "candor:PersonSSNLastFourText": {"type": "string", "pattern": "^[0-9]{4}$"},
        },
        ["@id", "nc:PersonName"],
    )
    certificate = _object(
        {"nc:IdentificationID": text, "candor:CertifyingStateCode": text}, ["nc:IdentificationID"]
    )
    ori = _object({"j:OrganizationORIIdentification": identified}, ["j:OrganizationORIIdentification"])
    record = _object(
        {
            "nc:ActivityIdentification": identified,
            "nc:ActivityDate": dated,
            "nc:Person": person,
            "nc:CaseDocketID": text,
            "j:EnforcementOfficial": _object(
                {"@id": text, "candor:OfficerCertification": certificate}, ["@id"]
            ),
            "candor:ReportingAgency": _object(
                {"j:OrganizationAugmentation": ori}, ["j:OrganizationAugmentation"]
            ),
            "candor:StandingCode": {"enum": ["DRAFT", "HELD", "ACTIVE"]},
            "candor:NotGiven": {
                "type": "array",
                "items": _object({"candor:FieldName": text, "candor:ReasonCode": text}, ["candor:FieldName"]),
            },
            **ours,
        },
        [
            "nc:ActivityIdentification",
            "nc:ActivityDate",
            "nc:Person",
            "candor:RecordKind",
            "candor:ReportingAgency",
        ],
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Officer-accountability records of one Candor node, in the words of NIEM 6.0",
        **_object(
            {
                "@context": {"type": "object", "required": list(NAMESPACES)},
                "candor:ExportingNodeID": text,
                "nc:DocumentCreationDate": _object({"nc:DateTime": text}, ["nc:DateTime"]),
                "candor:AccountabilityRecord": {"type": "array", "items": record},
            },
            ["@context", "candor:AccountabilityRecord"],
        ),
    }


def _object(properties: Mapping[str, object], required: list[str]) -> dict[str, object]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": required,
        "additionalProperties": False,
    }
