"""Whether intervals hold what was measured."""

from __future__ import annotations

import numpy as np

from jamie._checks import require_same_shape
from jamie._types import Array

from ._numbers import numbers

ROUNDING = 1e-6
"""Of values in single precision, as a share of their size: a bound that is a measured value holds it."""


def is_within(measured: Array, lower: Array, upper: Array) -> Array:
    """Which measured values lie within their bounds: 1 or 0, NaN where a value or bound is missing.

    Parameters
    ----------
    measured, lower, upper
        Values and bounds of the same cells and features.

    Returns
    -------
    Of the same shape; its mean without NaN is the coverage.

    Raises
    ------
    ValueError
        If shapes differ.

    Examples
    --------
    >>> import jamie as jm
    >>> import numpy as np
    >>> jm.metrics.is_within(np.array([0.0, 3.0]), np.array([0.0, 1.0]), np.array([0.0, 2.0]))
    array([1., 0.])
    """
    measured, lower, upper = (
        numbers(values, name=name) for values, name in ((measured, "measured"), (lower, "lower"), (upper, "upper"))
    )
    require_same_shape(measured, lower, names=("measured", "lower"))
    require_same_shape(measured, upper, names=("measured", "upper"))
    size = np.abs(measured)
    above = measured >= lower - ROUNDING * np.maximum(size, np.abs(lower))
    within = above & (measured <= upper + ROUNDING * np.maximum(size, np.abs(upper)))
    return np.where(np.isnan(measured) | np.isnan(lower) | np.isnan(upper), np.nan, within)
