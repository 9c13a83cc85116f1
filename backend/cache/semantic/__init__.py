"""Answers to questions that mean the same: embedding, search, and proof that a hit is right."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# One vector against a few thousand takes microseconds; spread over threads it took 20 ms whenever a core was busy.
