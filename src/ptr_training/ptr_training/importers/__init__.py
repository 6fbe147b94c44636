"""Data of others to episodes (`ptr import`), and episodes to LeRobot (`ptr convert`)."""
