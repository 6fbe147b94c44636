"""One report of several sessions of the same task and methods.

Each session keeps its row. Methods are compared within sessions: a pair is two trials on one scene
of one session, so what differs between sessions (light, day, operator) is no difference of methods.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ptr_common.files import atomic_file
from ptr_common.html_page import render_page
from widowx_bringup.evaluation import results_html
from widowx_bringup.evaluation.results import (
    Contrast,
    Rollout,
    Summary,
    summarise,
    write_results,
)
from widowx_bringup.evaluation.results_html import rate_bars, results_table
from widowx_bringup.evaluation.session.plan import SessionError

from .differences import all_pairs, cochran_text, solved_by_scene
from .page import PAGE
from .template import MACROS, STYLE
from .trials import SessionTold, read_told

SAME = ("task", "time_limit", "camera_rise", "camera_turn", "judge", "tolerance")
"""What the plans of sessions under one name have in common, beside their bundles."""

TEMPLATE = (
    MACROS
    + """
{% for difference in mixed %}
<p class="note">Merged although they differ: {{ difference }}.</p>
{% endfor %}
{% for note in notes %}
<p class="note">{{ note }}.</p>
{% endfor %}

<h2>Sessions</h2>
<table><caption>In the order in which they were named</caption>
<thead><tr><th scope="col">session</th><th scope="col" class="number">trials</th>
<th scope="col" class="number">void</th><th scope="col" class="number">seed</th>
<th scope="col">began</th><th scope="col">plan</th></tr></thead><tbody>
{% for part in parts %}{% set session = part.session %}
<tr><th scope="row" class="name">{% if part.page %}
<a href="{{ part.page | urlencode }}">{{ part.name }}</a>{% else %}{{ part.name }}{% endif %}</th>
<td class="number">{{ session.counted | length }} of {{ session.state.planned }}</td>
<td class="number">{{ session.void | length }}</td>
<td class="number">{{ session.state.plan.seed }}</td><td>{{ session.began }}</td>
<td class="hash">{{ session.state.plan_sha256[:12] }}</td></tr>
{% endfor %}
</tbody></table>
<p>Task: {{ task }}.</p>

<h2>Results</h2>
{{ table }}
{{ bars }}
<p>For machines: <a href="results.csv">results.csv</a>, <a href="results.json">results.json</a>.</p>

<h2>Differences</h2>
<p>Over all sessions. A pair is two trials on one scene of one session.</p>
{{ differences(contrasts, cochran, "") }}

