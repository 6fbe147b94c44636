"""`ptr pretrain` and `ptr finetune`: the two stages of PTR, and the training loop they share.

    ptr pretrain --config demo_ptr --data PRIOR --target-task "put x in y" --out RUN/pretrain
    ptr finetune --from RUN/pretrain --prior PRIOR --target DEMOS --out RUN/finetune
    ptr finetune --config demo_ptr --target DEMOS --out RUN/target_only      (without prior data)

The same command with --resume goes on where it was stopped, and with --print-config only shows the resolved
configuration. Under `torchrun` the processes share every batch and train what one would. A run folder holds
`config.yaml`, `tasks.yaml`, `data.json` (stores with fingerprints, which demonstrations are held out), `metrics.csv`,
TensorBoard events and `checkpoints/`.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import ctypes
import dataclasses
import json
import math
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ptr_policy_node.files import atomic_file

from .episodes import EpisodeStore, TaskRegistry, TrainingError

if TYPE_CHECKING:  # PyTorch is imported when a stage really starts
    import torch

    from .agents import Agent, Metrics
    from .checkpoint import Checkpoint
    from .config import Config, StageConfig
    from .parallel import Group
    from .replay import Batch, Replay, Transitions


def pretrain(argv: list[str]) -> None:
    """Pre-train an agent on prior data of many tasks."""
    trains = "--print-config" not in argv
    parser = _parser("pretrain", pretrain.__doc__, trains)
    parser.add_argument("--config", required=True, help="YAML file, or the name of a preset in config/train")
    parser.add_argument("--data", nargs="+", required=trains, type=Path, help="episode stores")
    parser.add_argument("--target-task", nargs="+", default=[], help="tasks to come: they get their ids now")
    args = parser.parse_args(argv)
    from .config import load_config

    config = load_config(args.config, _overrides(args, "pretrain"), _pairs("--base", args.base))
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
    origin.add_argument("--from", dest="origin", type=Path, help="checkpoint, or run folder (its newest checkpoint)")
    origin.add_argument("--config", help="train from scratch: YAML file, or the name of a preset")
    parser.add_argument("--target", required=trains, type=Path, help="episode store of demonstrations")
    parser.add_argument("--prior", nargs="+", default=[], type=Path, help="episode stores to mix in")
    parser.add_argument("--mix", type=float, help="fraction of prior transitions in a batch (0 without --prior)")
    parser.add_argument("--holdout", type=int, help="demonstrations kept from training, for `ptr select`")
    parser.add_argument(
        "--retarget", action="append", default=[], metavar="NEW=KNOWN", help="let a new task use a known task's id"
    )
    args = parser.parse_args(argv)
    from .checkpoint import find_checkpoint, load_checkpoint
    from .config import load_config, override

    overrides = _overrides(args, "finetune") + ([] if args.prior or not trains else ["finetune.mix=0"])
    origin_or_config = args.origin or load_config(args.config, overrides, _pairs("--base", args.base))
    if not trains:
        found = override(load_checkpoint(find_checkpoint(args.origin)).config, overrides) if args.origin else None
        print((found or origin_or_config).to_yaml(), end="")
        return
    prior = [EpisodeStore.open(path) for path in args.prior]
    target = EpisodeStore.open(args.target)
    start, replay = start_finetuning(origin_or_config, target, prior, overrides, _pairs("--retarget", args.retarget))
    run(start, replay, start.config.finetune, args.out, resume=args.resume)


def _parser(verb: str, summary: str | None, trains: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"ptr {verb}", description=summary)
    parser.add_argument("--out", required=trains, type=Path, help="run folder to write")
    parser.add_argument(
        "--base", action="append", default=[], metavar="OLD=NEW", help="take a preset in place of another one"
    )
    parser.add_argument("--print-config", action="store_true", help="show the resolved configuration, and do no more")
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


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    pairs = dict(text.split("=", 1) for text in texts if "=" in text)
    if len(pairs) < len(texts):
        raise TrainingError(f"{option} {' '.join(texts)}: write two names with = between them, each first one once")
    return pairs


# What a stage starts from ---------------------------------------------------------------------------


def start_pretraining(
    config: Config, stores: Sequence[EpisodeStore], target_tasks: Sequence[str]
) -> tuple[Checkpoint, Replay]:
    """Return a new agent as a checkpoint of step 0, and its data."""
    from .replay import Replay, Transitions, describe

    names = sorted({name for store in stores for name in store.tasks})
    registry = TaskRegistry.for_tasks([*names, *target_tasks], config.reserve)
    problem = describe(stores, registry.width, config.min_action_std, config.balance_actions)
    data = {"prior": [_source(store) for store in stores], "target": None, "from": None, **_weights(config)}
    prior = [Transitions(store, registry, rewarded_steps=config.rewarded_steps) for store in stores]
    sampling = config.agent.sampling
    replay = Replay(prior, [], mix=1.0, batch_size=config.batch_size, seed=config.seed, sampling=sampling)
    return _first_checkpoint(config, problem, registry, stores[0], data, prior, finetuning=False), replay


def start_finetuning(
    origin: Path | Config,
    target: EpisodeStore,
    prior: Sequence[EpisodeStore],
    overrides: Sequence[str],
    retarget: Mapping[str, str] | None = None,
) -> tuple[Checkpoint, Replay]:
    """Return where fine-tuning starts, and its data.

    Nothing is reset at the switch from pre-training: optimisers, targets and temperature carry over.

    Args:
        origin: Pre-trained checkpoint, or the configuration of an agent to train from scratch.
        target: Demonstrations; some are held out.
        prior: Data mixed in.
        overrides: Changes to the configuration of the checkpoint.
        retarget: New tasks and the known ones whose ids they use.
    """
    import torch

    from .checkpoint import find_checkpoint, load_checkpoint
    from .config import override
    from .replay import Replay, Transitions, check_alike, check_suits, describe, split_episodes

    card = check_alike([target, *prior])
    if isinstance(origin, Path):
        start = load_checkpoint(find_checkpoint(origin))
        check_suits(start.problem, start.card, target)
        start = dataclasses.replace(start, step=0, config=override(start.config, overrides), card=card)
        config, tasks = start.config, start.tasks
    else:
        config = origin
        names = [name for store in (*prior, target) for name in store.tasks if name not in (retarget or {})]
        tasks = TaskRegistry.for_tasks(names, config.reserve)
    for name, known in (retarget or {}).items():
        tasks.retarget(name, known)
    for store in (target, *prior):
        for name in store.tasks:
            tasks.claim(name)
    train, holdout = split_episodes(target, config.finetune.holdout, config.seed)
    split = {"train": [target.entries[i].id for i in train], "holdout": [target.entries[i].id for i in holdout]}
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
        agent = start.build_agent(torch.device("cpu"))
        agent.prepare(parts, finetuning=True)
        start = dataclasses.replace(start, agent=agent.state())
    else:
        problem = describe([target, *prior], tasks.width, config.min_action_std, config.balance_actions)
        start = _first_checkpoint(config, problem, tasks, target, data, parts, finetuning=True)
    replay = Replay(
        prior_parts,
        target_parts,
        mix=config.finetune.mix,
        batch_size=config.batch_size,
        seed=config.seed + 1,
        sampling=config.agent.sampling,
    )
    return dataclasses.replace(start, data=data, sampler=replay.generator.get_state()), replay


def _first_checkpoint(
    config: Config,
    problem: Any,
    registry: TaskRegistry,
    store: EpisodeStore,
    data: dict[str, Any],
    parts: Sequence[Transitions],
    *,
    finetuning: bool,
) -> Checkpoint:
    import torch

    from .checkpoint import Checkpoint, build_agent

    agent = build_agent(config, problem, torch.device("cpu"))
    agent.prepare(parts, finetuning=finetuning)
    sampler = torch.Generator().manual_seed(config.seed).get_state()
    return Checkpoint(0, config, problem, registry, store.card, data, agent.state(), sampler)


def _weights(config: Config) -> dict[str, str]:
    """Return what tells a frozen encoder's weights from others."""
    from .frozen import weights_digest

    return {"weights_sha256": weights_digest(config.network.weights)} if config.network.weights else {}


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
    from .checkpoint import find_checkpoint, list_checkpoints, load_checkpoint
    from .config import FinetuneConfig
    from .parallel import start_group

    device = _set_up(start.config)
    group = start_group(device)
    if group.size > 1 and start.config.network.norm == "batch":
        raise TrainingError(
            f"network.norm is batch, which couples a batch that {group.size} processes share; use group"
        )
    started = bool(list_checkpoints(out))
    if started:
        if not resume:
            raise TrainingError(f"{out} holds a run already; add --resume to go on with it, or choose another --out")
        saved = load_checkpoint(find_checkpoint(out))
        _check_same(saved, start)
        start = dataclasses.replace(saved, config=start.config)
    group.wait()  # until here nobody has written
    agent = start.build_agent(device, group)
    agent.finetuning = isinstance(stage, FinetuneConfig)
    if start.config.compile:
        agent.compile_encoders()
    replay.generator.set_state(start.sampler)
    _place_frames(replay, agent, start.config, device)
    run = _Run(start, stage, out, agent, group)
    if group.leads:
        _describe_run(start, out)
        if not started:
            run.save(0, start.sampler)  # also shows at once whether the folder can be written
    ahead = 2 if device.type == "cuda" and not replay.resident else 0
    with contextlib.closing(replay.batches(device, group, ahead)) as batches:
        run.train(batches)


