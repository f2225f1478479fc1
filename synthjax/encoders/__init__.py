"""Who judges: encoders of images and texts, from published checkpoints."""
