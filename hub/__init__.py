"""The hub. Whatever process imports it, numpy's algebra then takes one thread.

Several threads of BLAS wait for each other by spinning: beside one busy core, checking a 640 MB adapter takes forty
times the CPU seconds. It has to be said before numpy loads, and what the environment says comes first. A worker sets
its own number afterwards, from `HUB_WORKER_THREADS`.
"""

import os

for _name in ("OPENBLAS_NUM_THREADS", "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ.setdefault(_name, os.environ.get("OMP_NUM_THREADS", "1"))
