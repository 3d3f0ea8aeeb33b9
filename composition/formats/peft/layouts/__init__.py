"""How a LoRA's factors lie in its files: compact, or uniform as every server reads it right, and the choice."""
