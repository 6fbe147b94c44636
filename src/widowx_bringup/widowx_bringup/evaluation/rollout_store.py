"""Rollouts of an evaluation as an episode store, from which the next fine-tuning can learn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ptr_common.errors import PtrError
from ptr_common.images import resize_area
from ptr_policy_node.bundle import BundleInfo, read_info
from ptr_training.bags.episodes_from_bag import ReadOptions
from ptr_training.bags.export import export
from ptr_training.data.episode import DatasetInfo, Episode, EpisodeWriter


def as_seen(episode: Episode, info: BundleInfo, number: int) -> Episode:
    """Return a rollout as the policy saw it.

    Args:
        episode: With the camera's images, (T + 1, H, W, 3).
        info: Of the policy's bundle, which has the size of its network's images.
        number: Of the rollout; scenes repeat, so it names the episode.
    """
    size = (info.image_height, info.image_width)
    frames = np.stack([resize_area(image, size) for image in episode.frames])
    # simulated time continues between rollouts
    stamps = episode.stamps_ns - episode.stamps_ns[0]
    name = f"{episode.id}-{number:03d}"
    return replace(episode, id=name, frames=frames, stamps_ns=stamps, operator="policy")


def write_episodes(episodes: Iterable[Episode], info: BundleInfo, out: Path) -> None:
    """Write rollouts of one policy into a new store.

    Args:
        episodes: Rollouts `as_seen` by it.
        info: Of its bundle: image size, camera and command.
        out: Folder of the store; an older one is replaced.
    """
    with EpisodeWriter(out, _dataset_info(info, out.name), overwrite=True) as writer:
        for episode in episodes:
            writer.add(episode)


def export_bags(bags: Sequence[Path], bundle: Path, out: Path) -> None:
    """Export the bags of one policy's rollouts into a new store, as the policy saw them.

    Args:
        bags: The bags; those of aborted rollouts are not among them.
        bundle: Folder of the policy.
        out: Folder of the store; it must not exist.

    Raises:
        PtrError: If the network's images are not square, or a bag cannot be read.
    """
    info = read_info(bundle)
    if info.image_height != info.image_width:
        raise PtrError(
            f"{bundle}: the policy sees images of {info.image_height} x {info.image_width} pixels; "
            "bags are exported into square ones only"
        )
    options = ReadOptions(image_size=info.image_height, command=info.command)
    export(bags, out, options)


def _dataset_info(info: BundleInfo, name: str) -> DatasetInfo:
    return DatasetInfo(
        name=name,
        camera=info.camera.name,
        camera_width=info.camera.width,
        camera_height=info.camera.height,
        image_height=info.image_height,
        image_width=info.image_width,
        command=info.command,
    )
