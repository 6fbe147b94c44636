"""Lance tables of robot episodes: read, never written."""
