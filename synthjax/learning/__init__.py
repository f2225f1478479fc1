"""Learning: one loop for every task."""
