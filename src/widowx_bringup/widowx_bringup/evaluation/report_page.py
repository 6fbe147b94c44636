"""The page about a demonstration run: success, training, Q-trend, film strips, timings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptr_common.documents import read_yaml
from ptr_common.errors import PtrError
from ptr_common.files import atomic_file
from ptr_common.html_page import data_uri, render_page

from . import results_html
from .results import Rollout, by_method, contrasts, read_results, summarise
from .results_html import rate_bars, results_table

RECORD = "demo.json"
"""Record of a demonstration run, in its folder."""

TITLE = "PTR on a simulated WidowX 250: one new task from a few demonstrations"

STYLE = """
h2 { margin-top: 2.2rem; border-bottom: 1px solid #d5dbe1 }
code { padding: .1rem .3rem; border-radius: 3px; overflow-wrap: anywhere }
figure { margin: .4rem 0 } figcaption { font-size: .85rem; color: #51606f }
figure.won, figure.lost { border-left: 8px solid #2a9d5c; padding-left: .5rem; max-width: 44rem }
figure.lost { border-left: 8px dashed #cf4b3f } figure.won > img, figure.lost > img,
figure.won a img, figure.lost a img { display: block; width: 100% }
.commands { min-width: 26rem }
.note { background: #fff6e0; border-left: 4px solid #e0a100; padding: .6rem 1rem }
"""

TEMPLATE = """
<p>Task: <b>{{ record.task }}</b>; its object occurs in none of the prior tasks.
Prior data: {{ plan.episodes_per_task }} scripted episodes for each prior task, by a demonstrator
who is not perfect (below). Target data:
{{ plan.demonstrations }} demonstrations to train on and {{ plan.held_out }} held out to choose
the checkpoint, recorded as ROS 2 bags and exported. Rollouts ran over a ROS 2 graph
(simulation, camera, policy and recorder nodes), from {{ scenes }} start scenes drawn once and
used for every method; the simulator judged success (placed, released, stable).</p>
{% if record.preset != "full" %}
<p class="note">Preset <b>{{ record.preset }}</b>: the whole path with next to no training.
Its success rates say nothing about the methods.</p>
{% endif %}

<h2>Success on the new task</h2>
{{ table }}
{% for row in aborted %}
<p class="note">{{ row.method }}, scene {{ row.rollout }}: does not count, and was repeated;
{{ row.reason }}</p>
{% endfor %}
{{ bars }}
{% for contrast in contrasts %}
<p>{{ contrast.sentence }}.</p>
{% endfor %}
<p>Methods are compared on the same scenes: Tango's interval of the difference, and McNemar's exact
test, adjusted by Holm where there are several. <code>docs/learning.md</code> has more scenes and
seeds.</p>

{% if plan.waits is defined %}
<h2>What decides</h2>
<p>The demonstrator waits 4 to 8 control steps before {{ "{:.0%}".format(plan.waits) }} of the
times it closes or opens the gripper, in prior and target data alike. Where the arm stands ready,
most demonstrated steps wait, so the likelier action of a clone (<b>bc</b>) waits as well, for
ever.</p>
<p><b>ptr</b> and <b>ptr-without-q</b> are one checkpoint, and both draw the gripper.
ptr-without-q draws it as its policy has it, and so waits as long as people do. In ptr the policy's
probability of an open and of a closed gripper is multiplied by exp(Q / T), wherever the policy
gives each at least {{ "{:.0%}".format(least_share) }}. The difference of these two rows, in
successes and in steps, is what Q decides. Of the
{{ plan.pretrain_steps + plan.finetune_steps }} updates the first {{ plan.clone_steps }} only clone;
then the critic learns beside the policy, which goes on cloning. Motions are cloned throughout: Q
decides the gripper alone.</p>
{% for plot in gripper_plots %}
<figure><img alt="What the critic says of the gripper" src="{{ data_uri(plot) }}">
<figcaption>Held-out demonstrations, as ptr sees them. Above: how much more return the critic
expects of a closed gripper than of an open one. Below: how likely the policy closes it; at less
than a half, the likelier action leaves it open.</figcaption></figure>
{% endfor %}
{% endif %}

<h2>What was trained</h2>
<p>Every trained method took {{ plan.pretrain_steps + plan.finetune_steps }} gradient steps in
all.</p>
{% for run in runs %}
<details><summary><b>{{ run.method }}</b>: {{ run.summary }}</summary>
<pre>{{ run.config }}</pre></details>
{% endfor %}

<h2>Choice of the checkpoint</h2>
{% for run in runs %}
{% for plot in run.plots %}
<h3>{{ run.method }}</h3>
<figure><img alt="Checkpoints of {{ run.method }}" src="{{ data_uri(plot) }}">
<figcaption>{{ run.choice }}</figcaption></figure>
{% endfor %}
{% endfor %}

<h2>Rollouts</h2>
<p>Eight frames each, first to last; dashed red: not solved.
{%- if films %} A tap on the frames opens the film with a player, beside this page in
<code>evaluation/films</code>; under them Q and actions on the time axis of the frames.
{%- endif %}</p>
{% for method, rows in rollouts.items() %}
<details open><summary><b>{{ method }}</b></summary>
{% for row in rows %}
<figure class="{{ "won" if row.success else "lost" }}">
{% set film = "evaluation/" ~ row.film %}
{% if film in films %}<a href="{{ film | urlencode }}">{% endif %}
<img alt="{{ method }}, scene {{ row.rollout }}: eight frames"
 src="{{ data_uri(folder / "evaluation" / row.strip) }}">
{% if film in films %}</a>
<details><summary>Q and actions</summary>
<img alt="Q and actions of {{ method }}, scene {{ row.rollout }}" loading="lazy"
 src="{{ data_uri(films[film]) }}"></details>
{% endif %}
<figcaption>{{ "● solved" if row.success else "✕ failed" }}: scene {{ row.rollout }}
(seed {{ row.layout_seed }}), {{ row.steps }} steps:
{{ row.reason }}</figcaption></figure>
{% endfor %}
</details>
{% endfor %}

<h2>Time taken</h2>
<table>
<caption>Wall time and commands</caption>
<thead><tr><th scope="col">stage</th><th scope="col" class="number">wall time</th>
<th scope="col">commands</th></tr></thead>
{% for stage in record.stages %}
<tr><th scope="row">{{ stage.name }}</th>
<td class="number">{{ "{:.0f} s".format(stage.seconds) }}</td>
<td class="commands">
{% for chain in stage.chains %}
{% for command in chain %}
<code>ptr {{ " ".join(command) }}</code><br>
{% endfor %}
{% endfor %}
</td></tr>
{% endfor %}
<tr><th scope="row">total</th>
<td class="number"><b>{{ "{:.0f} s".format(total) }}</b></td><td></td></tr>
</table>

<h2>Versions</h2>
<table>
<caption>When it was run</caption>
{% for name, version in record.versions.items() %}
<tr><th scope="row">{{ name }}</th><td>{{ version }}</td></tr>
{% endfor %}
</table>
"""


class ReportError(PtrError):
    """The folder does not hold a finished demonstration run."""


@dataclass(frozen=True)
class TrainedRun:
    """The training of one method: its configuration, and the choice of its checkpoint."""

    method: str
    summary: str  # of the agent's losses
    config: str  # config.yaml
    choice: str  # sentence about the chosen checkpoint
    plots: list[Path]


def write_report(folder: Path) -> Path:
    """Write `report.html` into the folder of a demonstration run and return its path.

    Raises:
        ReportError: If the folder holds no record of a run or no results.
    """
    record_path = folder / RECORD
    if not record_path.exists():
        raise ReportError(
            f"{folder} holds no {RECORD}; give the --out folder of `ptr demo` or `ptr session run`"
        )
    record = json.loads(record_path.read_text())
    rollouts = read_results(folder / "evaluation")
    if not rollouts:
        raise ReportError(
            f"{folder / 'evaluation'} holds no results; "
            "run `ptr evaluate` or `ptr demo` to its end"
        )
    page = _render(folder, record, rollouts)
    with atomic_file(folder / "report.html") as path:
        path.write_text(page, encoding="utf-8")
    return folder / "report.html"


def _render(folder: Path, record: Mapping[str, Any], rollouts: Sequence[Rollout]) -> str:
    # Deferred: they import PyTorch.
    from ptr_training.deploy.selection_report import GRIPPER_PLOT
    from ptr_training.models.inference_policy import LEAST_SHARE

    summaries = summarise(rollouts)
    groups = by_method([rollout for rollout in rollouts if not rollout.aborted])
    runs = []
    for method in groups:
        run = folder / method / "finetune"
        if run.is_dir():
            runs.append(_read_run(method, run))
    return render_page(
        TITLE,
        TEMPLATE,
        style=STYLE + results_html.STYLE,
        folder=folder,
        record=record,
        plan=record["plan"],
        scenes=len({rollout.rollout for rollout in rollouts}),
        table=results_table({"": summaries}),
        bars=rate_bars(summaries),
        contrasts=contrasts(rollouts),
        aborted=[rollout for rollout in rollouts if rollout.aborted],
        runs=runs,
        least_share=LEAST_SHARE,
        gripper_plots=sorted(folder.glob(f"ptr/finetune/select/{GRIPPER_PLOT}")),
        rollouts=groups,
        films=_films(folder, rollouts),
        total=sum(stage["seconds"] for stage in record["stages"]),
        data_uri=data_uri,
    )


def _films(folder: Path, rollouts: Sequence[Rollout]) -> dict[str, Path]:
    """Return the curves of each film that was made, by its page relative to the report."""
    films = {}
    for rollout in rollouts:
        page = Path("evaluation") / rollout.film
        curves = folder / page.with_suffix(".svg")
        if rollout.strip and (folder / page).is_file() and curves.is_file():
            films[page.as_posix()] = curves
    return films


def _read_run(method: str, run: Path) -> TrainedRun:
    """Return what the folder of a fine-tuning says of its training and of the choice."""
    from ptr_training.training.config import from_dict  # deferred: it imports PyTorch

    config = read_yaml(run / "config.yaml", PtrError)
    summary = from_dict(config).agent.summary
    choice = json.loads((run / "select" / "choice.json").read_text())
    sentence = (
        f"Chosen: step {choice['step']}, the {choice['rule']}, "
        f"on {choice['demonstrations']} demonstrations."
    )
    if choice.get("evidence"):
        evidence = choice["evidence"]
        sentence += f" {evidence[0].upper()}{evidence[1:]}."
    plots = sorted((run / "select").glob("q_trend.png"))
    return TrainedRun(method, summary, config, sentence, plots)
