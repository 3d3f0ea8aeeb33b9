"""Finding repositories: which ones a search means, the best first, and how many there are of each facet's values.

Nothing here reads more rows than it is bounded to, however many repositories there are.
"""
