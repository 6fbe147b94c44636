"""What every package shares: errors, action space, topics, files, images, the command `ptr`.

It is imported before anything heavy, and so decides what Ctrl-C does meanwhile.
"""

from .process.interrupts import end_at_once

end_at_once()
