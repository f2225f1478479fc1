"""Telling: what a person looks at."""
