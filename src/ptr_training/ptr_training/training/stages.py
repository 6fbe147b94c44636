"""What the two stages of training start from: an agent as a checkpoint of step 0, and its data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ptr_training.data.normalization import (
    DataSpec,
    check_alike,
    check_compatible,
    fit_spec,
    hold_out_of_each_task,
    split_episodes,
)
from ptr_training.data.replay import Replay
from ptr_training.data.store import EpisodeStore
from ptr_training.data.task_ids import TaskIds
from ptr_training.data.transitions import Transitions
from ptr_training.errors import TrainingError

from .build import build_agent, prepare_agent, restore_agent
from .checkpoint import Checkpoint, best_step, find_checkpoint, load_checkpoint
from .config import Config, override
from .pretrained import weights_digest
from .sources import (
    describe_source,
    retarget_ids,
    warn_of_similar_tasks,
    warn_of_swapped_stores,
)

CPU = torch.device("cpu")


def start_pretraining(
    config: Config,
    stores: Sequence[EpisodeStore],
    target_tasks: Sequence[str],
    retarget: Mapping[str, str] | None = None,
) -> tuple[Checkpoint, Replay]:
    """Return a new agent as a checkpoint of step 0, and its data.

    Args:
        config: Of the agent and its training.
        stores: Prior data.
        target_tasks: Tasks of the second stage, which get their ids now.
        retarget: Further ones, and the known tasks whose ids they use.
    """
    names = sorted(set(_tasks_of(stores)))
    warn_of_similar_tasks("--target-task", target_tasks, names)
    task_ids = TaskIds.for_tasks([*names, *target_tasks], config.reserve)
    retarget_ids(retarget or {}, task_ids)
    data_spec = _fit_data_spec(config, stores, task_ids)
    held_out = []
    for store in stores:
        held_out.append(hold_out_of_each_task(store, config.pretrain.holdout, config.seed))
    data: dict[str, Any] = {
        "prior": _describe_prior(stores, held_out),
        "target": None,
        "from": None,
        **_weights_record(config),
    }
    parts = _transitions(config, stores, task_ids, held_out)
    _check_failures(config, parts)
    replay = Replay(
        parts,
        [],
        mix=1.0,
        batch_size=config.batch_size,
        seed=config.seed,
        sampling=config.agent.sampling,
    )
    if replay.validation_tasks:
        data["validation_tasks"] = [
            task_ids.names[task] for task in replay.validation_tasks
        ]
    agent = _new_agent_state(config, data_spec, parts, finetuning=False)
    sampler = torch.Generator().manual_seed(config.seed).get_state()
    start = Checkpoint(0, config, data_spec, task_ids, stores[0].info, data, agent, sampler)
    return start, replay


def start_finetuning(
    origin: Path | Config,
    target: EpisodeStore,
    prior: Sequence[EpisodeStore],
    overrides: Sequence[str],
    retarget: Mapping[str, str] | None = None,
    rollouts: Sequence[EpisodeStore] = (),
) -> tuple[Checkpoint, Replay]:
    """Return where fine-tuning starts, and its data.

    Nothing is reset at the switch from pre-training: optimisers, targets and temperature
    carry over.

    Args:
        origin: Pre-trained checkpoint, or the configuration of an agent to train from scratch.
        target: Demonstrations; some are held out.
        prior: Data mixed in.
        overrides: Changes to the configuration of the checkpoint.
        retarget: New tasks and the known ones whose ids they use.
        rollouts: What policies did at the task, drawn from beside the demonstrations; agents
            with a critic learn from the failures among them.
    """
    retarget = retarget or {}
    info = check_alike([target, *prior, *rollouts])
    if isinstance(origin, Path):
        saved = _load_origin(origin, overrides, target)
        config, task_ids = saved.config, saved.task_ids
    else:
        saved, config = None, origin
        task_ids = _ids_from_scratch(config, prior, target, retarget)
    _warn_of_likely_mistakes(saved, target, prior, retarget)
    _assign_ids(task_ids, target, prior, retarget)
    split = split_episodes(target, config.finetune.holdout, config.seed)
    data = _describe_finetuning(config, origin, target, prior, split)
    data |= _describe_rollouts(rollouts)
    prior_parts = _transitions(config, prior, task_ids)
    target_parts = [_target_transitions(config, target, task_ids, split[0])]
    target_parts += _rollout_transitions(config, rollouts, target, task_ids)
    parts = [*prior_parts, *target_parts]
    _check_failures(config, parts)
    if saved:
        data_spec = saved.data_spec
        agent = _continued_agent_state(saved, parts)
    else:
        data_spec = _fit_data_spec(config, [target, *prior], task_ids)
        agent = _new_agent_state(config, data_spec, parts, finetuning=True)
    replay = _mixed_replay(config, prior_parts, target_parts)
    sampler = replay.generator.get_state()
    start = Checkpoint(0, config, data_spec, task_ids, info, data, agent, sampler)
    return start, replay


def _load_origin(
    origin: Path, overrides: Sequence[str], target: EpisodeStore
) -> Checkpoint:
    """Return a pre-trained checkpoint with changes to its configuration.

    Raises:
        TrainingError: If its agent cannot learn from the target store, or has another
            gripper than the changes ask for.
    """
    saved = load_checkpoint(find_checkpoint(origin, best_step(origin)))
    check_compatible(saved.data_spec, saved.info, target)
    config = override(saved.config, overrides)
    found = "binary" if saved.data_spec.binary_gripper else "continuous"
    if config.agent.gripper not in ("auto", found):
        raise TrainingError(
            f"agent.gripper is {config.agent.gripper}, but {origin} was pre-trained with a {found} "
            "gripper; pre-train anew, or leave agent.gripper as it was"
        )
    return dataclasses.replace(saved, config=config)


def _ids_from_scratch(
    config: Config,
    prior: Sequence[EpisodeStore],
    target: EpisodeStore,
    retarget: Mapping[str, str],
) -> TaskIds:
    """Return ids of the tasks of all stores, without those that use a known task's."""
    names = [name for name in _tasks_of([*prior, target]) if name not in retarget]
    return TaskIds.for_tasks(names, config.reserve)


