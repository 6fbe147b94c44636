"""Text tables: columns line up, whatever the cells hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptr_common.text_table import FORMULA_STARTS, cell, from_cell, text_table

CELLS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8)


def test_first_column_stands_left_and_numbers_right() -> None:
    table = text_table(("method", "success"), [("ptr", 19), ("target-only", 9)])
    assert table.splitlines() == [
        "method       success",
        "ptr               19",
        "target-only        9",
    ]


def test_named_alignment_holds_for_its_columns() -> None:
    assert text_table(("a", "bb"), [("ccc", "d")], align="rl").splitlines() == [
        "  a  bb",
        "ccc  d",
    ]


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="a row has 1 cells, the header 2"):
        text_table(("a", "b"), [("x",)])


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=5))
def test_every_row_ends_at_the_same_column(rows: list[tuple[str, str, str]]) -> None:
    lines = text_table(("name", "x", "y"), rows).splitlines()
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(
    "text", ["=1+1", "+x", "-x", "@x", "\tx", "'=1", "''-", "it's", "", "a=b"]
)
def test_text_is_no_formula_and_comes_back(text: str) -> None:
    assert not cell(text).startswith(FORMULA_STARTS)
    assert from_cell(cell(text)) == text


def test_numbers_stay_as_they_are() -> None:
    assert cell(-1.5) == -1.5
    assert cell("put the cube") == "put the cube"
