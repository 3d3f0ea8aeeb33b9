"""The Hugging Face protocol, asked by its own clients and by wire."""
