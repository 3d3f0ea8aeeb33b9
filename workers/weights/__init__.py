"""Base weights on their way to this machine: out of the hub's own store, and out of GGUF files; each once a host."""
