"""`ptr select`: scores every checkpoint of a fine-tuning run and chooses the one to deploy."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptr_common.documents import Fields, read_json
from ptr_common.progress import StepProgress
from ptr_training.data.episode import Episode
from ptr_training.data.store import EpisodeStore
from ptr_training.errors import TrainingError
from ptr_training.training.trends import Trend, evaluate

from .selection_report import FILES, table, write_report
from .selection_rules import RULES, Score, Selection, applies, choose, score

if TYPE_CHECKING:
    from ptr_training.training.checkpoint import Checkpoint


def main(argv: list[str]) -> None:
    """Choose the checkpoint to deploy from its Q values on held-out demonstrations."""
    args = make_parser().parse_args(argv)
    selection = select(args.run, args.target, args.rule, args.held_out)
    print(table(selection))
    print(f"{args.run / 'select'}: wrote {', '.join(FILES)}")


def make_parser() -> argparse.ArgumentParser:
    """Return the options of `ptr select`."""
    parser = argparse.ArgumentParser(prog="ptr select", description=main.__doc__)
    parser.add_argument("run", type=Path, help="run folder of `ptr finetune` (required)")
    parser.add_argument(
        "--target",
        type=Path,
        metavar="STORE",
        help="episode store with the demonstrations, if it was moved "
        "(default: the path that the run recorded)",
    )
    parser.add_argument(
        "--held-out",
        type=Path,
        metavar="STORE",
        help="episode store with demonstrations that the run never saw, "
        "(default: those that it held out)",
    )
    parser.add_argument(
        "--rule",
        choices=sorted(RULES),
        help="what to compare (default: q_trend for PTR, error for agents without critic)",
    )
    return parser


def select(
    run: Path,
    target: Path | None = None,
    rule: str | None = None,
    others: Path | None = None,
) -> Selection:
    """Score every checkpoint of a run, choose one and write `select/`.

    Args:
        run: Run folder of `ptr finetune`.
        target: Episode store with the demonstrations, if it was moved.
        rule: One of `RULES`; None takes that of the agent.
        others: Episode store with other demonstrations; None takes those held out.

    Raises:
        TrainingError: If the run has no held-out demonstrations, or the rule needs a critic
            that the agent lacks.
    """
    # PyTorch is imported only when a selection really starts
    from ptr_training.agents import AGENTS
    from ptr_training.training.checkpoint import find_checkpoint, load_checkpoint
    from ptr_training.training.device import set_up_cpu

    newest = load_checkpoint(find_checkpoint(run))  # its errors name what is missing
    set_up_cpu(newest.config)
    demonstrations = _demonstrations(run, newest, target, others)
    scores, trends = _score_checkpoints(run, demonstrations)
    choices = {name: choose(scores, name) for name in RULES if applies(name, scores)}
    agent_name = newest.config.agent_name
    deciding = rule or AGENTS[agent_name].selection_rule
    if deciding not in choices:
        raise TrainingError(
            f"--rule {deciding} needs a critic, which agent {agent_name} has not; use error"
        )
    selection = Selection(scores, choices, deciding)
    write_report(run / "select", selection, trends)
    return selection


def _demonstrations(
    run: Path, newest: Checkpoint, target: Path | None, others: Path | None
) -> list[Episode]:
    """Return the demonstrations to judge by, see `select`.

    Raises:
        TrainingError: If there is none that the run did not train on.
    """
    if others is not None:
        return unseen(run, newest, others)
    demonstrations = held_out(run, target)
    if not demonstrations:
        raise TrainingError(
            f"{run} was trained on every demonstration; name a store with others by --held-out, "
            "or fine-tune with --holdout N. Without a choice `ptr bundle` takes the newest "
            "checkpoint"
        )
    return demonstrations


def _score_checkpoints(
    run: Path, demonstrations: Sequence[Episode]
) -> tuple[list[Score], dict[int, list[Trend]]]:
    """Return the scores of all checkpoints of a run, and their trends by step."""
    import torch

    from ptr_training.training.build import restore_agent
    from ptr_training.training.checkpoint import list_checkpoints, load_checkpoint

    paths = list_checkpoints(run)
    trends: dict[int, list[Trend]] = {}
    scores = []
    with StepProgress("select", len(paths), "checkpoint") as progress:
        for step, path in paths.items():
            checkpoint = load_checkpoint(path)
            agent = restore_agent(checkpoint, torch.device("cpu"))
            trends[step] = [
                evaluate(agent, checkpoint, episode) for episode in demonstrations
            ]
            scores.append(score(step, trends[step], agent.critic_steps))
            progress.advance()
            progress.report(len(scores), f"step {step}")
    return scores, trends


def held_out(run: Path, target: Path | None) -> list[Episode]:
    """Return the demonstrations that a run did not train on.

    Args:
        run: Run folder of `ptr finetune`.
        target: Episode store with the demonstrations; None takes the recorded path.

    Raises:
        TrainingError: If the run has no target data, or the store is not the one it trained
            on.
    """
    source = _target_source(run)
    store = EpisodeStore.open(target or source["path"])
    if store.fingerprint != source["sha256"]:
        raise TrainingError(
            f"{store.path} is not the store this run trained on "
            f"(SHA-256 {store.fingerprint[:12]}…, expected {source['sha256'][:12]}…); "
            "its demonstrations may have been trained on"
        )
    ids = set(source["holdout"])
    return [episode for episode in store if episode.id in ids]


def unseen(run: Path, checkpoint: Checkpoint, others: Path) -> list[Episode]:
    """Return the successful demonstrations of a store that a run did not train on.

    Args:
        run: Run folder of `ptr finetune`.
        checkpoint: One of its checkpoints.
        others: Episode store.

    Raises:
        TrainingError: If the store is the one it trained on, does not fit, or holds none.
    """
    from ptr_training.data.normalization import check_compatible

    store = EpisodeStore.open(others)
    if store.fingerprint == _target_source(run)["sha256"]:
        raise TrainingError(
            f"--held-out {others} is the store that {run} trained on; name one with others"
        )
    check_compatible(checkpoint.data_spec, checkpoint.info, store)
    for name in store.tasks:
        checkpoint.task_ids.id(name)  # an unknown task is refused
    demonstrations = [episode for episode in store if episode.success]
    if not demonstrations:
        raise TrainingError(f"--held-out {others} holds no successful demonstration")
    return demonstrations


def _target_source(run: Path) -> dict[str, Any]:
    """Return what a run recorded of its target store: path, sha256, train, holdout."""
    file = run / "data.json"
    target = None
    if file.is_file():
        try:
            data = Fields(read_json(file, TrainingError), file, TrainingError)
            if data.values.get("target") is not None:
                table = data.table("target")
                table.text("path")
                table.text("sha256")
                table.texts("holdout")
                target = table.values
        except TrainingError as error:
            raise TrainingError(
                f"{file} is damaged ({error}); train the run again"
            ) from error
    if not target:
        raise TrainingError(
            f"{run} was not made by `ptr finetune`: it has no held-out demonstrations"
        )
    return dict(target)
