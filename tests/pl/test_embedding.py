"""All cells in one plane."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal

import jamie as jm


def legend(ax):
    handles, labels = ax.get_legend_handles_labels()
    return {label: to_hex(handle.get_facecolor()[0]) for handle, label in zip(handles, labels, strict=True)}


def points(ax):
    return np.concatenate([np.asarray(c.get_offsets()) for c in ax.collections if len(c.get_offsets()) > 1])


def test_every_cell_of_every_modality_is_drawn(mdata, unchanged):
    figure = jm.pl.embedding(unchanged(mdata), basis="pca")
    assert isinstance(figure, Figure)
    (ax,) = figure.axes
    xy = points(ax)
    assert len(xy) == sum(adata.n_obs for adata in mdata.mod.values())
    assert set(legend(ax)) == {"rna", "protein"}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("PC 1", "PC 2")
    stacked = np.concatenate([adata.obsm["X_jamie"] for adata in mdata.mod.values()])
    centred = stacked - stacked.mean(0)
    explained = np.linalg.svd(centred, compute_uv=False)[:2] ** 2 / len(stacked)
    assert_allclose(np.sort(xy.var(0))[::-1], explained, rtol=1e-3)


def test_labels_have_a_panel_for_each_modality(mdata, unchanged):
    figure = jm.pl.embedding(unchanged(mdata), color="cell_type", basis="pca")
    assert [ax.get_title() for ax in figure.axes] == ["modality", "rna, cell_type", "protein, cell_type"]
    assert set(legend(figure.axes[1])) == {"type A", "type B", "type C"}
    assert len(set(legend(figure.axes[1]).values())) == 3


def test_stored_colours_go_with_the_order_of_the_categories(mdata, unchanged):
    mdata.obs["cell_type"] = mdata.obs["cell_type"].cat.reorder_categories(["type C", "type A", "type B"])
    mdata.uns["cell_type_colors"] = ["#ff0000", "#00ff00", "#0000ff"]
    figure = jm.pl.embedding(unchanged(mdata), color="cell_type", basis="pca")
    assert legend(figure.axes[1]) == {"type C": "#ff0000", "type A": "#00ff00", "type B": "#0000ff"}


def test_a_type_has_one_colour_in_all_panels(mdata):
    keep = (mdata.obs["cell_type"] != "type A") | mdata.obs_names.isin(
        mdata["protein"].obs_names.difference(mdata["rna"].obs_names)
    )
    part = mdata[keep.to_numpy()].copy()
    part.obs["cell_type"] = part.obs["cell_type"].astype(str).astype("category")
    figure = jm.pl.embedding(part, color="cell_type", basis="pca")
    colours = [legend(ax) for ax in figure.axes[1:]]
    for name in set(colours[0]) & set(colours[1]):
        assert colours[0][name] == colours[1][name]
    drawn = figure.axes[1].collections[1]
    rna = part["rna"].obs_names
    count = (part.obs["cell_type"].reindex(rna) == "type B").sum()
    found = [to_hex(c) for c in drawn.get_facecolors()]
    assert found.count(colours[1]["type B"]) == count


def test_numbers_have_a_colour_bar(mdata, unchanged):
    mdata.obs["depth"] = np.linspace(0, 1, mdata.n_obs)
    mdata.obs.iloc[3, mdata.obs.columns.get_loc("depth")] = np.nan
    figure = jm.pl.embedding(unchanged(mdata), color="depth", basis="pca")
    assert len(figure.axes) == 5
    values = figure.axes[1].collections[1].get_array()
    assert_allclose(
        np.nanmax(np.asarray(values, dtype=float)), mdata.obs["depth"].reindex(mdata["rna"].obs_names).max()
    )


def test_missing_labels_are_grey_and_not_in_the_legend(mdata, unchanged):
    mdata.obs["label"] = pd.Series(np.where(np.arange(mdata.n_obs) % 2, "b", "a"), index=mdata.obs_names, dtype=object)
    mdata.obs.loc[mdata["rna"].obs_names[:20], "label"] = np.nan
    figure = jm.pl.embedding(unchanged(mdata), color="label", basis="pca")
    assert set(legend(figure.axes[1])) == {"a", "b"}
    colours = [to_hex(c) for c in figure.axes[1].collections[1].get_facecolors()]
    assert colours.count(to_hex("0.8")) == 20


def test_true_and_false_are_labels(mdata, unchanged):
    mdata.obs["flag"] = np.arange(mdata.n_obs) % 3 == 0
    figure = jm.pl.embedding(unchanged(mdata), color="flag", basis="pca")
    assert set(legend(figure.axes[1])) == {"True", "False"}


def test_some_cells_of_many_by_the_seed(mdata, unchanged):
    drawn = [points(jm.pl.embedding(unchanged(mdata), basis="pca", n_cells=30, rng=seed).axes[0]) for seed in (0, 0, 1)]
    assert [len(xy) for xy in drawn] == [60, 60, 60]
    assert_array_equal(drawn[0], drawn[1])
    assert not np.allclose(drawn[0], drawn[2])


def test_global_random_state_is_left_alone(mdata):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    jm.pl.embedding(mdata, color="cell_type", basis="pca")
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.slow
def test_umap(mdata, unchanged):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    drawn = [points(jm.pl.embedding(unchanged(mdata), color="cell_type").axes[0]) for _ in range(2)]
    assert len(drawn[0]) == 360
    assert_array_equal(*drawn)
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"color": "celltype"}, "`color`.*did you mean 'cell_type'"),
        ({"key_added": "mine"}, r"X_mine.*call jm\.tl\.train\(mdata\) or jm\.tl\.embed"),
    ],
)
def test_what_is_not_there_is_said(mdata, unchanged, arguments, message):
    with pytest.raises(KeyError, match=message):
        jm.pl.embedding(unchanged(mdata), **arguments)


def test_another_basis_is_refused(mdata, unchanged):
    with pytest.raises(ValueError, match=r"`basis` to be one of \['umap', 'pca'\]"):
        jm.pl.embedding(unchanged(mdata), basis="tsne")


def test_inputs_have_a_plane_for_each_modality(mdata, unchanged):
    jm.pp.prepare(mdata)
    figure = jm.pl.embedding(unchanged(mdata), color="cell_type", basis="pca", use_rep="X_jamie_input")
    assert [ax.get_title() for ax in figure.axes] == ["rna, cell_type", "protein, cell_type"]
    for ax, name in zip(figure.axes, ("rna", "protein"), strict=True):
        xy = np.concatenate([np.asarray(part.get_offsets()) for part in ax.collections])
        x = mdata[name].obsm["X_jamie_input"]
        assert len(xy) == mdata[name].n_obs
        variances = np.linalg.svd(x - x.mean(0), compute_uv=False)[:2] ** 2 / len(x)
        assert_allclose(np.sort(xy.var(axis=0))[::-1], variances, rtol=1e-3)


def test_inputs_without_labels_are_named_by_modality(mdata):
    with pytest.raises(KeyError, match=r"X_jamie_input.*call jm\.pp\.prepare\(mdata\)"):
        jm.pl.embedding(mdata, basis="pca", use_rep="X_jamie_input")
    jm.pp.prepare(mdata)
    figure = jm.pl.embedding(mdata, basis="pca", use_rep="X_jamie_input")
    assert [ax.get_title() for ax in figure.axes] == ["rna", "protein"]
    assert all(ax.get_legend() is None for ax in figure.axes)
