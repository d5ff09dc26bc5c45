"""A check of whether something sets this machine's clock."""

from __future__ import annotations

import ctypes

from candor_watch.findings import Figure, Finding, good, unknown, warning

_STA_UNSYNC, _TIME_ERROR = 0x0040, 5


class _Timex(ctypes.Structure):
    """`struct timex` of Linux, as far as it is read; the rest is room."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def kernel_clock() -> tuple[bool, float] | None:
    """Whether a time service keeps the kernel's clock, and its largest error in seconds; None: unknown."""
    told = _Timex()
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(told))
    except (OSError, AttributeError):
        return None
    if state < 0:
        return None
    return not (told.status & _STA_UNSYNC) and state != _TIME_ERROR, told.maxerror / 1e6


def time_sync(key: str) -> Finding:
    """Whether something sets this machine's clock."""
    told = kernel_clock()
    if told is None:
        return unknown(key, "Whether a time service sets this machine's clock cannot be read here.")
    kept, error = told
    figures: dict[str, Figure] = {"synchronised": kept, "largest_error_seconds": round(error, 3)}
    if not kept:
        return warning(
            key,
            "No time service sets this machine's clock; it drifts by seconds a week.",
            "Run: timedatectl set-ntp true; or set up chrony (a guest may get its time from its host).",
            **figures,
        )
    return good(key, f"A time service sets this machine's clock, to {error * 1000:,.0f} ms.", **figures)
