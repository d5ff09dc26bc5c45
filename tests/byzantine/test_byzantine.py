"""Every case of the table comes out as it says."""

from __future__ import annotations

import pytest

from tests.byzantine.case import Case
from tests.byzantine.cases import CASES
from tests.byzantine.page import PAGE, page
from tests.byzantine.runner import judge


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.ident)
def test_case(case: Case) -> None:
    verdict = judge(case)
    assert not verdict.complaints, "\n".join(verdict.complaints)


def test_every_case_has_a_name_of_its_own_and_the_page_lists_it() -> None:
    assert len({case.ident for case in CASES}) == len(CASES) >= 60
    assert PAGE.read_text("utf-8") == page(), "run: python -m tests.byzantine"