class _Run:
    """A stage under way: what it saves, logs and watches."""

    def __init__(self, start: Checkpoint, stage: StageConfig, out: Path, agent: Agent, group: Group) -> None:
        self.start, self.stage, self.out, self.agent, self.group = start, stage, out, agent, group
        self.warned = ""

    def train(self, batches: Iterable[tuple[Batch, torch.Tensor]]) -> None:
        from tqdm import tqdm

        config, stage, first = self.start.config, self.stage, self.start.step
        hidden = None if self.group.leads else True
        with _stop_signals() as stop, Log(self.out if self.group.leads else None, first) as log:
            steps = range(first + 1, stage.steps + 1)
            bar = tqdm(steps, desc=self.out.name, initial=first, total=stage.steps, unit="step", disable=hidden)
            for step, (batch, sampler) in zip(bar, batches, strict=False):
                log.add(self.agent.update(batch))
                stopped = self.group.any(bool(stop), batch.actions.device)
                last = step == stage.steps or stopped
                logs, saves = (last or step % every == 0 for every in (config.log_every, stage.checkpoint_every))
                if logs or saves:
                    means = log.means(self.group)
                    self.watch(step, means)
                    bar.set_postfix(loss=f"{means['loss']:.4g}")
                    if logs:
                        log.write(step, means)
                if saves and self.group.leads:
                    self.save(step, sampler)
                if stopped:
                    raise KeyboardInterrupt

    def watch(self, step: int, means: dict[str, float]) -> None:
        """Stop a run that has become useless, and say once when one is about to.

        Raises:
            TrainingError: If the loss is not finite.
        """
        from tqdm import tqdm

        if not all(map(math.isfinite, means.values())):
            bad = ", ".join(f"{name} {value}" for name, value in means.items() if not math.isfinite(value))
            raise TrainingError(
                f"training has diverged at step {step}: {bad}. The newest checkpoint in {self.out} is from before; "
                "lower the learning rates, or set agent.clamp_target=true"
            )
        warning = self.agent.warning(means)
        if warning and not self.warned and self.group.leads:
            tqdm.write(f"step {step}: {warning}", file=sys.stderr)
        self.warned = warning

    def save(self, step: int, sampler: torch.Tensor) -> None:
        from .checkpoint import list_checkpoints

        now = dataclasses.replace(self.start, step=step, agent=self.agent.state(), sampler=sampler)
        now.save(self.out / "checkpoints" / f"step_{step}.pt")
        if self.stage.keep:
            for old in list(list_checkpoints(self.out).values())[: -self.stage.keep]:
                old.unlink()


