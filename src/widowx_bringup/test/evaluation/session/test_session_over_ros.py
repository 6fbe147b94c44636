"""A session over a ROS graph: one policy node acts by one bundle, then by the other."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from rosbags.highlevel import AnyReader

from widowx_bringup.evaluation.session.main import main
from widowx_bringup.evaluation.session.session import load_state, unblind
from widowx_bringup.graph.session import open_session
from widowx_bringup.sim.tasks import TARGET_TASK


def bundles_in(bag: Path) -> set[str]:
    """Return the bundles that the policy states of a bag name."""
    found = set()
    with AnyReader([bag]) as reader:
        states = [c for c in reader.connections if c.topic.endswith("/policy/state")]
        for connection, _, raw in reader.messages(states):
            found.add(reader.deserialize(raw, connection.msgtype).bundle_id)
    return found


def test_one_graph_runs_the_trials_of_both_methods(
    bundles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, out = bundles / "over_ros.yaml", tmp_path / "out"
    plan.write_text(
        f"{{task: {TARGET_TASK}, methods: {{ptr: ptr, bc: bc}}, trials: 1, time_limit: 1.0}}"
    )
    assert main(["run", str(plan), "--out", str(out), "--real-time-factor", "3"]) == 0
    assert "2 of 2 trials done, 0 void" in capsys.readouterr().out
    assert [folder.name for folder in out.glob("log*")] == [
        "log"
    ]  # one graph, started once
    state = load_state(out)
    codes = unblind(out).unblinded
    for method, code in codes.items():
        (bag,) = (row.bag for _, row in state.trials if row.method == code)
        info = (bundles / method / "bundle.json").read_bytes()
        assert bundles_in(out / bag) == {hashlib.sha256(info).hexdigest()[:12]}
    assert {row.bag for _, row in state.trials} == {
        "bags/trial_0000_1",
        "bags/trial_0001_1",
    }
    capsys.readouterr()
    assert main(["check", str(out)]) == 0
    assert capsys.readouterr().out == "2 of 2 trials: the table follows from the bags\n"


def test_a_graph_that_runs_already_is_joined_and_left_running(
    bundles: Path, tmp_path: Path
) -> None:
    plan, out = bundles / "joined.yaml", tmp_path / "out"
    plan.write_text(
        f"{{task: {TARGET_TASK}, methods: {{bc: bc}}, trials: 1, time_limit: 1.0}}"
    )
    given = {"policy": str(bundles / "ptr"), "real_time_factor": "3", "run_task": "false"}
    given["bag_directory"] = str(tmp_path / "elsewhere")
    with open_session("eval", given, tmp_path / "log") as session:
        assert main(["run", str(plan), "--out", str(out), "--running"]) == 0
        session.graph.wait_for_message("arm/state", 15.0, fresh=True)
    ((_, row),) = load_state(out).trials
    assert Path(row.bag).parent == tmp_path / "elsewhere"
    info = (bundles / "bc" / "bundle.json").read_bytes()
    assert bundles_in(Path(row.bag)) == {hashlib.sha256(info).hexdigest()[:12]}
