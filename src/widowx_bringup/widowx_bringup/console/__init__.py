"""The console: a page on which a person sees, judges and moves the arm (`ptr console`)."""
