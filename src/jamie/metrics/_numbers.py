"""Numbers as users have them: arrays, lists and tables, but no text."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from jamie._checks import typed
from jamie._errors import InvalidValueError

if TYPE_CHECKING:
    from jamie._types import Array, Matrix

KINDS = {"U": "text", "S": "bytes", "c": "complex numbers", "M": "dates", "m": "times", "V": "records"}
"""What NumPy's types of values that are no real numbers are called."""


def matrix_of(values: Any, *, name: str) -> Matrix:
    """A sparse matrix as it is, anything else as `numbers` gives it.

    Raises
    ------
    InvalidValueError
        If it does not hold real numbers.
    """
    if not sparse.issparse(values):
        return numbers(values, name=name)
    if values.dtype.kind not in "biuf":
        raise _refused(values.dtype, name)
    return values


def numbers(values: Any, *, name: str) -> Array:
    """An array of real numbers, in the type that they have; NaN where a value is missing or masked.

    Text is no number, also where it looks like one. Raises as `matrix_of` does.
    """
    if isinstance(values, np.ma.MaskedArray) and values.dtype.kind in "biuf":
        values = np.ma.filled(values.astype(np.result_type(values.dtype, np.float32)), np.nan)
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):
        msg = f"expected rows of one length in `{name}`, found others; pass an array, or a list of such rows"
        raise InvalidValueError(msg) from None
    if array.dtype.kind in "biuf":
        return array
    if array.dtype.kind != "O" or not array.ndim:
        raise _refused(array.dtype if array.ndim else values, name)
    is_known = ~pd.isna(array)
    if other := next((value for value in array[is_known].ravel() if not isinstance(value, Real | np.bool_)), None):
        raise _refused(other, name)
    return np.where(is_known, array, np.nan).astype(np.float64)


def _refused(found: Any, name: str) -> InvalidValueError:
    shown = KINDS.get(found.kind, str(found)) if isinstance(found, np.dtype) else typed(found)
    return InvalidValueError(
        f"expected real numbers in `{name}`, found {shown}; pass an array, a list or a table of them"
    )
