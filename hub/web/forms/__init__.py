"""Forms that start jobs: read from a request, kept when refused, drawn from recipes."""