def _warn_of_likely_mistakes(
    saved: Checkpoint | None,
    target: EpisodeStore,
    prior: Sequence[EpisodeStore],
    retarget: Mapping[str, str],
) -> None:
    """Warn of swapped stores, and of target tasks that are known by another spelling."""
    if saved or prior:
        warn_of_swapped_stores(target, prior)
    known = saved.task_ids.names if saved else _tasks_of(prior)
    names = [name for name in target.tasks if name not in retarget]
    warn_of_similar_tasks(f"--target {target.path}", names, known)


def _assign_ids(
    task_ids: TaskIds,
    target: EpisodeStore,
    prior: Sequence[EpisodeStore],
    retarget: Mapping[str, str],
) -> None:
    """Give every task of the stores an id; those of `retarget` get that of a known task."""
    retarget_ids(retarget, task_ids, target)
    for name in _tasks_of([target, *prior]):
        task_ids.add(name)


def _describe_finetuning(
    config: Config,
    origin: Path | Config,
    target: EpisodeStore,
    prior: Sequence[EpisodeStore],
    split: tuple[Sequence[int], Sequence[int]],
) -> dict[str, Any]:
    """Return what the run records of its data.

    Args:
        config: Of the agent.
        origin: What fine-tuning starts from.
        target: Demonstrations.
        prior: Data mixed in.
        split: Indices of the demonstrations to train on, and of those held out.
    """
    train, held_out = split
    failed = [target.entries[index].id for index in _failures(config, target)]
    return {
        "prior": [describe_source(store) for store in prior],
        "target": {
            **describe_source(target),
            "train": [target.entries[index].id for index in train],
            "holdout": [target.entries[index].id for index in held_out],
            **({"failures": failed} if failed else {}),
        },
        "from": str(origin.resolve()) if isinstance(origin, Path) else None,
        **_weights_record(config),
    }


def _describe_rollouts(rollouts: Sequence[EpisodeStore]) -> dict[str, Any]:
    """Return what a run records of rollouts; empty without any."""
    if not rollouts:
        return {}
    return {"rollouts": [describe_source(store) for store in rollouts]}


def _new_agent_state(
    config: Config, data_spec: DataSpec, parts: Sequence[Transitions], *, finetuning: bool
) -> dict[str, Any]:
    agent = build_agent(config, data_spec, CPU)
    prepare_agent(agent, config, parts, finetuning=finetuning)
    return agent.state()


def _continued_agent_state(
    saved: Checkpoint, parts: Sequence[Transitions]
) -> dict[str, Any]:
    agent = restore_agent(saved, CPU)
    prepare_agent(agent, saved.config, parts, finetuning=True)
    return agent.state()


