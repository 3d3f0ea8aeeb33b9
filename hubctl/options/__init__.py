"""Options that commands share, and commands whose options are drawn from recipes."""
