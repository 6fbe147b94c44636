"""`ptr pretrain` and `ptr finetune`: the two stages of PTR, and the training loop they share.

    ptr pretrain --config demo_ptr --data PRIOR --target-task "put x in y" --out RUN/pretrain
    ptr finetune --from RUN/pretrain --prior PRIOR --target DEMOS --out RUN/finetune
    ptr finetune --config demo_ptr --target DEMOS --out RUN/target_only      (without prior data)

The same command with --resume goes on where it was stopped. A run folder holds `config.yaml`, `tasks.yaml`,
`data.json` (stores with fingerprints, which demonstrations are held out), `metrics.csv`, TensorBoard events
and `checkpoints/`.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import ctypes
import dataclasses
import json
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ptr_policy_node.files import atomic_file

from .episodes import EpisodeStore, TaskRegistry, TrainingError

if TYPE_CHECKING:  # PyTorch is imported when a stage really starts
    import torch

    from .agents import Metrics
    from .checkpoint import Checkpoint
    from .config import Config, StageConfig
    from .replay import Replay


def pretrain(argv: list[str]) -> None:
    """Pre-train an agent on prior data of many tasks."""
    parser = _parser("pretrain", pretrain.__doc__)
    parser.add_argument("--config", required=True, help="YAML file, or the name of a preset in config/train")
    parser.add_argument("--data", nargs="+", required=True, type=Path, help="episode stores")
    parser.add_argument("--target-task", nargs="+", default=[], help="tasks to come: they get their ids now")
    args = parser.parse_args(argv)
    from .config import load_config

    config = load_config(args.config, _overrides(args, "pretrain"))
    stores = [EpisodeStore.open(path) for path in args.data]
    start, replay = start_pretraining(config, stores, args.target_task)
    run(start, replay, config.pretrain, args.out, resume=args.resume)


def finetune(argv: list[str]) -> None:
    """Fine-tune a pre-trained agent on a few demonstrations mixed with prior data, or train on them alone."""
    parser = _parser("finetune", finetune.__doc__)
    origin = parser.add_mutually_exclusive_group(required=True)
    origin.add_argument("--from", dest="origin", type=Path, help="checkpoint, or run folder (its newest checkpoint)")
    origin.add_argument("--config", help="train from scratch: YAML file, or the name of a preset")
    parser.add_argument("--target", required=True, type=Path, help="episode store of demonstrations")
    parser.add_argument("--prior", nargs="+", default=[], type=Path, help="episode stores to mix in")
    parser.add_argument("--mix", type=float, help="fraction of prior transitions in a batch (0 without --prior)")
    parser.add_argument("--holdout", type=int, help="demonstrations kept from training, for `ptr select`")
    args = parser.parse_args(argv)
    from .config import load_config

    overrides = _overrides(args, "finetune") + ([] if args.prior else ["finetune.mix=0"])
    origin_or_config = args.origin or load_config(args.config, overrides)
    prior = [EpisodeStore.open(path) for path in args.prior]
    start, replay = start_finetuning(origin_or_config, EpisodeStore.open(args.target), prior, overrides)
    run(start, replay, start.config.finetune, args.out, resume=args.resume)


def _parser(verb: str, summary: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"ptr {verb}", description=summary)
    parser.add_argument("--out", required=True, type=Path, help="run folder to write")
    parser.add_argument("--steps", type=int, help="gradient steps of this stage")
    parser.add_argument("--seed", type=int)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one value, e.g. agent.alpha=5"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, if there is one")
    return parser


def _overrides(args: argparse.Namespace, stage: str) -> list[str]:
    """Return what the command line changes, the plain options in the form of --set."""
    options = {f"{stage}.{name}": getattr(args, name, None) for name in ("steps", "mix", "holdout")} | {
        "seed": args.seed
    }
    return [*args.set, *(f"{key}={value}" for key, value in options.items() if value is not None)]


# What a stage starts from ---------------------------------------------------------------------------


def start_pretraining(
    config: Config, stores: Sequence[EpisodeStore], target_tasks: Sequence[str]
) -> tuple[Checkpoint, Replay]:
    """Return a new agent as a checkpoint of step 0, and its data."""
    from .replay import Replay, Transitions, describe

    names = sorted({name for store in stores for name in store.tasks})
    registry = TaskRegistry.for_tasks([*names, *target_tasks], config.reserve)
    problem = describe(stores, registry.width, config.min_action_std, config.balance_actions)
    data = {"prior": [_source(store) for store in stores], "target": None, "from": None}
    prior = [Transitions(store, registry) for store in stores]
    replay = Replay(prior, [], mix=1.0, batch_size=config.batch_size, seed=config.seed)
    return _first_checkpoint(config, problem, registry, stores[0], data), replay


def start_finetuning(
    origin: Path | Config, target: EpisodeStore, prior: Sequence[EpisodeStore], overrides: Sequence[str]
) -> tuple[Checkpoint, Replay]:
    """Return where fine-tuning starts, and its data.

    Nothing is reset at the switch from pre-training: optimisers, targets and temperature carry over.

    Args:
        origin: Pre-trained checkpoint, or the configuration of an agent to train from scratch.
        target: Demonstrations; some are held out.
        prior: Data mixed in.
        overrides: Changes to the configuration of the checkpoint.
    """
    from .checkpoint import find_checkpoint, load_checkpoint
    from .config import override
    from .replay import Replay, Transitions, check_alike, check_suits, describe, split_episodes

    card = check_alike([target, *prior])
    if isinstance(origin, Path):
        start = load_checkpoint(find_checkpoint(origin))
        check_suits(start.problem, start.card, target)
        start = dataclasses.replace(start, step=0, config=override(start.config, overrides), card=card)
    else:
        registry = TaskRegistry.for_tasks(list(target.tasks), origin.reserve)
        problem = describe([target], registry.width, origin.min_action_std, origin.balance_actions)
        start = _first_checkpoint(origin, problem, registry, target, {})
    for store in (target, *prior):
        for name in store.tasks:
            start.tasks.claim(name)
    config = start.config
    train, holdout = split_episodes(target, config.finetune.holdout, config.seed)
    split = {"train": [target.entries[i].id for i in train], "holdout": [target.entries[i].id for i in holdout]}
    data = {
        "prior": [_source(store) for store in prior],
        "target": _source(target) | split,
        "from": str(origin.resolve()) if isinstance(origin, Path) else None,
    }
    replay = Replay(
        [Transitions(store, start.tasks) for store in prior],
        [Transitions(target, start.tasks, train)],
        mix=config.finetune.mix,
        batch_size=config.batch_size,
        seed=config.seed + 1,
    )
    return dataclasses.replace(start, data=data, sampler=replay.generator.get_state()), replay


def _first_checkpoint(
    config: Config, problem: Any, registry: TaskRegistry, store: EpisodeStore, data: dict[str, Any]
) -> Checkpoint:
    import torch

    from .checkpoint import Checkpoint, build_agent

    agent = build_agent(config, problem, torch.device("cpu"))
    sampler = torch.Generator().manual_seed(config.seed).get_state()
    return Checkpoint(0, config, problem, registry, store.card, data, agent.state(), sampler)


def _source(store: EpisodeStore) -> dict[str, Any]:
    store.check_pixels()
    return {"name": store.card.name, "path": str(store.path.resolve()), "sha256": store.fingerprint}


# The loop -------------------------------------------------------------------------------------------


def run(start: Checkpoint, replay: Replay, stage: StageConfig, out: Path, *, resume: bool) -> None:
    """Train from `start` until `stage.steps`, or go on from the newest checkpoint in `out`.

    Raises:
        TrainingError: If `out` holds a run and `resume` is false, or a run of other data or configuration.
        KeyboardInterrupt: After SIGINT or SIGTERM, once a checkpoint is saved.
    """
    from tqdm import tqdm

    from .checkpoint import find_checkpoint, list_checkpoints, load_checkpoint

    started = bool(list_checkpoints(out))
    if started:
        if not resume:
            raise TrainingError(f"{out} holds a run already; add --resume to go on with it, or choose another --out")
        saved = load_checkpoint(find_checkpoint(out))
        _check_same(saved, start)
        start = dataclasses.replace(saved, config=start.config)
    config = start.config
    device = _set_up(config)
    agent = start.build_agent(device)
    replay.generator.set_state(start.sampler)

    def save(step: int) -> None:
        sampler = replay.generator.get_state()
        now = dataclasses.replace(start, step=step, agent=agent.state(), sampler=sampler)
        now.save(out / "checkpoints" / f"step_{step}.pt")
        if stage.keep:
            for old in list(list_checkpoints(out).values())[: -stage.keep]:
                old.unlink()

    _describe_run(start, out)
    if not started:
        save(0)  # also shows at once whether the folder can be written
    with _stop_signals() as stop, Log(out, start.step) as log:
        steps = range(start.step + 1, stage.steps + 1)
        bar = tqdm(steps, desc=out.name, initial=start.step, total=stage.steps, unit="step", disable=None)
        for step in bar:
            log.add(agent.update(replay.sample().to(device)))
            last = step == stage.steps or bool(stop)
            if last or step % config.log_every == 0:
                bar.set_postfix(loss=f"{log.write(step)['loss']:.4g}")
            if last or step % stage.checkpoint_every == 0:
                save(step)
            if stop:
                raise KeyboardInterrupt


def _set_up(config: Config) -> torch.device:
    """Choose the device and the number of threads."""
    import torch

    if config.threads:
        torch.set_num_threads(config.threads)
    _keep_freed_memory()
    if config.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if config.device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device is cuda, but PyTorch finds no GPU; use --set device=cpu or install its CUDA build")
    return torch.device(config.device)


def _keep_freed_memory() -> None:
    """Let glibc reuse freed memory instead of giving it back: page faults took an eighth of a small CPU step."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
        libc.mallopt(-3, 1 << 25)  # M_MMAP_THRESHOLD; glibc takes no more


