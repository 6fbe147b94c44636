"""Tables of `ptr inspect`: counts of tasks, and the order of flagged episodes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from moving_episodes import changed, make_episode, set_rows, write

from ptr_training.inspection.episode_metrics import measure
from ptr_training.inspection.page import ROWS_SHOWN, page
from ptr_training.inspection.tables import (
    Inspection,
    action_table,
    flag_table,
    flagged_table,
    task_table,
)


@pytest.fixture
def inspection(tmp_path: Path) -> Inspection:
    """Return five episodes of two tasks; e1 leaves the bounds, and e3 is its copy."""
    episodes = [make_episode(f"e{k}", k) for k in range(3)]
    episodes[1] = changed(episodes[1], executed=set_rows(3, 5, 0.26))
    episodes.append(replace(episodes[1], id="e3", task="open c", outcome="failure"))
    episodes.append(replace(make_episode("e4", 4), task="open c"))
    store = write(tmp_path / "s", *episodes)
    metrics, dimensions, intact = measure(store)
    return Inspection(store, metrics, dimensions, intact, {})


def test_tasks_are_counted_those_with_most_episodes_first(inspection: Inspection) -> None:
    table = task_table(inspection)
    assert table.header == ["task", "episodes", "steps", "failure", "success", "flagged"]
    assert table.rows == [
        ["put a in b", "3", "72", "0", "3", "1"],
        ["open c", "2", "48", "1", "1", "1"],
    ]
    assert table.align == "lrrrrr"


def test_flags_are_listed_with_their_episodes(inspection: Inspection) -> None:
    counts = {row[0]: (row[1], row[3]) for row in flag_table(inspection).rows}
    assert counts == {
        "beyond bounds": ("2", "e1, e3"),
        "duplicate": ("2", "e1, e3"),
        "same actions": ("2", "e1, e3"),
    }


def test_flagged_episodes_alone_are_listed(inspection: Inspection) -> None:
    rows = flagged_table(inspection).rows
    assert [row[0] for row in rows] == ["e1", "e3"]
    assert rows[0][3] == "beyond bounds, duplicate of e3, same actions as e3"


def test_every_table_has_a_side_for_each_column(inspection: Inspection) -> None:
    tables = [task_table(inspection), action_table(inspection.dimensions)]
    for table in (*tables, flag_table(inspection), flagged_table(inspection)):
        assert len(table.align) == len(table.header) == len(table.rows[0])


def test_page_cuts_long_tables_and_says_so(
    inspection: Inspection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ROWS_SHOWN == 500
    assert "more: see episodes.csv" not in page(inspection, [])
    monkeypatch.setattr("ptr_training.inspection.page.ROWS_SHOWN", 1)
    text = page(inspection, ["contact_sheet_1.png"])
    assert "… and 1 more: see episodes.csv." in text
    assert '<img alt="contact_sheet_1.png" src="contact_sheet_1.png">' in text
