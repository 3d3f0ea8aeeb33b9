"""Adapters for inference servers: versions kept in folders, a folder that follows a tag, and vLLM's resolver."""
