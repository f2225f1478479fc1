"""Sampling images: which ones, and by what devices."""
