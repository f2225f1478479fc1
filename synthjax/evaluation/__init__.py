"""Measuring: predictions on real images to rows of results."""