def _fit_data_spec(
    config: Config, stores: Sequence[EpisodeStore], task_ids: TaskIds
) -> DataSpec:
    return fit_spec(
        stores,
        task_ids.width,
        config.min_action_std,
        config.balance_actions,
        config.agent.gripper,
    )


def _describe_prior(
    stores: Sequence[EpisodeStore], held_out: Sequence[Sequence[int]]
) -> list[dict[str, Any]]:
    """Return what a run records of prior data: the stores, and the episodes it holds out."""
    sources = []
    for store, indices in zip(stores, held_out, strict=True):
        source = describe_source(store)
        if indices:
            source["holdout"] = [store.entries[index].id for index in indices]
        sources.append(source)
    return sources


def _transitions(
    config: Config,
    stores: Sequence[EpisodeStore],
    task_ids: TaskIds,
    held_out: Sequence[Sequence[int]] | None = None,
) -> list[Transitions]:
    """Return the transitions of prior data, those of every store in a part.

    Args:
        config: Of the agent and its training.
        stores: Prior data.
        task_ids: Ids of the tasks.
        held_out: Indices of the episodes of each store that are left out; None: none are.
    """
    parts = []
    for number, store in enumerate(stores):
        left_out = set(held_out[number]) if held_out else set()
        part = Transitions(
            store,
            task_ids,
            [index for index in range(len(store)) if index not in left_out],
            rewarded_steps=config.rewarded_steps,
            failures=config.uses_failures,
        )
        parts.append(part)
    return parts


def _target_transitions(
    config: Config, target: EpisodeStore, task_ids: TaskIds, train: Sequence[int]
) -> Transitions:
    """Return the transitions of the demonstrations `train`, and of failures where asked for."""
    return Transitions(
        target,
        task_ids,
        [*train, *_failures(config, target)],
        config.rewarded_steps,
        target=True,
        failures=config.uses_failures,
    )


def _rollout_transitions(
    config: Config,
    rollouts: Sequence[EpisodeStore],
    target: EpisodeStore,
    task_ids: TaskIds,
) -> list[Transitions]:
    """Return the transitions of rollouts, those of every store in a part.

    Raises:
        TrainingError: If one holds another task than the demonstrations.
    """
    parts = []
    for store in rollouts:
        for name in store.tasks:
            if name not in target.tasks:
                raise TrainingError(
                    f"--rollouts {store.path} holds task {name!r}, the demonstrations in "
                    f"{target.path} are of {', '.join(map(repr, target.tasks))}; name rollouts of "
                    "that task, or add the store to --prior"
                )
        part = Transitions(
            store,
            task_ids,
            rewarded_steps=config.rewarded_steps,
            target=True,
            failures=config.agent.learns_from_failures,
        )
        parts.append(part)
    return parts


def _failures(config: Config, target: EpisodeStore) -> list[int]:
    """Return the indices of failed episodes of the target task that are learnt from."""
    if not config.uses_failures:
        return []
    return [
        index for index, entry in enumerate(target.entries) if entry.outcome == "failure"
    ]


def _check_failures(config: Config, parts: Sequence[Transitions]) -> None:
    """Refuse data without failures where failures are asked for."""
    if not config.uses_failures or any(part.failures for part in parts):
        return
    stores = ", ".join(str(part.store.path) for part in parts)
    raise TrainingError(
        f"data.failures is use, but {stores} hold no episode with the outcome failure; "
        "keep failures (`ptr collect --keep-failures`, `ptr export`), or set data.failures=ignore"
    )


def _mixed_replay(
    config: Config, prior_parts: Sequence[Transitions], target_parts: Sequence[Transitions]
) -> Replay:
    """Return the replay of fine-tuning; its draws are others than those of pre-training."""
    return Replay(
        prior_parts,
        target_parts,
        mix=config.finetune.mix,
        batch_size=config.batch_size,
        seed=config.seed + 1,
        sampling=config.agent.sampling,
    )


def _weights_record(config: Config) -> dict[str, str]:
    """Return the digest of a frozen encoder's weights; empty where none is used."""
    if not config.network.weights:
        return {}
    return {"weights_sha256": weights_digest(config.network.weights)}


def _tasks_of(stores: Sequence[EpisodeStore]) -> list[str]:
    """Return the task names of stores in order; a task of several stores occurs several times."""
    return [name for store in stores for name in store.tasks]
