"""The error of everything that reads recordings."""

from __future__ import annotations

from ptr_training.errors import TrainingError


class BagError(TrainingError):
    """A recording is missing, damaged, or holds something that cannot be read."""
