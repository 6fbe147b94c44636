"""From checkpoints to a bundle: `ptr select`, `ptr bundle`."""
