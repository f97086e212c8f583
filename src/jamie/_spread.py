"""A few of many, for what a part tells well enough."""

from __future__ import annotations

import numpy as np

from jamie._types import Array


def spread(n: int, most: int) -> Array:
    """At most `most` of n positions, evenly spaced and in order; the same each time."""
    return np.arange(n) if n <= most else np.linspace(0, n - 1, most).astype(int)
