"""Everything that touches devices: arm, cameras, simulator, teleoperation, recorder, evaluation."""

import ptr_common  # noqa: F401  first: it decides what Ctrl-C does during the other imports
