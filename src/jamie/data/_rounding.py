"""Features whose values differ by less than the type rounds that holds them, far from 0 as they are.

A float of single precision has 24 bits: of values about 1e9 it holds every 64th number, so that a spread of 8 is gone.
Where more is stored, in double precision or as whole numbers, it is read so. Where it was not, nothing brings it back.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jamie._settings import logger
from jamie._types import Array

from ._cell_matrix import CellMatrix

NOTICED = 0.05
"""Share of a feature's standard deviation up to which the rounding of its values adds 0.1 % to its variance at most."""


def is_rounded(mean: Array | float, sd: Array | float, dtype: Any) -> Array:
    """Which features, of this mean and standard deviation, a type rounds by more than is `NOTICED`, (d,) bool.

    A feature that does not vary is one if the type holds not even all whole numbers of its size: it may have varied.
    """
    kind = np.dtype(dtype)
    off = np.abs(mean) * (np.finfo(kind).eps / 2 if kind.kind == "f" else np.finfo(np.float64).eps / 2)
    return np.where(np.asarray(sd) > 0, off > NOTICED * sd, off >= 1)


def may_be_rounded(mean: Array | float, sd: Array | float) -> Array:
    """Which features float32 may have rounded that was read, (d,) bool: those that it makes constant are some."""
    return is_rounded(mean, sd, np.float32) | ((np.asarray(sd) == 0) & (np.asarray(mean) != 0))


def holds_more(cells: CellMatrix) -> bool:
    """Whether values are stored in a type of which float32 rounds some."""
    return not np.can_cast(cells.dtype, np.float32)


def warn_rounded(cells: CellMatrix, features: Array, dtype: Any) -> None:
    """Warn of features, a mask, that `dtype` rounds away, and say how they are told to the last digit."""
    if not features.any():
        return
    first = str(cells.features[features][0])
    logger.warning(
        "the values of %d of %d features of `%s`, first %r, differ by no more than %s rounds numbers of their size: "
        "what they told is lost, and what is imputed of them is noise; store them in double precision, dense, or "
        "subtract a constant, such as the mean, before they are stored as %s",
        features.sum(), len(features), cells.where, first, np.dtype(dtype), np.dtype(dtype),
    )  # fmt: skip
