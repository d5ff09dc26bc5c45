"""All cases, by what they attack."""

from __future__ import annotations

from tests.byzantine.case import Case
from tests.byzantine.cases import (
    answer,
    audit,
    directory,
    disclosure,
    index,
    log,
    lookup,
    recall,
    segments,
    witness,
)

CASES: tuple[Case, ...] = (
    *directory.CASES,
    *lookup.CASES,
    *answer.CASES,
    *index.CASES,
    *segments.CASES,
    *disclosure.CASES,
    *recall.CASES,
    *log.CASES,
    *witness.CASES,
    *audit.CASES,
)
