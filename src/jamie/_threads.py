"""How many threads a product of matrices takes, for a while."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


def blas_threads(n: int) -> AbstractContextManager[Any]:
    """Context in which NumPy and SciPy multiply in at most `n` threads."""
    return _controller().limit(limits=n)


@cache
def _controller() -> ThreadpoolController:
    """Find the libraries once: they came with what we import, and looking through all of a process takes 4 ms."""
    return ThreadpoolController()
