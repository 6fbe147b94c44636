"""The stages of the demonstration: their order, and equal training of every method."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from ptr_common.verbs import find_verbs, parser_of
from widowx_bringup.evaluation.demo_stages import METHODS, PLANS, build_stages


def verb(commands: list[list[str]]) -> list[str]:
    return [command[0] for command in commands]


def test_the_loop_runs_from_prior_data_to_evaluation(tmp_path: Path) -> None:
    stages = build_stages(tmp_path, "put the red cube on the blue plate", 0, PLANS["full"])
    ptr, bc, target_only = stages[3].chains
    assert verb(bc) == ["pretrain", "finetune", "select", "bundle"]
    assert verb(ptr) == [*verb(bc), "bundle"]  # the second one without the critic's say
    assert "--act" not in ptr[3]
    assert ptr[4][1:4] == [str(tmp_path / "ptr" / "finetune"), "--act", "mode"]
    assert verb(target_only) == ["finetune", "select", "bundle"]
    assert [verb(stage.chains[0])[0] for stage in stages] == [
        "collect",
        "record",
        "export",
        "pretrain",
        "evaluate",
    ]


def test_every_method_takes_the_same_number_of_gradient_steps(tmp_path: Path) -> None:
    plan = PLANS["full"]
    chains = build_stages(tmp_path, "t", 0, plan)[3].chains
    steps: dict[str, int] = {}
    for command in itertools.chain(*chains):
        if "--steps" in command:
            method = Path(command[command.index("--out") + 1]).parent.name
            count = int(command[command.index("--steps") + 1])
            steps[method] = steps.get(method, 0) + count
    assert set(steps) == set(METHODS) - {"ptr-without-q"}  # one checkpoint with ptr
    assert set(steps.values()) == {plan.pretrain_steps + plan.finetune_steps}


@pytest.mark.parametrize("preset", PLANS)
def test_every_command_is_one_that_its_verb_takes(tmp_path: Path, preset: str) -> None:
    verbs = find_verbs()
    for stage in build_stages(tmp_path, "t", 0, PLANS[preset]):
        for name, *arguments in itertools.chain(*stage.chains):
            entry = verbs[name].entry
            assert entry is not None
            parser_of(entry.load()).parse_args(arguments)
