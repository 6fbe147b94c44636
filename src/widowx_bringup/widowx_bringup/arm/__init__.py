"""From an action to a joint command: limits, kinematics, controller, guard and the arm node."""
