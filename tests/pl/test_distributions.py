"""Measured and imputed values within each group of cells."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.testing import assert_allclose

import jamie as jm

DIRECTION = {"source": "rna", "target": "protein"}


def medians(ax):
    """Heights of the black lines, measured of every group and then imputed."""
    return [line.get_ydata()[0] for line in ax.lines if line.get_color() == "black" and line.get_marker() == ""]


def test_boxes_are_those_of_the_held_out_cells(mdata, unchanged):
    figure = jm.pl.distributions(unchanged(mdata), **DIRECTION, groupby="cell_type", features=["protein3", "protein5"])
    assert isinstance(figure, Figure)
    pairs = jm.get.comparison(mdata, **DIRECTION)
    labels = mdata.obs["cell_type"].reindex(pairs.measured.index).astype(str)
    assert 0 < len(labels) < mdata.n_obs
    for ax, feature in zip(figure.axes, ("protein3", "protein5"), strict=True):
        expected = [frame[feature].groupby(labels).median() for frame in (pairs.measured, pairs.imputed)]
        assert_allclose(medians(ax), np.concatenate(expected))
        shown = [tick.get_text() for tick in ax.get_xticklabels()]
        assert shown == [f"{name} ({n})" for name, n in labels.value_counts().sort_index().items()]
        r = np.corrcoef(pairs.measured[feature], pairs.imputed[feature])[0, 1]
        js = np.mean(jm.metrics.js_distance(pairs.measured[[feature]], pairs.imputed[[feature]], groups=labels))
        assert ax.get_title() == f"{feature}\nr = {r:.2f}, JS = {js:.2f}".replace("-", "−")


def test_by_itself_it_goes_from_the_best_to_the_worst_predicted(mdata, unchanged):
    figure = jm.pl.distributions(unchanged(mdata), **DIRECTION, groupby="cell_type")
    pairs = jm.get.comparison(mdata, **DIRECTION)
    ranked = pairs.measured.corrwith(pairs.imputed).sort_values(ascending=False).index
    names = [ax.get_title().split("\n")[0] for ax in figure.axes]
    assert len(names) == 4
    assert (names[0], names[-1]) == (ranked[0], ranked[-1])


def test_missing_values_and_cells_without_a_group_are_left_out(mdata, unchanged):
    mdata["protein"].X = mdata["protein"].X.astype(np.float64)
    pairs = jm.get.comparison(mdata, **DIRECTION)
    lost = pairs.measured.index[:5]
    mdata.obs["group"] = mdata.obs["cell_type"].astype(object)
    mdata.obs.loc[lost, "group"] = None
    figure = jm.pl.distributions(unchanged(mdata), **DIRECTION, groupby="group", features=["protein1"])
    labels = mdata.obs["group"].reindex(pairs.measured.index)
    assert_allclose(medians(figure.axes[0])[:1], pairs.measured["protein1"].groupby(labels).median().iloc[:1])


def test_many_features_and_one_group(mdata, unchanged):
    mdata.obs["all"] = "cell"
    figure = jm.pl.distributions(
        unchanged(mdata), **DIRECTION, groupby="all", features=["protein5", "protein1", "protein2"]
    )
    assert sum(ax.get_visible() for ax in figure.axes) == 3
    assert all(len(medians(ax)) == 2 for ax in figure.axes[:3])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"groupby": "celltype"}, KeyError, "`groupby`.*did you mean 'cell_type'"),
        ({"groupby": "name"}, ValueError, "1 to 30 groups of the cells.*pass groupby= a column of cell types"),
        ({"groupby": "nothing"}, ValueError, "found 0"),
        ({"groupby": "cell_type", "features": ["protein99"]}, KeyError, "protein99"),
        ({"groupby": "cell_type", "key_added": "mine"}, KeyError, r"call jm\.tl\.impute"),
    ],
)
def test_what_is_not_there_is_said(mdata, unchanged, arguments, error, message):
    mdata.obs["name"], mdata.obs["nothing"] = mdata.obs_names, np.nan
    with pytest.raises(error, match=message):
        jm.pl.distributions(unchanged(mdata), **DIRECTION, **arguments)


def test_draws_are_a_third_box(mdata, trained, unchanged):
    jm.tl.impute(mdata, trained[1], **DIRECTION, n_samples=1)
    figure = jm.pl.distributions(unchanged(mdata), **DIRECTION, groupby="cell_type", features=["protein3"])
    drawn = jm.get.comparison(mdata, **DIRECTION).beside["sample_0"]["protein3"]
    labels = mdata.obs["cell_type"].reindex(drawn.index).astype(str)
    n = labels.nunique()
    assert_allclose(medians(figure.axes[0])[2 * n :], drawn.groupby(labels).median())
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["measured", "imputed", "sampled"]
