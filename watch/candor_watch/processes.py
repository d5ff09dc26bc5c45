"""Checks of what the system lets the service have: memory, open files; and of what a crash would leave."""

from __future__ import annotations

import resource
from pathlib import Path

from candor_watch.findings import Figure, Finding, bad, good, unknown, warning
from candor_watch.sizes import size

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")


def core_dumps(key: str, pid: int | None) -> Finding:
    """Whether a crash would write the keys in memory to a disk; of the running service if there is one."""
    limit = _limit(pid, "Max core file size", resource.RLIMIT_CORE)
    who = "The running service" if pid else "A service started from here"
    pattern = _text(PROC / "sys/kernel/core_pattern")
    figures: dict[str, Figure] = {"core_limit_octets": limit, "core_pattern": pattern[:80]}
    if pid and _undumpable(pid):
        return good(key, "The running service cannot be dumped: its keys stay in memory.", **figures)
    if limit == 0 and not pattern.startswith("|"):
        return good(key, f"{who} writes no core: its keys stay in memory.", **figures)
    if limit == 0:
        told = f"{who} writes no core file, but the system hands crashes to a program ({pattern[1:60]})."
        return warning(
            key,
            told,
            "Run: sysctl -w kernel.core_pattern=core; or start the service by systemd with LimitCORE=0.",
            **figures,
        )
    return warning(
        key,
        f"{who} would write its memory, keys and records among it, to a file if it crashed.",
        "Set LimitCORE=0 in the service (the unit file of this release does), or `ulimit -c 0` before it.",
        **figures,
    )


def _undumpable(pid: int) -> bool:
    """Files of a process that said so belong to root, whoever runs it."""
    try:
        return (PROC / str(pid) / "fd").stat().st_uid == 0 and (PROC / str(pid)).stat().st_uid != 0
    except OSError:
        return False


def open_files(key: str, pid: int | None, needed: int) -> Finding:
    """Whether as many files and connections may be open as will be needed."""
    limit = _limit(pid, "Max open files", resource.RLIMIT_NOFILE)
    if limit is None:
        return unknown(key, "The limit of open files cannot be read.")
    figures: dict[str, Figure] = {"limit": limit, "needed": needed}
    if limit != -1 and limit < needed:
        told = f"At most {limit:,} files and connections may be open; {needed:,} will be needed."
        return bad(
            key,
            told,
            f"Set LimitNOFILE={needed} in the service, or `ulimit -n {needed}` before it.",
            **figures,
        )
    return good(
        key,
        f"{'Any number of' if limit == -1 else f'{limit:,}'} files may be open; {needed:,} are needed.",
        **figures,
    )


def _limit(pid: int | None, name: str, number: int) -> int | None:
    """The soft limit; -1 for none, None if it cannot be read."""
    if pid is None:
        soft = resource.getrlimit(number)[0]
        return -1 if soft == resource.RLIM_INFINITY else soft
    for line in _text(PROC / str(pid) / "limits").splitlines():
        if line.startswith(name):
            word = line[len(name) :].split()[0]
            return -1 if word == "unlimited" else int(word)
    return None


def memory(key: str, pid: int | None, needed_octets: int) -> Finding:
    """What there is for this service: of the machine, and of the control group that it runs in."""
    told = {
        line.split(":")[0]: int(line.split()[1]) * 1024
        for line in _text(PROC / "meminfo").splitlines()
        if len(line.split()) > 2
    }
    available = told.get("MemAvailable")
    group = _group_limit(pid)
    used = _resident(pid) if pid else 0
    figures: dict[str, Figure] = {
        "available_octets": available,
        "limit_octets": group,
        "used_octets": used or None,
        "needed_octets": needed_octets,
        "swap_octets": told.get("SwapTotal"),
    }
    if available is None:
        return unknown(key, "How much memory there is cannot be read.", "", **figures)
    for octets, whose in ((group, "The service may use"), (available + used, "This machine has")):
        if octets is not None and octets < needed_octets:
            remedy = f"Give it {size(needed_octets)} (MemoryMax= of the service, or a larger machine)."
            return warning(
                key,
                f"{whose} {size(octets)} of memory; it may need {size(needed_octets)}.",
                remedy,
                **figures,
            )
    return good(key, f"{size(available)} of memory are free; {size(needed_octets)} may be needed.", **figures)


def _group_limit(pid: int | None) -> int | None:
    """The smallest limit of the control groups (version 2) of the process, or None."""
    line = next(
        (
            each
            for each in _text(PROC / (str(pid) if pid else "self") / "cgroup").splitlines()
            if each.startswith("0::")
        ),
        "",
    )
    place = CGROUP / line.removeprefix("0::").lstrip("/") if line else CGROUP
    limits = []
    while place.is_relative_to(CGROUP):
        text = _text(place / "memory.max").strip()
        if text.isdecimal():
            limits.append(int(text))
        if place == CGROUP:
            break
        place = place.parent
    return min(limits, default=None)


def _resident(pid: int) -> int:
    for line in _text(PROC / str(pid) / "status").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
