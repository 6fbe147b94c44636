"""`ptr pretrain` and `ptr finetune`: options, and wrong values refused in one sentence."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import yaml

from ptr_common import cli
from ptr_training.deploy import bundle_export, checkpoint_selection
from ptr_training.errors import TrainingError
from ptr_training.training.checkpoint import find_checkpoint, load_checkpoint
from ptr_training.training.train import finetune, finetune_parser, pretrain, pretrain_parser

PARSERS = {
    "pretrain": pretrain_parser(),
    "finetune": finetune_parser(),
    "select": checkpoint_selection.make_parser(),
    "bundle": bundle_export.make_parser(),
}


@pytest.mark.parametrize("verb", PARSERS)
def test_every_option_has_a_help_text_and_its_default(verb: str) -> None:
    for action in PARSERS[verb]._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        assert action.help, action.dest
        assert "(default: " in action.help or "required)" in action.help, action.dest
    assert PARSERS[verb].format_help()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seed", "-3"], "seed is -3; it must be in 0 to 18446744073709551614"),
        (["--steps", "0"], "finetune.steps is 0; it must be at least 1"),
        (["--steps", "-1"], "finetune.steps is -1; it must be at least 1"),
        (["--holdout", "-1"], "finetune.holdout is -1; it must be at least 0"),
        (["--set", "log_every=0"], "log_every is 0; it must be at least 1"),
        (["--set", "threads=-1"], "threads is -1; it must be in 0 to 1024"),
        (
            ["--set", "finetune.checkpoint_every=0"],
            "finetune.checkpoint_every is 0; it must be at least 1",
        ),
        (
            ["--set", "finetune.checkpoint_at=[5, 0]"],
            "finetune.checkpoint_at is [5, 0]; its steps must be at least 1",
        ),
        (["--set", "accelerate=true"], "accelerate is True; expected str"),
        (
            ["--set", "accelerate=fast"],
            "accelerate is 'fast'; it must be auto, graph, compile or off",
        ),
        (["--set", "device=gpu"], "device is 'gpu'; it must be auto, cpu, cuda or cuda:N"),
    ],
)
@pytest.mark.parametrize("from_checkpoint", [False, True])
def test_values_out_of_range_are_one_sentence(
    options: list[str],
    message: str,
    from_checkpoint: bool,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    preset: str,
    make_store,
    capsys,
) -> None:
    origin = ["--config", preset]
    if from_checkpoint:
        origin = ["--from", str(request.getfixturevalue("pretrained"))]
    where = ["--target", str(make_store("target", tasks=("new",)))]
    capsys.readouterr()
    command = ["finetune", *origin, *where, "--out", str(tmp_path / "out"), *options]
    assert cli.main(command) == 2
    assert capsys.readouterr().err == f"ptr finetune: {message}\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("mix", ["1", "1.5", "-0.1", "nan"])
def test_a_mix_out_of_range_is_refused(
    mix: str, tmp_path: Path, preset: str, make_store
) -> None:
    stores = ["--target", str(make_store("target")), "--prior", str(make_store("prior"))]
    command = ["--config", preset, *stores, "--out", str(tmp_path / "out"), f"--mix={mix}"]
    with pytest.raises(TrainingError, match=r"finetune.mix is .*; it must be in \[0, 1\)"):
        finetune(command)


def test_a_mix_without_prior_data_is_refused(
    tmp_path: Path, preset: str, make_store
) -> None:
    target = str(make_store("target", tasks=("new",)))
    command = ["--config", preset, "--target", target, "--out", str(tmp_path / "out")]
    message = "--mix is 0.5, but there is no prior data to mix in; name it with --prior"
    with pytest.raises(TrainingError, match=message):
        finetune([*command, "--mix", "0.5"])
    finetune([*command, "--mix", "0", "--steps", "1"])
    assert load_checkpoint(find_checkpoint(tmp_path / "out")).config.finetune.mix == 0.0


def test_the_same_store_as_prior_and_target_is_refused(
    tmp_path: Path, preset: str, make_store
) -> None:
    store = str(make_store("store"))
    stores = ["--prior", store, "--target", store]
    with pytest.raises(TrainingError, match=r"--target .* same episodes as --prior"):
        finetune(["--config", preset, *stores, "--out", str(tmp_path / "out")])
    twice = ["--data", store, store, "--out", str(tmp_path / "out")]
    with pytest.raises(TrainingError, match=r"--data .* same episodes as --data"):
        pretrain(["--config", preset, *twice])
    assert not (tmp_path / "out").exists()


def test_swapped_prior_and_target_are_warned_of(
    tmp_path: Path, preset: str, make_store, capsys
) -> None:
    prior, target = str(make_store("prior")), str(make_store("target", tasks=("new",)))
    swapped = ["--prior", target, "--target", prior]
    finetune(["--config", preset, *swapped, "--out", str(tmp_path / "out"), "--steps", "1"])
    warnings = capsys.readouterr().err
    assert "prior holds 2 tasks (a, b) and --prior 1 (new)" in warnings
    assert "are --prior and --target swapped?" in warnings


def test_demonstrations_of_several_tasks_alone_need_no_warning(
    tmp_path: Path, preset: str, make_store, capsys
) -> None:
    target = ["--target", str(make_store("target"))]
    finetune(["--config", preset, *target, "--out", str(tmp_path / "out"), "--steps", "1"])
    assert "warning" not in capsys.readouterr().err


def test_near_misses_of_known_tasks_are_warned_of(
    tmp_path: Path, preset: str, make_store, capsys
) -> None:
    prior = make_store("prior", tasks=("lift the cube", "open the box"))
    out = tmp_path / "pre"
    data = ["--data", str(prior), "--target-task", "open box", "push the cube"]
    pretrain(["--config", preset, *data, "--out", str(out), "--steps", "1"])
    warnings = capsys.readouterr().err
    assert "--target-task: 'open box' becomes a new task, beside the known" in warnings
    assert warnings.count("warning:") == 1
    for task, is_warned in (("push the cube", False), ("push the cub", True)):
        target = make_store(task, tasks=(task,))
        where = ["--target", str(target), "--out", str(tmp_path / f"{task} out")]
        finetune(["--from", str(out), *where, "--steps", "1"])
        assert ("beside the known 'push the cube'" in capsys.readouterr().err) == is_warned


def test_a_mistyped_preset_has_a_suggestion(tmp_path: Path) -> None:
    where = ["--data", "nowhere", "--out", str(tmp_path / "out")]
    with pytest.raises(
        TrainingError,
        match=r"no configuration 'demo_prt', neither .*; did you mean demo_ptr\?",
    ):
        pretrain(["--config", "demo_prt", *where])


@pytest.mark.parametrize("texts", [["b"], ["a=b", "a=c"]])
def test_pairs_need_an_equals_sign_and_distinct_names(
    texts: list[str], tmp_path: Path, preset: str
) -> None:
    options = [option for text in texts for option in ("--base", text)]
    with pytest.raises(TrainingError, match="write two names with = between them"):
        pretrain(["--config", preset, "--print-config", *options])


def test_the_configuration_of_a_checkpoint_is_printed(pretrained: Path, capsys) -> None:
    capsys.readouterr()
    finetune(["--from", str(pretrained), "--print-config", "--steps", "9", "--mix", "0.25"])
    values = yaml.safe_load(capsys.readouterr().out)
    assert values["finetune"]["steps"] == 9
    assert (
        values["finetune"]["mix"] == 0.25
    )  # also without --prior, which is not needed here
