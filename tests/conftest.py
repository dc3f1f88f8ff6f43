"""Settings that every test shares: one thread for numerics, and property tests that draw the same examples each time.

The thread limits have to be in the environment before the first import of torch or NumPy, hence at the top of this
file. They are set, not defaulted: sums split over another number of threads round differently, and results are compared
exactly.

``pytest --hypothesis-profile=explore`` draws new and more examples; what it finds goes into the test as an
``@example``.
"""

import os

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"

from hypothesis import settings  # noqa: E402 (the environment comes first)

settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile("ci")
