"""Keeping a hub in order: its check and repairs, collection, backups, bundles, and what runs by itself on a schedule."""
