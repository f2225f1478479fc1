"""One file a stage: each makes one kind of product from others, and says what is missing without making it."""
