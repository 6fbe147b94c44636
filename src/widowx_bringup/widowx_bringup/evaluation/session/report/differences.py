"""How the methods of one or several sessions differ, on the scenes that they met together."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

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
        both = [scene for scene in solved.values() if {first, second} <= set(scene)]
        if both:
            ours, theirs = ([scene[method] for scene in both] for method in (first, second))
            found.append((first, second, compare_pairs(ours, theirs)))
    adjusted = holm([comparison.p for _, _, comparison in found])
    return [
        Contrast(second, first, comparison, p)
        for (first, second, comparison), p in zip(found, adjusted, strict=True)
    ]


def cochran_text(solved: dict[Scene, dict[str, bool]], methods: Sequence[str]) -> str:
    """Return whether more than two methods differ at all; empty for fewer, or no scene."""
    whole = [scene for scene in solved.values() if set(methods) <= set(scene)]
    if len(methods) < 3 or not whole:
        return ""
    cells = [[scene[method] for scene in whole] for method in methods]
    q, p = cochran_q(cells)
    verdict = "they differ" if p < 1.0 - LEVEL else "not resolved"
    return (
        f"All {len(methods)} methods on {len(whole)} scenes: Cochran's Q = {q:.2f}, "
        f"{probability_text(p)}: {verdict}"
    )
