"""Writing a plain LoRA as a GGUF file for llama.cpp; torch-free."""
