"""A served policy acts as the bundle does, and what is no action never becomes one."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

from served_rig import Serving, describe, serving
from toy_bundle import CAMERA

from ptr_policy_node.bundle import BundleError
from ptr_policy_node.policy import Policy, load_bundle
from ptr_policy_node.served.link import NoActionError
from ptr_policy_node.served.programs import fit_image

IMAGE = np.full((CAMERA.height, CAMERA.width, 3), 51, np.uint8)
PROPRIO = np.linspace(0.0, 0.6, 7, dtype=np.float32)


@pytest.fixture(params=["openpi", "openvla"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def description(tmp_path: Path, served: Serving, protocol: str) -> Path:
    return describe(tmp_path / "served.yaml", protocol, served.urls[protocol])


def test_it_acts_as_the_bundle_it_serves(local: Policy, description: Path) -> None:
    policy = load_bundle(description, camera=CAMERA, rate=5.0)
    expected = local.act(IMAGE, PROPRIO, "b")
    output = policy.act(IMAGE, PROPRIO, "b")
    np.testing.assert_array_equal(output.action, expected.action)
    q = policy.q_values(output)
    if policy.backend == "served openpi":  # OpenVLA's protocol has actions alone
        np.testing.assert_array_equal(output.std, expected.std)
        np.testing.assert_array_equal(q, local.q_values(expected))
        assert policy.lacks == ()
    else:
        assert np.isnan(output.std).all()
        assert np.isnan(q).all()
        assert len(policy.lacks) == 2
    assert policy.sha256 != local.sha256


def late(served: Serving) -> None:
    served.server.proceed.clear()


def not_finite(served: Serving) -> None:
    served.server.change = lambda actions: np.full_like(actions, np.nan)


def six_numbers(served: Serving) -> None:
    served.server.change = lambda actions: actions[..., :6]


def texts(served: Serving) -> None:
    served.server.change = lambda actions: "error"


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        (late, "late", "did not answer within 300 ms"),
        (not_finite, "not finite", "is not finite: .*nan"),
        (six_numbers, "malformed", r"numbers of shape \(1 or more, 7\) are expected"),
        (texts, "(malformed|refused)", "'error'"),
    ],
)
def test_what_is_no_action_never_becomes_one(
    served: Serving, description: Path, fault, kind: str, message: str
) -> None:
    protocol = "openpi" if "openpi" in description.read_text() else "openvla"
    describe(description, protocol, served.urls[protocol], deadline_ms=300)
    policy = load_bundle(description)
    policy.reset()
    first = policy.act(IMAGE, PROPRIO, "a")
    fault(served)
    for _ in range(2):
        with pytest.raises(NoActionError, match=message) as raised:
            policy.act(IMAGE, PROPRIO, "a")
        assert raised.match(message)
        message = f"{message}|earlier observation"
    assert policy.server is not None
    assert sum(policy.server.counts.values()) == 2
    served.server.change = lambda actions: actions
    served.server.proceed.set()
    again = acts_again(policy)
    np.testing.assert_array_equal(again, first.action)


def acts_again(policy: Policy) -> np.ndarray:
    """Return the first action after some observations without one."""
    wait = threading.Event()
    for _ in range(200):
        try:
            return policy.act(IMAGE, PROPRIO, "a").action
        except NoActionError:
            wait.wait(0.02)
    raise AssertionError("the policy does not act again")


def test_a_server_that_disappears_and_comes_back_is_asked_again(
    tmp_path: Path, local: Policy, protocol: str
) -> None:
    with serving(local) as served:
        ports = served.ports
        file = describe(tmp_path / "served.yaml", protocol, served.urls[protocol])
        policy = load_bundle(file)
        policy.reset()
        first = policy.act(IMAGE, PROPRIO, "a")
    # connections of POST /act end with their threads, not with the port
    assert policy.server is not None
    policy.server.close()
    with pytest.raises(NoActionError, match="refused") as raised:
        policy.act(IMAGE, PROPRIO, "a")
    assert raised.value.kind == "no connection"
    with serving(local, ports=ports):
        np.testing.assert_array_equal(acts_again(policy), first.action)


def test_without_a_server_the_policy_is_not_loaded(tmp_path: Path, protocol: str) -> None:
    scheme = {"openpi": "ws", "openvla": "http"}[protocol]
    file = describe(tmp_path / "served.yaml", protocol, f"{scheme}://127.0.0.1:9")
    with pytest.raises(BundleError, match=r"refused; start it first"):
        load_bundle(file)


def test_a_plan_is_carried_out_before_the_server_is_asked_again(
    tmp_path: Path, served: Serving
) -> None:
    url = served.urls["openpi"]
    served.server.change = lambda actions: np.arange(28.0).reshape(4, 7) / 100.0
    policy = load_bundle(describe(tmp_path / "served.yaml", "openpi", url, execute=3))
    policy.reset()
    served.server.counts.clear()
    firsts = [policy.act(IMAGE, PROPRIO, "a").action[0] for _ in range(4)]
    assert firsts == pytest.approx([0.0, 0.07, 0.14, 0.0])
    assert served.server.counts == {"answered": 2}
    policy.interrupt()
    assert policy.act(IMAGE, PROPRIO, "a").action[0] == 0.0
    assert served.server.counts == {"answered": 3}
    served.server.change = lambda actions: actions
    policy.interrupt()
    with pytest.raises(NoActionError, match=r"shape \(1, 7\).*\(3 or more, 7\)"):
        policy.act(IMAGE, PROPRIO, "a")


def test_units_and_gripper_of_the_server_become_ours(
    tmp_path: Path, served: Serving
) -> None:
    action = {"translation": 0.001, "rotation": 0.5, "gripper": [1.0, -1.0]}
    url = served.urls["openvla"]
    policy = load_bundle(describe(tmp_path / "s.yaml", "openvla", url, action=action))
    for gripper, opening in ((1.0, 0.0), (-1.0, 1.0), (0.0, 0.5), (-3.0, 1.0)):
        answer = np.array([10.0, -20.0, 30.0, 0.1, -0.2, 0.3, gripper])
        served.server.change = lambda _, answer=answer: answer
        expected = [0.01, -0.02, 0.03, 0.05, -0.1, 0.15, opening]
        np.testing.assert_allclose(
            policy.act(IMAGE, PROPRIO, "a").action, expected, rtol=1e-6
        )


def test_an_episode_has_a_connection_of_its_own(description: Path, served: Serving) -> None:
    policy = load_bundle(description)
    states = set()
    act, plan = served.server.act, served.server.plan
    served.server.act = lambda state, values: states.add(state) or act(state, values)
    served.server.plan = lambda state, values: states.add(state) or plan(state, values)
    for episodes in (1, 2):
        policy.reset()
        for _ in range(2):
            policy.act(IMAGE, PROPRIO, "a")
        assert len(states) == episodes


def test_a_server_that_says_it_is_another_one_is_refused(
    tmp_path: Path, served: Serving, local: Policy
) -> None:
    url, file = served.urls["openpi"], tmp_path / "served.yaml"
    load_bundle(describe(file, "openpi", url, metadata={"bundle": local.sha256}))
    describe(file, "openpi", url, metadata={"bundle": "another"})
    with pytest.raises(BundleError, match=r"says bundle is '.*'; 'another' is expected"):
        load_bundle(file)


def test_a_padded_image_keeps_the_ratio_of_its_sides() -> None:
    image = np.full((24, 32, 3), 200, np.uint8)
    padded = fit_image(image, (16, 16), pad=True)
    assert padded.shape == (16, 16, 3)
    assert (padded[2:14] == 200).all()
    assert not padded[:2].any()
    assert not padded[14:].any()
    assert (fit_image(image, (16, 16), pad=False) == 200).all()


def test_a_number_too_large_for_ours_is_no_action(
    served: Serving, description: Path
) -> None:
    policy = load_bundle(description)
    served.server.change = lambda actions: np.full_like(actions, 1e300, np.float64)
    with pytest.raises(NoActionError, match=r"is not finite: .*1e\+300"):
        policy.act(IMAGE, PROPRIO, "a")


def test_an_episode_may_begin_while_an_answer_is_late(
    served: Serving, description: Path
) -> None:
    protocol = "openpi" if "openpi" in description.read_text() else "openvla"
    describe(description, protocol, served.urls[protocol], deadline_ms=300)
    policy = load_bundle(description)
    expected = policy.act(IMAGE, PROPRIO, "a").action
    late(served)
    with pytest.raises(NoActionError, match="did not answer"):
        policy.act(IMAGE, PROPRIO, "a")
    policy.reset()
    served.server.proceed.set()
    np.testing.assert_array_equal(acts_again(policy), expected)
