"""Every check of another package's version, in one place."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def seed_argument(function: Callable[..., Any], seed: int) -> dict[str, int]:
    """Name of the seed argument of a scanpy function: `rng` since 1.12, `random_state` before."""
    return {"rng" if "rng" in inspect.signature(function).parameters else "random_state": seed}
