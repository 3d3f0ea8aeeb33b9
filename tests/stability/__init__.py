"""Tests whose verdict hangs on how a training went, under other seeds and other rounding: `make test-stability`.

Such a test carries the mark `trained` and says what was reached by `at_least` and `at_most` of `margins`, so that the
distance to its bound can be seen. `perturb` is the pytest plugin that gives a run other starting weights; `__main__`
runs the marked tests once a seed and prints the smallest margin of each bound.
"""
