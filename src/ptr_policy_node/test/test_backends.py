"""Every way to run a bundle gives the same answers, and what cannot run says why."""

from __future__ import annotations

import importlib.util
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_bundle import Toy, golden, write

from ptr_policy_node.backends import BACKENDS
from ptr_policy_node.bundle import BundleError
from ptr_policy_node.policy import TOLERANCES, Policy, load_bundle

CASES = [
    (name, precision) for name, kind in BACKENDS.items() for precision in kind.precisions
]
HAS_BFLOAT16 = any(
    has for name, has in torch.cpu.get_capabilities().items() if name.endswith("bf16")
)


@pytest.fixture(params=CASES, ids=" ".join)
def policy(request: pytest.FixtureRequest, tmp_path: Path) -> Policy:
    name, precision = request.param
    if precision == "bfloat16" and not HAS_BFLOAT16:
        pytest.skip("this CPU has no bfloat16")
    if name == "openvino" and importlib.util.find_spec("openvino") is None:
        pytest.skip("OpenVINO is not installed")
    if name == "aot" and precision != "float32":
        pytest.skip("compiling takes ten seconds; what is compiled is what export runs")
    if name == "aot":
        path = request.getfixturevalue("compiled_bundle")
    else:
        path = tmp_path / "bundle"
        write(path, form=BACKENDS[name].form)
    policy = load_bundle(path, backend=name, precision=precision)
    assert policy.backend == f"{name} {precision}"
    return policy


def test_every_backend_acts_and_judges_as_the_network(policy: Policy) -> None:
    tolerance = TOLERANCES[policy.backend.split()[1]]
    image = np.random.default_rng(2).integers(0, 256, (8, 8, 3), np.uint8)
    proprio = np.linspace(-1, 1, 7, dtype=np.float32)
    inputs = (
        torch.from_numpy(image)[None],
        torch.from_numpy(proprio)[None],
        torch.tensor([1]),
    )
    with torch.inference_mode():
        action, _ = Toy().act(*inputs)
        q = Toy().q(*inputs, action)[0]
    [output] = policy.plan_on(image, proprio, 1)
    values = policy.q_values(output)
    np.testing.assert_allclose(output.action, action[0], atol=tolerance.action * 0.1)
    np.testing.assert_allclose(values, q, atol=tolerance.q)
    assert output.action.dtype == values.dtype == np.float32
    np.testing.assert_array_equal(output.std, np.zeros(7))


def test_an_output_is_judged_in_another_thread_and_outlives_the_next(
    policy: Policy,
) -> None:
    images = np.random.default_rng(3).integers(0, 256, (2, 24, 32, 3), np.uint8)
    first = policy.act(images[0], np.full(7, 0.5), "a")
    second = policy.act(images[1], np.full(7, 1.5), "a")
    with ThreadPoolExecutor(1) as executor:
        for output in (first, second):
            values = executor.submit(policy.q_values, output).result()
            expected = [output.action.sum(), output.action.sum() - 1]
            np.testing.assert_allclose(values, expected, atol=1e-2)
    assert not np.allclose(first.action, second.action, atol=1e-3)


def test_unknown_backend_names_the_known_ones(tmp_path: Path) -> None:
    write(tmp_path / "bundle")
    with pytest.raises(
        BundleError,
        match=r"backend is 'tpu'; it must be one of auto, torchscript, export, aot, openv",
    ):
        load_bundle(tmp_path / "bundle", backend="tpu")


@pytest.mark.parametrize(
    ("form", "backend", "fitting"),
    [
        ("torchscript", "aot", "choose torchscript"),
        ("export", "torchscript", "choose export, aot, openvino"),
    ],
)
def test_backend_for_another_form_of_bundle_is_refused(
    tmp_path: Path, form: str, backend: str, fitting: str
) -> None:
    write(tmp_path / "bundle", form=form)
    with pytest.raises(
        BundleError, match=f"{fitting} .*config/policy.yaml.*ptr bundle --format"
    ):
        load_bundle(tmp_path / "bundle", backend=backend)


@pytest.mark.parametrize(
    ("form", "precision"), [("torchscript", "bfloat16"), ("export", "int4")]
)
def test_precision_that_a_backend_lacks_is_refused(
    tmp_path: Path, form: str, precision: str
) -> None:
    write(tmp_path / "bundle", form=form)
    with pytest.raises(
        BundleError, match=f"precision is '{precision}'; {form} runs in float32"
    ):
        load_bundle(tmp_path / "bundle", precision=precision)


def test_bfloat16_is_refused_where_the_cpu_lacks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "bundle")
    lacking = {
        **torch.cpu.get_capabilities(),
        "avx512_bf16": False,
        "amx_bf16": False,
        "bf16": False,
    }
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: lacking)
    with pytest.raises(BundleError, match="no arithmetic for; use float32"):
        load_bundle(tmp_path / "bundle", precision="bfloat16")


@pytest.mark.skipif(not HAS_BFLOAT16, reason="this CPU has no bfloat16")
@pytest.mark.parametrize(("name", "part"), [("action", 0.03), ("q", 0.1)])
def test_another_model_is_not_taken_for_rounding(
    tmp_path: Path, name: str, part: float
) -> None:
    write(tmp_path / "bundle", **{name: golden()[name] + np.float32(part)})
    with pytest.raises(
        BundleError, match=r"golden .* does not reproduce the policy \(export bfloat16\)"
    ):
        load_bundle(tmp_path / "bundle", precision="bfloat16")


def test_auto_takes_the_bundles_own_form_until_it_is_compiled(
    tmp_path: Path, cache: Path
) -> None:
    for form in ("export", "torchscript"):
        write(tmp_path / form, form=form)
        assert load_bundle(tmp_path / form).backend == f"{form} float32"


def test_auto_takes_what_is_compiled(compiled_bundle: Path) -> None:
    assert load_bundle(compiled_bundle).backend == "aot float32"


def test_missing_openvino_is_named_with_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "bundle")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BundleError, match="pip install openvino"):
        load_bundle(tmp_path / "bundle", backend="openvino")
