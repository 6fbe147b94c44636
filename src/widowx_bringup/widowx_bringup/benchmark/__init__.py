"""Public benchmarks: SimplerEnv's WidowX tasks, run by ManiSkill 3 on a CPU."""
