"""The base of every error meant for the user."""

from __future__ import annotations


class PtrError(Exception):
    """Base of every error meant for the user.

    The message names the value found, the values allowed and where to change it;
    the `ptr` command prints it without a traceback.
    """
