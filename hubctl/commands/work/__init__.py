"""Commands that start jobs, watch them and show what came of them, one file a noun."""
