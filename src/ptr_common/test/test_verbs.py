"""The verbs of `ptr`: where they come from, their summaries, and what is missing."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from ptr_common import verbs
from ptr_common.verbs import GROUP, PACKAGES, Verb, find_verbs, how_to_get, missing


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
