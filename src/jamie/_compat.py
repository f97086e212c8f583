"""Every check of another package's version, in one place."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def seed_argument(function: Callable[..., Any], seed: int) -> dict[str, int]:
    """Name of the seed argument of a scanpy function: `rng` since 1.12, `random_state` before."""
    return {"rng" if "rng" in inspect.signature(function).parameters else "random_state": seed}


@contextmanager
def quiet_mudata() -> Iterator[None]:
    """Keep to ourselves what mudata 0.3 announces of 0.4 each time a MuData is built, read or written."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="From 0.4 .update", category=FutureWarning)
        yield
