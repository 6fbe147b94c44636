"""The policy once it is loaded: observations in, actions and their values out.

`policy.py` makes one, after it has checked it.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ptr_common.action_space import ACTION_NAMES
from ptr_common.images import resize_area
from ptr_common.names import did_you_mean, find_task

from .backends import Backend
from .bundle import ID_DIGITS, BundleError, BundleInfo
from .served.programs import ServedPrograms

GRIPPER = ACTION_NAMES.index("gripper")


@dataclass(frozen=True)
class PolicyOutput:
    """An action of the policy, without its value; `Policy.q_values` computes that."""

    action: np.ndarray  # (7,) robot units, see action_space.ACTION_NAMES
    std: np.ndarray  # (7,) same units; NaN for a deterministic policy
    inputs: tuple[Any, Any, Any]  # tensors that it follows from: image, proprio, task


def share_of_other(std: float, distance: float) -> float:
    """Return the probability p of the less likely of two values.

    Args:
        std: Their standard deviation, `distance` sqrt(p (1 - p)); 0 if it is not known.
        distance: Between the values.
    """
    if not std > 0.0 or not distance > 0.0:  # NaN is not known
        return 0.0
    return 0.5 * (1.0 - math.sqrt(max(0.0, 1.0 - 4.0 * (std / distance) ** 2)))


class Policy:
    """A checked policy, ready to act; made by `load_bundle`.

    Args:
        info: The description in the bundle.
        sha256: The bundle's full name.
        programs: The loaded backend, or what asks a server.
        backend: Its name and precision.

    Attributes:
        info: The description in the bundle.
        sha256: The bundle's full name, the SHA-256 of its `bundle.json`.
        bundle_id: Its id, the first digits of that.
        backend: Name and precision of the backend, for example "export float32".
        lacks: What the policy says of no action, for people: Q values without a critic, a
            standard deviation if it is deterministic.
        server: The link to the server that computes the policy; None: it is computed here.
    """

    def __init__(
        self,
        info: BundleInfo,
        sha256: str,
        programs: Backend | ServedPrograms,
        backend: str,
    ) -> None:
        import torch

        self.info = info
        self.sha256 = sha256
        self.bundle_id = sha256[:ID_DIGITS]
        self.backend = backend
        self.lacks: tuple[str, ...] = ()
        self.server = programs if isinstance(programs, ServedPrograms) else None
        self._programs = programs
        self._torch = torch
        self._history: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=info.history)
        self._plan: deque[PolicyOutput] = deque()  # actions that are still to be executed
        self._planned_task = -1  # id
        self._rng = np.random.default_rng(0)  # of the drawn gripper

    def reset(self) -> None:
        """Forget earlier observations and plans; call it when an episode begins.

        The draws of the gripper begin anew: equal observations give equal episodes.
        """
        self._rng = np.random.default_rng(0)
        self._history.clear()
        self._plan.clear()
        if self.server is not None:
            self.server.reset()

    def fresh(self) -> Policy:
        """Return a policy of the same programs with observations and plans of its own."""
        return Policy(self.info, self.sha256, self._programs, self.backend)

    def interrupt(self) -> None:
        """Drop the planned actions; call it at a control step without an action."""
        self._plan.clear()

    @property
    def plans_next(self) -> bool:
        """Whether the next `act` makes a new plan, if the task stays the same."""
        return not self._plan

    def skip(self) -> None:
        """Use up what `act` would: a planned action and a draw of the gripper.

        A recording whose observation was lost goes on with it; nothing on a robot calls it.
        """
        if self._plan:
            self._plan.popleft()
        if self.info.draws_gripper:
            self._rng.random()

    def act(self, image: np.ndarray, proprio: np.ndarray, task: str) -> PolicyOutput:
        """Return the policy's action: the next one of its plan, or the first of a new plan.

        A plan is made where the last one is executed or dropped, and for another task. Without
        `info.execute` every observation has a plan of its own.

        Args:
            image: RGB image of the bundle's camera, shape (H, W, 3), uint8.
            proprio: Measured state, shape (7,), see action_space.PROPRIO_NAMES.
            task: One of `info.tasks`, or an alias.

        Raises:
            BundleError: If the image has another size or type, the state is not finite, the
                task is unknown, or the policy's action is not finite.
        """
        resized = self._resized(image, proprio)
        task_id = self.task_id(task)
        images, states = self._with_history(resized, np.asarray(proprio, np.float32))
        if not self._plan or task_id != self._planned_task:
            self._plan = deque(self.plan_on(images, states, task_id))
            self._planned_task = task_id
        return self._next()

    def new_plan(
        self, image: np.ndarray, proprio: np.ndarray, task: str
    ) -> list[PolicyOutput]:
        """Return all actions of a plan made now, the next one first; see `act`."""
        self.interrupt()
        outputs = [self.act(image, proprio, task)]
        while self._plan:
            outputs.append(self._next())
        return outputs

    def _next(self) -> PolicyOutput:
        """Return the next action of the plan; drops the plan if it is not finite."""
        output = self._plan.popleft()
        if not np.isfinite(output.action).all():
            self._plan.clear()
            raise BundleError(f"the policy's action is not finite: {output.action}")
        return self._with_drawn_gripper(output) if self.info.draws_gripper else output

    def _resized(self, image: np.ndarray, proprio: np.ndarray) -> np.ndarray:
        """Return the network's image of a camera's, after a check of it and of the state."""
        self._check_image(image)
        if np.shape(proprio) != (7,) or not np.isfinite(proprio).all():
            raise BundleError(f"proprio is {np.asarray(proprio)}, expected 7 finite values")
        return resize_area(image, (self.info.image_height, self.info.image_width))

    def _with_drawn_gripper(self, output: PolicyOutput) -> PolicyOutput:
        """Return an action with either of two gripper values, as probable as its std says."""
        action, std = output.action, float(output.std[GRIPPER])
        other = (
            self.info.action_low[GRIPPER] + self.info.action_high[GRIPPER] - action[GRIPPER]
        )
        if self._rng.random() >= share_of_other(std, abs(float(other - action[GRIPPER]))):
            return output
        drawn = action.copy()
        drawn[GRIPPER] = other
        return replace(output, action=drawn)

    def plan_on(
        self, resized: np.ndarray, proprio: np.ndarray, task: int
    ) -> list[PolicyOutput]:
        """Return the backend's actions on resized images, without checks and without history.

        Args:
            resized: Resized image, shape (h, w, 3), uint8; with a history of T (T, h, w, 3).
            proprio: Measured state, shape (7,); with a history of T (T, 7).
            task: Task id.

        Returns:
            The actions to execute, `info.execute` of them, the next one first.

        Raises:
            BundleError: If the program returns another number of actions.
        """
        with self._torch.inference_mode():
            inputs = self._inputs(resized, proprio, task)
            action, std = self._programs.act(*inputs)
        if tuple(action.shape) != (1, *self.info.plan, 7):
            raise BundleError(
                f"the program returns actions of shape {tuple(action.shape)}; with execute "
                f"{self.info.execute} in bundle.json it must be {(1, *self.info.plan, 7)}"
            )
        actions, stds = action.reshape(-1, 7).numpy(), std.reshape(-1, 7).numpy()
        return [PolicyOutput(*row, inputs) for row in zip(actions, stds, strict=True)]

    def _inputs(
        self, resized: np.ndarray, proprio: np.ndarray, task: int
    ) -> tuple[Any, Any, Any]:
        """Return the tensors of an observation, with a batch size of 1."""
        torch = self._torch
        return (
            torch.from_numpy(np.require(resized, requirements=["C", "W"]))[None],
            torch.from_numpy(np.asarray(proprio, np.float32))[None],
            torch.tensor([task]),
        )

    def value_of(
        self, image: np.ndarray, proprio: np.ndarray, task: str, action: np.ndarray
    ) -> np.ndarray:
        """Return the values of any action, (7,), at an observation as of `act`, shape (2,)."""
        resized = self._resized(image, proprio)
        inputs = self._inputs(resized, proprio, self.task_id(task))
        return self.q_values(PolicyOutput(action, np.full(7, math.nan), inputs))

    def q_values(self, output: PolicyOutput) -> np.ndarray:
        """Return the values of an action by both critics, shape (2,); NaN without critic.

        They are those at the observation that the action was planned on.
        It takes about as long as `act`, and may run in another thread.
        """
        torch = self._torch
        with torch.inference_mode():
            action = torch.from_numpy(output.action)[None]
            q = self._programs.q(*output.inputs, action)
        return np.asarray(q[0].numpy())

    def task_id(self, task: str) -> int:
        """Return the id of a task; case and blanks do not count.

        Raises:
            BundleError: If the policy does not know the task; the message lists those it knows.
        """
        known = [*self.info.tasks, *self.info.aliases]
        found = find_task(task, known)
        if found is None:
            raise BundleError(
                f"unknown task {task!r}; {did_you_mean(task, known, quote=True)}"
            )
        return self.info.tasks.index(self.info.aliases.get(found, found))

    def _check_image(self, image: np.ndarray) -> None:
        camera = self.info.camera
        shape = (camera.height, camera.width, 3)
        if image.shape != shape or image.dtype != np.uint8:
            raise BundleError(
                f"image is {image.dtype} {image.shape}, "
                f"the bundle expects uint8 {shape} of camera {camera.name!r}"
            )

    def _with_history(
        self, resized: np.ndarray, proprio: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return image and state; for a policy with a history, stacked on the earlier ones.

        Before the first observation of an episode, the first one is repeated.
        """
        if not self.info.window:
            return resized, proprio
        self._history.append((resized, proprio))
        missing = self.info.history - len(self._history)
        images, states = [], []
        for earlier_image, earlier_state in [self._history[0]] * missing + [*self._history]:
            images.append(earlier_image)
            states.append(earlier_state)
        return np.stack(images), np.stack(states)
