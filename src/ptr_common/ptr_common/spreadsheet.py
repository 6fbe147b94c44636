"""Texts in CSV files: none of them is a formula where a spreadsheet opens the file."""

from __future__ import annotations

from typing import Any

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
