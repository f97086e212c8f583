"""Two matrices side by side, a few columns at a time: what every measure per feature walks over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from jamie._checks import require_same_shape
from jamie._errors import InvalidValueError

from ._numbers import matrix_of, numbers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jamie._types import Array, Matrix

_BLOCK = 1 << 20  # dense float64 entries of either matrix held at once: 8 MB
_ROUNDING = {2: 2e-3, 4: 4e-6}
_ROUNDING_OF_DOUBLES = 7e-15
"""Relative error of a value, by bytes of its type: one rounding of halves, a sum of some products of the others."""


def paired_columns(measured: Matrix, imputed: Matrix) -> list[slice]:
    """Cut the columns of two matrices of the same shape into slices whose dense blocks are small.

    Raises
    ------
    ValueError
        If either is not cells × features of numbers, the shapes differ, or there are no cells.
    """
    measured, imputed = matrix_of(measured, name="measured"), matrix_of(imputed, name="imputed")
    for name, matrix in (("measured", measured), ("imputed", imputed)):
        if len(np.shape(matrix)) != 2 or not np.shape(matrix)[0]:
            msg = f"expected `{name}` as cells × features with at least one cell, found shape {np.shape(matrix)}"
            raise InvalidValueError(msg + "; one feature is a column: `values[:, None]`")
    require_same_shape(measured, imputed, names=("measured", "imputed"))
    n, width = np.shape(measured)
    step = max(_BLOCK // n, 1)
    return [slice(start, min(start + step, width)) for start in range(0, max(width, 1), step)]


def column_blocks(measured: Matrix, imputed: Matrix) -> Iterator[tuple[Array, Array]]:
    """Walk over two matrices in dense float64 blocks of columns, from the first column to the last.

    An entry that is missing, or not finite, in one matrix becomes NaN in both, so that both describe the same cells.
    Sparse matrices are made dense one block at a time. There is always at least one block, empty if there are no
    features.
    """
    slices = paired_columns(measured, imputed)
    left, right = _by_column(measured, "measured"), _by_column(imputed, "imputed")
    for columns in slices:
        a, b = _dense(left[:, columns]), _dense(right[:, columns])
        missing = ~(np.isfinite(a) & np.isfinite(b))
        a[missing] = b[missing] = np.nan
        yield a, b


def known_mean(values: Array, axis: int | None = None) -> Array:
    """Mean along an axis, or of all, over what is finite; NaN where nothing is."""
    finite = np.isfinite(values)
    n = finite.sum(axis)
    return np.where(n > 0, np.where(finite, values, 0).sum(axis) / np.maximum(n, 1), np.nan)


def rounding(measured: Matrix, imputed: Matrix) -> float:
    """Share of its size by which a value may be off for no other reason than the types that it was computed in."""
    types = [matrix_of(measured, name="measured").dtype, matrix_of(imputed, name="imputed").dtype]
    return max(_ROUNDING.get(kind.itemsize, _ROUNDING_OF_DOUBLES) if kind.kind == "f" else 0.0 for kind in types)


def vary(values: Array, relative: float) -> Array:
    """Whether the values of each column differ by more than rounding, (d,); not where all are missing."""
    spread = np.fmax.reduce(values) - np.fmin.reduce(values)
    return spread > relative * np.fmax.reduce(np.abs(values))


def _by_column(matrix: Matrix, name: str) -> Array | sparse.csc_array:
    return sparse.csc_array(matrix) if sparse.issparse(matrix) else numbers(matrix, name=name)


def _dense(block: Array | sparse.csc_array) -> Array:
    if isinstance(block, sparse.csc_array):
        return np.asarray(block.toarray(), dtype=np.float64)
    return np.array(block, dtype=np.float64)  # a copy: the caller's matrix stays as it is
