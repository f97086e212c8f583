"""A correspondence in blocks, against what plain loops give."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

import jamie as jm
from jamie.data import open_cells


@pytest.fixture
def inferred(toy):
    names = [toy[name].obs_names.to_numpy(dtype=str) for name in ("rna", "protein")]
    f = np.equal.outer(*names) + (np.random.default_rng(0).random((54, 54)) < 0.1)
    toy.obsp["jamie_inferred_rna_protein"] = open_cells(toy).over_all_cells(
        sparse.csr_matrix(f, dtype=float), "rna", "protein"
    )
    return toy, f / f.sum(axis=1, keepdims=True)


def test_mass_by_label_is_that_of_loops(inferred):
    toy, f = inferred
    blocks = jm.get.correspondence(toy, labels="cell_type", n_bins=20)
    types = [toy[name].obs["cell_type"].astype(str).to_numpy() for name in blocks.modalities]
    assert blocks.modalities == ("rna", "protein")
    assert blocks.shape == (54, 54)
    assert blocks.labels == ("type A", "type B", "type C")
    for i, label in enumerate(blocks.labels):
        for j, other in enumerate(blocks.labels):
            part = blocks.fold[
                blocks.row_edges[i] : blocks.row_edges[i + 1], blocks.column_edges[j] : blocks.column_edges[j + 1]
            ]
            assert part.size
            expected = f[np.ix_(types[0] == label, types[1] == other)].sum()
            assert (part.sum() > 0) == (expected > 0)
    right = np.mean([f[i, types[1] == types[0][i]].sum() for i in range(54)])
    chance = np.mean([f[:, types[1] == label].sum(axis=1).mean() for label in types[0]])
    assert_allclose([blocks.in_label, blocks.chance], [right, chance])


def test_one_bin_for_each_cell_keeps_the_mass(inferred):
    toy, f = inferred
    blocks = jm.get.correspondence(toy, n_bins=1_000)
    assert blocks.fold.shape == (54, 54)
    assert_allclose(np.sort(blocks.fold / 54, axis=None), np.sort(f, axis=None), atol=1e-6)
    assert np.isnan([blocks.in_label, blocks.chance]).all()
    assert_array_equal(blocks.row_edges, [0, 54, 54])


def test_labels_of_one_modality_only(inferred):
    toy, _ = inferred
    toy["rna"].obs["own"] = toy["rna"].obs["cell_type"].cat.rename_categories({"type A": "first"})
    blocks = jm.get.correspondence(toy, labels="own", n_bins=20)
    assert blocks.labels == ("first", "type B", "type C")
    assert blocks.column_edges[-1] > blocks.column_edges[-2]  # cells of protein alone have none


def test_what_is_not_there_is_said(toy, inferred):
    with pytest.raises(ValueError, match=r"`slot`.*did you mean 'inferred'"):
        jm.get.correspondence(toy, slot="infered")
    with pytest.raises(KeyError, match=r"`labels`.*did you mean 'cell_type'"):
        jm.get.correspondence(toy, labels="celltype")
    with pytest.raises(KeyError, match=r"expected entries in `mdata\.obsp\['jamie_match_rna_protein'\]`"):
        jm.get.correspondence(toy, slot="match")
    with pytest.raises(ValueError, match="`n_bins` of at least 1, found 0"):
        jm.get.correspondence(toy, n_bins=0)
