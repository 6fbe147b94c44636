"""Runs an exported PTR policy on a robot; also home of the contracts every part shares.

`spec`, `files`, `images` and `bundle` need neither ROS nor torch to import.
"""
