"""Everything that touches devices: arm, cameras, simulator, teleoperation, recorder, evaluation."""
