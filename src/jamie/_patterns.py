"""Features that are missing in the same cells: what can be regressed together where values are missing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from jamie._types import Array


class Pattern(NamedTuple):
    """Some features, and the cells that each of them was measured in."""

    rows: Array
    columns: Array


def patterns(values: Array) -> list[Pattern]:
    """Group the features of a matrix with NaN by the cells they were measured in, most values first.

    Features without a value are in no group.
    """
    seen = ~np.isnan(values)
    (columns,) = np.nonzero(seen.any(axis=0))
    if not len(columns):
        return []
    packed = np.packbits(seen[:, columns], axis=0).T
    _, first, group = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    group = group.ravel()
    grouped = [
        Pattern(np.flatnonzero(seen[:, columns[one]]), columns[group == i]) for i, one in enumerate(first.tolist())
    ]
    return sorted(grouped, key=lambda p: (-len(p.rows) * len(p.columns), p.columns[0]))
