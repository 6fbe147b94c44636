"""What every package shares: errors, action space, topics, files, images, the command `ptr`."""
