"""The map of a correspondence, by label."""

from __future__ import annotations

from itertools import pairwise

import anndata as ad
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from mudata import MuData
from numpy.testing import assert_allclose
from scipy import sparse

import jamie as jm
from jamie._keys import Keys
from jamie.data import open_cells


def put(mdata, f, a="rna", b="protein", prefix="jamie"):
    mdata.obsp[Keys(prefix).inferred(a, b)] = open_cells(mdata).over_all_cells(sparse.csr_matrix(f), a, b)
    return mdata


def true(mdata):
    names_a, names_b = (mdata[name].obs_names.to_numpy(dtype=str) for name in ("rna", "protein"))
    return np.equal.outer(names_a, names_b).astype(float)


def types(mdata, name):
    return mdata.obs["cell_type"].reindex(mdata[name].obs_names).astype(str).to_numpy()


def names_on(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


def overlap(ax):
    """Whether two names of an axis lie over each other."""
    ax.figure.draw_without_rendering()
    for axis in (ax.xaxis, ax.yaxis):
        boxes = [text.get_window_extent() for text in axis.get_ticklabels()]
        if any(one.overlaps(other) for one, other in pairwise(boxes)):
            return True
    return False


def test_every_cell_in_a_bin_of_its_own_is_the_sorted_matrix(toy, unchanged):
    rng = np.random.default_rng(0)
    f = true(toy) + (rng.random((54, 54)) < 0.1)
    ax = jm.pl.correspondence(unchanged(put(toy, f)), labels="cell_type", n_bins=1_000)
    image = np.asarray(ax.images[0].get_array())
    rows, columns = types(toy, "rna"), types(toy, "protein")
    f /= f.sum(axis=1, keepdims=True)
    # rows as they stand within a type; columns by their partner, cells without one last
    partner = np.where(true(toy).any(axis=0), true(toy).argmax(axis=0), 99)
    expected = f[np.argsort(rows, kind="stable")][:, np.lexsort((partner, columns))] * 54
    assert_allclose(image, expected, rtol=1e-5)
    right = np.mean([f[i, columns == rows[i]].sum() for i in range(54)])
    chance = np.mean([f[:, columns == label].sum(axis=1).mean() for label in rows])
    title = f"inferred, rna → protein\n{100 * right:.0f} % in the right label (chance {100 * chance:.0f} %)"
    assert ax.get_title() == title
    assert names_on(ax.xaxis) == names_on(ax.yaxis) == ["type A", "type B", "type C"]
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("54 cells of rna", "54 cells of protein")


def test_the_truth_lies_in_the_outlined_blocks(toy, unchanged):
    ax = jm.pl.correspondence(unchanged(put(toy, true(toy))), labels="cell_type", n_bins=12)
    assert "100 % in the right label" in ax.get_title()
    image = np.asarray(ax.images[0].get_array())
    inside = np.zeros(image.shape, dtype=bool)
    for block in ax.patches:
        x, y = (round(value + 0.5) for value in block.get_xy())
        inside[y : y + round(block.get_height()), x : x + round(block.get_width())] = True
    assert len(ax.patches) == 3
    assert (image[~inside] == 0).all()
    assert image[inside].max() > 3


def test_cells_without_a_label_come_last_and_those_without_partners_are_grey(toy, unchanged):
    f = true(toy)
    rows = types(toy, "rna")
    f[rows == "type B"] = 0
    names = toy.obs["cell_type"].astype(str).replace({"type A": "z"})
    toy.obs["label"] = pd.Categorical(names.where(names != "type C"), categories=["z", "absent", "type B"])
    ax = jm.pl.correspondence(unchanged(put(toy, f)), labels="label")
    assert names_on(ax.yaxis) == ["z", "type B", "no label"]
    image = np.ma.filled(ax.images[0].get_array(), np.nan)
    empty = np.isnan(image).all(axis=1)
    first, last = (rows == "type A").sum(), (rows != "type C").sum()
    assert empty[first:last].all()
    assert not np.isnan(image[~empty]).any()
    assert "(chance" in ax.get_title()


def test_without_labels_rows_follow_the_first_component_and_the_truth_is_a_diagonal(toy, unchanged):
    jm.pp.prepare(toy)
    ax = jm.pl.correspondence(unchanged(put(toy, true(toy))), n_bins=1_000)
    image = np.asarray(np.ma.filled(ax.images[0].get_array(), np.nan))
    at = np.argmax(image[~np.isnan(image).any(axis=1)], axis=1)
    assert (np.diff(at) > 0).all()
    assert ax.get_title() == "inferred, rna → protein"
    assert not ax.patches


def test_many_names_do_not_overlap_at_the_width_of_a_column(unchanged):
    toy = jm.datasets.toy(n_cells=400)
    rng = np.random.default_rng(0)
    kinds = [f"subtype {i} of a neuron" for i in range(40)]
    toy.obs["subtype"] = pd.Categorical(rng.choice(kinds, 400, p=rng.dirichlet(np.ones(40))))
    _, ax = plt.subplots(figsize=(3.4, 3.1), layout="constrained")
    assert jm.pl.correspondence(unchanged(put(toy, true(toy))), labels="subtype", ax=ax) is ax
    assert not overlap(ax)
    sizes = toy["rna"].obs.join(toy.obs["subtype"])["subtype"].value_counts()
    assert sizes.index[0] in names_on(ax.yaxis)
    assert 4 < len(names_on(ax.yaxis)) < 40
    assert min(text.get_fontsize() for text in ax.get_yticklabels()) >= 7


@pytest.mark.parametrize("n_bins", [1, 7, 200])
def test_bins_are_few_and_each_has_cells(unchanged, n_bins):
    toy = jm.datasets.toy(n_cells=300)
    ax = jm.pl.correspondence(unchanged(put(toy, true(toy))), n_bins=n_bins)
    image = ax.images[0].get_array()
    assert image.shape == (n_bins, n_bins)
    sizes = [np.bincount(np.arange(270) * n_bins // 270)] * 2
    mass = np.nan_to_num(np.ma.filled(image, np.nan)) * sizes[1] / 270
    assert_allclose(mass.sum(axis=1)[mass.sum(axis=1) > 0], 1, rtol=1e-5)


def test_unequal_sets_the_other_way_round_and_another_prefix(unchanged):
    toy = jm.datasets.toy()
    mdata = MuData({"rna": toy["rna"][:30].copy(), "protein": toy["protein"].copy()})
    mdata.obs["cell_type"] = toy.obs["cell_type"]
    f = true(mdata)
    put(mdata, f.T, a="protein", b="rna", prefix="second")
    ax = jm.pl.correspondence(
        unchanged(mdata), modalities=["rna", "protein"], labels="cell_type", n_bins=500, key_added="second"
    )
    assert ax.images[0].get_array().shape == f.shape == (30, 54)
    assert "100 %" in ax.get_title()


def test_many_cells_stay_sparse():
    n, k, rng = 20_000, 10, np.random.default_rng(0)
    x = [ad.AnnData(np.ones((n, 1), np.float32), obs=pd.DataFrame(index=[f"c{i}" for i in range(n)])) for _ in "ab"]
    x[1].var_names = ["other"]
    mdata = MuData(dict(zip(("rna", "protein"), x, strict=True)))
    f = sparse.csr_matrix(
        (np.full(n * k, 1 / k), rng.integers(n, size=n * k), np.arange(0, n * k + 1, k)), shape=(n, n)
    )
    ax = jm.pl.correspondence(put(mdata, f))
    assert ax.images[0].get_array().shape == (200, 200)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"slot": "inferrd"}, ValueError, "`slot`.*did you mean 'inferred'"),
        ({"slot": "match"}, KeyError, r"jamie_match_rna_protein.*call jm\.tl\.match"),
        ({"labels": "cell type"}, KeyError, "`labels`.*did you mean 'cell_type'"),
        ({"n_bins": 0}, ValueError, "`n_bins` of at least 1, found 0"),
    ],
)
def test_what_is_not_there_is_said(toy, unchanged, arguments, error, message):
    with pytest.raises(error, match=message):
        jm.pl.correspondence(unchanged(put(toy, true(toy))), **arguments)
    assert not mpl.pyplot.get_fignums()


def test_several_correspondences_need_a_choice(unchanged):
    toy = jm.datasets.toy()
    third = toy["protein"].copy()
    third.var_names = [f"x{i}" for i in range(12)]
    mdata = MuData({"rna": toy["rna"].copy(), "protein": toy["protein"].copy(), "third": third})
    with pytest.raises(ValueError, match=r"one correspondence.*pass modalities=\('rna', 'protein'\)"):
        jm.pl.correspondence(unchanged(mdata), slot="known")
