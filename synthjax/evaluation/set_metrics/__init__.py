"""Metrics of an image set: pure functions of the features of its images, of real images beside them, of answers or texts."""
