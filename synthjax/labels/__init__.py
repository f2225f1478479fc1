"""Label spaces: which classes there are, and how they are called."""
