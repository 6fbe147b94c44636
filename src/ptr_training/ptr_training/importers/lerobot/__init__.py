"""LeRobot data sets, format v3.0: read and written."""
