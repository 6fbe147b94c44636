"""`ptr pretrain` and `ptr finetune`: the two stages of PTR, and what each starts from.

    ptr pretrain --config demo_ptr --data PRIOR --target-task "put x in y" --out
    RUN/pretrain ptr finetune --from RUN/pretrain --prior PRIOR --target DEMOS --out
    RUN/finetune ptr finetune --config demo_ptr --target DEMOS --out RUN/target_only
    (without prior data)

The same command with --resume goes on where it was stopped, and with --print-config only
shows the resolved configuration. Under `torchrun` the processes share every batch and train
what one would. A run folder holds `config.yaml`, `tasks.yaml`, `data.json` (stores with
fingerprints, which demonstrations are held out), `metrics.csv`, TensorBoard events and
`checkpoints/`.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptr_training.data.store import EpisodeStore
from ptr_training.data.task_ids import TaskIds
from ptr_training.errors import TrainingError

if TYPE_CHECKING:  # PyTorch is imported when a stage really starts
    from ptr_training.data.replay import Replay, Transitions

    from .checkpoint import Checkpoint
    from .config import Config


def pretrain(argv: list[str]) -> None:
    """Pre-train an agent on prior data of many tasks."""
    trains = "--print-config" not in argv
    parser = _parser("pretrain", pretrain.__doc__, trains)
    parser.add_argument(
        "--config", required=True, help="YAML file, or the name of a preset in config/train"
    )
    parser.add_argument(
        "--data", nargs="+", required=trains, type=Path, help="episode stores"
    )
    parser.add_argument(
        "--target-task", nargs="+", default=[], help="tasks to come: they get their ids now"
    )
    args = parser.parse_args(argv)
    from .config import load_config
    from .loop import run

    config = load_config(
        args.config, _overrides(args, "pretrain"), _pairs("--base", args.base)
    )
    if not trains:
        print(config.to_yaml(), end="")
        return
    stores = [EpisodeStore.open(path) for path in args.data]
    start, replay = start_pretraining(config, stores, args.target_task)
    run(start, replay, config.pretrain, args.out, resume=args.resume)


def finetune(argv: list[str]) -> None:
    """Fine-tune a pre-trained agent on a few demonstrations mixed with prior data, or train on them alone."""
    trains = "--print-config" not in argv
    parser = _parser("finetune", finetune.__doc__, trains)
    origin = parser.add_mutually_exclusive_group(required=True)
    origin.add_argument(
        "--from",
        dest="origin",
        type=Path,
        help="checkpoint, or run folder (its newest checkpoint)",
    )
    origin.add_argument(
        "--config", help="train from scratch: YAML file, or the name of a preset"
    )
    parser.add_argument(
        "--target", required=trains, type=Path, help="episode store of demonstrations"
    )
    parser.add_argument(
        "--prior", nargs="+", default=[], type=Path, help="episode stores to mix in"
    )
    parser.add_argument(
        "--mix",
        type=float,
        help="fraction of prior transitions in a batch (0 without --prior)",
    )
    parser.add_argument(
        "--holdout", type=int, help="demonstrations kept from training, for `ptr select`"
    )
    parser.add_argument(
        "--retarget",
        action="append",
        default=[],
        metavar="NEW=KNOWN",
        help="let a new task use a known task's id",
    )
    args = parser.parse_args(argv)
    from .checkpoint import find_checkpoint, load_checkpoint
    from .config import load_config, override
    from .loop import run

    overrides = _overrides(args, "finetune") + (
        [] if args.prior or not trains else ["finetune.mix=0"]
    )
    origin_or_config = args.origin or load_config(
        args.config, overrides, _pairs("--base", args.base)
    )
    if not trains:
        found = (
            override(load_checkpoint(find_checkpoint(args.origin)).config, overrides)
            if args.origin
            else None
        )
        print((found or origin_or_config).to_yaml(), end="")
        return
    prior = [EpisodeStore.open(path) for path in args.prior]
    target = EpisodeStore.open(args.target)
    start, replay = start_finetuning(
        origin_or_config, target, prior, overrides, _pairs("--retarget", args.retarget)
    )
    run(start, replay, start.config.finetune, args.out, resume=args.resume)


def _parser(verb: str, summary: str | None, trains: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"ptr {verb}", description=summary)
    parser.add_argument("--out", required=trains, type=Path, help="run folder to write")
    parser.add_argument(
        "--base",
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="take a preset in place of another one",
    )
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="show the resolved configuration, and do no more",
    )
    parser.add_argument("--steps", type=int, help="gradient steps of this stage")
    parser.add_argument("--seed", type=int)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change one value, e.g. agent.alpha=5",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in --out, if there is one"
    )
    return parser


def _overrides(args: argparse.Namespace, stage: str) -> list[str]:
    """Return what the command line changes, the plain options in the form of --set."""
    options = {
        f"{stage}.{name}": getattr(args, name, None) for name in ("steps", "mix", "holdout")
    } | {"seed": args.seed}
    return [
        *args.set,
        *(f"{key}={value}" for key, value in options.items() if value is not None),
    ]


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    pairs = dict(text.split("=", 1) for text in texts if "=" in text)
    if len(pairs) < len(texts):
        raise TrainingError(
            f"{option} {' '.join(texts)}: write two names with = between them, each first one once"
        )
    return pairs


def start_pretraining(
    config: Config, stores: Sequence[EpisodeStore], target_tasks: Sequence[str]
) -> tuple[Checkpoint, Replay]:
    """Return a new agent as a checkpoint of step 0, and its data."""
    from ptr_training.data.normalization import fit_spec
    from ptr_training.data.replay import Replay, Transitions

    names = sorted({name for store in stores for name in store.tasks})
    registry = TaskIds.for_tasks([*names, *target_tasks], config.reserve)
    problem = fit_spec(
        stores, registry.width, config.min_action_std, config.balance_actions
    )
    data = {
        "prior": [_source(store) for store in stores],
        "target": None,
        "from": None,
        **_weights(config),
    }
    prior = [
        Transitions(store, registry, rewarded_steps=config.rewarded_steps)
        for store in stores
    ]
    sampling = config.agent.sampling
    replay = Replay(
        prior,
        [],
        mix=1.0,
        batch_size=config.batch_size,
        seed=config.seed,
        sampling=sampling,
    )
    return _first_checkpoint(
        config, problem, registry, stores[0], data, prior, finetuning=False
    ), replay


def start_finetuning(
    origin: Path | Config,
    target: EpisodeStore,
    prior: Sequence[EpisodeStore],
    overrides: Sequence[str],
    retarget: Mapping[str, str] | None = None,
) -> tuple[Checkpoint, Replay]:
    """Return where fine-tuning starts, and its data.

    Nothing is reset at the switch from pre-training: optimisers, targets and temperature
    carry over.

    Args:
        origin: Pre-trained checkpoint, or the configuration of an agent to train from
            scratch.
        target: Demonstrations; some are held out.
        prior: Data mixed in.
        overrides: Changes to the configuration of the checkpoint.
        retarget: New tasks and the known ones whose ids they use.
    """
    import torch

    from ptr_training.data.normalization import (
        check_alike,
        check_compatible,
        fit_spec,
        split_episodes,
    )
    from ptr_training.data.replay import Replay, Transitions

    from .build import prepare_agent, restore_agent
    from .checkpoint import find_checkpoint, load_checkpoint
    from .config import override

    card = check_alike([target, *prior])
    if isinstance(origin, Path):
        start = load_checkpoint(find_checkpoint(origin))
        check_compatible(start.data_spec, start.info, target)
        start = dataclasses.replace(
            start, step=0, config=override(start.config, overrides), info=card
        )
        config, tasks = start.config, start.task_ids
    else:
        config = origin
        names = [
            name
            for store in (*prior, target)
            for name in store.tasks
            if name not in (retarget or {})
        ]
        tasks = TaskIds.for_tasks(names, config.reserve)
    for name, known in (retarget or {}).items():
        tasks.retarget(name, known)
    for store in (target, *prior):
        for name in store.tasks:
            tasks.add(name)
    train, holdout = split_episodes(target, config.finetune.holdout, config.seed)
    split = {
        "train": [target.entries[i].id for i in train],
        "holdout": [target.entries[i].id for i in holdout],
    }
    data = {
        "prior": [_source(store) for store in prior],
        "target": _source(target) | split,
        "from": str(origin.resolve()) if isinstance(origin, Path) else None,
        **_weights(config),
    }
    n = config.rewarded_steps
    prior_parts = [Transitions(store, tasks, rewarded_steps=n) for store in prior]
    target_parts = [Transitions(target, tasks, train, n, target=True)]
    parts = [*prior_parts, *target_parts]
    if isinstance(origin, Path):
        agent = restore_agent(start, torch.device("cpu"))
        prepare_agent(agent, config, parts, finetuning=True)
        start = dataclasses.replace(start, agent=agent.state())
    else:
        problem = fit_spec(
            [target, *prior], tasks.width, config.min_action_std, config.balance_actions
        )
        start = _first_checkpoint(
            config, problem, tasks, target, data, parts, finetuning=True
        )
    replay = Replay(
        prior_parts,
        target_parts,
        mix=config.finetune.mix,
        batch_size=config.batch_size,
        seed=config.seed + 1,
        sampling=config.agent.sampling,
    )
    return dataclasses.replace(
        start, data=data, sampler=replay.generator.get_state()
    ), replay


def _first_checkpoint(
    config: Config,
    problem: Any,
    registry: TaskIds,
    store: EpisodeStore,
    data: dict[str, Any],
    parts: Sequence[Transitions],
    *,
    finetuning: bool,
) -> Checkpoint:
    import torch

    from .build import build_agent, prepare_agent
    from .checkpoint import Checkpoint

    agent = build_agent(config, problem, torch.device("cpu"))
    prepare_agent(agent, config, parts, finetuning=finetuning)
    sampler = torch.Generator().manual_seed(config.seed).get_state()
    return Checkpoint(
        0, config, problem, registry, store.card, data, agent.state(), sampler
    )


def _weights(config: Config) -> dict[str, str]:
    """Return what tells a frozen encoder's weights from others."""
    from .pretrained import weights_digest

    return (
        {"weights_sha256": weights_digest(config.network.weights)}
        if config.network.weights
        else {}
    )


def _source(store: EpisodeStore) -> dict[str, Any]:
    store.check_pixels()
    return {
        "name": store.card.name,
        "path": str(store.path.resolve()),
        "sha256": store.fingerprint,
    }
