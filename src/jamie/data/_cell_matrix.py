"""The matrix of one modality, read a block of cells at a time wherever it lies: in memory, on disk or in dask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from anndata.abc import CSCDataset, CSRDataset
from joblib import Parallel, cpu_count, delayed
from scipy import sparse

from jamie._errors import InvalidValueError
from jamie._progress import progress
from jamie._settings import settings
from jamie._threads import blas_threads
from jamie._types import Array, Matrix

S = TypeVar("S")
T = TypeVar("T")

BLOCKS = 64
"""Blocks that fit into `settings.memory_gb`: each exists in a few copies, in each of a few threads."""
LARGEST = 1e18
"""Value whose square, and those of some cells together, float32 holds: 3.4e38 at most."""
FEWEST_ROWS = 64
MOSTLY_FILLED = 0.5
"""Share of values that are stored above which a sparse matrix is larger than a dense one."""
MOST_THREADS = 4
DASK_PARTS = 8
"""Chunks of a dask array that are computed at once."""


class CellMatrix:
    """Cells × features, of which float32 blocks are read, CSR or dense, and found free of infinities.

    Where float32 would round away what values differ by, `in_double` reads float64 ones.

    Parameters
    ----------
    values
        NumPy or scipy matrix, matrix of a backed AnnData, HDF5 or zarr array, or dask array.
    where
        What messages call it.
    cells, features
        Their names; numbers if `None`.
    """

    def __init__(
        self, values: Any, *, where: str = "X", cells: pd.Index | None = None, features: pd.Index | None = None
    ) -> None:
        if isinstance(values, CSCDataset):
            msg = (
                f"expected `{where}` on disk by cells (CSR) or dense, found it by features (CSC), of which no block of "
                "cells can be read; read it into memory, or write it once as CSR: adata.X = adata.X.tocsr()"
            )
            raise InvalidValueError(msg)
        require_numeric(values, where)
        self._values = _in_rows(values)
        self.where = where
        self.cells = pd.RangeIndex(values.shape[0]) if cells is None else cells
        self.features = self._names = pd.RangeIndex(values.shape[1]) if features is None else features
        self._columns: Array | None = None
        self._change: tuple[Callable[[Matrix, Array], Matrix], Array] | None = None
        self._reads: Any = np.float32
        self._makes_dense = False
        self.shape: tuple[int, int] = values.shape
        if self.in_memory:
            _require_measured(self._values, where, self.cells, self.features)

    @property
    def in_memory(self) -> bool:
        """Whether it is neither on disk nor in dask."""
        return sparse.issparse(self._values) or isinstance(self._values, np.ndarray)

    @property
    def is_sparse(self) -> bool:
        """Whether blocks are CSR."""
        if self._makes_dense:
            return False
        return sparse.issparse(getattr(self._values, "_meta", self._values)) or isinstance(self._values, CSRDataset)

    @property
    def is_double(self) -> bool:
        """Whether blocks are float64."""
        return self._reads == np.float64

    @property
    def dtype(self) -> np.dtype:
        """In which values are stored."""
        return np.dtype(self._values.dtype)

    @property
    def bytes_per_cell(self) -> float:
        """Of a float32 block with its indices; of dask's sparse arrays as if a tenth of the values were there."""
        if isinstance(self._values, CSRDataset):
            return 8 * self._values.group["indices"].shape[0] / max(self.shape[0], 1)
        if sparse.issparse(self._values):
            return 8 * self._values.nnz / max(self.shape[0], 1)
        return 4.0 * self.shape[1] * (0.2 if self.is_sparse else 1)

    def __getitem__(self, rows: Array | slice) -> Matrix:
        """Some cells, in the order asked for, by position or mask."""
        if not isinstance(rows, slice) and rows.dtype == bool:
            rows = np.flatnonzero(rows)
        x = _rows_of(self._values, rows)
        if not self.in_memory:
            require_numeric(x, self.where)
        x = _as_floats(x, self._reads, dense=self._makes_dense)
        if not self.in_memory:
            _require_measured(x, self.where, self.cells[rows], self._names)
        x = x if self._columns is None else x[:, self._columns]
        if self._change is None:
            return x
        change, per_cell = self._change
        return change(x, per_cell[rows])

    def stored(self, rows: Array | slice) -> Matrix:
        """All features of some cells as they are stored, neither converted nor checked."""
        return _rows_of(self._values, rows)

    def in_double(self) -> CellMatrix:
        """The same cells, of which float64 blocks are read; dense ones where most of a sparse matrix is filled."""
        result = copy(self)
        result._reads = np.float64
        result._makes_dense = self._makes_dense or (
            self.is_sparse and self.bytes_per_cell > 8 * MOSTLY_FILLED * self._values.shape[1]
        )
        return result

    def select(self, columns: Array) -> CellMatrix:
        """The same cells with some of the features, by position."""
        result = copy(self)
        result._columns, result.shape = columns, (self.shape[0], len(columns))
        result.features = self.features[columns]
        return result

    def changed(self, change: Callable[[Matrix, Array], Matrix], per_cell: Array) -> CellMatrix:
        """The same cells with `change` of each block that is read, and of what `per_cell` has of its cells."""
        result = copy(self)
        result._change = change, per_cell
        return result

    def blocks(self) -> list[slice]:
        """Consecutive cells that fit into their share of `settings.memory_gb`."""
        n, share = self.shape[0], settings.memory_gb * 2**30 / BLOCKS
        rows = max(FEWEST_ROWS, int(share / max(self.bytes_per_cell, 1)))
        return [slice(start, min(start + rows, n)) for start in range(0, n, rows)]

    def map(self, function: Callable[..., T], *per_cell: Array, description: str = "reading") -> Iterator[T]:
        """`function` of each block of cells in turn, and of their values in each array `per_cell`.

        Blocks are worked on in threads, and those of a dask array by dask, on the user's cluster if there is one.
        """
        if hasattr(self._values, "dask"):
            if self._change is not None:
                change, of_cells = self._change
                function, per_cell = partial(_after, function, change), (of_cells, *per_cell)
            yield from self._map_dask(function, per_cell)
            return
        blocks = self.blocks()

        def of(rows: slice) -> T:
            return function(self[rows], *(values[rows] for values in per_cell))

        if len(blocks) == 1:
            yield of(blocks[0])
            return
        with progress(self.shape[0], description=description, unit="cells") as bar:
            for rows, result in zip(blocks, in_threads(of, blocks), strict=True):
                bar.update(rows.stop - rows.start)
                yield result

    def _map_dask(self, function: Callable[..., T], per_cell: tuple[Array, ...]) -> Iterator[T]:
        import dask

        by_cells = self._values.rechunk({1: -1})
        ends = np.cumsum((0, *by_cells.chunks[0]))
        parts = list(zip(by_cells.to_delayed().ravel(), map(slice, ends, ends[1:]), strict=False))
        how = self._columns, self._reads, self._makes_dense
        of, names = dask.delayed(_of_part, pure=False, traverse=False), dask.delayed(self._names, pure=False)
        for start in range(0, len(parts), DASK_PARTS):
            yield from dask.compute(
                *(
                    of(function, part, how, self.where, self.cells[rows], names, [v[rows] for v in per_cell])
                    for part, rows in parts[start : start + DASK_PARTS]
                )
            )


