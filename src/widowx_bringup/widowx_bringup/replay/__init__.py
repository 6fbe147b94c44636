"""Recorded episodes again: a policy's actions recomputed, or the requested ones on the arm."""
