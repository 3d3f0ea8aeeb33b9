"""Tensors in, tensors out: formats, merges and evaluation of LoRA adapters, free of the platform around them."""
