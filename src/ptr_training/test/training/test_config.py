"""Configuration: presets, overrides, and mistakes that are refused with a hint."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ptr_common.cli import main
from ptr_training.agents.bc import BCConfig
from ptr_training.agents.cql_config import CQLConfig
from ptr_training.errors import TrainingError
from ptr_training.training import config
from ptr_training.training.config import Config, from_dict, load_config, override

PRESETS = sorted((Path(__file__).parents[4] / "config" / "train").glob("*.yaml"))


def test_defaults_are_the_launch_settings() -> None:
    config = from_dict({})
    assert config == Config(agent=CQLConfig())
    assert (config.agent.alpha, config.agent.discount, config.agent.n_backup_actions) == (
        10.0,
        0.96,
        4,
    )
    assert (config.network.encoder, config.network.hidden, config.batch_size) == (
        "resnet34",
        (256, 256, 256),
        64,
    )


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_presets_load(path: Path) -> None:
    config = load_config(path)
    assert config.agent.summary
    assert config.min_action_std > 0.0  # what never varies is not learnt
    assert from_dict(yaml.safe_load(config.to_yaml())) == config


def test_resolved_configuration_reads_back_equal(tmp_path: Path) -> None:
    config = override(
        from_dict({}), ["agent.alpha=2", "network.hidden=[64, 32]", "finetune.mix=0.25"]
    )
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert load_config(tmp_path / "config.yaml") == config
    assert config.network.hidden == (64, 32)
    assert isinstance(config.agent.alpha, float)


def test_off_is_a_word_though_yaml_reads_it_as_false() -> None:
    config = override(from_dict({}), ["accelerate=off"])
    assert config.accelerate == "off"
    assert from_dict(yaml.safe_load(config.to_yaml())) == config


def test_overrides_beat_the_preset_and_the_last_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump({"agent": {"name": "bc", "lr": 0.1}, "seed": 3}))
    config = load_config(path, ["agent.lr=1e-3", "seed=4", "seed=5"])
    assert config.agent == BCConfig(lr=1e-3)
    assert config.seed == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "agent.alhpa=1",
            r"unknown configuration key agent.alhpa; did you mean agent.alpha\?",
        ),
        ("sede=1", r"unknown configuration key sede; did you mean seed\?"),
        ("network.film=3", "network.film is 3; expected bool"),
        ("finetune.steps=many", "finetune.steps is 'many'; expected int"),
        (
            "agent.name=sac",
            "unknown agent 'sac'; known are: autoregressive, awbc, bc, bet, calql, cql",
        ),
        ("seed", "write key=value"),
        ("seed.more=1", "seed is a value, not a section"),
        ("agent.min_q_version=v9", "it must be v1, v2 or v3"),
        (
            "network.encoder=vgg",
            "network.encoder is 'vgg'; it must be one of small, cnn, impala",
        ),
        ("finetune.mix=1.5", r"finetune.mix is 1.5; it must be in \[0, 1\)"),
        ("batch_size=0", "batch_size is 0"),
    ],
)
def test_mistakes_are_refused(change: str, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        override(from_dict({}), [change])


def test_presets_are_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config("demo_bc").agent_name == "bc"
    (tmp_path / "mine.yaml").write_text("seed: 2\n")
    assert load_config("mine.yaml").seed == 2
    with pytest.raises(
        TrainingError, match=r"no configuration .other., .* are: .*, bc, .*, ptr, "
    ):
        load_config("other")


def test_installed_presets_are_found_beside_the_packages(tmp_path: Path) -> None:
    package = Path(config.__file__).parents[1]
    module = tmp_path / "lib" / "python3" / "site-packages" / "ptr_training"
    shutil.copytree(package, module)
    presets = tmp_path / "share" / "ptr_training" / "train"
    presets.mkdir(parents=True)
    (presets / "mine.yaml").write_text("seed: 2\n")
    imports = "from ptr_training.training.config import load_config"
    program = f"{imports}; print(load_config('mine').seed)"
    environment = {**os.environ, "PYTHONPATH": str(module.parent)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=tmp_path,  # the folder of the package, where colcon starts, would come first
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "2\n"


def preset_file(folder: Path, name: str, text: str) -> str:
    (folder / f"{name}.yaml").write_text(text)
    return str(folder / f"{name}.yaml")


def test_preset_over_a_base_holds_only_what_differs(tmp_path: Path) -> None:
    base = preset_file(
        tmp_path, "base", "agent: {alpha: 2.0, discount: 0.9}\nnetwork: {encoder: small}\n"
    )
    above = preset_file(tmp_path, "above", f"base: {base}\nagent: {{alpha: 3.0}}\n")
    config = load_config(above)
    assert (config.agent.alpha, config.agent.discount, config.network.encoder) == (
        3.0,
        0.9,
        "small",
    )
    other = preset_file(tmp_path, "other", "agent: {discount: 0.5}\n")
    replaced = load_config(above, instead={base: other})
    assert (replaced.agent.alpha, replaced.agent.discount, replaced.network.encoder) == (
        3.0,
        0.5,
        "resnet34",
    )


def test_another_agent_takes_nothing_over_from_its_base(tmp_path: Path) -> None:
    base = preset_file(tmp_path, "base", "agent: {name: bc, decay_steps: 9}\n")
    config = load_config(
        preset_file(tmp_path, "above", f"base: {base}\nagent: {{name: awbc}}\n")
    )
    assert (config.agent_name, config.agent.decay_steps) == ("awbc", 0)


def test_presets_that_build_on_each_other_are_refused(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text(f"base: {two}\n")
    two.write_text(f"base: {one}\n")
    with pytest.raises(TrainingError, match="is its own base"):
        load_config(one)


def test_bases_are_replaced_wherever_a_preset_builds_on_them() -> None:
    assert (
        load_config("awbc_official", instead={"bc": "demo_bc"}).network.encoder == "small"
    )
    assert (
        load_config("ptr", instead={"ptr": "demo_cql", "bc": "demo_bc"}).agent.clone_steps
        == 2200
    )
    with pytest.raises(
        TrainingError,
        match="builds on awbc_official and awbc and bc; --base names only ptr",
    ):
        load_config("awbc_official", instead={"ptr": "demo_cql"})


def test_resolved_configuration_is_printed_and_nothing_written(
    tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        main(
            [
                "pretrain",
                "--config",
                "reward_last_1",
                "--set",
                "agent.alpha=7",
                "--print-config",
            ]
        )
        == 0
    )
    printed = from_dict(yaml.safe_load(capsys.readouterr().out))
    assert (printed.rewarded_steps, printed.agent.alpha, printed.network.encoder) == (
        1,
        7.0,
        "resnet34",
    )
    assert not list(tmp_path.iterdir())
