"""The demo's last record: voided by two people, recalled from who received it, found by nobody any more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tools.telling import expect, say, wait_for

Command = Callable[..., Any]
REASON = "The arbitrator set the decision aside."


def withdraw(owner: Command, asker: Command, dcn: str, request_id: str) -> None:
    """Void the record `dcn` that was released to `asker` under `request_id`.

    `owner` and `asker` run one of these nodes' commands and return what it printed.
    """
    why = owner("records", "why", dcn, show=True)
    expect(why["shared"], "until now it is shared; every clause of the fair-process gate says why")
    proposed = owner("records", "void", dcn, "--reason", REASON, "--by", "clerk-1", show=True)
    approval = proposed["approval_id"]
    owner("approvals", "approve", approval, "--by", "clerk-1", statuses=(1, 2), show=True)
    expect(not gone(asker, request_id), "whoever proposed it cannot approve it: voiding takes two people")
    owner("approvals", "approve", approval, "--by", "chief-1", show=True)
    state = wait_for(lambda: gone(asker, request_id), "the asker's node has destroyed its copy, and says so")
    say(f"at the asker: {state['state']}: {state.get('reason', '')}")
    recall = wait_for(lambda: acknowledged(owner), "the owner has the signed acknowledgement")
    say(f"time to forget: {recall['seconds_to_act']:.2f} s")
    history = owner("records", "history", dcn)
    expect(
        any(entry["act"] == "VOID" and entry.get("second") == "chief-1" for entry in history["entries"]),
        "the history has who, when, with whom and why; nothing of it is overwritten",
    )


def gone(asker: Command, request_id: str) -> Any:
    shown = asker("requests", "show", request_id)
    view = shown.get("request", shown)
    return view if view["state"] == "recalled" and not view.get("record") else None


def acknowledged(owner: Command) -> Any:
    sent = owner("recalls", "list").get("sent", [])
    return next((recall for recall in sent if recall.get("acted_at")), None)
