"""Published success rates on the same tasks, with their sources and conditions.

None was measured here. Numbers of different sources were got under different conditions, and
people report that they cannot reproduce some of them.
"""

from __future__ import annotations

from dataclasses import dataclass

SIMPLER = "SimplerEnv, tools/calc_metrics.py (Li et al., CoRL 2024)"
STARVLA = "StarVLA's documents, which collect what papers report"
XVLA = "X-VLA, evaluation/simpler/README.md"

COLLECTED = "checkpoints, lengths of rollouts and image sizes differ from paper to paper"


@dataclass(frozen=True)
class Published:
    """Success rates of one policy in percent; None: not given.

    Attributes:
        policy: Its name.
        rates: By the name of the task.
        mean: Over the four tasks, as its source gives it.
        source: Where the numbers stand.
        condition: How they were got, where that differs from here.
    """

    policy: str
    rates: dict[str, float]
    mean: float
    source: str
    condition: str


def _published(
    policy: str, rates: tuple[float, float, float, float], mean: float, source: str
) -> Published:
    """Return an entry of one of the two collections."""
    names = ("spoon", "carrot", "cubes", "eggplant")
    condition = COLLECTED
    if source is SIMPLER:
        condition = (
            "ManiSkill 2, rendered on a GPU; 24 scenes, several runs; the last step counts"
        )
    return Published(policy, dict(zip(names, rates, strict=True)), mean, source, condition)


PUBLISHED = (
    _published("RT-1-X", (0.0, 4.2, 0.0, 0.0), 1.1, SIMPLER),
    _published("Octo-base", (12.5, 8.3, 0.0, 43.1), 16.0, SIMPLER),
    _published("Octo-small", (47.2, 9.7, 4.2, 56.9), 29.5, SIMPLER),
    _published("OpenVLA", (4.2, 0.0, 0.0, 12.5), 4.2, STARVLA),
    _published("pi0", (29.1, 0.0, 16.6, 62.5), 27.1, STARVLA),
    _published("SpatialVLA", (16.7, 25.0, 29.2, 100.0), 42.7, STARVLA),
    _published("CogACT", (71.7, 50.8, 15.0, 67.5), 51.3, STARVLA),
    _published("GR00T N1.5", (75.3, 54.3, 57.0, 61.3), 61.9, STARVLA),
    Published("X-VLA", {}, 95.8, XVLA, "the environment was changed for absolute poses"),
)
"""In the order of their mean."""

CONDITIONS = (
    "Here: ManiSkill 3 on a CPU, rendered by software, 24 fixed scenes a task, each once, "
    "60 steps (eggplant 120) at 5 Hz; solved is what the last step shows, as SimplerEnv counts.",
    "Published rates were got under other conditions (sources above); with 24 scenes a task, "
    "neighbours in rank seldom differ by more than chance. The simulator's maintainers ask for "
    "at least 75 trials before anything is concluded.",
)
"""What stands below every table."""
