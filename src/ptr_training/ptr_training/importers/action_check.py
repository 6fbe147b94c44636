"""What actions of a source mean: one check for all formats, and the options that convert them.

An action of a store is a step of this arm in its base frame: metres, radians, a gripper of 0
(closed) to 1 (open). Other conventions have the same seven numbers. A few steps beyond the
bounds are clipped, as BridgeData's robot clips them; an episode whose numbers cannot be steps
is refused.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ptr_training.data.step_check import why_no_steps

from .base import ImportOptions, RecordError, SourceEpisode


def convert_units(source: SourceEpisode, options: ImportOptions) -> SourceEpisode:
    """Return an episode with its actions in radians and a gripper of 0 … 1, as chosen.

    An episode that came from a store is left as it is.
    """
    closed, opened = options.gripper_range
    if source.original or ((closed, opened) == (0.0, 1.0) and not options.degrees):
        return source
    actions = source.actions.copy()
    if options.degrees:
        actions[:, 3:6] = np.deg2rad(actions[:, 3:6])
    actions[:, 6] = (actions[:, 6] - closed) / (opened - closed)
    return replace(source, actions=actions)


def check_steps(source: SourceEpisode) -> None:
    """Refuse an episode whose actions cannot be steps of this arm in its base frame.

    An episode that came from a store is not looked at: it was checked when that was made.

    Raises:
        RecordError: If they are poses, scaled, in other units, or turn as no step does; the
            message says what was found and which option mends it.
    """
    if source.original or not len(source.actions):
        return
    if reason := why_no_steps(source.actions, source.states):
        raise RecordError(reason)
