"""How many threads a product of matrices takes, for a while."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


def blas_threads(n: int) -> AbstractContextManager[Any]:
    """Context in which NumPy and SciPy multiply in at most `n` threads."""
    return _controller().limit(limits=n)


def threads_kept() -> AbstractContextManager[Any]:
    """Context after which the numbers of threads are what they were: numba's, for UMAP, become those of torch too."""
    return _controller().limit(limits=None)


@cache
def _controller() -> ThreadpoolController:
    """Find the libraries once: they came with what we import, and looking through all of a process takes 4 ms."""
    return ThreadpoolController()
