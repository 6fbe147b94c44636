"""`ptr report`: one self-contained page about a demonstration run: table, Q-trend, film strips, timings."""

from __future__ import annotations

import argparse
import base64
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import yaml

from ptr_common.errors import PtrError
from ptr_common.files import atomic_file

from .results import Rollout, Summary, read_results, summarise

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1080px; margin: 2rem auto; padding: 0 1rem; color: #1d2733 }
h1 { font-size: 1.7rem } h2 { margin-top: 2.2rem; border-bottom: 1px solid #d5dbe1 }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .3rem .8rem; text-align: left }
th { border-bottom: 2px solid #1d2733 } tr + tr td { border-top: 1px solid #e4e8ec } .n { text-align: right }
code { background: #f1f4f7; padding: .1rem .3rem; border-radius: 3px; overflow-wrap: anywhere }
figure { margin: .4rem 0 } figcaption { font-size: .85rem; color: #51606f } img { max-width: 100% }
.won img { border-left: 8px solid #2a9d5c } .lost img { border-left: 8px solid #cf4b3f }
.note { background: #fff6e0; border-left: 4px solid #e0a100; padding: .6rem 1rem }
"""

COLOURS = ("#2f6fb2", "#7a8794", "#c08a2c", "#5a9e6f")


class ReportError(PtrError):
    """The folder does not hold a demonstration run."""


def write_report(folder: Path) -> Path:
    """Write `report.html` into the folder of a demonstration run and return its path.

    Raises:
        ReportError: If the folder holds no record of a run or no results.
    """
    record_path = folder / "demo.json"
    if not record_path.exists():
        raise ReportError(
            f"{folder} holds no demo.json; give the --out folder of `ptr demo`"
        )
    record = json.loads(record_path.read_text())
    rollouts = read_results(folder / "evaluation")
    if not rollouts:
        raise ReportError(
            f"{folder / 'evaluation'} holds no results; run `ptr evaluate` or `ptr demo` to its end"
        )
    methods = dict.fromkeys(rollout.method for rollout in rollouts)
    runs = {
        method: folder / method / "finetune"
        for method in methods
        if (folder / method / "finetune").is_dir()
    }
    body = "\n".join(
        [
            _headline(record, rollouts),
            _results(summarise(rollouts)),
            _training(runs, record),
            _q_trends(runs),
            _strips(folder, rollouts),
            _timings(record),
            _versions(record["versions"]),
        ]
    )
    page = f"<!doctype html><html lang=en><meta charset=utf-8><title>PTR demonstration</title><style>{STYLE}</style>"
    with atomic_file(folder / "report.html") as path:
        path.write_text(f"{page}<body>{body}</body></html>\n", encoding="utf-8")
    return folder / "report.html"


def _headline(record: dict[str, Any], rollouts: Sequence[Rollout]) -> str:
    plan = record["plan"]
    scenes = len({rollout.rollout for rollout in rollouts})
    lines = [
        "<h1>PTR on a simulated WidowX 250: one new task from a few demonstrations</h1>",
        f"<p>Task: <b>{escape(record['task'])}</b>; its object occurs in none of the prior tasks. "
        f"Prior data: {plan['episodes_per_task']} scripted episodes for each prior task. Target data: "
        f"{plan['demonstrations']} demonstrations to train on and {plan['held_out']} held out to choose the "
        "checkpoint, recorded as ROS 2 bags and exported. Rollouts ran over a ROS 2 graph (simulation, camera, policy "
        f"and recorder nodes), from {scenes} start scenes drawn once and used for every method; the "
        "simulator judged success (placed, released, stable).</p>",
    ]
    if record["preset"] != "full":
        lines.append(
            f"<p class=note>Preset <b>{escape(record['preset'])}</b>: the whole path with next to no training. "
            "Its success rates say nothing about the methods.</p>"
        )
    return "\n".join(lines)


def _results(summaries: Sequence[Summary]) -> str:
    rows = "".join(
        f"<tr><td>{escape(s.method)}<td class=n>{s.successes}/{s.rollouts}<td class=n>{s.rate:.0%}"
        f"<td>{s.low:.0%} – {s.high:.0%}<td class=n>{s.mean_steps:.1f}<td class=n>{s.clipped}"
        f"<td class=n>{s.held}<td class=n>{s.rejected}</tr>"
        for s in summaries
    )
    return (
        "<h2>Success on the new task</h2><table><tr><th>method<th>successes<th>rate<th>95 % interval (Wilson)"
        "<th>mean steps to success<th>clipped<th>held<th>rejected</tr>"
        f"{rows}</table>{_bars(summaries)}<p>Intervals this wide separate methods only when they do not overlap; "
        "<code>docs/performance.md</code> gives the figures on more scenes and seeds.</p>"
    )


def _bars(summaries: Sequence[Summary]) -> str:
    scale, height = 6.0, 34
    bars = []
    for i, s in enumerate(summaries):
        y, middle = i * height + 6, i * height + 18
        bars.append(
            f'<text x="0" y="{middle + 5}" font-size="14">{escape(s.method)}</text>'
            f'<rect x="120" y="{y}" width="{s.rate * 100 * scale:.1f}" height="24" fill="{COLOURS[i % len(COLOURS)]}"/>'
            f'<path d="M{120 + s.low * 100 * scale:.1f} {middle}H{120 + s.high * 100 * scale:.1f}" stroke="#1d2733" '
            f'stroke-width="2"/>'
        )
    width = 120 + 100 * scale
    axis = "".join(
        f'<text x="{120 + value * scale - 10}" y="{len(summaries) * height + 22}" font-size="12">{value}%</text>'
        for value in (0, 25, 50, 75, 100)
    )
    return f'<svg width="{width + 40:.0f}" height="{len(summaries) * height + 30}" role="img">{"".join(bars)}{axis}</svg>'


def _training(runs: dict[str, Path], record: dict[str, Any]) -> str:
    from ptr_training.training.config import from_dict

    items = []
    for method, run in runs.items():
        text = (run / "config.yaml").read_text()
        summary = from_dict(yaml.safe_load(text)).agent.summary
        items.append(
            f"<details><summary><b>{escape(method)}</b>: {escape(summary)}</summary><pre>{escape(text)}</pre></details>"
        )
    plan = record["plan"]
    return (
        "<h2>What was trained</h2><p>Every method took "
        f"{plan['pretrain_steps'] + plan['finetune_steps']} gradient steps in all.</p>{''.join(items)}"
    )


def _q_trends(runs: dict[str, Path]) -> str:
    plots = []
    for method, run in runs.items():
        choice = json.loads((run / "select" / "choice.json").read_text())
        caption = f"Chosen: step {choice['step']}, the {choice['rule']}, on {choice['demonstrations']} demonstrations."
        for path in sorted((run / "select").glob("*.png")):
            plots.append(
                f"<h3>{escape(method)}</h3><figure>{_image(path, 'png')}"
                f"<figcaption>{escape(caption)}</figcaption></figure>"
            )
    return "<h2>Choice of the checkpoint</h2>" + "".join(plots)


def _strips(folder: Path, rollouts: Sequence[Rollout]) -> str:
    parts = [
        "<h2>Rollouts</h2><p>Eight frames each, first to last; green: solved, red: not.</p>"
    ]
    for method in dict.fromkeys(rollout.method for rollout in rollouts):
        rows = [rollout for rollout in rollouts if rollout.method == method]
        parts.append(f"<details open><summary><b>{escape(method)}</b></summary>")
        for row in rows:
            caption = f"scene {row.rollout} (seed {row.layout_seed}), {row.steps} steps: {row.reason}"
            strip = _image(folder / "evaluation" / row.strip, "jpeg")
            verdict = "won" if row.success else "lost"
            parts.append(
                f'<figure class="{verdict}">{strip}<figcaption>{escape(caption)}</figcaption></figure>'
            )
        parts.append("</details>")
    return "".join(parts)


def _image(path: Path, kind: str) -> str:
    return f'<img alt="{escape(path.stem)}" src="data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}">'


def _timings(record: dict[str, Any]) -> str:
    rows = []
    for stage in record["stages"]:
        commands = "<br>".join(
            f"<code>ptr {escape(' '.join(c))}</code>"
            for chain in stage["chains"]
            for c in chain
        )
        rows.append(
            f"<tr><td>{escape(stage['name'])}<td class=n>{stage['seconds']:.0f} s<td>{commands}</tr>"
        )
    total = sum(stage["seconds"] for stage in record["stages"])
    return (
        "<h2>Time taken</h2><table><tr><th>stage<th>wall time<th>commands</tr>"
        f"{''.join(rows)}<tr><td><b>total</b><td class=n><b>{total:.0f} s</b><td></tr></table>"
    )


def _versions(versions: dict[str, str]) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}<td>{escape(found)}</tr>"
        for name, found in versions.items()
    )
    return f"<h2>Versions</h2><table>{rows}</table>"


def main(argv: list[str]) -> int:
    """Write the page about a demonstration run."""
    parser = argparse.ArgumentParser(prog="ptr report", description=main.__doc__)
    parser.add_argument("run", type=Path, help="folder given to `ptr demo --out`")
    print(f"report: {write_report(parser.parse_args(argv).run)}")
    return 0
