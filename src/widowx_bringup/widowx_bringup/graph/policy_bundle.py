"""What the bundle of a policy says about the graph that it runs in: camera, rates, tasks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ptr_common.action_space import CONTROL_RATE
from ptr_common.names import did_you_mean, find_task
from ptr_policy_node.bundle import BundleError, BundleInfo, read_info

from .spec import GraphError

AUTO = "auto"
"""Value of an argument that the bundle decides."""

IMAGES_PER_STEP = 6
"""Images of the camera in one control step, where `camera_rate` is left to the bundle."""

WITHOUT_BUNDLE = {
    "camera": "over_shoulder",
    "width": "640",
    "height": "480",
    "camera_rate": f"{IMAGES_PER_STEP * CONTROL_RATE:.1f}",
}
"""Values where there is no bundle yet: a policy node that somebody configures later."""


def complete(values: Mapping[str, str]) -> dict[str, str]:
    """Fill in what the bundle decides, and check the rest against it.

    Args:
        values: A value for each argument of a graph with a policy.

    Returns:
        The same without `auto` for camera, width, height and camera_rate.

    Raises:
        GraphError: If values contradict the bundle; the message has all of them.
        BundleError: If there is no bundle.

    A policy node that somebody configures later (`autostart:=false`) may get another bundle:
    nothing is refused then.
    """
    folder = Path(values["policy"]).absolute()
    if values.get("autostart", "true") == "false":
        return _filled(values, _decided_if_there(folder))
    info = read_info(folder)
    _check(folder, info, values)
    filled = _filled(values, _decided(info))
    if shadow := values.get("shadow"):
        folder = Path(shadow).absolute()
        _check(folder, read_info(folder), filled)
    return filled


def _check(folder: Path, info: BundleInfo, values: Mapping[str, str]) -> None:
    """Refuse rate, camera and task of a graph that are not those of a bundle.

    Raises:
        GraphError: Names what contradicts the bundle.
    """
    if info.rate != CONTROL_RATE:
        raise GraphError(
            f"{folder} acts at {info.rate:g} Hz; this arm is commanded at {CONTROL_RATE} Hz: "
            "export demonstrations and train at that rate"
        )
    _check_camera(folder, info, values)
    if values["task"]:
        _check_task(folder, info, values["task"])


def _decided_if_there(folder: Path) -> Mapping[str, str]:
    """Return the values that a bundle decides, or the usual ones if there is none."""
    try:
        return _decided(read_info(folder))
    except BundleError:
        return WITHOUT_BUNDLE


def _decided(info: BundleInfo) -> dict[str, str]:
    """Return the values that a bundle decides."""
    camera = info.camera
    return {
        "camera": camera.name,
        "width": str(camera.width),
        "height": str(camera.height),
        "camera_rate": f"{IMAGES_PER_STEP * info.rate:.1f}",
    }


def _filled(values: Mapping[str, str], decided: Mapping[str, str]) -> dict[str, str]:
    """Return the values with those decided in place of `auto`."""
    filled = dict(values)
    for name, value in decided.items():
        if filled.get(name) == AUTO:
            filled[name] = value
    return filled


def _check_camera(folder: Path, info: BundleInfo, values: Mapping[str, str]) -> None:
    """Refuse a camera that is not the one the policy was trained with.

    Raises:
        GraphError: Names every value that contradicts the bundle.
    """
    decided = _decided(info)
    wrong = []
    for name in ("camera", "width", "height"):
        if values[name] not in (AUTO, decided[name]):
            wrong.append(f"{name}:={values[name]} where the bundle has {decided[name]}")
    rate = values.get("camera_rate", AUTO)
    if rate != AUTO and float(rate) < info.rate:
        wrong.append(f"camera_rate:={rate} below the bundle's {info.rate:g} Hz")
    if wrong:
        raise GraphError(
            f"{folder} contradicts the arguments: {'; '.join(wrong)}. Leave them out (auto "
            "takes them from the bundle), or give a bundle trained with this camera"
        )


def _check_task(folder: Path, info: BundleInfo, task: str) -> None:
    """Refuse a task that a bundle does not know.

    Raises:
        GraphError: If the task is unknown.
    """
    known = [*info.tasks, *info.aliases]
    if find_task(task, known) is None:
        raise GraphError(
            f"{folder} has no task {task!r}; {did_you_mean(task, known, quote=True)}"
        )
