from __future__ import annotations

from types import SimpleNamespace

import anndata as ad
import dask.array as da
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from numpy.testing import assert_array_equal
from scipy import sparse

import jamie as jm
from jamie._errors import InvalidValueError
from jamie.data import CellMatrix
from jamie.data._cell_matrix import sums

N, D = 300, 12
PLACES = [
    "dense",
    "integers",
    "csr",
    "csc",
    "csr_array",
    "h5ad csr",
    "zarr csr",
    "h5ad dense",
    "zarr dense",
    "dask dense",
    "dask csr",
]


@pytest.fixture
def x():
    return np.random.default_rng(0).poisson(0.5, (N, D)).astype(np.float32)


@pytest.fixture
def placed(tmp_path):
    """Put values in memory, on disk or into dask."""

    def put(x, place):
        in_memory = {
            "dense": np.asarray,
            "integers": lambda x: x.astype(int),
            "csr": sparse.csr_matrix,
            "csc": sparse.csc_matrix,
            "csr_array": sparse.csr_array,
        }
        if place in in_memory:
            return in_memory[place](x)
        where, layout = place.split()
        values = sparse.csr_matrix(x) if layout == "csr" else sparse.csc_matrix(x) if layout == "csc" else x
        if where == "dask":
            return da.from_array(x, chunks=(70, 5)).map_blocks(sparse.csr_matrix if layout == "csr" else np.asarray)
        group = (
            h5py.File(tmp_path / "x.h5", "a")
            if where == "h5ad"
            else zarr.open_group(tmp_path / "x.zarr", mode="a", zarr_format=2)
        )
        ad.io.write_elem(group, "x", values)
        return group["x"] if layout == "dense" else ad.io.sparse_dataset(group["x"])

    return put


@pytest.fixture
def small_blocks(monkeypatch):
    """So little memory that blocks are as small as they get: 64 cells."""
    monkeypatch.setattr(jm.settings, "memory_gb", 1e-7)


def dense(x):
    return x.toarray() if sparse.issparse(x) else x


@pytest.mark.parametrize("place", PLACES)
def test_rows_come_as_they_are_asked_for_wherever_they_lie(x, placed, place):
    cells = CellMatrix(placed(x, place))
    unordered, mask = np.array([200, 3, 3, 77]), np.arange(N) % 7 == 1
    for rows in (slice(40, 160), unordered, mask, slice(None)):
        found = cells[rows]
        assert found.dtype == np.float32
        assert sparse.issparse(found) == cells.is_sparse == ("csr" in place or "csc" in place)
        assert_array_equal(dense(found), x[rows])
    assert cells.in_memory == (place in ("dense", "integers", "csr", "csc", "csr_array"))
    assert_array_equal(dense(cells.select(np.array([7, 2]))[unordered]), x[unordered][:, [7, 2]])


@pytest.mark.parametrize("place", PLACES)
def test_blocks_are_mapped_in_order_with_what_belongs_to_their_cells(x, placed, place, small_blocks, monkeypatch):
    monkeypatch.setattr("jamie.data._cell_matrix.DASK_PARTS", 2)
    cells = CellMatrix(placed(x, place)).select(np.arange(1, D))
    label = np.arange(N)
    found = list(cells.map(lambda block, of_block: (dense(block), of_block), label))
    assert len(found) > 3
    assert max(len(block) for block, _ in found) <= 70
    assert_array_equal(np.concatenate([block for block, _ in found]), x[:, 1:])
    assert_array_equal(np.concatenate([of_block for _, of_block in found]), label)


def test_memory_decides_how_many_cells_are_read(x, monkeypatch):
    for gb, n_blocks in ((4, 1), (100 * 4 * D * 64 / 2**30, 3)):
        monkeypatch.setattr(jm.settings, "memory_gb", gb)
        assert len(CellMatrix(x).blocks()) == n_blocks
    few = CellMatrix(sparse.random(1000, 5000, 0.01, format="csr"))
    assert few.bytes_per_cell == 8 * 50


@pytest.mark.parametrize("place", ["h5ad csr", "zarr dense", "dask csr", "dask dense"])
def test_what_is_no_measurement_is_found_when_it_is_read(x, placed, place, small_blocks):
    names = pd.Index([f"c{i}" for i in range(N)]), pd.Index([f"g{j}" for j in range(D)])
    x[250, 4] = np.inf
    cells = CellMatrix(placed(x, place), where="mdata['rna'].X", cells=names[0], features=names[1])
    with pytest.raises(ValueError, match=r"finite values or NaN in `mdata\['rna'\].X`, found 1 infinite, first in"):
        list(cells.map(lambda block: block.shape))
    with pytest.raises(ValueError, match="first in feature 'g4'; set them to NaN"):
        cells[np.array([250])]
    x[250] = np.nan
    values = placed(x, "dask dense") if "dask" in place else x
    with pytest.raises(ValueError, match="in every cell of `X`, found 1 with NaN only, first 'c250'; drop it"):
        list(CellMatrix(values, cells=names[0]).map(lambda block: block.shape))


def test_columns_on_disk_are_refused_with_the_remedy(x, placed):
    with pytest.raises(ValueError, match=r"by cells \(CSR\) or dense, found it by features \(CSC\).*adata.X.tocsr\(\)"):
        CellMatrix(placed(x, "h5ad csc"), where="mdata['rna'].X")


