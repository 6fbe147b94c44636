"""Camera drivers, the camera node, its monitor and latency."""
