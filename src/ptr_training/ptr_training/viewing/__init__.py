"""Episodes and bags for a person to look at: films, curves, pages with a player, Rerun files."""
