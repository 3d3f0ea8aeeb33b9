"""What merging some adapters would give, told from their Grams before anything is merged: `judge.compare`."""
