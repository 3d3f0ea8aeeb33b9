"""The Hugging Face Hub protocol, by the real client where it can be."""
