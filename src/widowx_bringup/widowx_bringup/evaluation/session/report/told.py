"""What is said of a session beside its table: its power before, two methods at any time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from widowx_bringup.evaluation.results import Rollout
from widowx_bringup.evaluation.session.session import SessionState
from widowx_bringup.evaluation.statistics import (
    AnytimeComparison,
    mcnemar_power,
    probability_text,
)

ALONE = 0.05
"""Share of scenes that the worse method alone solves, where the power is told."""


def attendance_facts(plan: Mapping[str, Any]) -> dict[str, str]:
    """Return what the plan of a session says of the person, by the name of the fact.

    Args:
        plan: As the journal has it; without these values if nobody attended.
    """
    if "judge" not in plan:
        return {}
    starts = len(plan["starts"])
    near = plan["tolerance"]
    tolerance = f"{1000 * near['position']:g} mm and {near['rotation']:g}°"
    taken = f"{starts}, which the scenes take in turn; met to {tolerance}"
    facts = {
        "start poses": taken if starts else "",
        "layouts": "; ".join(each["text"] for each in plan["placements"]),
        "reasons": ", ".join(plan["reasons"]),
        "stages": ", ".join(plan["stages"]),
    }
    return {name: fact for name, fact in facts.items() if fact}


def power_text(scenes: int) -> str:
    """Return how likely so many scenes show a difference, for three sizes of it."""
    found = []
    for won in (0.2, 0.4, 0.6):
        power = mcnemar_power(won, ALONE, scenes)
        found.append(f"of {100 * (won - ALONE):.0f} points in {power:.0%}")
    return (
        f"scenes: {scenes}; they show a difference {', '.join(found)} of all sessions "
        f"(McNemar, 5 %; the worse method alone solves {ALONE:.0%})"
    )


def anytime_text(state: SessionState, rollouts: Sequence[Rollout] | None = None) -> str:
    """Return what may be said of two methods after every trial; empty for another number.

    Args:
        state: Of the session.
        rollouts: Its trials, those of the method first that is named first; None: as they were.
    """
    solved: dict[int, dict[str, bool]] = {}
    for row in state.rollouts if rollouts is None else rollouts:
        if not row.aborted:
            solved.setdefault(row.rollout, {})[row.method] = row.success
    pairs = [scene for scene in solved.values() if len(scene) == 2]
    if len(state.plan["methods"]) != 2 or not pairs:
        return ""
    session = AnytimeComparison()
    first, second = pairs[0]
    for scene in pairs:
        session.add(scene[first], scene[second])
    low, high = (round(100 * end) for end in session.interval)
    verdict = "trials may end here" if session.resolved else "not resolved so far"
    return (
        f"looked at after every scene: {first} against {second} {low} … {high} points, "
        f"{probability_text(session.p)}: {verdict}"
    )
