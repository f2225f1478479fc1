"""Language models that write prompts: T5 and Qwen3, from published checkpoints."""
