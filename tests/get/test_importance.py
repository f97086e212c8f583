"""How much features drive what was explained."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import jamie as jm

WHAT = {"source": "rna", "target": "protein"}


@pytest.fixture(scope="module")
def explained_once(trained_session):
    mdata, model = trained_session
    mdata = mdata.copy()
    jm.tl.explain(mdata, model, **WHAT, features=["protein3", "protein1"], n_background=10)
    return mdata


@pytest.fixture
def explained(explained_once):
    return explained_once.copy()


def test_means_are_those_stored(explained):
    drives = jm.get.importance(explained, **WHAT)
    pd.testing.assert_frame_equal(drives.means, explained["rna"].varm["jamie_shap_protein"])
    assert drives.n_cells == 180
    assert drives.scale == explained["rna"].uns["jamie_shap_protein"]["scale"]
    assert drives.by_cell is None
    one = jm.get.importance(explained, **WHAT, feature="protein1")
    assert list(one.means) == ["protein1"]


def test_shares_count_all_that_varies_alike(explained):
    frame = explained["rna"].varm["jamie_shap_protein"]
    shares = jm.get.importance(explained, **WHAT).shares()
    assert_allclose(
        shares, 50 * (frame["protein3"] / frame["protein3"].sum() + frame["protein1"] / frame["protein1"].sum())
    )
    assert shares.sum() == pytest.approx(100)
    frame["protein1"] = 0.0
    shares = jm.get.importance(explained, **WHAT).shares()
    assert_allclose(shares, 100 * frame["protein3"] / frame["protein3"].sum())
    frame["protein3"] = 0.0
    assert not jm.get.importance(explained, **WHAT).shares().any()


def test_values_by_cell_are_those_of_shap_values(explained):
    by_cell = jm.get.importance(explained, **WHAT, feature="protein3", by_cell=True).by_cell
    expected = jm.get.shap_values(explained, **WHAT, feature="protein3")
    assert_array_equal(by_cell.values, expected.values)
    assert_array_equal(by_cell.data.toarray(), expected.data)
    assert by_cell.base == expected.base_values[0]
    assert_array_equal(by_cell.cells, explained["rna"].obs_names)


def test_what_was_not_explained_or_kept_is_said(explained):
    del explained["rna"].layers["jamie_shap_protein_protein1"]
    with pytest.raises(
        KeyError, match=r"that were kept: \['protein3'\], found None; call jm\.tl\.explain\(.*\[\.\.\.\]\)"
    ):
        jm.get.importance(explained, **WHAT, by_cell=True)
    with pytest.raises(KeyError, match=r"\['protein3', 'protein1'\], found 'protein4'.*features=\['protein4'\]\)"):
        jm.get.importance(explained, **WHAT, feature="protein4")
    with pytest.raises(KeyError, match=r"layers\['jamie_shap_protein_protein1'\].*features=\['protein1'\]\)"):
        jm.get.importance(explained, **WHAT, feature="protein1", by_cell=True)
    explained["rna"].obs["my_type"] = "a"
    call = r"call jm\.tl\.explain\(mdata, model, source='rna', labels='my_type'\)"
    with pytest.raises(KeyError, match=call):
        jm.get.importance(explained, source="rna", target="my_type")
    assert np.isfinite(jm.get.importance(explained, **WHAT, feature="protein1").means.to_numpy()).all()
