"""Feeding: batches as a function of the step."""
