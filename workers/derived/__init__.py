"""What workers make from versions and keep in their cache: safe to lose, found by content alone."""
