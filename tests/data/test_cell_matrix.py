from __future__ import annotations

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
from jamie.data import CellMatrix

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
def test_blocks_are_mapped_in_order_with_what_belongs_to_their_cells(x, placed, place, small_blocks):
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
