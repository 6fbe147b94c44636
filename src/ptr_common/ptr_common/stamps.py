"""What the stamp of a message may be while a robot runs: neither late nor from the future."""

from __future__ import annotations

FUTURE_TOLERANCE = 0.05
"""A stamp may be this far ahead of the clock of the node that uses it [s].

Two processes see simulated time one tick apart.
"""


def early_problem(name: str, stamp_ns: int, now_ns: int) -> str:
    """Return why a stamp is refused as one from the future; empty if it is not.

    Args:
        name: What was stamped, such as "image".
        stamp_ns: Its stamp [ns].
        now_ns: The time now, on the clock of the node that uses it [ns].
    """
    ahead = (stamp_ns - now_ns) * 1e-9
    if ahead <= FUTURE_TOLERANCE:
        return ""
    return (
        f"{name} is stamped {ahead:.3f} s in the future; at most {FUTURE_TOLERANCE:g} s are "
        "allowed: the sender's clock differs from this computer's"
    )


def age_problem(name: str, stamp_ns: int, now_ns: int, max_age: float) -> str:
    """Return why a message is refused as late or as one from the future; empty if it is not.

    Args:
        name: What was stamped, such as "image".
        stamp_ns: Its stamp [ns].
        now_ns: The time now, on the clock of the node that uses it [ns].
        max_age: Maximum age [s].
    """
    age = (now_ns - stamp_ns) * 1e-9
    if age > max_age:
        return f"{name} is {age:.3f} s old; at most {max_age:g} s are allowed"
    return early_problem(name, stamp_ns, now_ns)