def _describe_run(start: Checkpoint, out: Path) -> None:
    with atomic_file(out / "config.yaml") as path:
        start.config.save(path)
    with atomic_file(out / "tasks.yaml") as path:
        start.tasks.save(path)
    with atomic_file(out / "data.json") as path:
        path.write_text(json.dumps(start.data, indent=1) + "\n")


def _check_same(saved: Checkpoint, wanted: Checkpoint) -> None:
    """Refuse to resume with other data or another configuration, naming the first difference."""
    found, asked = (_flat({"data": each.data, **each.config.to_dict()}) for each in (saved, wanted))
    free = ("steps", "keep", "checkpoint_every", "log_every", "device", "threads", "path", "from")
    for key in sorted(found.keys() | asked.keys()):
        if key.rsplit(".", 1)[-1] not in free and found.get(key) != asked.get(key):
            raise TrainingError(
                f"cannot resume: {key} was {found.get(key)!r} in the run and is {asked.get(key)!r} now; "
                "use the same command, or another --out"
            )


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(values, dict):
        return {key: each for name, value in values.items() for key, each in _flat(value, f"{prefix}{name}.").items()}
    if isinstance(values, list) and values and isinstance(values[0], dict):
        return _flat(dict(enumerate(values)), prefix)
    return {prefix[:-1]: values}


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list, so that a step is never cut in two; a second one acts at once."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, signal.default_int_handler)
        print("\nstopping after this step; a checkpoint will be saved", file=sys.stderr)

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class Log:
    """Means of the metrics since the last line, into `metrics.csv` and TensorBoard; lines after `step` are dropped."""

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._path = folder / "metrics.csv"
        self._rows: list[dict[str, Any]] = []
        if self._path.is_file():
            with self._path.open(newline="") as file:
                self._rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
        self._writer = SummaryWriter(str(folder), purge_step=step + 1)
        self._sums: dict[str, torch.Tensor] = {}
        self._count = 0

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def add(self, metrics: Metrics) -> None:
        """Take the metrics of one step; those of another phase of the agent start a new mean."""
        if metrics.keys() != self._sums.keys():
            self._sums, self._count = {}, 0
        self._sums = {name: value + self._sums.get(name, 0.0) for name, value in metrics.items()}
        self._count += 1

    def write(self, step: int) -> dict[str, float]:
        """Write one line and return it."""
        means = {name: float(value) / self._count for name, value in self._sums.items()}
        for name, value in means.items():
            self._writer.add_scalar(name, value, step)
        self._sums, self._count = {}, 0
        self._rows.append({"step": step, **{name: f"{value:.6g}" for name, value in means.items()}})
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        with atomic_file(self._path) as path, path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(self._rows)
        return means