def _after(function: Callable[..., T], change: Callable[..., Matrix], x: Matrix, of_cells: Array, *rest: Array) -> T:
    """`function` of what `change` makes of a block."""
    return function(change(x, of_cells), *rest)


def in_threads(function: Callable[[S], T], items: Sequence[S]) -> Iterator[T]:
    """`function` of each item, in order, a few at a time; each in one thread."""
    n_jobs = min(settings.n_threads or MOST_THREADS, cpu_count(), len(items))
    pool = Parallel(n_jobs=n_jobs, backend="threading", return_as="generator", pre_dispatch=n_jobs)
    with blas_threads(1):
        yield from pool(delayed(function)(item) for item in items)


def _of_part(
    function: Callable[..., T],
    x: Any,
    how: tuple[Array | None, Any, bool],
    where: str,
    cells: pd.Index,
    features: pd.Index,
    per_cell: list[Array],
) -> T:
    """What a worker of dask does with one chunk."""
    columns, reads, dense = how
    require_numeric(x, where)
    x = _as_floats(x, reads, dense=dense)
    _require_measured(x, where, cells, features)
    return function(x if columns is None else x[:, columns], *per_cell)


def _in_rows(values: Any) -> Any:
    """What is in memory as CSR with each entry once, or as a plain array in which masked values are NaN."""
    if sparse.issparse(values):
        return canonical(values.tocsr())
    if isinstance(values, np.ma.MaskedArray):
        return np.ma.filled(values.astype(np.result_type(values.dtype, np.float32)), np.nan)
    return np.asarray(values) if isinstance(values, np.ndarray) else values


def _as_floats(x: Any, dtype: Any, *, dense: bool = False) -> Matrix:
    if sparse.issparse(x):
        x = canonical(sparse.csr_matrix(x, dtype=dtype))
        return x.toarray() if dense else x
    return np.asarray(x, dtype=dtype)


def canonical(x: sparse.csr_matrix) -> sparse.csr_matrix:
    """The same matrix with every entry once: of one that is stored in parts, a copy with the parts added up."""
    if x.has_canonical_format:
        return x
    x = x.copy()
    x.sum_duplicates()
    return x


