"""The table and the bars of every report."""

from __future__ import annotations

from dataclasses import replace

from widowx_bringup.evaluation.results import planned_rollout, summarise
from widowx_bringup.evaluation.results_html import rate_bars, results_table

ROW = planned_rollout("a <b>", 0, 5, "stir", "")


def test_a_single_group_has_no_column_for_its_name() -> None:
    table = results_table({"monday": summarise([replace(ROW, success=True, steps=7)])})
    assert "monday" not in table
    assert "a &lt;b&gt;" in table
    assert '<td class="number">7.0</td>' in table


def test_each_row_of_several_groups_names_its_own() -> None:
    one = summarise([ROW])
    table = results_table({"monday": one, "all": one})
    assert table.count("<td>monday</td>") == table.count("<td>all</td>") == 1


def test_a_score_is_shown_where_tasks_were_done_in_part() -> None:
    assert "score" not in results_table({"": summarise([ROW])})
    assert "50%" in results_table({"": summarise([replace(ROW, score=0.5)])})


def test_the_bars_are_told_in_words() -> None:
    bars = rate_bars(summarise([replace(ROW, success=True)]))
    label = "Rates with 95 % intervals: a &lt;b&gt;: 100% (21% – 100%)"
    assert f'role="img" aria-label="{label}"' in bars
