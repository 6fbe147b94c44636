"""`ptr select`: which checkpoint of a fine-tuning run to deploy.

Three rules are computed side by side on the held-out demonstrations; the agent's own
decides unless another is named.

q_trend: PTR (paper §4.2 and Appendix F): a valid Q function rises along a demonstration, so
    the checkpoint is taken whose Q over time comes closest to rising. The authors judged
    plots by eye and left a metric to others; ours is the mean over held-out demonstrations
    of Spearman's rank correlation between time t and min_j Q_j(s_t, a_t): 1 rises
    throughout, 0 no trend. It ignores the scale of Q, as the paper's relative criterion
    does. A few demonstrations cannot tell close means apart, so of all checkpoints within
    one standard error of the best mean the latest is taken, which has learnt most from the
    demonstrations. A critic that has only just begun to learn may rise for no good reason:
    those with less than half the critic's updates of the last checkpoint are no candidates.
    The plot has one panel per checkpoint, as the paper's figure 16, so that an eye can
    overrule.
error: the smallest mean squared error of the policy's mode, the rule of every agent without
    a critic of its own (paper, Appendix D).
td_error: the smallest mean squared TD error; a conservative term and shifting targets make
it a weak guide.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptr_common.files import atomic_file
from ptr_training.data.episode import Episode
from ptr_training.data.store import EpisodeStore
from ptr_training.errors import TrainingError

if TYPE_CHECKING:
    from ptr_training.agents import Agent
    from ptr_training.training.checkpoint import Checkpoint

RULES = {
    "q_trend": "latest within one standard error of the largest mean Spearman correlation of time and min Q",
    "error": "smallest held-out squared error",
    "td_error": "smallest held-out squared TD error",
}


@dataclass(frozen=True)
class Score:
    """One checkpoint on the held-out demonstrations."""

    step: int
    spearman: float  # mean rank correlation of time and Q; NaN without critic
    standard_error: float  # of that mean over the demonstrations; 0 for a single one
    rising: float  # fraction of neighbouring steps at which Q rises; NaN without critic
    error: float  # mean squared error of the mode, scale -1..1, learnt dimensions
    td_error: float = float("nan")  # mean squared TD error; NaN without critic
    critic_steps: int = 0  # updates that the critic has had, pre-training included


@dataclass(frozen=True)
class Trend:
    """One held-out demonstration seen by one checkpoint."""

    episode: str
    q: np.ndarray  # (T, 2) at the demonstrated actions
    error: np.ndarray  # (T,) squared error of the mode
    td_error: np.ndarray  # (T,) squared TD error


@dataclass(frozen=True)
class Selection:
    """What `ptr select` found."""

    scores: list[Score]
    choices: dict[str, Score]  # of every rule that applies
    rule: str  # the one that decides

    @property
    def best(self) -> Score:
        """The checkpoint to deploy."""
        return self.choices[self.rule]

    @property
    def note(self) -> str:
        """A sentence if the rules disagree, else nothing."""
        if len({each.step for each in self.choices.values()}) < 2:
            return ""
        others = ", ".join(
            f"{rule}: step {each.step}"
            for rule, each in self.choices.items()
            if rule != self.rule
        )
        return f"the rules disagree: {self.rule} takes step {self.best.step} ({others}); look at q_trend.png"


def main(argv: list[str]) -> None:
    """Choose the checkpoint to deploy from its Q values on held-out demonstrations."""
    parser = argparse.ArgumentParser(prog="ptr select", description=main.__doc__)
    parser.add_argument("run", type=Path, help="folder of `ptr finetune`")
    parser.add_argument(
        "--target", type=Path, help="episode store with the demonstrations, if it was moved"
    )
    parser.add_argument(
        "--rule",
        choices=sorted(RULES),
        help="default: q_trend for PTR, error for agents without critic",
    )
    args = parser.parse_args(argv)
    selection = select(args.run, args.target, args.rule)
    for line in table(selection):
        print(line)


def select(run: Path, target: Path | None = None, rule: str | None = None) -> Selection:
    """Score every checkpoint of a run, choose one and write `select/`.

    Raises:
        TrainingError: If the run has no held-out demonstrations, or the rule needs a critic
        it has not.
    """
    import torch
    from tqdm import tqdm

    from ptr_training.training.build import restore_agent
    from ptr_training.training.checkpoint import (
        find_checkpoint,
        list_checkpoints,
        load_checkpoint,
    )

    newest = load_checkpoint(find_checkpoint(run))  # explains what is missing
    paths = list_checkpoints(run)
    demonstrations = held_out(run, target)
    trends: dict[int, list[Trend]] = {}
    critic_steps = {}
    for step, path in tqdm(paths.items(), desc="select", unit="checkpoint", disable=None):
        checkpoint = load_checkpoint(path)
        agent = restore_agent(checkpoint, torch.device("cpu"))
        trends[step] = [evaluate(agent, checkpoint, episode) for episode in demonstrations]
        critic_steps[step] = agent.critic_steps
    scores = [score(step, each, critic_steps[step]) for step, each in trends.items()]
    choices = {
        name: choose(scores, name) for name in RULES if not _lacks_critic(scores, name)
    }
    chosen = rule or agent.selection_rule
    if chosen not in choices:
        raise TrainingError(
            f"--rule {chosen} needs a critic, which agent {newest.config.agent_name} has not; use error"
        )
    selection = Selection(scores, choices, chosen)
    _write(run / "select", selection, trends)
    return selection


def _write(folder: Path, selection: Selection, trends: dict[int, list[Trend]]) -> None:
    _write_csv(folder / "q_trend.csv", trends)
    _write_json(folder / "q_trend.json", [_values(each) for each in selection.scores])
    plot(folder / "q_trend.png", trends, selection)
    choice = {
        **_values(selection.best),
        "rule": RULES[selection.rule],
        "choices": {rule: each.step for rule, each in selection.choices.items()},
        "demonstrations": len(next(iter(trends.values()))),
    }
    _write_json(folder / "choice.json", choice)


def _lacks_critic(scores: list[Score], rule: str) -> bool:
    return rule != "error" and bool(
        np.isnan(scores[0].spearman if rule == "q_trend" else scores[0].td_error)
    )


def held_out(run: Path, target: Path | None) -> list[Episode]:
    """Return the demonstrations that a run did not train on.

    Raises:
        TrainingError: If the run has no target data, or the store is not the one it trained
        on.
    """
    file = run / "data.json"
    data = json.loads(file.read_text()) if file.is_file() else {}
    source = data.get("target")
    if not source:
        raise TrainingError(
            f"{run} was not made by `ptr finetune`: it has no held-out demonstrations"
        )
    store = EpisodeStore.open(target or source["path"])
    if store.fingerprint != source["sha256"]:
        raise TrainingError(
            f"{store.path} is not the store this run trained on (SHA-256 {store.fingerprint[:12]}…, "
            f"expected {source['sha256'][:12]}…); its demonstrations may have been trained on"
        )
    wanted = set(source["holdout"])
    return [episode for episode in store if episode.id in wanted]


def evaluate(agent: Agent, checkpoint: Checkpoint, episode: Episode) -> Trend:
    """Return a checkpoint's Q and errors over one demonstration, computed in one batch."""
    import torch

    from ptr_training.data.normalization import normalize_actions
    from ptr_training.data.replay import episode_batch

    problem, card = checkpoint.data_spec, checkpoint.info
    rewarded = checkpoint.config.rewarded_steps or card.last_n
    batch = episode_batch(
        episode, card, checkpoint.task_ids, rewarded, agent.config.sampling.history
    )
    actions = getattr(episode, card.command)
    module = agent.deployed().eval()
    with torch.inference_mode():
        modes, _ = module.act(batch.images, batch.proprio, batch.task)
        q = module.q(
            batch.images, batch.proprio, batch.task, torch.from_numpy(np.array(actions))
        ).numpy()
        td_error = agent.td_errors(batch).numpy()
    scaled = [
        normalize_actions(each, problem.action_low, problem.action_high)
        for each in (modes.numpy(), actions)
    ]
    active = np.array(problem.action_active)
    return Trend(episode.id, q, ((scaled[0] - scaled[1])[:, active] ** 2).mean(1), td_error)


