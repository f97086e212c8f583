"""Matrices in a file in the layout of AnnData, HDF5 or zarr, written a block of cells at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import zarr
from scipy import sparse

from jamie._types import Array, Matrix

VALUES = 2**22
"""In a block, and in a chunk of the file."""


class Rows(NamedTuple):
    """A matrix that is computed when it is written."""

    shape: tuple[int, int]
    dtype: Any
    is_sparse: bool
    read: Callable[[slice], Matrix]
    is_stored: bool = False  # whether it is read as it stands somewhere, not computed

    @property
    def step(self) -> int:
        """Cells in a block."""
        return max(1, VALUES // max(self.shape[1], 1))

    def whole(self) -> Matrix:
        """All of it, in memory."""
        n = self.shape[0]
        blocks = [self.read(slice(start, min(start + self.step, n))) for start in range(0, n, self.step)]
        return sparse.csr_matrix(sparse.vstack(blocks)) if self.is_sparse else np.vstack(blocks)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    if path.is_dir():
        yield zarr.open_group(path, mode="a", use_consolidated=False)
        return
    with h5py.File(path, "r+") as file:
        yield file


class _Dense:
    """An array in the layout of AnnData."""

    def __init__(self, file: Any, path: str, rows: Rows, n_written: int) -> None:
        if not n_written:
            if path in file:
                del file[path]
            if isinstance(file, h5py.File):  # in one piece: what is killed while it writes leaves no broken index
                array = file.create_dataset(path, rows.shape, rows.dtype)
            else:
                chunks = (min(rows.step, max(rows.shape[0], 1)), max(rows.shape[1], 1))
                array = file.create_array(path, shape=rows.shape, dtype=rows.dtype, chunks=chunks)
            array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
        self._array, self._dtype = file[path], rows.dtype

    def write(self, rows: slice, values: Matrix) -> list[Array]:
        parts = self.parts(values)
        self._array[rows] = parts[0]
        return parts

    def parts(self, values: Matrix, n_before: int = 0) -> list[Array]:
        """Arrays that stand for a block."""
        del n_before
        return [np.asarray(values.toarray() if sparse.issparse(values) else values, dtype=self._dtype)]

    def read(self, rows: slice) -> list[Array]:
        """What was written, as `write` gave it."""
        return [np.asarray(self._array[rows])]


class _Sparse:
    """A CSR matrix in the layout of AnnData, that grows."""

    def __init__(self, file: Any, path: str, rows: Rows, n_written: int) -> None:
        if not n_written:
            if path in file:
                del file[path]
            group = file.create_group(path)
            group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": list(rows.shape)})
            for name, dtype, size in (
                ("data", rows.dtype, 0),
                ("indices", np.int32, 0),
                ("indptr", np.int64, rows.shape[0] + 1),
            ):
                _create(group, name, size, dtype)
        self._group, self._dtype = file[path], rows.dtype
        self._n = int(self._group["indptr"][n_written])

    def write(self, rows: slice, values: Matrix) -> list[Array]:
        parts = self.parts(values, self._n)
        n = self._n + len(parts[0])
        for name, added in zip(("data", "indices"), parts, strict=False):
            self._group[name].resize((n,))
            self._group[name][self._n : n] = added
        self._group["indptr"][rows.start + 1 : rows.stop + 1] = parts[2]
        self._n = n
        return parts

    def parts(self, values: Matrix, n_before: int = 0) -> list[Array]:
        """Arrays that stand for a block, after `n_before` values of others."""
        block = sparse.csr_matrix(values)
        data, indices = block.data.astype(self._dtype), block.indices.astype(np.int32)
        return [data, indices, n_before + block.indptr[1:].astype(np.int64)]

    def read(self, rows: slice) -> list[Array]:
        """What was written, as `write` gave it."""
        ends = np.asarray(self._group["indptr"][rows.start : rows.stop + 1])
        block = slice(int(ends[0]), int(ends[-1]))
        return [*(np.asarray(self._group[name][block]) for name in ("data", "indices")), ends[1:]]


def writer_of(file: Any, path: str, rows: Rows, n_written: int) -> _Dense | _Sparse:
    return (_Sparse if rows.is_sparse else _Dense)(file, path, rows, n_written)


def _create(group: Any, name: str, size: int, dtype: Any) -> None:
    if isinstance(group, h5py.Group):
        array = group.create_dataset(name, (size,), dtype, maxshape=(None,), chunks=(2**18,))
    else:
        array = group.create_array(name, shape=(size,), dtype=dtype, chunks=(2**20,))
    array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
