"""The base of this package's errors."""

from __future__ import annotations

from ptr_common.errors import PtrError


class TrainingError(PtrError):
    """Base of the errors of the training package."""
