"""Sessions: methods compared blindly in trials of a locked plan, killed and resumed at will."""