def score(step: int, trends: list[Trend], critic_steps: int = 0) -> Score:
    """Return the score of a checkpoint from its trends and the updates its critic has had."""
    values = [trend.q.min(1) for trend in trends]
    correlations = np.array([spearman(each) for each in values])
    spread = (
        correlations.std(ddof=1) if len(correlations) > 1 else 0.0 * correlations[0]
    )  # NaN stays NaN
    return Score(
        step=step,
        spearman=float(correlations.mean()),
        standard_error=float(spread / np.sqrt(len(correlations))),
        rising=float(np.mean(np.concatenate([np.diff(each) > 0 for each in values])))
        if not np.isnan(values[0]).any()
        else float("nan"),
        error=float(np.concatenate([trend.error for trend in trends]).mean()),
        td_error=float(np.concatenate([trend.td_error for trend in trends]).mean()),
        critic_steps=critic_steps,
    )


def spearman(values: np.ndarray) -> float:
    """Return the rank correlation of a sequence with its index; 0 if it is constant, NaN if it holds NaN."""
    if np.isnan(values).any():
        return float("nan")
    ranks = _ranks(values) - (len(values) - 1) / 2
    time = np.arange(len(values)) - (len(values) - 1) / 2
    norm = np.sqrt((ranks**2).sum() * (time**2).sum())
    return float((ranks * time).sum() / norm) if norm > 0 else 0.0


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return ranks from 0; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[inverse]


