"""`ptr replay --bundle`: what is reproduced, what cannot be and why, and what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("torch", reason="PyTorch is not installed")

from brightness_bundle import write_brightness_bundle
from policy_bags import PolicyBag, old_definition

from ptr_common import cli
from ptr_common.errors import PtrError
from widowx_bringup.replay.main import main


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Bundles by what is special about them."""
    folder = tmp_path_factory.mktemp("bundles")
    return {
        "plain": write_brightness_bundle(folder / "plain"),
        "plans": write_brightness_bundle(folder / "plans", execute=3),
        "draws": write_brightness_bundle(folder / "draws", draws=True),
        "silent": write_brightness_bundle(folder / "silent", says_nothing=True),
    }


def replay(bag: Path, bundle: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Return exit status and summary of the only episode."""
    out = bag.parent / "out"
    words = [str(bag), "--bundle", str(bundle), "--out", str(out), *options]
    status = main(words)
    (summary,) = json.loads((out / "replay.json").read_text())["episodes"]
    return status, summary


@pytest.mark.parametrize("kind", ["plain", "plans", "draws", "silent"])
def test_every_action_and_value_of_a_bag_is_reproduced(
    tmp_path: Path, bundles: dict[str, Path], kind: str
) -> None:
    bag = PolicyBag(waits=(3,)).write(tmp_path, bundles[kind])
    status, summary = replay(bag, bundles[kind])
    assert status == 0
    assert (summary["steps"], summary["compared"]) == (7, 7)
    assert set(summary["action_difference"].values()) == {0.0}
    nothing = None if kind == "silent" else 0.0
    assert (summary["q_difference"], summary["std_difference"]) == (nothing, nothing)
    rows = list(csv.DictReader((tmp_path / "out" / "steps.csv").open()))
    assert len(rows) == 7
    assert rows[0]["recorded_dx"] == rows[0]["recomputed_dx"] != "nan"


def test_a_lost_image_costs_its_step_and_no_later_draw(
    tmp_path: Path, bundles: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bag = PolicyBag(steps=20, lost=(2,)).write(tmp_path, bundles["draws"])
    status, summary = replay(bag, bundles["draws"])
    assert status == 0
    assert summary["compared"] == 19
    assert summary["not_reproduced"] == {"the bag lacks its image": 1}
    assert "bag: 1 steps not reproduced: the bag lacks its image" in capsys.readouterr().out


def test_a_lost_image_costs_the_plan_that_was_made_on_it(
    tmp_path: Path, bundles: dict[str, Path]
) -> None:
    bag = PolicyBag(lost=(3,)).write(tmp_path, bundles["plans"])  # plans at 0, 3 and 6
    status, summary = replay(bag, bundles["plans"])
    assert status == 0
    lost = summary["not_reproduced"]
    assert lost["its plan was made at a step that could not be reproduced"] == 2
    assert summary["compared"] == 8 - 3


def test_a_wait_ends_a_lost_plan(tmp_path: Path, bundles: dict[str, Path]) -> None:
    bag = PolicyBag(lost=(3,), waits=(4,)).write(tmp_path, bundles["plans"])
    assert replay(bag, bundles["plans"])[1]["compared"] == 6


def test_a_published_action_that_is_not_the_bundles_gives_status_1(
    tmp_path: Path, bundles: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bag = PolicyBag(wrong=(4,)).write(tmp_path, bundles["plain"])
    status, summary = replay(bag, bundles["plain"])
    assert status == 1
    assert summary["action_difference"]["dx"] == pytest.approx(0.001, abs=1e-6)
    assert "largest difference 1.0e-03, BEYOND the tolerance" in capsys.readouterr().out
    assert replay(bag, bundles["plain"], "--tolerance", "0.01")[0] == 0


def test_values_that_were_not_computed_in_time_are_counted(
    tmp_path: Path, bundles: dict[str, Path]
) -> None:
    bag = PolicyBag(busy=(1, 2)).write(tmp_path, bundles["plain"])
    status, summary = replay(bag, bundles["plain"])
    assert (status, summary["steps_without_q"]) == (0, 2)


def test_a_command_without_a_state_is_reproduced_with_the_arm_state_before_its_image(
    tmp_path: Path, bundles: dict[str, Path]
) -> None:
    bag = PolicyBag(unstated=(7,)).write(tmp_path, bundles["plain"])
    status, summary = replay(bag, bundles["plain"])
    assert (status, summary["compared"], summary["inferred_arm_states"]) == (0, 8, 1)


def test_a_bag_of_before_the_states_named_their_frames_is_reproduced(
    tmp_path: Path, bundles: dict[str, Path]
) -> None:
    assert "observation_stamp" not in old_definition()
    bag = PolicyBag(old=True, waits=(3,)).write(tmp_path, bundles["plans"])
    status, summary = replay(bag, bundles["plans"])
    assert (status, summary["compared"], summary["inferred_arm_states"]) == (0, 7, 7)
    assert summary["q_difference"] == 0.0


def test_without_start_a_bundle_with_draws_cannot_be_reproduced(
    tmp_path: Path, bundles: dict[str, Path]
) -> None:
    bag = PolicyBag(starts=False).write(tmp_path / "draws", bundles["draws"])
    with pytest.raises(PtrError, match=r"no step could be reproduced: .*lacks START"):
        replay(bag, bundles["draws"])
    bag = PolicyBag(starts=False).write(tmp_path / "plain", bundles["plain"])
    assert replay(bag, bundles["plain"])[1]["compared"] == 8


def test_a_shadow_is_compared_with_what_its_states_say(
    tmp_path: Path, bundles: dict[str, Path]
) -> None:
    bag = PolicyBag(topic="shadow/policy/state").write(tmp_path, bundles["draws"])
    status, summary = replay(bag, bundles["draws"])
    assert (status, summary["compared"], summary["topic"]) == (0, 8, "shadow/policy/state")


def test_a_bundle_that_did_not_run_is_refused_unless_that_is_wanted(
    tmp_path: Path, bundles: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bag = PolicyBag().write(tmp_path, bundles["plain"])
    words = ["replay", str(bag), "--bundle", str(bundles["plans"])]
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert "left out: bundle " in error
    assert (
        "name the bundle that ran, or compare with another one by --other-bundle" in error
    )
    assert replay(bag, bundles["plans"], "--other-bundle")[0] == 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--episode", "nobody"], "no bag holds episode 'nobody'"),
        (["--backend", "aot"], "backend 'aot' runs bundles of the form 'export'"),
    ],
)
def test_what_cannot_be_replayed_is_one_clear_error(
    tmp_path: Path, bundles: dict[str, Path], options: list[str], sentence: str
) -> None:
    bag = PolicyBag(steps=2).write(tmp_path, bundles["plain"])
    with pytest.raises(PtrError, match=sentence):
        replay(bag, bundles["plain"], *options)


def test_options_of_the_arm_are_refused_with_a_bundle(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["bag", "--bundle", "bundle", "--yes"])
    assert "--yes goes with --on-arm" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["bag", "--on-arm", "--tolerance", "1"])
    assert "--tolerance goes with --bundle" in capsys.readouterr().err


def test_a_demonstration_has_no_policy_to_replay(bundles: dict[str, Path]) -> None:
    bag = Path(__file__).parents[4] / "test/files_of_0.1.0/bags/first"
    with pytest.raises(
        PtrError, match="has no policy/state: no policy of ours was recorded"
    ):
        main([str(bag), "--bundle", str(bundles["plain"])])
