"""Everything that touches devices: arm, cameras, simulator, teleoperation, recorder, evaluation."""

import signal
import sys

if sys.argv[:1] == ["-m"]:  # Python sets it while it looks for the module of a process
    # Until a node handles signals itself, Ctrl-C ends it without a traceback of its imports.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
