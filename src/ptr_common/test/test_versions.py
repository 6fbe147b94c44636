"""Versions in records and reports."""

from __future__ import annotations

import subprocess

import pytest

from ptr_common import versions


def test_every_part_has_a_version() -> None:
    by_name = versions.versions()
    assert list(by_name) == ["python", "machine", *versions.PACKAGES, "project"]
    assert by_name["numpy"][0].isdigit()


def test_a_missing_package_is_named_as_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(versions, "PACKAGES", ("no-such-package",))
    assert versions.versions()["no-such-package"] == "not installed"


def test_without_git_there_is_a_revision_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", refuse)
    assert versions.revision() == "0.1.0 (no git)"
