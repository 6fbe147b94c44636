"""The table of results and the rates as bars, as parts of a page; every report has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ptr_common.html_page import render_part

from .results import Summary, has_partial_score

TABLE = """
<table>
<caption>Trials that count{% if grouped %}, by session{% endif %}</caption>
<thead><tr>{% if grouped %}<th scope="col">session</th>{% endif %}
<th scope="col">method</th><th scope="col" class="number">solved</th>
<th scope="col" class="number">rate</th><th scope="col" class="number">95 % interval</th>
<th scope="col" class="number">steps</th><th scope="col" class="number">clipped</th>
<th scope="col" class="number">held</th><th scope="col" class="number">rejected</th>
<th scope="col" class="number">repeated</th>
{%- if scored %}<th scope="col" class="number">score</th>{% endif %}</tr></thead>
<tbody>
{% for group, rows in groups.items() %}{% for row in rows %}
<tr>{% if grouped %}<td>{{ group }}</td>{% endif %}
<th scope="row" class="name">{{ row.method }}</th>
<td class="number">{{ row.successes }}/{{ row.rollouts }}</td>
<td class="number">{{ "{:.0%}".format(row.rate) }}</td>
<td class="number">{{ "{:.0%} – {:.0%}".format(row.low, row.high) }}</td>
<td class="number">{{ "{:.1f}".format(row.mean_steps) if row.successes else "–" }}</td>
<td class="number">{{ row.clipped }}</td><td class="number">{{ row.held }}</td>
<td class="number">{{ row.rejected }}</td><td class="number">{{ row.repeated }}</td>
{%- if scored %}<td class="number">
{{- "–" if row.mean_score is none else "{:.0%}".format(row.mean_score) }}</td>{% endif %}</tr>
{% endfor %}{% endfor %}
</tbody></table>
<p class="explained">{{ explained }}</p>
"""

EXPLAINED = (
    "Interval: Wilson. Steps: mean of the solved trials. Clipped, held, rejected: commands that a "
    "limit changed, times the arm stopped, commands refused, of all trials that count. Repeated: "
    "tries that ended for a cause outside the policy; they are in no other number."
)

BARS = """
<svg class="bars" width="100%" height="{{ height }}" role="img" aria-label="{{ label }}">
{% for bar in bars %}
<text x="0" y="{{ bar.top + 13 }}" font-size="14" fill="#1d2733">{{ bar.text }}</text>
<rect x="0" y="{{ bar.top + 19 }}" width="100%" height="14" fill="#eef1f4"/>
<rect x="0" y="{{ bar.top + 19 }}" width="{{ bar.rate }}%" height="14" fill="#2f6fb2"/>
<line x1="{{ bar.low }}%" x2="{{ bar.high }}%" y1="{{ bar.top + 26 }}" y2="{{ bar.top + 26 }}"
 stroke="#1d2733" stroke-width="3"/>
{% endfor %}
{% for x in (0, 25, 50, 75, 100) %}
<text x="{{ x }}%" y="{{ height - 4 }}" font-size="12" fill="#51606f"
 text-anchor="{{ "start" if x == 0 else "end" if x == 100 else "middle" }}">{{ x }} %</text>
{% endfor %}
</svg>
"""

BAR_HEIGHT = 42
"""Height of a name with its bar [pixels]."""

STYLE = """
.bars { display: block; max-width: 44rem; margin: 1rem 0 }
.name { white-space: nowrap }
.explained { max-width: 44rem; font-size: .85rem; color: #51606f }
"""
"""CSS of both."""


def results_table(groups: Mapping[str, Sequence[Summary]]) -> str:
    """Return the table of the methods, as markup for a template.

    Args:
        groups: Summaries by the session that they are of; a single group has no column.
    """
    scored = any(has_partial_score(row) for rows in groups.values() for row in rows)
    return render_part(
        TABLE, groups=groups, grouped=len(groups) > 1, scored=scored, explained=EXPLAINED
    )


def rate_bars(summaries: Sequence[Summary]) -> str:
    """Return the rates as bars with their intervals, as wide as the page, as markup."""
    bars, told = [], []
    for index, row in enumerate(summaries):
        rates = {"rate": row.rate, "low": row.low, "high": row.high}
        percents = {name: f"{100 * value:.1f}" for name, value in rates.items()}
        text = f"{row.method}: {row.rate:.0%} ({row.low:.0%} – {row.high:.0%})"
        bars.append({"text": text, "top": index * BAR_HEIGHT, **percents})
        told.append(text)
    return render_part(
        BARS,
        bars=bars,
        height=len(bars) * BAR_HEIGHT + 22,
        label=f"Rates with 95 % intervals: {'; '.join(told)}",
    )
