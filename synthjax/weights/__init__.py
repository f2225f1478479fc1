"""Published checkpoints: read from a folder, under PyTorch's names, into Flax parameters."""
