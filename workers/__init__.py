"""Workers: each is one process that claims jobs, runs pure functions for them and publishes the results."""
