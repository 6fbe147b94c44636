"""`ptr pretrain` and `ptr finetune`: the two stages of PTR on the command line.

    ptr pretrain --config demo_ptr --data PRIOR --target-task "put x in y" --out RUN/pretrain
    ptr finetune --from RUN/pretrain --prior PRIOR --target DEMOS --out RUN/finetune
    ptr finetune --config demo_ptr --target DEMOS --out RUN/target_only

The last one trains without prior data. The same command with --resume continues a run that
was stopped; with --print-config it only shows the resolved configuration. Under `torchrun`
the processes share every batch and train what one process would.

A run folder holds `config.yaml`, `tasks.yaml`, `data.json` (stores with fingerprints, which
episodes are held out), `metrics.csv`, TensorBoard events and `checkpoints/`. With
`evaluate_every` a stage evaluates its agent on the held-out episodes as it learns.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ptr_training.errors import TrainingError

from .sources import open_distinct

if TYPE_CHECKING:
    from .config import Config

# The other modules of this room import PyTorch: the verbs import them when a stage starts.


def pretrain(argv: list[str]) -> None:
    """Pre-train an agent on prior data of many tasks."""
    args = pretrain_parser(trains=_trains(argv)).parse_args(argv)
    from .config import load_config

    base = _pairs("--base", args.base)
    config = load_config(args.config, _overrides(args, "pretrain"), base)
    if args.print_config:
        print(config.to_yaml(), end="")
        return
    from .held_out import held_out_episodes
    from .loop import run
    from .stages import start_pretraining

    stores = open_distinct({"--data": args.data})["--data"]
    retarget = _pairs("--retarget", args.retarget)
    start, replay = start_pretraining(config, stores, args.target_task, retarget)
    held_out = held_out_episodes(start.data["prior"], stores)
    run(start, replay, config.pretrain, args.out, held_out, resume=args.resume)


def finetune(argv: list[str]) -> None:
    """Fine-tune a pre-trained agent on a few demonstrations, or train one on them from scratch."""
    args = finetune_parser(trains=_trains(argv)).parse_args(argv)
    overrides = _finetuning_overrides(args)
    if args.print_config:
        print(_resolved_config(args, overrides).to_yaml(), end="")
        return
    from .held_out import held_out_episodes
    from .loop import run
    from .stages import start_finetuning

    origin = args.origin or _resolved_config(args, overrides)
    stores = open_distinct(
        {"--prior": args.prior, "--target": [args.target], "--rollouts": args.rollouts}
    )
    retarget = _pairs("--retarget", args.retarget)
    target, prior = stores["--target"][0], stores["--prior"]
    start, replay = start_finetuning(
        origin, target, prior, overrides, retarget, stores["--rollouts"]
    )
    held_out = held_out_episodes([start.data["target"]], [target])
    run(start, replay, start.config.finetune, args.out, held_out, resume=args.resume)


def pretrain_parser(*, trains: bool = True) -> argparse.ArgumentParser:
    """Return the options of `ptr pretrain`; without `trains` those of a run are not required."""
    parser = argparse.ArgumentParser(prog="ptr pretrain", description=pretrain.__doc__)
    parser.add_argument(
        "--config",
        required=True,
        help="YAML file, or the name of a preset in config/train (required)",
    )
    parser.add_argument(
        "--data",
        nargs="+",
        required=trains,
        type=Path,
        metavar="STORE",
        help="episode stores of the prior data (required)",
    )
    parser.add_argument(
        "--target-task",
        nargs="+",
        default=[],
        metavar="TASK",
        help="tasks of the second stage, which get their ids now (default: none)",
    )
    parser.add_argument(
        "--retarget",
        action="append",
        default=[],
        metavar="NEW=KNOWN",
        help="let a task of the second stage use a known task's id; may be repeated; "
        "fine-tuning keeps it (default: none)",
    )
    parser.add_argument(
        "--holdout",
        type=int,
        metavar="N",
        help="episodes of each task kept from training, to evaluate on "
        "(default: pretrain.holdout of the configuration)",
    )
    _add_common_options(parser, "pretrain", trains=trains)
    return parser


def finetune_parser(*, trains: bool = True) -> argparse.ArgumentParser:
    """Return the options of `ptr finetune`; without `trains` those of a run are not required."""
    parser = argparse.ArgumentParser(prog="ptr finetune", description=finetune.__doc__)
    origin = parser.add_mutually_exclusive_group(required=True)
    origin.add_argument(
        "--from",
        dest="origin",
        type=Path,
        metavar="RUN",
        help="start from a checkpoint, or from the newest one of a run folder "
        "(this or --config is required)",
    )
    origin.add_argument(
        "--config",
        help="start from scratch: YAML file, or the name of a preset in config/train "
        "(this or --from is required)",
    )
    _add_data_options(parser, trains=trains)
    _add_common_options(parser, "finetune", trains=trains)
    return parser


def _add_data_options(parser: argparse.ArgumentParser, *, trains: bool) -> None:
    """Add what only fine-tuning has: the stores and how they are used."""
    parser.add_argument(
        "--target",
        required=trains,
        type=Path,
        metavar="STORE",
        help="episode store of the demonstrations (required)",
    )
    parser.add_argument(
        "--prior",
        nargs="+",
        default=[],
        type=Path,
        metavar="STORE",
        help="episode stores to mix in (default: none)",
    )
    parser.add_argument(
        "--rollouts",
        nargs="+",
        default=[],
        type=Path,
        metavar="STORE",
        help="episode stores of what policies did at the task (`ptr evaluate --keep-episodes`), "
        "beside the demonstrations; agents with a critic learn from their failures too "
        "(default: none)",
    )
    parser.add_argument(
        "--mix",
        type=float,
        metavar="FRACTION",
        help="fraction of prior transitions in a batch, in [0, 1) "
        "(default: finetune.mix of the configuration; 0 without --prior)",
    )
    parser.add_argument(
        "--holdout",
        type=int,
        metavar="N",
        help="demonstrations kept from training, for `ptr select` "
        "(default: finetune.holdout of the configuration)",
    )
    parser.add_argument(
        "--retarget",
        action="append",
        default=[],
        metavar="NEW=KNOWN",
        help="let a task of the target store use a known task's id; "
        "may be repeated (default: none)",
    )


def _add_common_options(
    parser: argparse.ArgumentParser, stage: str, *, trains: bool
) -> None:
    parser.add_argument(
        "--out", required=trains, type=Path, help="run folder to write (required)"
    )
    parser.add_argument(
        "--base",
        action="append",
        default=[],
        metavar="OLD=NEW",
        help="take preset NEW wherever the configuration builds on preset OLD; "
        "may be repeated (default: none)",
    )
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="show the resolved configuration and stop (default: off)",
    )
    parser.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help=f"gradient steps of this stage (default: {stage}.steps of the configuration)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="of weights and draws (default: seed of the configuration)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change one value of the configuration, e.g. agent.alpha=5; "
        "may be repeated (default: none)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in --out if there is one (default: off, a run is refused)",
    )


def _trains(argv: Sequence[str]) -> bool:
    """Return whether the command trains, and so needs data and a run folder."""
    return "--print-config" not in argv


def _resolved_config(args: argparse.Namespace, overrides: Sequence[str]) -> Config:
    """Return the configuration of a checkpoint or a preset with the changes of the command line."""
    from .checkpoint import find_checkpoint, load_checkpoint
    from .config import load_config, override

    if args.origin:
        return override(load_checkpoint(find_checkpoint(args.origin)).config, overrides)
    return load_config(args.config, overrides, _pairs("--base", args.base))


def _finetuning_overrides(args: argparse.Namespace) -> list[str]:
    """Return what the command line changes; without prior data nothing is mixed in.

    Raises:
        TrainingError: If it asks for prior transitions and names no prior data.
    """
    overrides = _overrides(args, "finetune")
    if args.prior or args.print_config:
        return overrides
    if args.mix:
        raise TrainingError(
            f"--mix is {args.mix:g}, but there is no prior data to mix in; "
            "name it with --prior, or leave --mix away"
        )
    return [*overrides, "finetune.mix=0"]


def _overrides(args: argparse.Namespace, stage: str) -> list[str]:
    """Return what the command line changes, the plain options in the form of --set."""
    overrides = list(args.set)
    for name in ("steps", "mix", "holdout"):
        value = getattr(args, name, None)
        if value is not None:
            overrides.append(f"{stage}.{name}={value}")
    if args.seed is not None:
        overrides.append(f"seed={args.seed}")
    return overrides


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """Return what an option of the form OLD=NEW says.

    Raises:
        TrainingError: If a text has no =, or two have the same first name.
    """
    pairs = {}
    for text in texts:
        first, equals, second = text.partition("=")
        if equals:
            pairs[first] = second
    if len(pairs) < len(texts):
        raise TrainingError(
            f"{option} {' '.join(texts)}: write two names with = between them, each first one once"
        )
    return pairs
