"""`ptr replay --bundle`: the recorded frames through a bundle, its actions beside the published."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptr_common.progress import progress
from ptr_common.versions import versions
from ptr_policy_node.bundle import read_bundle
from ptr_training.bags.reader import Bag

from .comparison import EpisodeComparison, dimensions, notes, table, write
from .recompute import recompute
from .recording import PolicyRecording, ReplayError

if TYPE_CHECKING:
    from ptr_policy_node.policy import Policy

RECORDED = "recorded"
"""Choice of the backend and precision that ran the bundle."""


@dataclass(frozen=True)
class BundleChoice:
    """A bundle, and how it is run.

    Attributes:
        path: Its folder.
        backend: Of the policy node, or `RECORDED`.
        other: Whether it may be another one than ran in the bag.
    """

    path: Path
    backend: str = RECORDED
    other: bool = False


def replay_through_bundle(
    bags: Sequence[Path],
    episode: str,
    choice: BundleChoice,
    *,
    tolerance: float,
    out: Path | None = None,
) -> int:
    """Compare a bundle's actions with the recorded ones, and print what came out.

    Args:
        bags: Recordings.
        episode: Identifier of the only one wanted; empty: every one.
        choice: The bundle.
        tolerance: Largest difference allowed.
        out: Folder for files; None: none.

    Returns:
        Exit status: 1 if the largest difference is beyond the tolerance.

    Raises:
        ReplayError: If nothing of the bags could be compared.
        PtrError: If a bag or the bundle is refused.
    """
    loader = _Loader(choice)
    comparisons: list[EpisodeComparison] = []
    left_out = []
    for path in progress(bags, desc="replay", unit="bag"):
        with Bag(path) as bag:
            recording = PolicyRecording(bag)
            if topic := loader.topic_in(recording):
                policy = loader.policy_for(recording)
                comparisons += _compare(recording, topic, policy, path.name, episode)
            else:
                ran = ", ".join(recording.execution)
                left_out.append(f"{path} left out: bundle {ran} ran in it")
    print("\n".join(left_out), end="\n" if left_out else "", file=sys.stderr)
    _check_something(comparisons, loader.bundle_id, episode)
    about = {"bundle": loader.bundle_id, "execution": loader.execution}
    if out is not None:
        write(out, comparisons, {**about, "tolerance": tolerance, "versions": versions()})
    return _print(comparisons, about, tolerance, out)


class _Loader:
    """Loads a bundle once for each way in which it ran.

    Args:
        choice: The bundle.
    """

    def __init__(self, choice: BundleChoice) -> None:
        self._choice = choice
        self.bundle_id = read_bundle(choice.path).bundle_id
        self._policies: dict[str, Policy] = {}

    @property
    def execution(self) -> list[str]:
        """Backends and precisions that were used."""
        return [policy.backend for policy in self._policies.values()]

    def topic_in(self, recording: PolicyRecording) -> str:
        """Return the topic of the policy to compare with; empty if there is none."""
        topic = recording.topic_of(self.bundle_id)
        if topic or not self._choice.other:
            return topic
        return next(iter(recording.bundles))

    def policy_for(self, recording: PolicyRecording) -> Policy:
        """Return the bundle as it ran in a bag, or as was chosen.

        Raises:
            BundleError: If it is refused, or cannot run so here.
        """
        from ptr_policy_node.policy import load_bundle

        ran = recording.execution
        ran_as = ran.get(self.bundle_id) or next(iter(ran.values()))
        backend, _, precision = ran_as.partition(" ")
        if self._choice.backend != RECORDED:
            backend = self._choice.backend
        name = f"{backend} {precision}"
        if name not in self._policies:
            self._policies[name] = load_bundle(
                self._choice.path, backend=backend, precision=precision or "float32"
            )
        return self._policies[name]


def _compare(
    recording: PolicyRecording, topic: str, policy: Policy, bag: str, episode: str
) -> Iterator[EpisodeComparison]:
    """Yield the comparisons of a bag's episodes.

    Args:
        recording: The bag.
        topic: Where the recorded policy's states are.
        policy: The bundle.
        bag: Name of the bag.
        episode: Identifier of the only one wanted; empty: every one.
    """
    found = [each for each in recording.episodes(topic) if episode in ("", each.id)]
    wanted: set[int] = set()
    for each in found:
        wanted.update(step.image_ns for step in each.steps if step.acted)
    if not found:
        return
    inputs = recording.inputs(policy.info.camera.name, wanted)
    for each in found:
        steps = list(recompute(policy, each, inputs))
        yield EpisodeComparison(bag, each.id, topic, steps)


def _check_something(
    comparisons: Sequence[EpisodeComparison], bundle_id: str, episode: str
) -> None:
    """Refuse a replay in which no action was reproduced.

    Raises:
        ReplayError: Says what there was instead.
    """
    if not comparisons:
        which = f"episode {episode!r}" if episode else "an episode"
        raise ReplayError(
            f"no bag holds {which} in which bundle {bundle_id} acted; name the bundle that "
            "ran, or compare with another one by --other-bundle"
        )
    if not any(each.compared for each in comparisons):
        raise ReplayError("no step could be reproduced: " + "; ".join(notes(comparisons)))


def _print(
    comparisons: Sequence[EpisodeComparison],
    about: dict[str, Any],
    tolerance: float,
    out: Path | None,
) -> int:
    """Print tables and verdict; return the exit status."""
    print(table(comparisons))
    print(f"largest difference of each dimension: {dimensions(comparisons)}")
    print("\n".join(notes(comparisons)), end="\n" if notes(comparisons) else "")
    largest = float(np.fmax.reduce([each.largest for each in comparisons]))
    steps = sum(each.compared for each in comparisons)
    ran = f"bundle {about['bundle']}, {', '.join(about['execution'])}"
    within = "within" if largest <= tolerance else "BEYOND"
    print(
        f"{steps} steps of {ran}: largest difference {largest:.1e}, "
        f"{within} the tolerance of {tolerance:g}"
    )
    if out is not None:
        print(f"{out}: replay.json, steps.csv")
    return 0 if largest <= tolerance else 1
