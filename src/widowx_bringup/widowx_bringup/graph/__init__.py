"""Which ROS nodes run together, and how they are started."""
