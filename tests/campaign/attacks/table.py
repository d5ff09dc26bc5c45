"""Every attack by name: what it does, at which port."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.campaign.attacks import calls, frames, strangers
from tests.campaign.attacks.wire import Place, Post


@dataclass(frozen=True)
class Attack:
    """`work` is one attacker's; `port` is hub (with a member's certificate), enrolment or log (without)."""

    work: Callable[[Post, Place], None]
    port: str

    @property
    def what(self) -> str:
        return (self.work.__doc__ or "").partition("\n")[0]


_EITHER = (
    frames.rapid_reset,
    frames.reset_after_request,
    frames.trailing_reset,
    frames.many_streams,
    frames.pings,
    frames.unread_pings,
    frames.setting_changes,
    frames.unread_settings,
    frames.empty_data,
    frames.priorities,
    frames.window_updates,
    frames.continuations,
    frames.empty_continuations,
    frames.large_metadata,
    frames.header_bomb,
    frames.writes_slowly,
    frames.oversized_messages,
    frames.ignores_windows,
    frames.nonsense,
    strangers.half_open,
    strangers.connections,
    strangers.held_connections,
    strangers.no_tls,
    calls.invalid_requests,
)
_MEMBERS = (
    frames.never_reads,
    frames.reads_slowly,
    frames.unfinished_messages,
    calls.cheap_calls,
    calls.directories,
    calls.unknown_objects,
    calls.statements,
    calls.bad_lookups,
    calls.spend_quota,
    calls.unfinished_uploads,
    calls.garbage_segments,
    calls.attach_again,
    calls.empty_frames,
    calls.acknowledgements,
    calls.submissions,
    calls.good_submissions,
    calls.unread_mail,
)
_LOG = (
    strangers.half_open,
    strangers.connections,
    strangers.held_connections,
    strangers.no_tls,
    strangers.page_flood,
    strangers.deep_paths,
    strangers.pipelined,
    strangers.slow_headers,
)


def _name(work: Callable[[Post, Place], None]) -> str:
    return work.__name__.replace("_", "-")


ATTACKS: dict[str, Attack] = {
    **{_name(work): Attack(work, "hub") for work in (*_EITHER, *_MEMBERS)},
    **{f"{_name(work)}@enrolment": Attack(work, "enrolment") for work in (*_EITHER, calls.wrong_tokens)},
    **{f"{_name(work)}@log": Attack(work, "log") for work in _LOG},
}
