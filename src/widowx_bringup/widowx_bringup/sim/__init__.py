"""The simulated arm and scene in MuJoCo: world, rendering, tasks, scripted expert."""