def require_numeric(values: Any, where: str) -> None:
    """Raise if values are no real numbers, or have squares that float32, in which everything is computed, cannot hold.

    What is on disk or in dask is judged by its type here, and by its values where blocks are read.
    """
    dtype = getattr(values, "dtype", None)
    if not isinstance(dtype, np.dtype) or dtype.kind not in "biuf":
        fix = "take the layer or table that holds numbers"
        if dtype is not None and getattr(dtype, "kind", "O") in "OTUS":
            fix = f"convert it, {where} = pd.DataFrame({where}).astype('Float32').to_numpy('float32', na_value=np.nan)"
        elif getattr(dtype, "kind", "") == "c":
            fix = f"take the real part if that is what was measured, {where} = {where}.real"
        msg = f"expected real numbers in `{where}`, found values of type {dtype or type(values).__name__}; {fix}"
        raise InvalidValueError(msg)
    stored = values.data if sparse.issparse(values) else values
    if dtype.kind != "f" or dtype.itemsize <= np.dtype(np.float32).itemsize or not isinstance(stored, np.ndarray):
        return
    with np.errstate(invalid="ignore"):
        beyond = (np.abs(stored) > LARGEST) & np.isfinite(stored)
    if beyond.any():
        raise InvalidValueError(_too_large(beyond, where))


def _too_large(beyond: Array, where: str) -> str:
    return (
        f"expected values whose squares float32 can hold, up to ±{LARGEST:.1e}, in `{where}`, found "
        f"{int(beyond.sum())} beyond; divide the feature by a constant, or set them to NaN if they stand for missing "
        "values"
    )


def _require_measured(x: Matrix, where: str, cells: pd.Index, features: pd.Index) -> None:
    """Raise if a value is infinite or too large, or a cell is all missing."""
    values = x.data if sparse.issparse(x) else x
    if np.issubdtype(values.dtype, np.integer) or not values.size:
        return
    if float(values.min()) >= -LARGEST and float(values.max()) <= LARGEST:  # which NaN is not
        return
    infinite = np.isinf(values)
    if infinite.any():
        column = x.indices[infinite][0] if sparse.issparse(x) else np.argwhere(infinite)[0, 1]
        msg = (
            f"expected finite values or NaN in `{where}`, found {int(infinite.sum())} infinite, first in feature "
            f"{features[column]!r}; set them to NaN if they are missing"
        )
        raise InvalidValueError(msg)
    beyond = np.abs(values) > np.float64(LARGEST)
    if beyond.any():
        raise InvalidValueError(_too_large(beyond, where))
    empty = missing(x, axis=1) == x.shape[1]
    if empty.any():
        msg = (
            f"expected a measured value in every cell of `{where}`, found {int(empty.sum())} with NaN only, first "
            f"{cells[empty][0]!r}; drop it: a cell that was not measured need not be there"
        )
        raise InvalidValueError(msg)


def missing(x: Matrix, *, axis: int) -> Array:
    """How many values are NaN, of each feature (`axis=0`) or cell (`axis=1`)."""
    if not sparse.issparse(x):
        return np.isnan(x).sum(axis=axis)
    gaps = np.isnan(x.data)
    if not gaps.any():
        return np.zeros(x.shape[1 - axis], dtype=np.int64)
    return np.asarray(sparse.csr_matrix((gaps, x.indices, x.indptr), x.shape).sum(axis=axis)).ravel()


def sums(x: Matrix, *, axis: int) -> Array:
    """Sum of each feature (`axis=0`) or cell (`axis=1`) in double precision, of sparse matrices too.

    In single precision 20 million ones are 16,777,216.
    """
    if not sparse.issparse(x):
        return x.sum(axis=axis, dtype=np.float64)
    return (x if axis == 1 else x.T) @ np.ones(x.shape[axis])


def at_most_one(x: Matrix) -> Matrix:
    """1 where there is more: whether there is any count, or the probability of one. NaN stays."""
    if not sparse.issparse(x):
        return np.minimum(x, 1)
    return sparse.csr_matrix((np.minimum(x.data, 1), x.indices, x.indptr), x.shape)


def _rows_of(values: Any, rows: Array | slice) -> Any:
    """Some rows of whatever holds them; what lies on disk is read in its own order, each row once."""
    if hasattr(values, "dask"):
        return values[rows].compute()
    if sparse.issparse(values) or isinstance(values, np.ndarray | CSRDataset) or isinstance(rows, slice):
        return values[rows]
    unique, place = np.unique(rows, return_inverse=True)
    return (values.oindex[unique] if hasattr(values, "oindex") else values[unique])[place]
