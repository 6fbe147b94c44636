"""`ptr select`: which checkpoint of a fine-tuning run to deploy.

PTR (paper §4.2 and Appendix F): a valid Q function rises along a demonstration, so the checkpoint is taken
whose Q over time on held-out demonstrations comes closest to rising. The authors judged plots by eye and
left a metric to others; ours is the mean over held-out demonstrations of Spearman's rank correlation between
time t and min_j Q_j(s_t, a_t): 1 rises throughout, 0 no trend. It ignores the scale of Q, as the paper's
relative criterion does. A few demonstrations cannot tell close means apart, so of all checkpoints within one
standard error of the best mean the latest is taken, which has learnt most from the demonstrations. The plot
has one panel per checkpoint, as the paper's figure 16, so that an eye can overrule.
Behaviour cloning: the smallest mean squared error on the same demonstrations (paper, Appendix D).
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptr_policy_node.files import atomic_file

from .episodes import Episode, EpisodeStore, TrainingError

if TYPE_CHECKING:
    from .checkpoint import Checkpoint


@dataclass(frozen=True)
class Score:
    """One checkpoint on the held-out demonstrations."""

    step: int
    spearman: float  # mean rank correlation of time and Q; NaN without critic
    standard_error: float  # of that mean over the demonstrations; 0 for a single one
    rising: float  # fraction of neighbouring steps at which Q rises; NaN without critic
    error: float  # mean squared error of the mode, scale -1..1, learnt dimensions


@dataclass(frozen=True)
class Trend:
    """One held-out demonstration seen by one checkpoint."""

    episode: str
    q: np.ndarray  # (T, 2) at the demonstrated actions
    error: np.ndarray  # (T,) squared error of the mode


def main(argv: list[str]) -> None:
    """Choose the checkpoint to deploy from its Q values on held-out demonstrations."""
    parser = argparse.ArgumentParser(prog="ptr select", description=main.__doc__)
    parser.add_argument("run", type=Path, help="folder of `ptr finetune`")
    parser.add_argument("--target", type=Path, help="episode store with the demonstrations, if it was moved")
    args = parser.parse_args(argv)
    scores, by_q = select(args.run, args.target)
    best = choose(scores, by_q)
    for line in table(scores, best):
        print(line)


def select(run: Path, target: Path | None = None) -> tuple[list[Score], bool]:
    """Score every checkpoint of a run and write `select/`; also return whether Q values decide."""
    from tqdm import tqdm

    from .checkpoint import find_checkpoint, list_checkpoints, load_checkpoint

    find_checkpoint(run)  # explains what is missing
    paths = list_checkpoints(run)
    demonstrations = held_out(run, target)
    trends: dict[int, list[Trend]] = {}
    for step, path in tqdm(paths.items(), desc="select", unit="checkpoint", disable=None):
        checkpoint = load_checkpoint(path)
        trends[step] = [evaluate(checkpoint, episode) for episode in demonstrations]
    scores = [score(step, each) for step, each in trends.items()]
    by_q = not np.isnan(scores[0].spearman)
    best = choose(scores, by_q)
    folder = run / "select"
    _write_csv(folder / "q_trend.csv", trends)
    _write_json(folder / "q_trend.json", [_values(each) for each in scores])
    plot(folder / "q_trend.png", trends, scores, best, by_q)
    rule = "smallest held-out squared error"
    if by_q:
        rule = "latest within one standard error of the largest mean Spearman correlation of time and min Q"
    _write_json(folder / "choice.json", {**_values(best), "rule": rule, "demonstrations": len(demonstrations)})
    return scores, by_q


def held_out(run: Path, target: Path | None) -> list[Episode]:
    """Return the demonstrations that a run did not train on.

    Raises:
        TrainingError: If the run has no target data, or the store is not the one it trained on.
    """
    file = run / "data.json"
    data = json.loads(file.read_text()) if file.is_file() else {}
    source = data.get("target")
    if not source:
        raise TrainingError(f"{run} was not made by `ptr finetune`: it has no held-out demonstrations")
    store = EpisodeStore.open(target or source["path"])
    if store.fingerprint != source["sha256"]:
        raise TrainingError(
            f"{store.path} is not the store this run trained on (SHA-256 {store.fingerprint[:12]}…, "
            f"expected {source['sha256'][:12]}…); its demonstrations may have been trained on"
        )
    wanted = set(source["holdout"])
    return [episode for episode in store if episode.id in wanted]


def evaluate(checkpoint: Checkpoint, episode: Episode) -> Trend:
    """Return a checkpoint's Q and error over one demonstration, computed in one batch."""
    import torch

    from .replay import normalize_actions

    problem, length = checkpoint.problem, len(episode)
    module = checkpoint.build_agent(torch.device("cpu")).deployed().eval()
    actions = getattr(episode, checkpoint.card.command)
    images = torch.from_numpy(np.array(episode.frames[:length]))
    proprio = torch.from_numpy(np.array(episode.proprio[:length]))
    task = torch.full((length,), checkpoint.tasks.id(episode.task))
    with torch.inference_mode():
        modes, _ = module.act(images, proprio, task)
        q = module.q(images, proprio, task, torch.from_numpy(np.array(actions))).numpy()
    scaled = [normalize_actions(each, problem.action_low, problem.action_high) for each in (modes.numpy(), actions)]
    active = np.array(problem.action_active)
    return Trend(episode.id, q, ((scaled[0] - scaled[1])[:, active] ** 2).mean(1))


