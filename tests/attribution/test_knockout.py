"""Knock-outs through components are those of features: the values are changed by hand and read again."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

import jamie as jm
from jamie.attribution import PreparedCells, SourceCells, knocked_out, outputs
from jamie.attribution import _knockout as module

SETS = [np.array([3]), np.array([0, 7, 11]), np.array([], dtype=int)]


def learned(kind):
    mdata = jm.datasets.toy(share_paired=1.0)
    if kind == "accessibility":
        mdata["rna"].X = sparse.csr_matrix((mdata["rna"].X.toarray() > 1).astype(np.float32))
    elif kind == "continuous":
        mdata["rna"].X = np.log1p(mdata["rna"].X.toarray())
    jm.pp.prepare(mdata, kinds={"rna": kind})
    return mdata, jm.tl.train(mdata, max_steps=40)


def read(mdata, model):
    preparation = model.preparations_["rna"]
    return SourceCells.of(model.open(mdata), "rna", preparation)


def merged(model, mdata, target=None):
    source_cells = read(mdata, model)
    cells = source_cells.take(slice(None))
    assert_array_equal(source_cells.position, np.arange(40))
    intact = outputs(model, "rna", target, cells.inputs)
    without = []
    for rows, out in knocked_out(model, "rna", target, cells, SETS):
        without.append(intact.copy())
        without[-1][rows] = out
    return cells, intact, without


@pytest.mark.parametrize("kind", ["continuous", "counts", "accessibility"])
def test_a_set_is_at_its_background_and_the_others_stay(kind):
    mdata, model = learned(kind)
    preparation = model.preparations_["rna"]
    cells, intact, without = merged(model, mdata)
    dense = cells.scaled.toarray() if sparse.issparse(cells.scaled) else cells.scaled
    centre = preparation.mean / preparation.sd if sparse.issparse(cells.scaled) else 0
    for features, out in zip(SETS, without, strict=True):
        z = dense.copy()
        z[:, features] = 0 if kind == "accessibility" else np.broadcast_to(centre, z.shape)[:, features]
        expected = outputs(model, "rna", None, ((z - centre) @ preparation.loadings).astype(np.float32))
        assert_allclose(out, expected, atol=2e-5)
    assert np.abs(without[0] - intact).max() > 1e-3
    assert_array_equal(without[2], intact)


def test_a_continuous_feature_stands_at_its_training_mean_in_the_users_values():
    mdata, model = learned("continuous")
    *_, without = merged(model, mdata, "protein")
    changed = mdata.copy()
    changed["rna"].X[:, 3] = changed["rna"].X[:, 3].mean()
    cells = read(changed, model).take(slice(None))
    assert_allclose(without[0], outputs(model, "rna", "protein", cells.inputs), atol=1e-4)


def test_a_closed_region_changes_no_cell_that_does_not_have_it():
    mdata, model = learned("accessibility")
    cells = read(mdata, model).take(slice(None))
    ((rows, _), *_) = knocked_out(model, "rna", None, cells, SETS)
    assert_array_equal(rows, np.flatnonzero(mdata["rna"].X[:, 3].toarray()))
    dense = mdata.copy()
    dense["rna"].X = dense["rna"].X.toarray()
    preparation = model.preparations_["rna"]
    z = (cells.scaled.toarray() - preparation.mean / preparation.sd).astype(np.float32)
    ((again, _), *_) = knocked_out(model, "rna", None, PreparedCells(cells.inputs, z), SETS)
    assert set(rows) <= set(again)


def test_blocks_do_not_change_the_result(monkeypatch):
    mdata, model = learned("counts")
    *_, expected = merged(model, mdata, "protein")
    monkeypatch.setattr(module, "ROWS", 1)
    *_, without = merged(model, mdata, "protein")
    for one, other in zip(without, expected, strict=True):
        assert_allclose(one, other, atol=1e-5)
