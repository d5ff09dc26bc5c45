"""Every case of the table comes out as it says."""

from __future__ import annotations

import pytest

from tests.byzantine.case import Case
from tests.byzantine.cases import CASES
from tests.byzantine.runner import judge


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.ident)
def test_case(case: Case) -> None:
    verdict = judge(case)
    assert not verdict.complaints, "\n".join(verdict.complaints)
