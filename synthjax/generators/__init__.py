"""Text-to-image models, and the samplers that run them."""
