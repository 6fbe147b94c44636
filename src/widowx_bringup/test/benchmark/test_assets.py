"""Assets of the benchmark: what is missing is named, a missing table is replaced."""

from __future__ import annotations

from pathlib import Path

import pytest
from simpler_standin import write_assets

from widowx_bringup.benchmark.assets import (
    BRIDGE,
    STAGES,
    assets_folder,
    check_assets,
    link_assets,
    listed,
    note_lines,
    usable_tasks,
)
from widowx_bringup.benchmark.tasks import TASKS, BenchmarkError

SPOON, CARROT, CUBES, EGGPLANT = TASKS


def test_a_complete_folder_lacks_and_replaces_nothing(tmp_path: Path) -> None:
    folder = write_assets(tmp_path, *TASKS)
    for task in TASKS:
        found = check_assets(folder, task)
        assert (found.missing, found.replaced, found.note) == ((), "", "")


def test_a_missing_table_is_replaced_and_named(tmp_path: Path) -> None:
    found = check_assets(write_assets(tmp_path, CARROT, stage=False), CARROT)
    assert found.missing == ()
    assert found.note.startswith("replaced the mesh of the table by a flat box")


def test_a_missing_mesh_of_robot_and_object_is_named(tmp_path: Path) -> None:
    folder = write_assets(tmp_path, EGGPLANT)
    (folder / "data/robots/widowx/meshes/finger.stl").unlink()
    (folder / BRIDGE / "custom/models/eggplant/textured.dae").unlink()
    found = check_assets(folder, EGGPLANT)
    assert found.missing == (
        "data/robots/widowx/meshes/finger.stl",
        f"{BRIDGE}/custom/models/eggplant/textured.dae",
    )
    assert found.note.startswith(
        "left out, for want of data/robots/widowx/meshes/finger.stl"
    )


def test_a_task_without_files_is_left_out_unless_it_was_chosen(tmp_path: Path) -> None:
    folder = write_assets(tmp_path, CARROT)
    found = usable_tasks(folder, [CARROT, EGGPLANT], chosen=False)
    assert [each.task.name for each in found if not each.missing] == ["carrot"]
    with pytest.raises(BenchmarkError, match=r"eggplant/textured\.dae.*download_asset"):
        usable_tasks(folder, [CARROT, EGGPLANT], chosen=True)


def test_an_empty_folder_is_refused_with_the_way_to_get_assets(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"wx250s\.urdf.*CC BY-NC 4\.0.*--assets"):
        usable_tasks(tmp_path, TASKS, chosen=False)


def test_the_folder_is_the_one_named_else_that_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MS_ASSET_DIR", str(tmp_path / "there"))
    assert assets_folder(tmp_path) == tmp_path
    assert assets_folder(None) == tmp_path / "there"
    monkeypatch.delenv("MS_ASSET_DIR")
    assert assets_folder(None) == Path.home() / ".maniskill"


def test_links_show_the_assets_and_leave_room_for_a_table(tmp_path: Path) -> None:
    folder = write_assets(tmp_path / "assets", CARROT, stage=False)
    link_assets(folder, tmp_path / "links")
    assert check_assets(tmp_path / "links", CARROT).missing == ()
    (tmp_path / "links" / STAGES / CARROT.stage).touch()
    assert check_assets(tmp_path / "links", CARROT).replaced == ""
    assert not (folder / STAGES).exists()


def test_tasks_of_one_note_share_a_line() -> None:
    notes = {
        "spoon": "replaced it",
        "carrot": "replaced it",
        "cubes": "",
        "eggplant": "left out",
    }
    assert note_lines(notes) == ["spoon, carrot: replaced it", "eggplant: left out"]


def test_many_names_are_cut_and_counted() -> None:
    assert listed("abc", most=2) == "a, b and 1 more files"
    assert listed("ab") == "a, b"
