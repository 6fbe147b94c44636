"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# Examples of hypothesis have no time limit: a slow machine is not a fault of the code.
settings.register_profile("ptr", deadline=None)
settings.load_profile("ptr")
