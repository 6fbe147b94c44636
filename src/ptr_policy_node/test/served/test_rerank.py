"""A critic of ours chooses among several answers of a server, and all of them are recorded."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")

from served_rig import Serving, describe, serving
from toy_bundle import CAMERA, INFO, write

from ptr_common.action_space import ACTION_NAMES
from ptr_policy_node.bundle import BundleError
from ptr_policy_node.policy import load_bundle
from ptr_policy_node.served.link import NoActionError

IMAGE = np.full((CAMERA.height, CAMERA.width, 3), 51, np.uint8)
PROPRIO = np.linspace(0.0, 0.6, 7, dtype=np.float32)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write(tmp_path / "bundle", form="torchscript")
    return tmp_path / "bundle"


@pytest.fixture
def served(bundle: Path) -> Iterator[Serving]:
    with serving(load_bundle(bundle)) as found:
        yield found


def description(
    folder: Path, served: Serving, samples: int, bundle: str = "bundle"
) -> Path:
    return describe(
        folder / "served.yaml",
        "openvla",
        served.urls["openvla"],
        rerank={"bundle": bundle, "samples": samples, "record": "samples.csv"},
    )


def test_the_sample_with_the_largest_smaller_q_acts_and_all_are_recorded(
    tmp_path: Path, served: Serving
) -> None:
    policy = load_bundle(description(tmp_path, served, 3))
    assert policy.lacks == ("standard deviation (it is deterministic)",)
    steps = iter([0.01, 0.03, 0.02, 0.05, 0.04, 0.03])

    def sampled(action: np.ndarray) -> np.ndarray:
        return np.array([next(steps), 0, 0, 0, 0, 0, 1.0])

    served.server.change = sampled
    policy.reset()
    for expected in (0.03, 0.05):
        output = policy.act(IMAGE, PROPRIO, "a")
        assert output.action[0] == pytest.approx(expected)
        # the toy's Q is the sum of the action, and one less
        np.testing.assert_allclose(
            policy.q_values(output), [1.0 + expected, expected], rtol=1e-6
        )
    with (tmp_path / "samples.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert [row["chosen"] for row in rows] == ["0", "1", "0", "1", "0", "0"]
    assert [row["step"] for row in rows] == ["1"] * 3 + ["2"] * 3
    assert float(rows[2]["q1"]) == pytest.approx(1.02)
    assert [float(rows[4][name]) for name in ACTION_NAMES] == pytest.approx(
        [0.04, 0, 0, 0, 0, 0, 1.0]
    )


def test_one_sample_that_is_no_action_leaves_none(tmp_path: Path, served: Serving) -> None:
    policy = load_bundle(description(tmp_path, served, 2))
    steps = iter([0.01, np.nan])
    served.server.change = lambda action: np.full(7, next(steps))
    policy.reset()
    with pytest.raises(NoActionError, match="not finite"):
        policy.act(IMAGE, PROPRIO, "a")
    assert not (tmp_path / "samples.csv").exists()


def test_without_a_record_there_is_no_action(tmp_path: Path, served: Serving) -> None:
    policy = load_bundle(description(tmp_path, served, 2))
    (tmp_path / "samples.csv").mkdir()
    with pytest.raises(NoActionError, match=r"samples\.csv .* cannot be written: Is a dir"):
        policy.act(IMAGE, PROPRIO, "a")


def test_a_bundle_without_a_critic_cannot_choose(tmp_path: Path, served: Serving) -> None:
    import torch
    from toy_bundle import Toy, golden, programs

    from ptr_policy_node.bundle import write_bundle

    class WithoutCritic(Toy):
        @torch.jit.export
        def q(
            self,
            image: torch.Tensor,
            proprio: torch.Tensor,
            task: torch.Tensor,
            action: torch.Tensor,
        ) -> torch.Tensor:
            return torch.full((1, 2), float("nan"))

    module = WithoutCritic()
    values = golden() | {"q": np.full((2, 2), np.nan, np.float32)}
    write_bundle(tmp_path / "clone", INFO, programs(module, "torchscript"), values)
    with pytest.raises(BundleError, match=r"clone \(rerank.bundle\) has no critic"):
        load_bundle(description(tmp_path, served, 2, "clone"))


def test_the_bundle_of_the_critic_is_one_and_may_be_pinned(tmp_path: Path) -> None:
    url, file = "http://127.0.0.1:9", tmp_path / "served.yaml"
    rerank = {"bundle": "served.yaml", "samples": 2}
    with pytest.raises(BundleError, match=r"served\.yaml \(rerank.bundle\) is served"):
        load_bundle(describe(file, "openvla", url, rerank=rerank))
    write(tmp_path / "bundle", form="torchscript")
    rerank = {"bundle": "bundle", "samples": 2, "sha256": "0" * 64}
    with pytest.raises(BundleError, match=r"is the bundle .*, expected 000"):
        load_bundle(describe(file, "openvla", url, rerank=rerank))
