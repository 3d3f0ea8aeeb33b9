"""Signing in by every way there is, tokens, and one's own account."""
