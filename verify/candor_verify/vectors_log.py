"""Vectors of §14 to §18: trees, notes, policies, proofs, entries, receipts, evidence, openings."""

from __future__ import annotations

from collections.abc import Callable

from candor_verify.vectors_basic import Given

FORWARD: dict[str, Callable[[Given], object]] = {}
BACKWARD: dict[str, Callable[[Given, Given], object]] = {}
