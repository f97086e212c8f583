"""Everything that is written to a MuData comes back from its file."""

from __future__ import annotations

from collections.abc import Mapping

import mudata as md
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

import jamie as jm


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    mdata = jm.datasets.toy()
    jm.pp.correspondence(mdata)
    jm.pp.split(mdata)
    jm.pp.prepare(mdata)
    model = jm.tl.train(mdata, max_steps=5)
    for source, target in (("rna", "protein"), ("protein", "rna")):
        jm.tl.impute(mdata, model, source=source, target=target)
        jm.tl.reconstruct(mdata, model, modality=source)
    jm.tl.evaluate(mdata, model, baselines=["mean", "knn"], labels="cell_type")
    path = tmp_path_factory.mktemp("files") / "all.h5mu"
    mdata.write(path)
    return mdata, md.read_h5mu(path), model


def assert_same(found, written):
    if isinstance(written, Mapping):
        assert set(found) == set(written)
        for key in written:
            assert_same(found[key], written[key])
    elif isinstance(written, pd.DataFrame):
        pd.testing.assert_frame_equal(found, written, check_dtype=False)
    elif sparse.issparse(written):
        assert found.dtype == written.dtype
        assert (found != written).nnz == 0
    else:
        assert_array_equal(np.asarray(found), np.asarray(written))
        assert np.asarray(found).dtype.kind == np.asarray(written).dtype.kind or np.asarray(written).dtype.kind == "U"


def test_every_slot_comes_back(files):
    mdata, read, _ = files
    assert set(mdata.uns) == {"jamie", "jamie_evaluation", "jamie_models"}
    for name in mdata.mod:
        assert set(filter(None, mdata[name].layers)) == {"jamie_imputed", "jamie_reconstructed"}
        for slot in ("X", "obs", "var", "obsm", "varm", "layers", "uns"):
            assert_same(getattr(read[name], slot), getattr(mdata[name], slot))
    assert_same(read.obs[mdata.obs.columns], mdata.obs)
    for slot in ("obsm", "obsp", "uns"):
        assert_same(getattr(read, slot), getattr(mdata, slot))


def test_what_was_read_is_as_good_as_what_was_written(files):
    mdata, read, model = files
    pd.testing.assert_frame_equal(jm.get.history(read), jm.get.history(mdata), check_dtype=False)
    pd.testing.assert_frame_equal(jm.get.evaluation(read), jm.get.evaluation(mdata), check_dtype=False)
    a, b = (jm.get.imputed(m, source="rna", target="protein") for m in (read, mdata))
    assert_array_equal(a.X, b.X)
    read = read.copy()
    jm.tl.embed(read, model)
    assert_array_equal(read.obsm["X_jamie"], mdata.obsm["X_jamie"])
    assert len(jm.pl.imputation(read, source="rna", target="protein").axes) == 6
    assert jm.pl.history(read).get_xlabel() == "step"


@pytest.mark.filterwarnings("ignore:The set_bad function:PendingDeprecationWarning")
def test_scanpy_finds_the_latents(files):
    import scanpy as sc

    mdata, _, _ = files
    ax = sc.pl.embedding(mdata["rna"], "jamie", color="cell_type", show=False)
    assert_array_equal(np.sort(ax.collections[0].get_offsets().data[:, 0]), np.sort(mdata["rna"].obsm["X_jamie"][:, 0]))
