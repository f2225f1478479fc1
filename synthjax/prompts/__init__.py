"""What to ask a generator for."""
