"""The soak: a real hub under real users while its parts are killed at random, and what must hold afterwards."""
