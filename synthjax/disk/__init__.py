"""Files as a disk keeps them when a process may die at any moment: whole or absent, with their checksums."""
