"""Tables of aligned columns for terminals and logs, and texts in CSV files, none a formula."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def text_table(
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    align: str = "",
    gap: str = "  ",
) -> str:
    """Return rows under a header, each column as wide as its longest cell.

    Args:
        header: Names of the columns.
        rows: Cells of each row, as many as the header has; `str` makes them text.
        align: A letter for each column, `l` or `r`. Without letters the first column is left
            and the others are right.
        gap: Text between two columns.

    Returns:
        Lines separated by newlines, without blanks at their ends; no newline at the end.

    Raises:
        ValueError: If a row has another number of cells than the header.
    """
    lines = [list(header)]
    for row in rows:
        cells = [str(cell) for cell in row]
        if len(cells) != len(header):
            raise ValueError(
                f"a row has {len(cells)} cells, the header {len(header)}: {cells}"
            )
        lines.append(cells)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    sides = (align + ("l" + "r" * len(header))[len(align) :])[: len(header)]
    return "\n".join(_line(cells, widths, sides, gap) for cells in lines)


def _line(cells: Sequence[str], widths: Sequence[int], sides: str, gap: str) -> str:
    padded = []
    for cell, width, side in zip(cells, widths, sides, strict=True):
        padded.append(cell.ljust(width) if side == "l" else cell.rjust(width))
    return gap.join(padded).rstrip()


FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""First characters of what a spreadsheet takes for a formula."""


def cell(value: Any) -> Any:
    """Return a value for a CSV file: a text that looks like a formula gets an apostrophe.

    A text that has apostrophes before such a character gets one more, so that `from_cell`
    gives every text back.
    """
    if isinstance(value, str) and value.lstrip("'").startswith(FORMULA_STARTS):
        return f"'{value}"
    return value


def from_cell(text: str) -> str:
    """Return the text that `cell` was given."""
    if text.startswith("'") and text.lstrip("'").startswith(FORMULA_STARTS):
        return text[1:]
    return text
