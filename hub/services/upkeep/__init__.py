"""Keeping a hub in order: check and repair, collection, backups, bundles, and what runs by itself on a schedule."""
