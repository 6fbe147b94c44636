"""The action `run_task`: an episode of the policy as one goal, from its start to its bag."""
