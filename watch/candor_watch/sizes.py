"""Numbers of octets as people read them."""

from __future__ import annotations


def size(octets: float) -> str:
    """Such as `1.5 GB`, in powers of a thousand."""
    for unit in ("B", "kB", "MB", "GB"):
        if octets < 1000:
            return f"{octets:.0f} {unit}" if unit == "B" or octets >= 100 else f"{octets:.1f} {unit}"
        octets /= 1000
    return f"{octets:.1f} TB"
