"""Rules that score images, a file each, and what stays by their scores. A filter deletes nothing; it says what stays, why, and how many."""