def choose(scores: list[Score], rule: str) -> Score:
    """Return the score of the checkpoint that a rule deploys; step 0 saw no demonstration yet."""
    tuned = [each for each in scores if each.step > 0] or scores
    if rule == "error":
        return min(tuned, key=lambda each: each.error)
    tuned = [each for each in tuned if each.critic_steps >= tuned[-1].critic_steps / 2]
    if rule == "td_error":
        return min(tuned, key=lambda each: each.td_error)
    best = max(tuned, key=lambda each: each.spearman)
    return max(
        (each for each in tuned if each.spearman >= best.spearman - best.standard_error),
        key=lambda each: each.step,
    )


def table(selection: Selection) -> list[str]:
    """Return lines for a terminal: every rule's values, and a star at its choice."""
    lines = [
        f"{'step':>8} {'Spearman':>10} {'± s.e.':>7} {'rising':>7} {'error':>9} {'TD error':>10}"
    ]
    for each in selection.scores:
        stars = {
            rule: "*" if selection.choices.get(rule) is each else " " for rule in RULES
        }
        trend = f"{each.spearman:>9.3f}{stars['q_trend']} {each.standard_error:>7.3f} {each.rising:>7.2f}"
        errors = (
            f"{each.error:>8.4f}{stars['error']} {each.td_error:>9.4f}{stars['td_error']}"
        )
        lines.append(
            f"{each.step:>8} {trend} {errors}{'  <- chosen' if each is selection.best else ''}"
        )
    return [*lines, *([selection.note] if selection.note else [])]


def plot(path: Path, trends: dict[int, list[Trend]], selection: Selection) -> None:
    """Draw Q over time, one panel per checkpoint (paper, figure 16); where an error decides, that over steps."""
    from matplotlib.figure import Figure

    scores, best = selection.scores, selection.best
    by_q = selection.rule == "q_trend"
    figure = (
        _q_panels(trends, scores, best)
        if by_q
        else Figure(figsize=(5, 3.2), layout="constrained")
    )
    if not by_q:
        axes = figure.subplots()
        axes.plot(
            [each.step for each in scores],
            [getattr(each, selection.rule) for each in scores],
            "o-",
        )
        label = (
            "held-out squared TD error"
            if selection.rule == "td_error"
            else "held-out squared error"
        )
        axes.plot(
            best.step,
            getattr(best, selection.rule),
            "o",
            ms=12,
            mfc="none",
            color="tab:red",
            label="chosen",
        )
        axes.set(xlabel="fine-tuning step", ylabel=label, ylim=(0, None))
        axes.legend()
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _q_panels(trends: dict[int, list[Trend]], scores: list[Score], best: Score) -> Any:
    from matplotlib.figure import Figure

    columns = min(5, len(scores))
    rows = -(-len(scores) // columns)
    figure = Figure(figsize=(2.4 * columns, 2.2 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for axes, each in zip(grid, scores, strict=False):
        for trend in trends[each.step]:
            axes.plot(trend.q.min(1), lw=1.2)
        chosen = each is best
        color = "tab:red" if chosen else "black"
        axes.set_title(
            f"step {each.step}{' (chosen)' if chosen else ''}\nSpearman {each.spearman:.2f}",
            fontsize=9,
            color=color,
        )
        axes.tick_params(labelsize=7)
    for axes in grid[len(scores) :]:
        axes.set_axis_off()
    figure.supxlabel("time step of a held-out demonstration", fontsize=9)
    figure.supylabel("min Q of the demonstrated action", fontsize=9)
    return figure


def _write_csv(path: Path, trends: dict[int, list[Trend]]) -> None:
    with atomic_file(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["checkpoint", "episode", "t", "q1", "q2", "squared_error", "td_error"]
        )
        for step, each in trends.items():
            for trend in each:
                for t, (q, error, td) in enumerate(
                    zip(trend.q, trend.error, trend.td_error, strict=True)
                ):
                    values = [f"{value:.6g}" for value in (*q, error, td)]
                    writer.writerow([step, trend.episode, t, *values])


def _values(each: Score) -> dict[str, float | None]:
    return {
        name: None if np.isnan(value) else value for name, value in asdict(each).items()
    }  # JSON knows no NaN


def _write_json(path: Path, value: Any) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")