{% for part in parts %}
<h2>Scenes of {{ part.name }}</h2>
{% if part.contrasts %}
{% for contrast in part.contrasts %}<p>{{ contrast.sentence }}.</p>{% endfor %}
{% endif %}
{{ matrix(part.session, part.base, part.page) }}
{% endfor %}
"""
)


@dataclass(frozen=True)
class Part:
    """A session in a merged report.

    Attributes:
        name: Of the session; with its folder where another one has the same.
        session: What its journal tells.
        base: Its folder relative to the report, with a slash.
        page: Its own report relative to the merged one; None if none was written.
        contrasts: Its own comparisons.
    """

    name: str
    session: SessionTold
    base: str
    page: str | None
    contrasts: list[Contrast]


def write_merged_report(folders: Sequence[Path], out: Path, *, mixed: bool = False) -> Path:
    """Write `report.html`, `results.csv` and `results.json` of several sessions.

    Args:
        folders: Of the sessions; two or more.
        out: Where the report goes.
        mixed: Merge sessions that differ in what they compare, too; the page says so.

    Raises:
        SessionError: If one is still blinded or named twice, or they differ.
    """
    sessions = [read_told(folder) for folder in folders]
    _check_apart(sessions)
    differences = differing(sessions)
    if differences and not mixed:
        raise SessionError(
            "these sessions are not of the same trials: "
            f"{'; '.join(differences)}. Report them one by one, or take --mixed to put them "
            "under one name all the same"
        )
    if (out / "journal.jsonl").exists():
        raise SessionError(f"{out} is a session itself; choose another --out")
    parts = _parts(sessions, out)
    rows = _rows(parts)
    about = {
        "sessions": {part.name: part.session.state.plan for part in parts},
        "differences": differences,
    }
    methods = _methods(sessions)
    pairs = all_pairs(solved_by_scene(sessions), methods)
    write_results(out, rows, about, pairs)
    with atomic_file(out / PAGE) as path:
        path.write_text(_render(parts, rows, differences, pairs), encoding="utf-8")
    return out / PAGE


def _check_apart(sessions: Sequence[SessionTold]) -> None:
    """Refuse sessions that are blinded, or named twice."""
    seals = Counter(session.state.seal for session in sessions)
    for session in sessions:
        if session.blinded:
            raise SessionError(
                f"{session.folder} is still blinded, and its code A need not be the A of "
                "another session; `ptr session unblind` it first"
            )
        if seals[session.state.seal] > 1:
            raise SessionError(
                f"{session.folder} is named twice, or is a copy of another one: its trials "
                "would count twice"
            )


def differing(sessions: Sequence[SessionTold]) -> list[str]:
    """Return what the sessions do not have in common, one line for each."""
    found = []
    first = sessions[0]
    for name in SAME:
        values = [session.state.plan.get(name) for session in sessions]
        for session, value in zip(sessions, values, strict=True):
            if value != values[0]:
                found.append(
                    f"{name} is {values[0]!r} in {first.folder}, {value!r} in {session.folder}"
                )
    bundles: Mapping[str, str] = first.state.plan["methods"]
    for session in sessions[1:]:
        other: Mapping[str, str] = session.state.plan["methods"]
        for method in sorted({*bundles, *other}):
            ours, theirs = bundles.get(method, ""), other.get(method, "")
            if ours != theirs:
                told = [
                    f"bundle {name[:12]}" if name else "missing" for name in (ours, theirs)
                ]
                found.append(
                    f"method {method} is {told[0]} in {first.folder}, {told[1]} in "
                    f"{session.folder}"
                )
    return found


def _parts(sessions: Sequence[SessionTold], out: Path) -> list[Part]:
    names = Counter(session.name for session in sessions)
    parts = []
    for session in sessions:
        name = session.name
        if names[name] > 1:
            name = f"{name} ({session.folder})"
        base = os.path.relpath(session.folder.resolve(), out.resolve()) + "/"
        page = base + PAGE if (session.folder / PAGE).is_file() else None
        contrasts = all_pairs(solved_by_scene([session]), session.methods)
        parts.append(Part(name, session, base, page, contrasts))
    return parts


def _rows(parts: Sequence[Part]) -> list[Rollout]:
    """Return all tries, each scene with a number of its own."""
    rows, first = [], 0
    for part in parts:
        for row in part.session.rollouts:
            paths = {name: getattr(row, name) for name in ("bag", "strip")}
            moved = {name: part.base + path for name, path in paths.items() if path}
            rows.append(replace(row, rollout=first + row.rollout, **moved))
        first += int(part.session.state.plan["trials"])
    return rows


def repeated_scenes(sessions: Sequence[SessionTold]) -> str:
    """Return how many scenes several sessions met; empty if none."""
    met: Counter[tuple[str, int]] = Counter()
    for session in sessions:
        met.update({(told.row.task, told.row.layout_seed) for told in session.counted})
    if again := sum(count > 1 for count in met.values()):
        return (
            f"{again} scenes were met by more than one session; each counts once in each of "
            "them, so these trials are less independent than their number says"
        )
    return ""


def _methods(sessions: Sequence[SessionTold]) -> list[str]:
    """Return the methods of all sessions, in the order of the first plan that has each."""
    return list(dict.fromkeys(name for session in sessions for name in session.methods))


def _render(
    parts: Sequence[Part],
    rows: Sequence[Rollout],
    mixed: Sequence[str],
    pairs: Sequence[Contrast],
) -> str:
    sessions = [part.session for part in parts]
    methods = _methods(sessions)
    together = summarise(sorted(rows, key=lambda row: methods.index(row.method)))
    groups: dict[str, list[Summary]] = {}
    for part in parts:
        groups[part.name] = summarise(part.session.rollouts)
    groups["all"] = together
    again = repeated_scenes(sessions)
    return render_page(
        f"{len(parts)} sessions: {sessions[0].state.plan['task']}",
        TEMPLATE,
        style=STYLE + results_html.STYLE,
        mixed=mixed,
        notes=[again] if again else [],
        parts=parts,
        task=", ".join(dict.fromkeys(session.state.plan["task"] for session in sessions)),
        table=results_table(groups),
        bars=rate_bars(together),
        contrasts=pairs,
        cochran=cochran_text(solved_by_scene(sessions), methods),
    )
