"""Networks: those of diffusers and transformers, corrected where they differ from the published ones."""
