"""Which features a figure shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jamie._checks import require_name, require_names
from jamie._types import Array


def from_best_to_worst(scores: Array, n: int) -> list[int]:
    """At most `n` features spread over the ranks of those that have a score, the best first."""
    finite = np.flatnonzero(np.isfinite(scores))
    ranked = finite[np.argsort(-scores[finite])]
    spread = np.linspace(0, max(len(ranked) - 1, 0), min(n, len(ranked)))
    return [int(i) for i in ranked[np.unique(spread.astype(int))]]


def positions(columns: list[str], features: Sequence[str]) -> list[int]:
    """Positions of named features."""
    wanted = require_names(features, name="features")
    return [columns.index(require_name(feature, columns, name="features")) for feature in wanted]
