"""synthjax: train recognisers on images that a text-to-image model made."""

__version__ = "0.1.0"
