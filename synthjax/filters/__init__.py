"""Choosing: scores of images to the ids that stay. A filter deletes nothing; it says what stays, why, and how many."""
