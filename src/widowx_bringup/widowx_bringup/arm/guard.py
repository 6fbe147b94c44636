"""When a command may reach the arm and when the arm must hold.

No ROS and no device: times come as arguments.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ptr_common.action_space import ACTION_LOW
from ptr_common.stamps import early_problem

from .counts import CommandCounts
from .refusal import Kind, Refusal, StepResult, check_vector

CLOCK_TOLERANCE = 0.1
"""Between two checks the clock may drift this far from a steady one [s]."""


@dataclass
class CommandGuard:
    """Refuses commands, watches the timeouts of an episode, and knows why the arm holds.

    One thread, the device thread, calls all methods, so that every field has one writer;
    other threads may read the properties and the counts.

    Attributes:
        max_age: Maximum age of a command that is executed [s].
        command_timeout: Longest pause between two commands of an episode [s].
        image_timeout: Maximum age of the latest camera image during an episode [s]; not
            checked before the first image. Images stamped in the future do not count.
        resume_on_start: Whether the START of an episode ends a hold (simulation); otherwise
            only `enable` does (real arm).
        counts: Commands and holds so far.
        busy: Why commands have to wait although nothing is wrong; empty if they need not.
        episode: Identifier of the running episode; empty between two episodes.
        early_images: Number of images that were stamped in the future.
    """

    max_age: float
    command_timeout: float
    image_timeout: float
    resume_on_start: bool = False
    counts: CommandCounts = field(default_factory=CommandCounts)
    busy: str = ""
    episode: str = ""
    early_images: int = 0
    _hold: Refusal | None = None
    _accepted_ns: int | None = None  # when the last command was accepted
    _image_ns: int | None = None  # stamp of the latest image, or arrival if that is earlier
    _early: str = ""  # why the images since then do not count
    _clocks: tuple[int, int] | None = None  # the clock and a steady one, last time [ns]

    @property
    def holding(self) -> bool:
        """Whether the arm holds its measured position."""
        return self._hold is not None

    @property
    def reason(self) -> str:
        """Why the arm holds; empty if it does not."""
        return "" if self._hold is None else self._hold.text

    @property
    def image_ns(self) -> int | None:
        """Stamp of the latest camera image [ns]; None before the first."""
        return self._image_ns

    @property
    def clocks_ns(self) -> tuple[int, int] | None:
        """The clock and a steady one at the last `check_clock` [ns]; None before the first."""
        return self._clocks

    def values(self) -> dict[str, object]:
        """Return counts, and the kind of a hold as `holding`, for /diagnostics."""
        values: dict[str, object] = {**self.counts.values()}
        if self.early_images:
            values["images from the future"] = self.early_images
        if self._hold is not None:
            values["holding"] = self._hold.kind.value
        return values

    # --- commands ---------------------------------------------------------------------------

    def check(self, action: object, stamp_ns: int, now_ns: int) -> Refusal | None:
        """Accept or refuse a command; a refusal is counted.

        Args:
            action: The requested step; anything that should have shape (7,).
            stamp_ns: When the command was issued [ns].
            now_ns: The time now, on the same clock [ns].

        Returns:
            Why the command is refused; None if it may be executed.
        """
        refusal = self._refusal(action, stamp_ns, now_ns)
        if refusal is None:
            self._accepted_ns = now_ns
            return None
        return self.refuse(refusal)

    def refuse(self, refusal: Refusal) -> Refusal:
        """Count that a command is refused, and return why."""
        self.counts.count_refusal(refusal.kind)
        return refusal

    def _refusal(self, action: object, stamp_ns: int, now_ns: int) -> Refusal | None:
        """Return the first reason to refuse a command; the arguments are those of `check`."""
        step = check_vector("the command", action, ACTION_LOW.shape)
        if isinstance(step, Refusal):
            return step
        age = _seconds(now_ns - stamp_ns)
        if age > self.max_age:
            text = f"command is {age:.3f} s old; at most {self.max_age:g} s are allowed"
            return Refusal(Kind.LATE, text)
        if early := early_problem("command", stamp_ns, now_ns):
            return Refusal(Kind.EARLY, early)
        if self.holding:
            return Refusal(Kind.HOLDING, f"arm is holding: {self.reason}")
        if self.busy:
            return Refusal(Kind.MOVING, f"arm is {self.busy}")
        return None

    def count(self, result: StepResult) -> None:
        """Count what the limits did to a command that `check` accepted.

        Args:
            result: The controller's result of the command.
        """
        self.counts.count_step(result)

    # --- timeouts ---------------------------------------------------------------------------

    def check_command_timeout(self, now_ns: int) -> Refusal | None:
        """Return why the arm must hold for want of commands; None if it need not.

        Args:
            now_ns: The time now [ns].
        """
        if not self.episode or self.holding or self._accepted_ns is None:
            return None
        pause = _seconds(now_ns - self._accepted_ns)
        if pause <= self.command_timeout:
            return None
        text = (
            f"no command for {pause:.2f} s during an episode; "
            f"at most {self.command_timeout:g} s are allowed"
        )
        return Refusal(Kind.SILENCE, text)

    def on_image(self, stamp_ns: int, now_ns: int) -> None:
        """Note a camera image that arrived now.

        An image stamped in the future is counted and does not restart the timeout, which
        runs from the first image of any stamp on.

        Args:
            stamp_ns: Stamp of the image [ns].
            now_ns: The time now, on the clock of the images' stamps [ns].
        """
        self._early = early_problem("the camera's image", stamp_ns, now_ns)
        if not self._early:
            self._image_ns = min(stamp_ns, now_ns)
            return
        self.early_images += 1
        if self._image_ns is None:
            self._image_ns = now_ns

    def check_image_timeout(self, now_ns: int) -> Refusal | None:
        """Return why the arm must hold for want of camera images; None if it need not.

        Args:
            now_ns: The time now, on the clock of the images' stamps [ns].
        """
        if not self.episode or self.holding or self._image_ns is None:
            return None
        age = _seconds(now_ns - self._image_ns)
        if age <= self.image_timeout:
            return None
        text = (
            f"the latest image is {age:.2f} s old; "
            f"at most {self.image_timeout:g} s are allowed during an episode"
        )
        if self._early:
            text = f"{text}; {self._early}"
        return Refusal(Kind.CAMERA, text)

    def check_clock(self, now_ns: int, steady_ns: int) -> Refusal | None:
        """Return that the clock jumped since the last call; None if it did not.

        Args:
            now_ns: The clock that stamps messages [ns].
            steady_ns: A clock that nobody sets [ns].
        """
        before = self._clocks
        self._clocks = (now_ns, steady_ns)
        if before is None:
            return None
        jump = _seconds((now_ns - before[0]) - (steady_ns - before[1]))
        if abs(jump) <= CLOCK_TOLERANCE:
            return None
        text = f"the clock jumped by {jump:+.2f} s; is the time being set?"
        return Refusal(Kind.CLOCK, text)

    # --- holding and moving -----------------------------------------------------------------

    def reset(self) -> None:
        """Hold until `activate` and forget the episode: the node has just been configured.

        Such a hold is not counted.
        """
        self._hold = Refusal(Kind.INACTIVE, Kind.INACTIVE.value)
        self.busy = ""
        self.episode = ""

    def activate(self) -> None:
        """Let commands pass, unless the arm holds for another reason than an inactive node."""
        if self._hold is not None and self._hold.kind is Kind.INACTIVE:
            self.enable()

    def hold(self, reason: Refusal) -> bool:
        """Remember why the arm holds, and count the hold.

        A hold ends a motion that the arm makes by itself. The first reason of a hold stays.

        Args:
            reason: Its text becomes `reason`, its kind is counted.

        Returns:
            Whether the arm did not hold before.
        """
        if self.holding:
            return False
        self._hold = reason
        self.busy = ""
        self.counts.count_hold(reason.kind)
        return True

    def enable(self) -> None:
        """End a hold: let commands pass again.

        The command timeout runs again from the next command on.
        """
        self._hold = None
        self._accepted_ns = None

    def begin_motion(self, text: str) -> None:
        """Refuse commands while the arm moves by itself.

        Args:
            text: What the arm is doing, such as "moving to its start pose".
        """
        self.busy = text

    def end_motion(self) -> None:
        """Let commands pass again after a motion of the arm by itself."""
        self.busy = ""

    # --- episodes ---------------------------------------------------------------------------

    def start(self, episode: str) -> None:
        """Begin an episode; its command timeout runs from its first command on.

        Args:
            episode: Its identifier, not empty.
        """
        self.episode = episode
        self._accepted_ns = None
        if self.resume_on_start:
            self.enable()

    def end(self, episode: str) -> None:
        """End an episode.

        Args:
            episode: Its identifier; the end of another one does not end the running episode.
        """
        if episode == self.episode:
            self.episode = ""


def _seconds(nanoseconds: int) -> float:
    return nanoseconds / 1e9
