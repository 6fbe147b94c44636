"""The families of simulated tasks: what each says of its things, scenes, expert and success."""
