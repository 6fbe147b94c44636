"""Policies behind a server: those of others here (`served.yaml`), and ours there (`ptr serve`)."""
