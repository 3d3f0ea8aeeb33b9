"""Workers: one process each, that claims jobs, runs pure functions on them and publishes what comes out."""
