"""What becomes of an episode of any format: places and names, bounds, gripper, stamps, images."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from prior_data import DATED, FOLDER

from ptr_training.importers.base import (
    BridgePath,
    ImportOptions,
    RecordStatus,
    SkipRecord,
    natural_key,
)

OPTIONS = ImportOptions()
SIZE = (8, 8)


@pytest.mark.parametrize(
    ("path", "name", "folder", "domain", "task"),
    [
        (
            "/a/b/" + FOLDER + "/val/out.npy",
            FOLDER + "/val/out.npy",
            FOLDER,
            "toykitchen1",
            "put_carrot_on_plate",
        ),
        (
            f"/a/{DATED}/raw/traj_group0/traj1",
            f"{DATED}/raw/traj_group0/traj1",
            DATED,
            "toykitchen1",
            "put_carrot_on_plate",
        ),
        (
            "/a/raw/bridge_data_v2/datacol2_toykitchen5/pnp_push_sweep/05/2023-07-11_14-06-57/raw/traj_group0/traj0",
            "bridge_data_v2/datacol2_toykitchen5/pnp_push_sweep/05/2023-07-11_14-06-57/raw/traj_group0/traj0",
            "bridge_data_v2/datacol2_toykitchen5/pnp_push_sweep/05/2023-07-11_14-06-57",
            "datacol2_toykitchen5",
            "pnp_push_sweep",
        ),
        ("rss/toykitchen2/set_table/00/train/out.npy",) * 2
        + ("rss/toykitchen2/set_table/00", "toykitchen2", "set_table"),
        (
            "/home/me/lab/kitchen/put_x/out.npy",
            "kitchen/put_x/out.npy",
            "kitchen/put_x",
            "kitchen",
            "put_x",
        ),
        ("scripted/2022-12-09_pnp_soft_toys",) * 3
        + ("scripted", "2022-12-09_pnp_soft_toys"),
        ("/put_x", "put_x", "put_x", "", "put_x"),
        ("", "", "", "", ""),
    ],
)
def test_place_is_read_from_the_collection_on(
    path: str, name: str, folder: str, domain: str, task: str
) -> None:
    place = BridgePath.parse(path)
    assert (place.name, place.folder, place.domain, place.task) == (
        name,
        folder,
        domain,
        task,
    )


def test_date_is_that_of_the_dated_folder() -> None:
    assert BridgePath.parse(f"/a/{DATED}/raw/traj_group0/traj1").collected == datetime(
        2021, 8, 1, 10, 20, 30
    )
    assert (
        BridgePath.parse("/a/scripted/2022-12-09_pnp_soft_toys/out.npy").collected is None
    )


def test_numbers_in_names_are_sorted_as_numbers() -> None:
    names = ["traj9/im_2.jpg", "traj9/im_10.jpg", "traj10/im_0.jpg", "trajectory"]
    assert sorted(map(Path, names[::-1]), key=natural_key) == [*map(Path, names)]


@pytest.mark.parametrize(
    ("include", "exclude", "wanted"),
    [
        ((), (), True),
        ((), ("open",), False),  # PTR's lists work so: the substring is in "opened"
        (("drawer", "pot"), (), True),
        (("pot",), (), False),
        (("drawer",), ("kitchen6",), False),
    ],
)
def test_filters_look_for_substrings_anywhere(
    include: tuple[str, ...], exclude: tuple[str, ...], wanted: bool
) -> None:
    options = ImportOptions(include=include, exclude=exclude)
    if wanted:
        options.check_wanted("toykitchen6/put_spoon_into_opened_drawer")
        return
    with pytest.raises(SkipRecord) as skipped:
        options.check_wanted("toykitchen6/put_spoon_into_opened_drawer")
    assert skipped.value.status == RecordStatus.EXCLUDED