def _place_frames(replay: Replay, agent: Agent, config: Config, device: torch.device) -> None:
    """Put the frames where batches are gathered from: mapped files, or the device's memory."""
    import torch

    from .encoders import FROZEN

    if config.network.encoder in FROZEN:
        from .frozen import encode_frames

        encode_frames(agent.encoder, replay.parts, device)
    fits = device.type == "cuda" and replay.bytes < 0.6 * torch.cuda.mem_get_info(device)[0]
    if config.replay == "device" or (config.replay == "auto" and fits):
        replay.reside(device)


def _set_up(config: Config) -> torch.device:
    """Choose the device and the number of threads."""
    import torch

    if config.threads:
        torch.set_num_threads(config.threads)
    _keep_freed_memory()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = config.tf32
    wanted = config.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device is cuda, but PyTorch finds no GPU; use --set device=cpu or install its CUDA build")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if wanted == "cuda" else torch.device(wanted)


def _keep_freed_memory() -> None:
    """Let glibc reuse freed memory instead of giving it back: page faults took an eighth of a small CPU step."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
        libc.mallopt(-3, 1 << 25)  # M_MMAP_THRESHOLD; glibc takes no more


def _describe_run(start: Checkpoint, out: Path) -> None:
    with atomic_file(out / "config.yaml") as path:
        path.write_text(start.config.to_yaml())
    with atomic_file(out / "tasks.yaml") as path:
        start.tasks.save(path)
    with atomic_file(out / "data.json") as path:
        path.write_text(json.dumps(start.data, indent=1) + "\n")


def _check_same(saved: Checkpoint, wanted: Checkpoint) -> None:
    """Refuse to resume with other data or another configuration, naming the first difference."""
    found, asked = (_flat({"data": each.data, **each.config.to_dict()}) for each in (saved, wanted))
    free = ("steps", "keep", "checkpoint_every", "log_every", "device", "threads", "replay", "path", "from")
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
    """Means of the metrics since the last line, into `metrics.csv` and TensorBoard; lines after `step` are dropped.

    Without a folder nothing is written.
    """

    def __init__(self, folder: Path | None, step: int) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._count = 0
        self._rows: list[dict[str, Any]] = []
        self._writer: Any = None
        if folder is None:
            return
        from torch.utils.tensorboard import SummaryWriter

        self._path = folder / "metrics.csv"
        if self._path.is_file():
            with self._path.open(newline="") as file:
                self._rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
        self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer:
            self._writer.close()

    def add(self, metrics: Metrics) -> None:
        """Take the metrics of one step; those of another phase of the agent start a new mean."""
        if metrics.keys() != self._sums.keys():
            self._sums, self._count = {}, 0
        self._sums = {name: value + self._sums.get(name, 0.0) for name, value in metrics.items()}
        self._count += 1

    def means(self, group: Group) -> dict[str, float]:
        """Return the means over the steps since the last line and over all processes."""
        return {name: float(value) / self._count for name, value in group.average(self._sums).items()}

    def write(self, step: int, means: dict[str, float]) -> None:
        """Write one line and begin the next."""
        self._sums, self._count = {}, 0
        if self._writer is None:
            return
        for name, value in means.items():
            self._writer.add_scalar(name, value, step)
        self._rows.append({"step": step, **{name: f"{value:.6g}" for name, value in means.items()}})
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        with atomic_file(self._path) as path, path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns, restval="")
            writer.writeheader()
            writer.writerows(self._rows)
