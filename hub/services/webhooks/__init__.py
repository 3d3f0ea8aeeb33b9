"""Telling other programs what happens in a namespace: signed, retried from the outbox, never into our own network."""
