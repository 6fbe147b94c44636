"""What a store holds and what looks wrong in it: `ptr inspect`."""
