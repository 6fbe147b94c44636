"""The bundle: a deployed policy with everything that must fit before it may move an arm.

A folder of programs (`act.pt2` and `q.pt2` of torch.export, or `policy.pt` of TorchScript), `bundle.json` and
`golden.npz`; the format is fixed in `docs/design.md`. What runs the programs is chosen when the bundle is loaded
(`backends.py`). Nothing here needs ROS, and PyTorch is imported only then.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .files import atomic_folder, sha256
from .images import RESIZE_NAME, resize_area
from .spec import ACTION_HIGH, ACTION_LOW, ACTION_NAMES, BASE_FRAME, PROPRIO_NAMES, PtrError

if TYPE_CHECKING:
    from .backends import Backend

FORMAT_VERSION = 1
FORMS = {"export": ("act.pt2", "q.pt2"), "torchscript": ("policy.pt",)}
"""The programs of a bundle, by form. A bundle has one: the weights, most of its size, are in each."""

GRIPPER_SENSE = "0 closed, 1 open"
GOLDEN_NAMES = ("image", "proprio", "task", "resized", "action", "q")
PIXEL_TOLERANCE = 1  # resized images may differ by rounding between versions of OpenCV


class Tolerance(NamedTuple):
    """How far a computer may be from the golden outputs."""

    action: float  # of a dimension's range
    q: float  # absolute, and relative where |Q| > 1


TOLERANCES = {
    "float32": Tolerance(1e-4, 1e-3),  # other CPUs sum in another order
    "bfloat16": Tolerance(1e-2, 5e-2),  # twice what trained networks were found to differ by
}
PRECISIONS = tuple(TOLERANCES)


class BundleError(PtrError):
    """A bundle is incomplete, altered, or does not fit this robot; the message names what."""


@dataclass(frozen=True)
class CameraSpec:
    """The camera a policy learnt from."""

    name: str
    width: int
    height: int


@dataclass(frozen=True)
class BundleInfo:
    """What `bundle.json` says about a policy."""

    agent: str
    camera: CameraSpec
    image_height: int
    image_width: int
    rate: float  # [Hz]
    tasks: tuple[str, ...]  # position = task id
    command: str  # which command was learnt from: requested or executed
    data: Mapping[str, Any]  # training data with SHA-256
    checkpoint: Mapping[str, Any]  # run and step
    code_version: str
    resize: str = RESIZE_NAME
    action_names: tuple[str, ...] = ACTION_NAMES
    action_low: tuple[float, ...] = tuple(ACTION_LOW.tolist())
    action_high: tuple[float, ...] = tuple(ACTION_HIGH.tolist())
    frame: str = BASE_FRAME
    gripper: str = GRIPPER_SENSE
    proprio_names: tuple[str, ...] = PROPRIO_NAMES
    history: int = 1  # observations that the policy looks at; before an episode's first one, that one is repeated
    aliases: Mapping[str, str] = field(default_factory=dict)  # re-targeted tasks: new name to the one whose id it has

    def to_json(self) -> dict[str, Any]:
        """Return the contents of `bundle.json`, less the hashes."""
        return {
            "format_version": FORMAT_VERSION,
            "agent": self.agent,
            "action": {
                "names": list(self.action_names),
                "low": list(self.action_low),
                "high": list(self.action_high),
                "frame": self.frame,
                "gripper": self.gripper,
                "command": self.command,
            },
            "proprio": list(self.proprio_names),
            "camera": {"name": self.camera.name, "width": self.camera.width, "height": self.camera.height},
            "image": {"resize": self.resize, "height": self.image_height, "width": self.image_width},
            "rate": self.rate,
            "tasks": list(self.tasks),
            "aliases": dict(self.aliases),
            "history": self.history,
            "data": dict(self.data),
            "checkpoint": dict(self.checkpoint),
            "code_version": self.code_version,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> BundleInfo:
        """Return what `to_json` described; raises KeyError or TypeError if something is missing."""
        action, image = values["action"], values["image"]
        return cls(
            agent=values["agent"],
            camera=CameraSpec(**values["camera"]),
            image_height=image["height"],
            image_width=image["width"],
            resize=image["resize"],
            rate=values["rate"],
            tasks=tuple(values["tasks"]),
            command=action["command"],
            data=values["data"],
            checkpoint=values["checkpoint"],
            code_version=values["code_version"],
            action_names=tuple(action["names"]),
            action_low=tuple(action["low"]),
            action_high=tuple(action["high"]),
            frame=action["frame"],
            gripper=action["gripper"],
            proprio_names=tuple(values["proprio"]),
            history=values.get("history", 1),
            aliases=values.get("aliases", {}),
        )

    @property
    def window(self) -> tuple[int, ...]:
        """The dimension that images and proprio have beside those of a single observation: (T,), or none."""
        return (self.history,) if self.history > 1 else ()


@dataclass(frozen=True)
class Bundle:
    """A bundle as read: its files are those that were written."""

    path: Path
    info: BundleInfo
    bundle_id: str
    form: str  # one of FORMS
    files: Mapping[str, bytes]  # by name: the programs and golden.npz


@dataclass(frozen=True)
class Decision:
    """What a policy wants to do."""

    action: np.ndarray  # (7,) robot units, see spec.ACTION_NAMES
    std: np.ndarray  # (7,) same units; NaN for a deterministic policy
    q: np.ndarray  # (2,) value of the action by both critics; NaN without critic


@dataclass(frozen=True)
class Choice:
    """An action before its value is known: it can be sent at once, and judged afterwards."""

    action: np.ndarray  # (7,) robot units
    std: np.ndarray  # (7,) same units
    inputs: tuple[Any, ...]  # what the action follows from, as tensors


def write_bundle(
    path: Path | str,
    info: BundleInfo,
    programs: Mapping[str, bytes],
    golden: Mapping[str, np.ndarray],
    *,
    overwrite: bool = False,
) -> str:
    """Write a bundle and return its id.

    Args:
        path: Folder to make.
        info: What the policy needs and where it came from.
        programs: The files of one of `FORMS`.
        golden: `image` (G, H, W, 3) uint8 of camera size, `proprio` (G, 7), `task` (G,), and the
            `resized`, `action` (G, 7) and `q` (G, 2) that follow from them. With a history of T, `proprio` is
            (G, T, 7), `resized` (G, T, h, w, 3), and `image` the newest.
        overwrite: Replace an existing folder.
    """
    with atomic_folder(path, overwrite=overwrite) as folder:
        for name, content in programs.items():
            (folder / name).write_bytes(content)
        arrays: dict[str, Any] = {name: golden[name] for name in GOLDEN_NAMES}
        np.savez_compressed(folder / "golden.npz", **arrays)
        hashes = {name: sha256(folder / name) for name in (*programs, "golden.npz")}
        text = json.dumps({**info.to_json(), "sha256": hashes}, indent=1) + "\n"
        (folder / "bundle.json").write_text(text)
    return _bundle_id(text.encode())


def read_info(path: Path | str) -> BundleInfo:
    """Return what a bundle says of itself, without loading or checking the policy.

    Raises:
        BundleError: If the folder is not a complete bundle of this version.
    """
    return _read_json(Path(path))[0]


def read_bundle(path: Path | str) -> Bundle:
    """Read a bundle's files and compare them with their checksums; nothing is loaded.

    Raises:
        BundleError: If the folder is not a complete bundle of this version, or a file was altered.
    """
    path = Path(path)
    info, hashes, bundle_id = _read_json(path)
    form = next(form for form, names in FORMS.items() if names[0] in hashes)
    return Bundle(path, info, bundle_id, form, {name: _read_file(path / name, hashes[name]) for name in hashes})


def load_bundle(
    path: Path | str,
    *,
    camera: CameraSpec | None = None,
    rate: float | None = None,
    threads: int = 1,
    backend: str = "auto",
    precision: str = "float32",
) -> Policy:
    """Load a bundle after checking everything that must fit.

    Args:
        path: The bundle's folder.
        camera: The camera that will be used; None: not known yet (`Policy.act` still checks the size).
        rate: Control rate of the robot [Hz]; None: whatever the bundle wants.
        threads: CPU threads of PyTorch in this process.
        backend: What runs the bundle: one of `backends.BACKENDS`, or `auto`.
        precision: One of `PRECISIONS`.

    Raises:
        BundleError: For the first thing that does not fit, with the value found and the value expected.
    """
    from .backends import open_backend

    bundle = read_bundle(path)
    _check_contract(bundle.path, bundle.info, camera, rate)
    name, opened = open_backend(backend, bundle, precision, threads)
    policy = Policy(bundle.info, bundle.bundle_id, opened, f"{name} {precision}")
    _check_golden(bundle, policy, TOLERANCES[precision])
    return policy


class Policy:
    """A checked policy, ready to act; made by `load_bundle`.

    Attributes:
        info: What the bundle says of itself.
        bundle_id: The bundle's id.
        execution: Backend and precision that run it, such as "export float32".
    """

    def __init__(self, info: BundleInfo, bundle_id: str, backend: Backend, execution: str) -> None:
        import torch

        self.info = info
        self.bundle_id = bundle_id
        self.execution = execution
        self._backend = backend
        self._torch = torch
        self._seen: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=info.history)

    def reset(self) -> None:
        """Forget what was seen: an episode begins."""
        self._seen.clear()

    def act(self, image: np.ndarray, proprio: np.ndarray, task: str) -> Decision:
        """Return the policy's action and its value; see `choose`."""
        return self._judged(self.choose(image, proprio, task))

    def choose(self, image: np.ndarray, proprio: np.ndarray, task: str) -> Choice:
        """Return the policy's action; `value` tells its value, which takes as long again.

        Args:
            image: RGB image of the bundle's camera, shape (H, W, 3), uint8.
            proprio: Measured state, shape (7,), see spec.PROPRIO_NAMES.
            task: One of `info.tasks`, or an alias.

        Raises:
            BundleError: If the image has another size or type, the state is not finite, the task is
                unknown, or the policy's action is not finite.
        """
        camera = self.info.camera
        if image.shape != (camera.height, camera.width, 3) or image.dtype != np.uint8:
            raise BundleError(
                f"image is {image.dtype} {image.shape}, the bundle expects uint8 ({camera.height}, {camera.width}, 3) "
                f"of camera {camera.name!r}"
            )
        if np.shape(proprio) != (7,) or not np.isfinite(proprio).all():
            raise BundleError(f"proprio is {np.asarray(proprio)}, expected 7 finite values")
        resized = resize_area(image, (self.info.image_height, self.info.image_width))
        choice = self._choose_on(*self._observed(resized, np.asarray(proprio, np.float32)), self.task_id(task))
        if not np.isfinite(choice.action).all():
            raise BundleError(f"the policy's action is not finite: {choice.action}")
        return choice

    def value(self, choice: Choice) -> np.ndarray:
        """Return what both critics think of a chosen action, shape (2,); NaN without critic."""
        torch = self._torch
        with torch.inference_mode():
            q = self._backend.q(*choice.inputs, torch.from_numpy(choice.action)[None])
        return np.asarray(q[0].numpy())

    def task_id(self, task: str) -> int:
        """Return the id of a task; raises BundleError listing those the policy knows."""
        known = self.info.aliases.get(task, task)
        if known not in self.info.tasks:
            there = ", ".join(map(repr, [*self.info.tasks, *self.info.aliases]))
            raise BundleError(f"unknown task {task!r}; this bundle knows: {there}")
        return self.info.tasks.index(known)

    def act_on(self, resized: np.ndarray, proprio: np.ndarray, task: int) -> Decision:
        """Return the backend's raw outputs for one image already resized, or for a window of them (T, h, w, 3)."""
        return self._judged(self._choose_on(resized, proprio, task))

    def _observed(self, resized: np.ndarray, proprio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what the policy looks at, with earlier observations if it wants them."""
        if not self.info.window:
            return resized, proprio
        self._seen.append((resized, proprio))
        missing = self.info.history - len(self._seen)
        seen = [self._seen[0]] * missing + list(self._seen)
        return np.stack([image for image, _ in seen]), np.stack([state for _, state in seen])

    def _choose_on(self, resized: np.ndarray, proprio: np.ndarray, task: int) -> Choice:
        torch = self._torch
        with torch.inference_mode():
            inputs = (
                torch.from_numpy(np.ascontiguousarray(resized))[None],
                torch.from_numpy(np.asarray(proprio, np.float32))[None],
                torch.tensor([task]),
            )
            action, std = self._backend.act(*inputs)
        return Choice(action[0].numpy(), std[0].numpy(), inputs)

    def _judged(self, choice: Choice) -> Decision:
        return Decision(choice.action, choice.std, self.value(choice))


def _read_json(path: Path) -> tuple[BundleInfo, dict[str, str], str]:
    """Return the description, the files' hashes by name, and the bundle id."""
    file = path / "bundle.json"
    _check_present(path, ["bundle.json"])
    content = file.read_bytes()
    try:
        values = json.loads(content)
    except ValueError as error:
        raise BundleError(f"{file} is truncated or not JSON: {error}") from error
    version = values.get("format_version") if isinstance(values, dict) else None
    if version != FORMAT_VERSION:
        raise BundleError(f"{path}: format version is {version!r}, expected {FORMAT_VERSION}; export the bundle again")
    try:
        info, hashes = BundleInfo.from_json(values), dict(values["sha256"])
    except (KeyError, TypeError) as error:
        raise BundleError(f"{file} is incomplete: {error}") from error
    forms = [{*names, "golden.npz"} for names in FORMS.values()]
    if set(hashes) not in forms:
        raise BundleError(f"{file}: sha256 names {', '.join(hashes)}; expected {' or '.join(map(str, forms))}")
    _check_present(path, hashes)
    return info, hashes, _bundle_id(content)


def _check_present(path: Path, names: Iterable[str]) -> None:
    for name in names:
        if not (path / name).is_file():
            raise BundleError(f"{path} is not a bundle: it has no {name} (make one with `ptr bundle`)")


def _bundle_id(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _read_file(file: Path, expected: str) -> bytes:
    content = file.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != expected:
        raise BundleError(f"{file}: checksum is {found[:12]}…, expected {str(expected)[:12]}…; copy it again")
    return content


def _check_contract(path: Path, info: BundleInfo, camera: CameraSpec | None, rate: float | None) -> None:
    """Compare the bundle with the constants of this code and with the robot's devices."""
    ours: dict[str, tuple[object, object]] = {
        "action names": (info.action_names, ACTION_NAMES),
        "action low": (info.action_low, tuple(ACTION_LOW.tolist())),
        "action high": (info.action_high, tuple(ACTION_HIGH.tolist())),
        "action frame": (info.frame, BASE_FRAME),
        "gripper sense": (info.gripper, GRIPPER_SENSE),
        "proprio names": (info.proprio_names, PROPRIO_NAMES),
        "image pipeline": (info.resize, RESIZE_NAME),
    }
    if camera is not None:
        ours["camera name"] = (info.camera.name, camera.name)
        ours["camera size"] = ((info.camera.width, info.camera.height), (camera.width, camera.height))
    if rate is not None:
        ours["rate"] = (info.rate, rate)
    for what, (found, expected) in ours.items():
        if found != expected:
            raise BundleError(f"{path}: {what} is {found!r} in the bundle, {expected!r} here")


def _check_golden(bundle: Bundle, policy: Policy, tolerance: Tolerance) -> None:
    """Recompute the golden outputs; this also warms the programs up."""
    try:
        with np.load(io.BytesIO(bundle.files["golden.npz"]), allow_pickle=False) as file:
            golden = {name: file[name] for name in GOLDEN_NAMES}
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BundleError(f"{bundle.path / 'golden.npz'} is truncated or incomplete: {error}") from error
    if len(golden["image"]) == 0:
        raise BundleError(f"{bundle.path / 'golden.npz'} holds no golden image")
    span = np.subtract(policy.info.action_high, policy.info.action_low)
    size = (policy.info.image_height, policy.info.image_width)
    for index, image in enumerate(golden["image"]):
        expected = {name: golden[name][index] for name in GOLDEN_NAMES}
        decision = policy.act_on(expected["resized"], expected["proprio"], int(expected["task"]))
        newest = expected["resized"].reshape(-1, *size, 3)[-1]
        pixels = np.abs(resize_area(image, size).astype(int) - newest).max()
        scale = max(1.0, float(np.nanmax(np.abs(expected["q"]), initial=0.0)))
        differences = {
            "resized image": (pixels, PIXEL_TOLERANCE),
            "action": (np.abs((decision.action - expected["action"]) / span).max(), tolerance.action),
            "Q": (_difference(decision.q, expected["q"]), tolerance.q * scale),
        }
        for what, (found, allowed) in differences.items():
            if not found <= allowed:
                raise BundleError(
                    f"{bundle.path}: golden {what} {index} differs by {found:.3g}, at most {allowed:.3g} is expected: "
                    f"this computer does not reproduce the policy ({policy.execution})"
                )


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest difference; NaN is equal to NaN and nothing else."""
    if np.isnan(found).tolist() != np.isnan(expected).tolist():
        return float("inf")
    return float(np.nanmax(np.abs(found - expected), initial=0.0))