def score(step: int, trends: list[Trend]) -> Score:
    """Return the score of a checkpoint from its trends."""
    values = [trend.q.min(1) for trend in trends]
    correlations = np.array([spearman(each) for each in values])
    spread = correlations.std(ddof=1) if len(correlations) > 1 else 0.0 * correlations[0]  # NaN stays NaN
    return Score(
        step=step,
        spearman=float(correlations.mean()),
        standard_error=float(spread / np.sqrt(len(correlations))),
        rising=float(np.mean(np.concatenate([np.diff(each) > 0 for each in values])))
        if not np.isnan(values[0]).any()
        else float("nan"),
        error=float(np.concatenate([trend.error for trend in trends]).mean()),
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


def choose(scores: list[Score], by_q: bool) -> Score:
    """Return the score of the checkpoint to deploy; step 0 saw no demonstration yet."""
    tuned = [each for each in scores if each.step > 0] or scores
    if not by_q:
        return min(tuned, key=lambda each: each.error)
    best = max(tuned, key=lambda each: each.spearman)
    return max(
        (each for each in tuned if each.spearman >= best.spearman - best.standard_error), key=lambda each: each.step
    )


def table(scores: list[Score], best: Score) -> list[str]:
    """Return lines for a terminal."""
    lines = [f"{'step':>8} {'Spearman':>9} {'± s.e.':>7} {'rising':>7} {'error':>8}"]
    for each in scores:
        mark = "  <- chosen" if each is best else ""
        trend = f"{each.spearman:>9.3f} {each.standard_error:>7.3f} {each.rising:>7.2f}"
        lines.append(f"{each.step:>8} {trend} {each.error:>8.4f}{mark}")
    return lines


def plot(path: Path, trends: dict[int, list[Trend]], scores: list[Score], best: Score, by_q: bool) -> None:
    """Draw Q over time, one panel per checkpoint (paper, figure 16); for behaviour cloning the error over steps."""
    from matplotlib.figure import Figure

    figure = _q_panels(trends, scores, best) if by_q else Figure(figsize=(5, 3.2), layout="constrained")
    if not by_q:
        axes = figure.subplots()
        axes.plot([each.step for each in scores], [each.error for each in scores], "o-")
        axes.plot(best.step, best.error, "o", ms=12, mfc="none", color="tab:red", label="chosen")
        axes.set(xlabel="fine-tuning step", ylabel="held-out squared error", ylim=(0, None))
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
            f"step {each.step}{' (chosen)' if chosen else ''}\nSpearman {each.spearman:.2f}", fontsize=9, color=color
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
        writer.writerow(["checkpoint", "episode", "t", "q1", "q2", "squared_error"])
        for step, each in trends.items():
            for trend in each:
                for t, (q, error) in enumerate(zip(trend.q, trend.error, strict=True)):
                    writer.writerow([step, trend.episode, t, f"{q[0]:.6g}", f"{q[1]:.6g}", f"{error:.6g}"])


def _values(each: Score) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else value for name, value in asdict(each).items()}  # JSON knows no NaN


def _write_json(path: Path, value: Any) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")
