"""Measured against imputed values."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from mudata import MuData
from numpy.testing import assert_allclose
from scipy.stats import pearsonr

import jamie as jm


def test_panels_show_the_held_out_cells_and_their_correlation(mdata, unchanged):
    figure = jm.pl.imputation(unchanged(mdata), source="rna", target="protein", features=["protein3", "protein11"])
    assert isinstance(figure, Figure)
    visible = [ax for ax in figure.axes if ax.get_visible()]
    assert len(visible) == 3
    test = mdata.obs_names[mdata.obs["jamie_split"] == "test"]
    xy = np.asarray(visible[1].collections[0].get_offsets())
    assert len(xy) == len(test)
    imputed = mdata["rna"].obsm["jamie_imputed_protein"].loc[test, "protein3"]
    assert_allclose(np.sort(xy[:, 1]), np.sort(imputed), rtol=1e-5)
    assert visible[1].get_title() == f"protein3\nr = {pearsonr(xy[:, 0], xy[:, 1]).statistic:.2f}"
    assert "held-out" in figure.get_supxlabel()
    assert "rna → protein" in figure.get_suptitle()


def test_by_default_from_the_best_to_the_worst(mdata, unchanged):
    figure = jm.pl.imputation(unchanged(mdata), source="rna", target="protein")
    r = [float(ax.get_title().split("r = ")[1]) for ax in figure.axes[1:6]]
    assert r == sorted(r, reverse=True)
    ranks = np.asarray(figure.axes[0].get_lines()[0].get_ydata())
    assert len(ranks) == 12
    assert_allclose([r[0], r[-1]], [ranks[0], ranks[-1]], atol=0.006)
    assert f"mean r = {ranks.mean():.2f}" in figure.axes[0].get_title()


def test_a_feature_without_a_measurement_among_the_cells_shown(mdata, unchanged):
    mdata["rna"].uns["jamie_imputed_protein"]["kind"] = "continuous"
    test = mdata["protein"].obs_names.isin(mdata.obs_names[mdata.obs["jamie_split"] == "test"])
    mdata["protein"].X[test, 2] = np.nan
    mdata["protein"].X[test, 4] = 1
    figure = jm.pl.imputation(unchanged(mdata), source="rna", target="protein", features=["protein3", "protein5"])
    assert len([ax for ax in figure.axes if ax.get_visible()]) == 3


def test_cells_paired_by_a_table_are_compared(unchanged):
    mdata = jm.datasets.toy(share_paired=1)
    protein = mdata["protein"].copy()
    table = pd.DataFrame({"a": protein.obs_names, "b": [f"p {name}" for name in protein.obs_names]})
    protein.obs_names = table["b"]
    mdata = MuData({"rna": mdata["rna"].copy(), "protein": protein})
    jm.pp.correspondence(mdata, pairs=table)
    model = jm.tl.train(mdata, max_steps=10)
    jm.tl.impute(mdata, model, source="rna", target="protein")
    figure = jm.pl.imputation(unchanged(mdata), source="rna", target="protein")
    assert len(np.asarray(figure.axes[1].collections[0].get_offsets())) == 60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"source": "protein", "target": "rna"},
            r"call jm\.tl\.impute\(mdata, model, source='protein', target='rna'\)",
        ),
        ({"source": "rna", "target": "protien"}, "`target`.*did you mean 'protein'"),
        (
            {"source": "rna", "target": "protein", "features": ["protein13"]},
            "found 'protein13'; did you mean 'protein",
        ),
    ],
)
def test_what_is_not_there_is_said(mdata, unchanged, arguments, message):
    with pytest.raises(KeyError, match=message):
        jm.pl.imputation(unchanged(mdata), **arguments)


def test_intervals_are_bars_that_are_red_where_they_miss(mdata, trained, unchanged):
    jm.tl.impute(mdata, trained[1], source="rna", target="protein", interval=0.5)
    figure = jm.pl.imputation(unchanged(mdata), source="rna", target="protein", features=["protein3"])
    (bars,) = [c for c in figure.axes[1].collections if hasattr(c, "get_segments")]
    pairs = jm.get.comparison(mdata, source="rna", target="protein")
    ends = np.sort(np.array(bars.get_segments())[:, :, 1], axis=0)
    assert_allclose(ends[:, 0], np.sort(pairs.beside["lower"]["protein3"]))
    within = jm.get.agreement(mdata, source="rna", target="protein", features=["protein3"]).within.to_numpy()
    assert 0 < within.mean() < 1
    assert len(np.unique(bars.get_colors(), axis=0)) == 2
    assert figure.axes[1].get_title().endswith(f", {within.mean():.0%} within 50%")


def test_cells_have_the_colours_of_their_classes(mdata, trained, unchanged):
    jm.tl.impute(mdata, trained[1], source="rna", target="protein", interval=0.5)
    mdata.obs.loc[mdata.obs_names[::5], "cell_type"] = np.nan
    mdata.uns["cell_type_colors"] = ["#ff0000", "#00ff00", "#0000ff"]
    for name in mdata.mod:
        del mdata[name].obs["cell_type"]
    figure = jm.pl.imputation(
        unchanged(mdata), source="rna", target="protein", features=["protein3"], color="cell_type"
    )
    bars, points = sorted(figure.axes[1].collections, key=lambda c: not hasattr(c, "get_segments"))
    assert len(np.unique(bars.get_colors(), axis=0)) == 1
    cells = jm.get.comparison(mdata, source="rna", target="protein").measured.index
    labels = mdata.obs["cell_type"].astype("category").reindex(cells)
    expected = np.array([*np.eye(3), [0.75] * 3])[labels.cat.codes]
    assert_allclose(points.get_facecolors()[:, :3], expected)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(labels.cat.categories)
    with pytest.raises(KeyError, match="did you mean 'cell_type'"):
        jm.pl.imputation(mdata, source="rna", target="protein", color="celltype")


def test_cells_have_a_colour_by_a_number(mdata, unchanged):
    """A scale beside the panels, not an entry of a legend for each value."""
    depth = pd.Series(np.linspace(2, 9, mdata.n_obs), mdata.obs_names)
    depth.iloc[3::7] = np.nan
    mdata.obs["depth"], mdata.obs["level"] = depth, (depth > 5).astype(int)
    arguments = {"source": "rna", "target": "protein", "features": ["protein3"]}
    figure = jm.pl.imputation(unchanged(mdata), **arguments, color="depth")
    assert not figure.legends
    bar = figure.axes[-1]
    assert bar.get_ylabel() == "depth"
    cells = jm.get.comparison(mdata, source="rna", target="protein").measured.index
    shown = depth[cells].to_numpy()
    (points,) = figure.axes[1].collections
    colors = points.get_facecolors()
    assert_allclose(colors[np.isnan(shown), :3], 0.75)
    seen = np.isfinite(shown)
    order = np.argsort(shown[seen])
    green = colors[seen][order, 1]
    assert (np.diff(green) >= 0).all()  # of viridis, which rises
    assert green[-1] - green[0] > 0.5
    assert len(jm.pl.imputation(mdata, **arguments, color="level").legends) == 1
    with pytest.raises(TypeError, match="`source`"):
        jm.pl.imputation(mdata, source=3, target="protein", color="level")
