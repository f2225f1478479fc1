"""What is learnt: each task is an init and a loss for the one training loop."""
