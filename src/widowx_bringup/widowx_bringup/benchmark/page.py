"""The page of a benchmark: its tables, the scenes, and links to films."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ptr_common.files import atomic_file
from ptr_common.html_page import render_page
from widowx_bringup.evaluation.results import by_method

from . import tables

PAGE = """
<table><caption>Rollouts of this run, with Wilson's 95 % interval. Once: solved at some step;
held: the object was held at some time; steps: until first solved; clipped: commands beyond the
bounds of an action.</caption>
<thead><tr>{% for name in ("policy", "task") %}<th scope="col">{{ name }}</th>{% endfor %}
{% for name in ("solved", "rate", "95 % interval", "once", "held", "steps", "clipped") %}
<th scope="col" class="number">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for cell in cells %}<tr><th scope="row">{{ cell.policy }}</th><td>{{ cell.task }}</td>
<td class="number">{{ cell.solved }}/{{ cell.rollouts }}</td>
<td class="number">{{ "{:.0%}".format(cell.rate) }}</td>
<td class="number">{{ "{:.0%} – {:.0%}".format(cell.low, cell.high) }}</td>
<td class="number">{{ cell.once }}</td><td class="number">{{ cell.held }}</td>
<td class="number">{{ "–" if cell.steps is none else "{:.1f}".format(cell.steps) }}</td>
<td class="number">{{ cell.clipped }}</td></tr>{% endfor %}</tbody></table>
{% for contrast in contrasts %}<p>{{ contrast.sentence }}.</p>{% endfor %}
<table><caption>Beside published rates</caption>
<thead><tr>{% for name in header %}
<th scope="col" class="{{ "" if loop.first or loop.last else "number" }}">{{ name }}</th>
{% endfor %}</tr></thead>
<tbody>{% for row in published %}<tr>{% for text in row %}
<td class="{{ "" if loop.first or loop.last else "number" }}">{{ text }}</td>
{% endfor %}</tr>{% endfor %}</tbody></table>
<ul>{% for line in conditions %}<li>{{ line }}</li>{% endfor %}</ul>
{% for task, methods in tasks.items() %}
<h2>{{ task }}</h2>
{% if films[task] %}<p><a href="{{ task }}/films.html">films</a></p>{% endif %}
<p><img src="{{ task }}/scenes.jpg" alt="start scenes of {{ task }}" loading="lazy"></p>
{% for method, rows in methods.items() %}
<details><summary>{{ method }}, scene by scene</summary>
{% for row in rows %}<p>scene {{ row.rollout }}: {{ row.stage or "nothing" }}<br>
<img src="{{ task }}/{{ row.strip | urlencode }}" alt="film strip" loading="lazy"></p>{% endfor %}
</details>{% endfor %}{% endfor %}
"""


def write_page(out: Path, results: tables.Results, notes: Sequence[str]) -> None:
    """Write `index.html` with relative links to what lies in the folders of the tasks.

    Args:
        out: Folder of the results.
        results: Rollouts by task.
        notes: What was replaced or left out.
    """
    page = render_page(
        "SimplerEnv's WidowX tasks",
        PAGE,
        cells=tables.cells(results),
        contrasts=tables.compared(results),
        header=tables.PUBLISHED_HEADER,
        published=tables.published_rows(results),
        conditions=tables.conditions(results, notes),
        tasks={task: by_method(rows) for task, rows in results.items()},
        films={task: (out / task / "films.html").is_file() for task in results},
    )
    with atomic_file(out / "index.html") as path:
        path.write_text(page, encoding="utf-8")
