"""What a study may ask for: every field, its default and kind, and what a value may be."""
