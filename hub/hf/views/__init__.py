"""Views of the protocol, one noun a file."""
