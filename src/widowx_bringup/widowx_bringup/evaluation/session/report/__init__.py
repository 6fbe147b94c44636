"""What is made of a session's journal and bags: its report, and the check of its table."""
