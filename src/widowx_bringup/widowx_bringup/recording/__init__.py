"""Records bags that survive a crash, and plays them back."""
