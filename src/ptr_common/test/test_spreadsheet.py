"""No text of a table is a formula, and every text comes back."""

from __future__ import annotations

import pytest

from ptr_common.spreadsheet import FORMULA_STARTS, cell, from_cell


@pytest.mark.parametrize(
    "text", ["=1+1", "+x", "-x", "@x", "\tx", "'=1", "''-", "it's", "", "a=b"]
)
def test_text_is_no_formula_and_comes_back(text: str) -> None:
    assert not cell(text).startswith(FORMULA_STARTS)
    assert from_cell(cell(text)) == text


def test_numbers_stay_as_they_are() -> None:
    assert cell(-1.5) == -1.5
    assert cell("put the cube") == "put the cube"
