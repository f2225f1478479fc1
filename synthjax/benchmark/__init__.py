"""How fast: what is timed, in turn with its ceilings and with PyTorch, and the table of it."""
