"""The one result of a check on the safety path, and the one check of arrays."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from widowx_bringup.arm.refusal import Kind, LimitResult, Refusal, StepResult, check_vector


def refusal_of(vector: object, shape: tuple[int, ...] = (3,)) -> Refusal:
    """Return the refusal of a vector that must be refused."""
    checked = check_vector("the vector", vector, shape)
    assert isinstance(checked, Refusal)
    return checked


@pytest.mark.parametrize("vector", [[1, 2, 3], (1.0, 2.0, 3.0), np.arange(1, 4)])
def test_an_array_of_numbers_is_returned_as_floats(vector: Any) -> None:
    checked = check_vector("the vector", vector, (3,))
    assert isinstance(checked, np.ndarray)
    assert checked.dtype == np.float64
    np.testing.assert_array_equal(checked, [1.0, 2.0, 3.0])


def test_the_array_returned_is_a_copy() -> None:
    vector = np.zeros(3)
    checked = check_vector("the vector", vector, (3,))
    assert isinstance(checked, np.ndarray)
    checked[0] = 1.0
    assert vector[0] == 0.0


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_single_number_that_is_not_finite_is_refused(index: int, value: float) -> None:
    vector = np.zeros(3)
    vector[index] = value
    refusal = refusal_of(vector)
    assert refusal.kind is Kind.NOT_FINITE
    assert refusal.text == f"the vector is not finite: {vector.tolist()}"


@pytest.mark.parametrize(
    "vector", [np.zeros(2), np.zeros(4), np.zeros((1, 3)), np.zeros((3, 1)), 0.0, []]
)
def test_another_shape_is_refused(vector: Any) -> None:
    refusal = refusal_of(vector)
    assert refusal.kind is Kind.LENGTH
    assert f"shape {np.shape(vector)}; the shape must be (3,)" in refusal.text


@pytest.mark.parametrize(
    "vector", ["up", object(), [[1, 2], [3]], [10**400, 0, 0], [1j, 0, 0]]
)
def test_anything_that_holds_no_numbers_is_refused(vector: Any) -> None:
    refusal = refusal_of(vector)
    assert refusal.kind is Kind.LENGTH
    assert refusal.text.startswith("the vector is not an array of numbers")


def test_nothing_is_refused_as_not_finite() -> None:
    assert refusal_of(None).kind is Kind.NOT_FINITE


def test_the_reason_of_a_step_is_its_refusal_or_its_limits() -> None:
    executed = np.zeros(7)
    assert StepResult(executed).reason == ""
    assert not StepResult(executed).rejected
    clipped = StepResult(executed, (Kind.ACTION_BOUNDS, Kind.JOINT_SPEED))
    assert clipped.reason == "action bounds, joint speed limit"
    assert not clipped.rejected
    refused = StepResult(executed, refusal=Refusal(Kind.UNREACHABLE, "too far"))
    assert refused.reason == "too far"
    assert refused.rejected


@pytest.mark.parametrize(
    "result",
    [
        Refusal(Kind.LATE, "late"),
        LimitResult(np.zeros(3)),
        StepResult(np.zeros(7)),
    ],
)
def test_results_cannot_be_changed(result: Any) -> None:
    for field in dataclasses.fields(result):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(result, field.name, None)


def test_each_kind_has_its_own_name() -> None:
    names = [kind.value for kind in Kind]
    assert len(names) == len(set(names)) == len(Kind.__members__)
