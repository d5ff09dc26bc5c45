"""Rules that are no octets: quotas, results, states, errors (docs/protocol.md §7.7, §7.8, §9, §11, §12)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from typing import Any

from candor_proto import disclosure, exchange, recall
from candor_proto.budget import Quota, Use, check_budget, remaining
from candor_proto.ids import BlobId, Digest, Handle, LookupId, NodeId
from candor_proto.result import Coverage, Hit, LookupResult, TargetReport, TargetState
from candor_proto.scoring import Band, Explanation
from candor_wire.status import STATUS
from tools.vectors.book import Book, Given, operation
from tools.vectors.curve import CLASSES
from tools.vectors.parties import DAY, HOUR, NOW, moment, ms
from tools.vectors.shapes import FLAG, TEXT, TIME, U32, fields, listed, one_of

_USE = fields(hour=TIME, W=U32, M=U32, C=U32)
_FREE = {"all": U32, "W": U32, "M": U32, "C": U32}
_MACHINES: Mapping[str, Mapping[tuple[Any, Any], Any]] = {
    "target": exchange.TRANSITIONS,
    "lookup": exchange.LOOKUP_TRANSITIONS,
    "disclosure-owner": disclosure.OWNER_TRANSITIONS,
    "disclosure-requester": disclosure.REQUESTER_TRANSITIONS,
    "recall-owner": recall.RECALL_TRANSITIONS,
    "recall-recipient": recall.RECIPIENT_TRANSITIONS,
}


def _uses(given: Given) -> list[Use]:
    return [Use(moment(one["hour"]), one["W"], one["M"], one["C"]) for one in given["uses"]]


@operation(
    "quota-left",
    "11.3",
    "the elements left, in all and by class, under the limits of 11.1; `uses` are the hourly buckets kept, "
    "each with "
    "the beginning of its hour",
    {"uses": listed(_USE), "now": TIME},
    _FREE,
)
def _quota_left(given: Given) -> dict[str, Any]:
    uses, now = _uses(given), moment(given["now"])
    free = {letter: remaining(Quota(), uses, now, key_class) for letter, key_class in CLASSES.items()}
    return {"all": remaining(Quota(), uses, now), **free}


@operation(
    "quota-spend",
    "11.2",
    "whether a lookup that takes so much may be accepted now",
    {"uses": listed(_USE), "now": TIME, "wanted": fields(W=U32, M=U32, C=U32)},
    {},
)
def _quota_spend(given: Given) -> dict[str, Any]:
    wanted = {key_class: given["wanted"][letter] for letter, key_class in CLASSES.items()}
    check_budget(Quota(), _uses(given), wanted, moment(given["now"]), "the asker")
    return {}


@operation(
    "result",
    "7.7",
    "the word for a whole lookup, from the state of every target and whether each hit is set aside",
    {
        "targets": listed(fields(node=TEXT, state=one_of(*(state.value for state in TargetState)))),
        "set_aside": listed(FLAG),
    },
    {"overall": one_of("MATCH", "NO_RECORD", "INCOMPLETE")},
)
def _result(given: Given) -> dict[str, Any]:
    reports = tuple(
        TargetReport(NodeId(one["node"]), TargetState(one["state"]), NOW) for one in given["targets"]
    )
    answered = next((report.node for report in reports if report.answered), None)
    hits = tuple(_hit(aside, answered) for aside in given["set_aside"])
    made = LookupResult(LookupId(bytes(16)), hits, Coverage(reports, NOW, 1))
    return {"overall": made.overall.value}


def _hit(set_aside: bool, owner: NodeId | None) -> Hit:

    assert owner is not None
    band = Band.BELOW if set_aside else Band.REVIEW
    known = dict.fromkeys(Explanation.__dataclass_fields__)
    explanation = Explanation(**{**known, "band": band})  # type: ignore[arg-type]  # only the band counts here
    return Hit(
        owner, 1, BlobId(bytes(16)), Handle(bytes(16)), Digest(bytes(32)), 1, 1, 0, (), explanation, bytes(16)
    )


def _word(value: Enum) -> str:
    return str(value.value)


@operation(
    "state-table",
    "7.8",
    "every transition there is, sorted; any other state with any other event is `illegal_transition`",
    {"machine": one_of(*_MACHINES)},
    {"transitions": listed(fields(state=TEXT, event=TEXT, next=TEXT))},
)
def _state_table(given: Given) -> dict[str, Any]:
    table = _MACHINES[given["machine"]]
    rows = sorted((_word(state), _word(event), _word(after)) for (state, event), after in table.items())
    return {"transitions": [dict(zip(("state", "event", "next"), row, strict=True)) for row in rows]}


_STATUS = {kind.code: status.name for kind, status in STATUS.items()}


@operation(
    "error-status",
    "12",
    "the gRPC status under which an error travels; an unknown error is INTERNAL",
    {"code": TEXT},
    {"status": TEXT},
)
def _error_status(given: Given) -> dict[str, Any]:
    return {"status": _STATUS.get(given["code"], "INTERNAL")}


def book() -> Book:
    found = Book(
        "rules",
        "Quota arithmetic, results, the state tables as data, and the gRPC status of each error.",
        ("7.7", "7.8", "9.6", "9.11", "11.1", "11.2", "11.3", "12"),
        "Read out of candor_proto (budget, result, exchange, disclosure, recall) and candor_wire.status; the "
        "tables of the text "
        "are compared with them in the replaying test.",
    )
    _quotas(found)
    for name, targets, set_aside in (
        ("all_answered_nothing_found", ["answered", "answered"], []),
        ("all_answered_one_hit", ["answered", "answered"], [False]),
        ("all_answered_hit_set_aside", ["answered", "answered"], [True]),
        ("one_hit_and_one_silent", ["answered", "pending"], [False]),
        ("hit_set_aside_and_one_silent", ["answered", "pending"], [True]),
        *(
            (f"one_{state.name.lower()}", ["answered", state.value], [])
            for state in TargetState
            if state.name != "ANSWERED"
        ),
        ("nobody_answered", ["expired", "refused"], []),
    ):
        given = {
            "targets": [{"node": f"node-{n}", "state": state} for n, state in enumerate(targets, 1)],
            "set_aside": set_aside,
        }
        found.case(f"result_{name}", "result", given)
    sections = {"target": "7.8", "lookup": "7.8", "disclosure-owner": "9.6", "disclosure-requester": "9.6"}
    for machine in _MACHINES:
        name = f"states_of_{machine.replace('-', '_')}"
        found.case(name, "state-table", {"machine": machine}, section=sections.get(machine, "9.11"))
    for code in sorted(_STATUS):
        found.case(f"status_of_{code}", "error-status", {"code": code})
    found.case("status_of_internal", "error-status", {"code": "internal"})
    return found


def _quotas(found: Book) -> None:
    hour = NOW.replace(minute=0)
    second = timedelta(seconds=1)

    def use(back: timedelta, weak: int, match: int, code: int) -> dict[str, Any]:
        return {"hour": ms(hour - back), "W": weak, "M": match, "C": code}

    cases: dict[str, tuple[list[dict[str, Any]], timedelta]] = {
        "nothing_used": ([], timedelta(0)),
        "one_detailed_lookup": ([use(timedelta(0), 4, 12, 24)], timedelta(0)),
        "yesterday_still_counts": ([use(24 * HOUR, 0, 100, 0)], timedelta(0)),
        "yesterday_until_its_hour_is_over": ([use(24 * HOUR, 0, 100, 0)], HOUR - second),
        "yesterday_counts_no_more": ([use(24 * HOUR, 0, 100, 0)], HOUR),
        "a_month_ago_still_counts": ([use(30 * DAY, 9_990, 0, 0)], HOUR - second),
        "a_month_ago_counts_no_more": ([use(30 * DAY, 9_990, 0, 0)], HOUR),
        "spent_for_today": ([use(2 * HOUR, 1_000, 3_000, 0)], timedelta(0)),
        "spent_for_the_month": ([use(n * DAY, 1_000, 3_000, 0) for n in range(2, 12)], timedelta(0)),
        "more_than_the_limit": ([use(HOUR, 1_004, 3_012, 0)], timedelta(0)),
    }
    for name, (uses, later) in cases.items():
        found.case(f"left_{name}", "quota-left", {"uses": uses, "now": ms(hour + later)})
    wanted = {"W": 4, "M": 12, "C": 0}
    for name, uses, want, refuse in (
        ("first", [], wanted, None),
        ("the_last_that_fits_today", [use(HOUR, 996, 2_988, 0)], wanted, None),
        ("one_weak_element_too_many", [use(HOUR, 997, 0, 0)], wanted, "quota_spent"),
        ("one_match_element_too_many", [use(HOUR, 0, 2_989, 0)], wanted, "quota_spent"),
        ("one_code_element_too_many", [use(HOUR, 0, 0, 2_377)], {**wanted, "C": 24}, "quota_spent"),
        ("one_element_too_many_in_all", [use(HOUR, 900, 2_000, 1_085)], wanted, "quota_spent"),
        ("question_about_nobody", [use(HOUR, 0, 3_000, 0)], {"W": 0, "M": 1, "C": 0}, "quota_spent"),
        ("month_spent", [use(n * DAY, 1_000, 0, 0) for n in range(2, 12)], wanted, "quota_spent"),
    ):
        found.case(
            f"spend_{name}", "quota-spend", {"uses": uses, "now": ms(hour), "wanted": want}, refuse=refuse
        )
