"""People: signing in, tokens, one's own account, organisations, what they use."""