def test_errors_in_threads_are_those_of_the_function(x, small_blocks):
    def fail(block):
        msg = "of the function"
        raise KeyError(msg)

    with pytest.raises(KeyError, match="of the function"):
        list(CellMatrix(x).map(fail))


def test_stored_values_keep_their_type(x, placed):
    cells = CellMatrix(placed(x.astype(np.uint8), "h5ad csr"))
    assert cells.dtype == cells.stored(slice(0, 3)).dtype == np.uint8


NO_NUMBERS = {
    "nullable integers": np.array([[1, 2], [pd.NA, 4]], dtype=object),
    "integers as objects": np.array([[1, 2], [3, 4]], dtype=object),
    "None": np.array([[1.5, None], [3, 4]], dtype=object),
    "text": np.array([["1", "2"], ["3", "4.5"]]),
    "bytes": np.array([[b"1", b"2"], [b"3", b"4"]]),
}


@pytest.mark.parametrize("name", NO_NUMBERS)
def test_what_is_no_number_is_refused_with_a_call_that_mends_it(name):
    holder = SimpleNamespace(X=NO_NUMBERS[name])
    with pytest.raises(InvalidValueError, match=r"expected real numbers in `holder\.X`, found values of type") as error:
        CellMatrix(holder.X, where="holder.X")
    remedy = str(error.value).split("convert it, ")[1]
    exec(remedy, {"holder": holder, "pd": pd, "np": np})
    assert holder.X.dtype == np.float32
    assert CellMatrix(holder.X).shape == (2, 2)


@pytest.mark.parametrize(
    "x",
    [
        np.ones((2, 2), complex),
        sparse.csr_matrix(np.ones((2, 2), complex)),
        np.ones((2, 2), "datetime64[s]"),
        np.ones((2, 2), [("a", float)]),
    ],
    ids=["complex", "sparse complex", "dates", "records"],
)
def test_other_types_are_refused(x):
    with pytest.raises(InvalidValueError, match=r"expected real numbers in `mdata\['x'\].X`, found values of type"):
        CellMatrix(x, where="mdata['x'].X")


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "uint64", "float16", "float32", "float64"])
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_all_real_numbers_are_taken(container, dtype):
    if dtype == "float16" and container is sparse.csr_matrix:
        pytest.skip("scipy has none")
    x = container(np.eye(3).astype(dtype))
    assert_array_equal(dense(CellMatrix(x)[:]), np.eye(3))


@pytest.mark.parametrize("place", ["dense", "csr", "h5ad csr", "zarr dense", "dask dense"])
def test_values_too_large_for_float32_are_refused(x, placed, place):
    x = x.astype(np.float64)
    x[3, 1], x[4, 2] = 1e19, np.nan
    with pytest.raises(
        InvalidValueError, match=r"values whose squares float32 can hold, up to ±1\.0e\+18.*found 1 beyond"
    ):
        list(CellMatrix(placed(x, place)).map(lambda block: block.shape))
    assert CellMatrix(np.where(x == 1e19, 1e17, x))[:][3, 1] == np.float32(1e17)


@pytest.mark.parametrize("place", PLACES)
def test_changed_cells_are_changed_wherever_they_are_read(x, placed, place):
    """Each block gets what belongs to its cells, of the features that were selected before."""
    factor = np.arange(1, N + 1, dtype=np.float32)[:, None]
    columns = np.array([3, 1])
    cells = CellMatrix(placed(x, place)).select(columns)

    def times(block, of_cells):
        return sparse.csr_matrix(block.multiply(of_cells)) if sparse.issparse(block) else block * of_cells

    changed, expected = cells.changed(times, factor), x[:, columns] * factor
    rows = np.array([5, 250, 7])
    dense = [part.toarray() if sparse.issparse(part) else part for part in (changed[rows], changed[:])]
    assert_array_equal(dense[0], expected[rows])
    assert_array_equal(dense[1], expected)
    sums = changed.map(lambda block, of_cells: np.asarray(block.sum(axis=1)).ravel() + of_cells, np.arange(N))
    assert_array_equal(np.concatenate(list(sums)), expected.sum(axis=1) + np.arange(N))
    assert_array_equal(np.asarray(cells[rows].todense() if cells.is_sparse else cells[rows]), x[rows][:, columns])


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("value", [2e18, -2e18])
def test_values_that_float32_holds_but_not_their_squares_are_refused(container, value):
    """Variances would overflow, which scikit-learn warns of."""
    x = np.eye(4, dtype=np.float32)
    x[2, 1] = value
    with pytest.raises(InvalidValueError, match="found 1 beyond; divide the feature by a constant"):
        CellMatrix(container(x))[:]


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix])
def test_features_are_added_up_in_double_precision(form):
    x = np.full((40, 3), 2.0**20, dtype=np.float32)
    x[:, 1] = np.where(np.arange(40) < 20, 2.0**20, 0.5)
    x[5, 2] = np.nan
    found = sums(form(x), axis=0)
    assert found.dtype == np.float64
    assert_array_equal(found, [40 * 2.0**20, 20 * 2.0**20 + 10, np.nan])
    assert_array_equal(sums(form(x.T.copy()), axis=1), found)
    assert_array_equal(sums(form(x[:0]), axis=0), np.zeros(3))
