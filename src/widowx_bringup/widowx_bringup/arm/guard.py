"""When a command may reach the arm and when the arm must hold. No ROS, no device: times come as arguments."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

FUTURE_TOLERANCE = 0.05
"""How far a stamp may lie ahead of our clock [s]: two processes see simulated time a tick apart."""

CLOCK_TOLERANCE = 0.1
"""How far the clock may run from a steady one between two looks at it [s]."""


@dataclass
class CommandGuard:
    """Refuses commands and notices silence; remembers why the arm holds, and counts.

    Written by the device thread only; the reason and the counters may be read from any
    thread.

    Attributes:
        max_age: Oldest command that is still executed [s].
        max_silence: Longest pause between two commands of an episode [s].
        max_blindness: Oldest newest picture of the camera, once it has shown one, in an
            episode [s].
        kinds: What was clipped, held and rejected, counted by kind.
        resume_on_start: Whether the START of an episode ends a hold (simulation) or only
        `enable` does (real arm).
    """

    max_age: float
    max_silence: float
    max_blindness: float
    resume_on_start: bool = False
    reason: str = ""
    busy: str = ""  # why commands have to wait although nothing is wrong
    clipped: int = 0
    held: int = 0
    rejected: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    episode: str = ""
    _last_accepted_ns: int | None = None
    _pictured_ns: int | None = None  # stamp of the newest picture
    _clocks: tuple[int, int] | None = (
        None  # the clock and a steady one, when last compared [ns]
    )

    @property
    def holding(self) -> bool:
        """Whether the arm holds its measured position."""
        return bool(self.reason)

    def check(self, action: np.ndarray, stamp_ns: int, now_ns: int) -> str:
        """Accept or refuse a command.

        Args:
            action: The requested step, shape (7,) expected.
            stamp_ns: When it was issued.
            now_ns: The time now, on the same clock.

        Returns:
            Why it is refused (and counted); empty when it may be executed.
        """
        kind, refusal = self._refusal(
            np.asarray(action, dtype=np.float64), (now_ns - stamp_ns) * 1e-9
        )
        if refusal:
            self.rejected += 1
            self.kinds[f"rejected: {kind}"] += 1
        else:
            self._last_accepted_ns = now_ns
        return refusal

    def _refusal(self, action: np.ndarray, age: float) -> tuple[str, str]:
        """Return of which kind a refusal is, and why; empty texts for a command that may be executed."""
        if action.shape != (7,):
            return "length", f"command has {action.size} numbers; it must have 7"
        if not np.isfinite(action).all():
            return "not finite", f"command is not finite: {action.tolist()}"
        if age > self.max_age:
            return (
                "late",
                f"command is {age:.3f} s old; at most {self.max_age:g} s are allowed",
            )
        if age < -FUTURE_TOLERANCE:
            return (
                "early",
                f"command is stamped {-age:.3f} s in the future: the sender's clock differs from the arm's",
            )
        if self.holding:
            return "holding", f"arm is holding: {self.reason}"
        return ("moving by itself", f"arm is {self.busy}") if self.busy else ("", "")

    def judge(self, clipped: bool, rejected: bool, reasons: str) -> None:
        """Count what the gate did to a command; the limits that shortened it are separated by commas."""
        self.clipped += clipped
        self.rejected += rejected
        if rejected:
            self.kinds["rejected: gate"] += 1
        elif clipped:
            self.kinds.update(f"clipped: {limit}" for limit in reasons.split(", "))

    def silence(self, now_ns: int) -> str:
        """Return why the arm must hold because nobody commands it any more; empty when all is well."""
        if not self.episode or self.holding or self._last_accepted_ns is None:
            return ""
        pause = (now_ns - self._last_accepted_ns) * 1e-9
        if pause <= self.max_silence:
            return ""
        return f"no command for {pause:.2f} s during an episode; at most {self.max_silence:g} s are allowed"

    def pictured(self, stamp_ns: int) -> None:
        """The camera has shown a picture of this stamp."""
        self._pictured_ns = stamp_ns

    def blindness(self, now_ns: int) -> str:
        """Return why the arm must hold because the camera shows nothing new; empty when all is well."""
        if not self.episode or self.holding or self._pictured_ns is None:
            return ""
        age = (now_ns - self._pictured_ns) * 1e-9
        if age <= self.max_blindness:
            return ""
        return f"the newest picture is {age:.2f} s old; at most {self.max_blindness:g} s are allowed during an episode"

    def clock_jump(self, now_ns: int, steady_ns: int) -> str:
        """Return by how much the clock that stamps messages has left a steady one since the last call, if it has."""
        before, self._clocks = self._clocks, (now_ns, steady_ns)
        if before is None:
            return ""
        jump = ((now_ns - before[0]) - (steady_ns - before[1])) * 1e-9
        if abs(jump) <= CLOCK_TOLERANCE:
            return ""
        return f"the clock jumped by {jump:+.2f} s; is the time being set?"

    def hold(self, reason: str, kind: str) -> bool:
        """Remember that the arm holds; return whether it did not hold before (then the hold is counted)."""
        if self.holding:
            return False
        self.reason, self.busy = reason, ""
        self.held += 1
        self.kinds[f"held: {kind}"] += 1
        return True

    def enable(self) -> None:
        """Let commands pass again."""
        self.reason = ""
        self._last_accepted_ns = None

    def start(self, episode: str) -> None:
        """An episode begins: silence counts from its first command on."""
        self.episode = episode
        self._last_accepted_ns = None
        if self.resume_on_start:
            self.enable()

    def end(self, episode: str) -> None:
        """The episode is over; an end of another episode says nothing about the running one."""
        if episode == self.episode:
            self.episode = ""
