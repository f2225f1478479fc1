"""The small world that ships: a renderer of glyphs, and the real handwritten digits beside it."""
