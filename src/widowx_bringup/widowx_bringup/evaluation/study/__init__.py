"""`ptr study`: methods and ablations side by side."""
