"""The page of the checks says of each what the kit says."""

from __future__ import annotations

import re

import pytest

from lploss.testing.check import CHECKS
from tests.meta.test_docs import DOCS

_, _, EVERY_CHECK = (DOCS / "checks.md").read_text(encoding="utf-8").partition("\n## Every check\n")
SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^#|\Z)", EVERY_CHECK, re.M | re.S))


def test_the_page_has_a_section_for_each_check_in_their_order() -> None:
    assert list(SECTIONS) == list(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_a_section_tells_why_a_check_matters_and_how_to_mend(name: str) -> None:
    what, *items = SECTIONS[name].split("\n- ")
    assert len(what.split()) > 5
    assert [" ".join(item.split()) for item in items] == [
        f"Why: {CHECKS[name].why}",
        f"Mend: {CHECKS[name].mend}",
    ]
