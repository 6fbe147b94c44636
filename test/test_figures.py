"""The figures of the code are counted as they say."""

from __future__ import annotations

from pathlib import Path

import figures
import pytest
from figures import Figures, largest_folder, offenders, percentile, rows

SOURCE = '''
"""A module."""


def plain(x: int) -> list[int]:
    """Return a list."""
    return [x for _ in range(x)]


def bare(x, y: int = 0):
    return [[x for x in row] for row in y]


class _Private:
    def method(self) -> None: ...
'''


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Figures:
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    (tmp_path / "module.py").write_text(SOURCE)
    found = Figures()
    found.add(tmp_path / "module.py")
    return found


def test_functions_are_counted_with_their_docstrings(counted: Figures) -> None:
    assert sorted(counted.functions.values()) == [1, 2, 3]


def test_comprehensions_inside_others_are_named(counted: Figures) -> None:
    assert counted.comprehensions == 3
    assert counted.nested == ["module.py:11"]


def test_an_argument_or_result_without_type_is_named(counted: Figures) -> None:
    assert counted.untyped == ["module.py:10 bare"]


def test_only_what_is_public_needs_a_docstring(counted: Figures) -> None:
    assert counted.undocumented == ["module.py:10 bare"]


def test_lines_that_are_blank_have_no_length(counted: Figures) -> None:
    assert len(counted.line_lengths) == 8
    assert max(counted.line_lengths) == len("    return [[x for x in row] for row in y]")


def test_what_stands_in_the_way_is_listed(counted: Figures) -> None:
    assert "nested comprehension: module.py:11" in offenders(counted)
    missed = [name for name, _, _, reached in rows(counted) if not reached]
    assert "nested comprehensions" in missed
    assert "functions typed [%]" in missed


def test_percentile_is_a_value_that_the_share_does_not_exceed() -> None:
    assert percentile(range(1, 11), 0.9) == 10
    assert percentile([5], 0.9) == 5


def test_a_folder_counts_its_modules_without_init(tmp_path: Path) -> None:
    files = [figures.ROOT / "a" / name for name in ("__init__.py", "x.py", "y.py")]
    assert largest_folder([*files, figures.ROOT / "b" / "z.py"]) == (2, Path("a"))
