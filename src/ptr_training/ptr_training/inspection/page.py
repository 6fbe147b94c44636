"""The HTML page of `ptr inspect`: all tables and images of an inspection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ptr_common.html_page import render_page

from .flags import flags_of, names_of
from .tables import (
    ACTIONS_EXPLAINED,
    Inspection,
    Table,
    action_table,
    facts,
    flag_table,
    flagged_table,
    task_table,
)

ROWS_SHOWN = 500
"""Tasks, and flagged episodes, on the page; the other files have all."""

STYLE = """
h2 { margin-top: 2.2rem; }
code { overflow-wrap: anywhere; }
"""

TEMPLATE = """
{% macro cells(tag, row, align) %}
<tr>{% for cell in row -%}
<{{ tag }}{% if align[loop.index0] == "r" %} class="number"{% endif %}>{{ cell }}</{{ tag }}>
{%- endfor %}</tr>
{% endmacro %}

{% macro table_of(table) %}
{% if table.rows %}
<table>
{{ cells("th", table.header, table.align) }}
{% for row in table.rows %}
{{ cells("td", row, table.align) }}
{% endfor %}
</table>
{% else %}
<p>None.</p>
{% endif %}
{% endmacro %}

{% macro image(name, caption="") %}
{% set link = name | urlencode %}
<p><a href="{{ link }}"><img alt="{{ name }}" src="{{ link }}"></a><br>{{ caption }}</p>
{% endmacro %}

<table>
{% for fact in facts %}
{{ cells("td", fact, "ll") }}
{% endfor %}
</table>
<p>Everything is measured on the store as it was written. Tables for machines:
<a href="episodes.csv">episodes.csv</a>, <a href="inspection.json">inspection.json</a>.</p>
<h2>Episodes</h2>
{{ image("episodes.png", "Dashed: where flags begin.") }}
{{ table_of(tasks) }}
<h2>Actions</h2>
{{ image("actions.png") }}
{{ table_of(actions) }}
<p>{{ actions_explained }}</p>
<h2>Worth a look</h2>
{{ table_of(flags) }}
{{ table_of(flagged) }}
{% if more %}<p>… and {{ more }} more: see episodes.csv.</p>
{% endif %}
<p>To mark episodes, fill in the column <code>verdict</code> of episodes.csv (good, bad, trim
FIRST:LAST, clear) and run <code>ptr review {{ store }} --from episodes.csv</code>.</p>
{% if films.rows %}
<h2>Films</h2>
<p>Each page has a player with steps, and the actions under the film on one time axis. The mp4
files lie beside them in <code>films</code>.</p>
<table>
{{ cells("th", films.header, films.align) }}
{% for row in films.rows %}
<tr><td><a href="{{ row[0] | urlencode }}">{{ row[1] }}</a></td>
{%- for cell in row[2:] %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</table>
{% endif %}
<h2>Contact sheets</h2>
{% for sheet in sheets %}
{{ image(sheet) }}
{% endfor %}
"""


def page(
    inspection: Inspection, sheets: Sequence[str], films: Mapping[int, str] | None = None
) -> str:
    """Return the page.

    Args:
        inspection: The result of the inspection.
        sheets: Names of the contact sheets beside the page.
        films: Pages of the films, by the index of their episode.
    """
    flagged = flagged_table(inspection)
    return render_page(
        inspection.store.info.name,
        TEMPLATE,
        style=STYLE,
        facts=facts(inspection),
        tasks=_first_rows(task_table(inspection)),
        actions=action_table(inspection.dimensions),
        actions_explained=ACTIONS_EXPLAINED,
        flags=flag_table(inspection),
        flagged=_first_rows(flagged),
        more=max(0, len(flagged.rows) - ROWS_SHOWN),
        store=str(inspection.store.path),
        sheets=sheets,
        films=_film_table(inspection, films or {}),
    )


def _film_table(inspection: Inspection, films: Mapping[int, str]) -> Table:
    """Return a row for each film; its first cell is the page that the second one links."""
    rows = []
    for index, film in films.items():
        metrics = inspection.metrics[index]
        flags = names_of(flags_of(metrics))
        rows.append([film, metrics.id, metrics.task, metrics.outcome, flags])
    return Table(["episode", "task", "outcome", "flags"], rows, "llll")


def _first_rows(table: Table) -> Table:
    """Return a table with as many rows as the page shows."""
    return replace(table, rows=table.rows[:ROWS_SHOWN])
