"""How the methods of one or several sessions differ, on the scenes that they met together."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from widowx_bringup.evaluation.results import Contrast
from widowx_bringup.evaluation.statistics import (
    LEVEL,
    cochran_q,
    compare_pairs,
    holm,
    probability_text,
)

from .trials import SessionTold

Scene = tuple[str, int]
"""A session's folder and a scene of it; a scene of two sessions is two."""


def solved_by_scene(sessions: Iterable[SessionTold]) -> dict[Scene, dict[str, bool]]:
    """Return whether each method solved each scene of each session."""
    found: dict[Scene, dict[str, bool]] = {}
    for session in sessions:
        for told in session.counted:
            scene = (str(session.folder), told.row.rollout)
            found.setdefault(scene, {})[told.row.method] = told.row.success
    return found


def all_pairs(
    solved: dict[Scene, dict[str, bool]], methods: Sequence[str]
) -> list[Contrast]:
    """Return every pair of methods on the scenes that both met, adjusted by Holm.

    Args:
        solved: What `solved_by_scene` returns.
        methods: Their names, or codes.
    """
    found = []
    for first, second in itertools.combinations(methods, 2):
        ours, theirs = _shared(solved, (first, second))
        if len(ours):
            pairs = compare_pairs(ours.tolist(), theirs.tolist())
            found.append((first, second, pairs))
    adjusted = holm([pairs.p for _, _, pairs in found])
    return [
        Contrast(second, first, pairs, p)
        for (first, second, pairs), p in zip(found, adjusted, strict=True)
    ]


def _shared(solved: dict[Scene, dict[str, bool]], methods: Sequence[str]) -> np.ndarray:
    """Return whether each method solved each scene that all of them met, (methods, scenes)."""
    rows = []
    for scene in solved.values():
        if set(methods) <= set(scene):
            rows.append([scene[method] for method in methods])
    return np.array(rows, bool).reshape(-1, len(methods)).T


def cochran_text(solved: dict[Scene, dict[str, bool]], methods: Sequence[str]) -> str:
    """Return whether more than two methods differ at all; empty for fewer, or no scene."""
    if len(methods) < 3:
        return ""
    shared = _shared(solved, methods)
    scenes = shared.shape[1]
    if not scenes:
        return ""
    q, p = cochran_q(shared.tolist())
    verdict = "they differ" if p < 1.0 - LEVEL else "not resolved"
    return (
        f"All {len(methods)} methods on {scenes} scenes: Cochran's Q = {q:.2f}, "
        f"{probability_text(p)}: {verdict}"
    )
