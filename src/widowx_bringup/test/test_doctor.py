from __future__ import annotations

import pytest

from widowx_bringup import doctor


def test_a_failed_check_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def broken() -> str:
        raise OSError("no such library")

    monkeypatch.setattr(doctor, "CHECKS", {"rendering": (broken, "install it")})
    assert doctor.main([]) == 1
    told = capsys.readouterr().out
    assert "FAIL" in told
    assert "no such library" in told
    assert "install it" in told


def test_little_disk_space_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "MINIMUM_FREE", 1e18)
    with pytest.raises(RuntimeError, match="GB free"):
        doctor._disk()


def test_versions_name_python_packages_and_revision() -> None:
    found = doctor.versions()
    assert found["numpy"][0].isdigit()
    assert "(" in found["project"]
