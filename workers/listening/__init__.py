"""How a worker hears of jobs: from the broker, and where that is silent, from the database."""
