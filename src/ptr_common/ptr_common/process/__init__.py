"""How a process of ours is interrupted, and how it ends in time."""
