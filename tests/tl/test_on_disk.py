"""Modalities that are not in memory: the same results, and never more than a block of cells read at once."""

from __future__ import annotations

import anndata as ad
import dask.array as da
import mudata
import numpy as np
import pytest
import zarr
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

import jamie as jm
from jamie.data import Preparation, _cell_matrix

N = 400
MEMORY_GB = 1e-7  # so little that all is read in blocks


@pytest.fixture(scope="module")
def in_memory():
    """Genes and regions, 600 cells."""
    mdata = jm.datasets.multiome(n_cells=N, n_genes=60, n_peaks=200, rng=0)
    jm.pp.split(mdata, rng=0)
    return mdata


def pipeline(mdata):
    jm.pp.prepare(mdata, n_comps=10)
    model = jm.tl.train(mdata, max_steps=20)
    jm.tl.impute(mdata, model, source="rna", target="atac")
    return model


@pytest.fixture(scope="module")
def expected(in_memory):
    """What comes of the cells in memory, and the table of scores."""
    mdata = in_memory.copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jm.settings, "memory_gb", MEMORY_GB)
        return mdata, jm.tl.evaluate(mdata, pipeline(mdata), baselines=())


@pytest.fixture(params=["h5mu", "zarr", "dask"])
def on_disk(request, in_memory, tmp_path):
    if request.param == "h5mu":
        in_memory.write_h5mu(tmp_path / "x.h5mu")
        mdata = mudata.read_h5mu(tmp_path / "x.h5mu", backed="r")
        yield mdata
        mdata.file.close()
        return
    group = zarr.open_group(tmp_path / "x.zarr", mode="w", zarr_format=2)
    modalities = {}
    for name, adata in in_memory.mod.items():
        ad.io.write_elem(group, name, adata.X)
        x = ad.io.sparse_dataset(group[name])
        if request.param == "dask":
            x = da.from_array(adata.X.toarray(), chunks=(200, -1)).map_blocks(sparse.csr_matrix)
        modalities[name] = ad.AnnData(X=x, obs=adata.obs.copy(), var=adata.var.copy())
    mdata = MuData(modalities)
    for column in in_memory.obs:
        mdata.obs[column] = in_memory.obs[column]
    yield mdata


def test_results_are_those_of_the_same_cells_in_memory(expected, on_disk, monkeypatch):
    monkeypatch.setattr(jm.settings, "memory_gb", MEMORY_GB)
    expected, scores = expected
    model = pipeline(on_disk)
    for name in ("rna", "atac"):
        for key in ("X_jamie_input", "X_jamie"):
            assert_allclose(on_disk[name].obsm[key], expected[name].obsm[key], atol=2e-3)
    assert_allclose(on_disk["rna"].obsm["jamie_imputed_atac"], expected["rna"].obsm["jamie_imputed_atac"], atol=2e-3)
    found = jm.tl.evaluate(on_disk, model, baselines=())
    assert_allclose(found["correlation"], scores["correlation"], atol=1e-3)


def test_streamed_components_are_those_of_the_whole(in_memory, monkeypatch):
    whole = jm.pp.prepare(in_memory, n_comps=10, copy=True)
    monkeypatch.setattr(jm.settings, "memory_gb", 1e-7)
    streamed = jm.pp.prepare(in_memory, n_comps=10, copy=True)
    for name in in_memory.mod:
        one, other = whole[name].obsm["X_jamie_input"], streamed[name].obsm["X_jamie_input"]
        assert isinstance(other, np.memmap)
        for key in ("mean", "sd", "idf", "openness"):
            assert_allclose(streamed[name].uns["jamie_input"][key], whole[name].uns["jamie_input"][key], rtol=1e-4)
        assert_allclose(other, one, atol=1e-3 * np.abs(one).max())


def test_no_more_than_a_block_is_read_at_once(on_disk, monkeypatch):
    monkeypatch.setattr(jm.settings, "memory_gb", 1e-7)
    if hasattr(on_disk["rna"].X, "dask"):
        pytest.skip("dask has chunks of its own")
    read, most = _cell_matrix._rows_of, []

    def noting(values, rows):
        found = read(values, rows)
        most.append(found.shape[0])
        return found

    monkeypatch.setattr(_cell_matrix, "_rows_of", noting)
    model = pipeline(on_disk)
    jm.tl.explain(on_disk, model, source="rna", target="atac", n_cells=5)
    assert 0 < max(most) <= 120  # held-out or validation cells at most


def test_inputs_that_were_prepared_are_not_computed_again(on_disk, monkeypatch):
    model = pipeline(on_disk)
    rows, compute = [], Preparation.components
    monkeypatch.setattr(Preparation, "components", lambda self, x, *a: rows.append(x.shape[0]) or compute(self, x, *a))
    jm.tl.embed(on_disk, model)
    assert rows == [50, 50]  # that tell whether they are those of the values
    latent = on_disk["rna"].obsm["X_jamie"].copy()
    monkeypatch.undo()
    del on_disk["rna"].obsm["X_jamie_input"]
    jm.tl.embed(on_disk, model)
    assert_allclose(on_disk["rna"].obsm["X_jamie"], latent, atol=1e-4)


def test_a_file_that_was_annotated_can_be_written(in_memory, tmp_path):
    in_memory.write_h5mu(tmp_path / "x.h5mu")
    mdata = mudata.read_h5mu(tmp_path / "x.h5mu", backed="r")
    pipeline(mdata)
    mdata.write(tmp_path / "y.h5mu")
    again = mudata.read_h5mu(tmp_path / "y.h5mu")
    assert_array_equal(again["rna"].obsm["X_jamie"], mdata["rna"].obsm["X_jamie"])
    assert (again["rna"].X != in_memory["rna"].X).nnz == 0
    mdata.file.close()
