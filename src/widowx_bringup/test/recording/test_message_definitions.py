"""Message definitions: complete with all nested types, and found where ROS installs them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ptr_common.errors import PtrError
from widowx_bringup.recording.message_definitions import message_definition, type_hash


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of interfaces: a package of shapes that uses one of points."""
    texts = {
        "shapes/msg/Line": "# a line\npoints/Point start\nPoint[2] ends\nfloat32[<=3] widths\n",
        "shapes/msg/Point": "int32 x\nbuiltin_interfaces/Time[] times\n",
        "points/msg/Point": "string<=8 name\nfloat64 x\n",
        "builtin_interfaces/msg/Time": "int32 sec\nuint32 nanosec\n",
    }
    for type_name, text in texts.items():
        file = tmp_path / "share" / f"{type_name}.msg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    hashes = [
        {"type_name": "points/msg/Point", "hash_string": "RIHS01_aa"},
        {"type_name": "shapes/msg/Line", "hash_string": "RIHS01_bb"},
    ]
    described = tmp_path / "share" / "shapes" / "msg" / "Line.json"
    described.write_text(json.dumps({"type_hashes": hashes}))
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/nowhere:{tmp_path}")
    _forget()
    yield tmp_path
    _forget()


def _forget() -> None:
    message_definition.cache_clear()
    type_hash.cache_clear()


@pytest.mark.usefixtures("installed")
def test_a_definition_holds_every_type_once_with_its_package() -> None:
    first, *others = message_definition("shapes/msg/Line").split("=" * 80 + "\n")
    assert first.startswith("# a line\n")
    names = [text.splitlines()[0] for text in others]
    assert names == [
        "MSG: points/Point",
        "MSG: shapes/Point",
        "MSG: builtin_interfaces/Time",
    ]
    assert "int32 x" in others[1]


@pytest.mark.usefixtures("installed")
def test_a_hash_is_that_of_the_type_itself_and_empty_where_none_is_installed() -> None:
    assert type_hash("shapes/msg/Line") == "RIHS01_bb"
    assert type_hash("points/msg/Point") == ""


def test_a_type_that_is_not_installed_is_named_with_its_package(installed: Path) -> None:
    with pytest.raises(
        PtrError, match=r"no definition of robots/msg/Arm below .*install robots"
    ):
        message_definition("robots/msg/Arm")
    (installed / "share" / "points" / "msg" / "Point.msg").unlink()
    with pytest.raises(PtrError, match="no definition of points/msg/Point"):
        message_definition("shapes/msg/Line")
