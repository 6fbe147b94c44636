"""The verbs of `ptr`: where they come from, their summaries, and what is missing."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from ptr_common import verbs
from ptr_common.verbs import (
    GROUP,
    PACKAGES,
    Verb,
    find_verbs,
    how_to_get,
    missing,
    parser_of,
)


def test_the_list_of_verbs_is_that_of_the_installed_packages() -> None:
    found = {}
    for verb in find_verbs().values():
        assert verb.entry is not None, f"{verb.name} is not installed"
        found[verb.name] = verb.package
    listed = {}
    for package, names in PACKAGES.items():
        listed.update(dict.fromkeys(names, package))
    assert found == listed


def test_every_installed_verb_has_a_summary() -> None:
    for verb in find_verbs().values():
        assert verb.summary().endswith("."), verb.name
        assert "[needs" not in verb.summary()


def test_a_summary_is_read_without_importing_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_verb.py").write_text(
        'import no_such_module\n\ndef main(argv):\n    """Do it.\n\n    More.\n    """\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = EntryPoint("do", "broken_verb:main", GROUP)
    assert Verb("do", "broken_verb", entry).summary() == "Do it."
    assert "broken_verb" not in sys.modules


def test_a_verb_without_its_package_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verbs, "entry_points", lambda group: ())
    found = find_verbs()
    assert set(found) == {name for names in PACKAGES.values() for name in names}
    assert found["select"].summary() == (
        "[needs the package ptr_training: make setup, or pip install src/ptr_training]"
    )


def test_an_entry_whose_package_is_gone_says_what_it_needs() -> None:
    entry = EntryPoint("fly", "no_such_package.room.fly:main", GROUP)
    assert "[needs the Python package no-such-package" in Verb("fly", "x", entry).summary()


@pytest.mark.parametrize(
    ("module", "answer"),
    [
        ("rclpy", "ROS 2 (rclpy): make setup, or source /opt/ros/DISTRO/setup.bash"),
        ("sensor_msgs", "ROS 2 (sensor_msgs)"),
        ("ptr_msgs", "the messages of ptr_msgs"),
        (
            "ptr_training",
            "the package ptr_training: make setup, or pip install src/ptr_training",
        ),
        ("mujoco", "the Python package mujoco: make setup, or pip install mujoco"),
        ("cv2", "pip install opencv-python-headless"),
        ("google_crc32c", "pip install google-crc32c"),
    ],
)
def test_a_missing_module_is_named_with_what_installs_it(module: str, answer: str) -> None:
    assert answer in how_to_get(module)


def test_a_module_of_ours_that_does_not_exist_is_a_mistake_and_no_missing_package() -> None:
    assert missing(ModuleNotFoundError(name="ptr_common.no_such_module")) == ""
    assert missing(ImportError("cannot import name 'x'", name="ptr_common.files")) == ""


def test_a_library_that_does_not_load_is_named_with_its_reason() -> None:
    error = ImportError("libEGL.so.1: cannot open shared object file", name="mujoco._x")
    assert missing(error).startswith("the Python package mujoco")
    assert missing(error).endswith("(libEGL.so.1: cannot open shared object file)")


def completions(tmp_path: Path, line: str) -> set[str]:
    """Return what the shell would offer after a line."""
    pytest.importorskip("argcomplete", reason="argcomplete is not installed")
    answer = tmp_path / "answer"
    request = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
    }
    subprocess.run(
        [sys.executable, "-m", "ptr_common.cli"], env={**os.environ, **request}, check=True
    )
    text = answer.read_text() if answer.exists() else ""
    return {word.strip() for word in text.split("\n") if word.strip()}


def test_verbs_complete(tmp_path: Path) -> None:
    found = completions(tmp_path, "ptr re")
    assert found == {"record", "recover", "replay", "report", "review"}
    assert "--version" in completions(tmp_path, "ptr --")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("ptr report --", {"--help", "--mixed", "--out"}),
        ("ptr demo --pre", {"--preset"}),
        ("ptr demo --preset ", {"full", "smoke"}),
    ],
)
def test_options_and_values_of_a_verb_complete(
    tmp_path: Path, line: str, offered: set[str]
) -> None:
    assert completions(tmp_path, line) == offered


def test_a_verb_that_does_not_exist_has_no_completions(tmp_path: Path) -> None:
    assert completions(tmp_path, "ptr fly --") == set()


def test_a_function_that_parses_nothing_has_no_parser() -> None:
    with pytest.raises(LookupError, match="parses no arguments"):
        parser_of(lambda _: None)
