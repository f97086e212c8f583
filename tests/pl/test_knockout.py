"""Points of the measure without each feature, from where it is with all."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from numpy.testing import assert_allclose

import jamie as jm

DIRECTION = {"source": "rna", "target": "protein"}
SETS = {"first": ["gene1", "gene2", "gene3"], "a long name of a group of genes": ["gene7"]}


@pytest.fixture(scope="module")
def lost_session(trained_session):
    mdata, model = trained_session
    mdata = mdata.copy()
    for measure in ("lta", "likelihood"):
        jm.tl.knockout(mdata, model, source="rna", measure=measure, labels="cell_type")
    for measure in ("correlation", "foscttm"):
        jm.tl.knockout(mdata, model, source="rna", measure=measure)
        jm.tl.knockout(mdata, model, source="rna", measure=measure, groups=SETS, n_random=5)
    return mdata


@pytest.fixture
def lost(lost_session):
    return lost_session.copy()


def points(ax, what="this feature"):
    (found,) = [line for line in ax.get_lines() if line.get_label() == f"without {what}"]
    return np.asarray(found.get_xdata()), np.asarray(found.get_ydata())


def stems(ax):
    return np.array([path[:, 0] for path in ax.collections[-1].get_segments()])


@pytest.mark.parametrize("measure", ["correlation", "lta", "likelihood", "foscttm"])
def test_the_worst_losses_stand_at_their_values(lost, unchanged, measure):
    ax = jm.pl.knockout(unchanged(lost), **DIRECTION, measure=measure, n_top=7)
    assert isinstance(ax, Axes)
    slot = f"jamie_knockout_{measure}_protein"
    values, baseline = lost["rna"].var[slot], lost["rna"].uns[slot]["baseline"]
    expected = values.sort_values(ascending=measure != "foscttm")[:7]
    x, y = points(ax)
    assert_allclose(x, expected)
    assert_allclose(y, range(7))
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert_allclose(values[names], expected)
    assert len(set(names)) == 7
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    (line,) = [line for line in ax.get_lines() if line.get_label().startswith("with all features: ")]
    assert_allclose(line.get_xdata(), baseline)
    assert_allclose(float(line.get_label().split(": ")[1].replace("−", "-")), baseline, rtol=5e-3)
    assert_allclose(stems(ax), np.column_stack([np.full(7, baseline), expected]))


def test_the_band_is_any_one_feature(lost):
    values = lost["rna"].var["jamie_knockout_likelihood_protein"]
    (band,) = jm.pl.knockout(lost, **DIRECTION, measure="likelihood", n_top=3).patches
    box = band.get_extents().transformed(band.axes.transData.inverted())
    assert_allclose([box.x0, box.x1], [values.mean() - np.std(values), values.mean() + np.std(values)], rtol=1e-6)
    assert band.get_label() == "any one of 40: mean ± sd"


def test_one_feature_of_the_target(lost, unchanged):
    ax = jm.pl.knockout(unchanged(lost), **DIRECTION, feature="protein3")
    of_each = lost["rna"].varm["jamie_knockout_correlation_protein"]["protein3"]
    assert_allclose(points(ax)[0], of_each.sort_values()[:20])
    baseline = lost["rna"].uns["jamie_knockout_correlation_protein"]["baselines"][2]
    assert_allclose(stems(ax)[:, 0], baseline)
    assert ax.get_xlabel() == "correlation of protein3"


@pytest.mark.parametrize(("measure", "sign"), [("correlation", -1), ("foscttm", 1)])
def test_groups_stand_above_random_sets_of_their_size(lost, unchanged, measure, sign):
    ax = jm.pl.knockout(unchanged(lost), **DIRECTION, measure=measure, groups=True)
    about = lost["rna"].uns[f"jamie_knockout_groups_{measure}_protein"]
    table = about["table"].sort_values("loss", ascending=False)
    assert_allclose(points(ax, "these features")[0], table["value"])
    (random,) = [one for one in ax.containers if one.get_label() == "as many at random: mean ± sd"]
    middle, _, (bars,) = random
    assert_allclose(middle.get_xydata()[:, 0], about["baseline"] + sign * table["random"])
    ends = np.array([path[:, 0] for path in bars.get_segments()])
    assert_allclose(ends.mean(1), middle.get_xydata()[:, 0])
    assert_allclose(np.ptp(ends, axis=1), 2 * table["random_sd"], atol=1e-12)
    names = [label.get_text().replace("\n", " ") for label in ax.get_yticklabels()]
    assert names == [f"{name} ({len(SETS[name])})" for name in table.index]
    assert not ax.patches


def test_groups_without_random_sets(lost):
    lost["rna"].uns["jamie_knockout_groups_correlation_protein"]["table"][["random", "random_sd"]] = np.nan
    ax = jm.pl.knockout(lost, **DIRECTION, groups=True, n_top=1)
    assert len(points(ax, "these features")[0]) == 1
    assert not ax.containers


def test_who_judged_and_by_what_is_written(lost):
    n = (lost.obs["jamie_split"] == "test").sum()
    for measure, label in {
        "correlation": "mean correlation, 12 features",
        "lta": "accuracy of cell_type, transferred",
        "likelihood": "mean log-probability of cell_type",
        "foscttm": "FOSCTTM, higher is worse",
    }.items():
        ax = jm.pl.knockout(lost, **DIRECTION, measure=measure)
        assert ax.get_xlabel() == label
        about = lost["rna"].uns[f"jamie_knockout_{measure}_protein"]
        assert about["n_cells"] <= n
        title = ax.get_legend().get_title().get_text()
        assert title == f"rna → protein, {about['n_cells']} held-out cells"


@pytest.mark.parametrize("groups", [False, True])
def test_everything_fits_a_column(lost, groups):
    figure = jm.pl.knockout(lost, **DIRECTION, groups=groups).figure
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert width == 3.5
    assert box.x0 >= -0.02
    assert box.x1 <= width + 0.02
    assert box.y0 >= -0.02
    assert box.y1 <= height + 0.02


def test_draws_on_the_axes_given(lost, unchanged):
    _, (left, right) = plt.subplots(1, 2)
    assert jm.pl.knockout(unchanged(lost), **DIRECTION, ax=right) is right
    assert not left.lines
    assert len(plt.get_fignums()) == 1


def test_what_is_missing_is_said(lost, toy, unchanged):
    with pytest.raises(KeyError, match=r"call jm\.tl\.knockout\(mdata, model, source='rna', target='protein', measure"):
        jm.pl.knockout(unchanged(toy), **DIRECTION)
    with pytest.raises(ValueError, match=r"at least one knock-out .*n_top=0.*pass n_top=20"):
        jm.pl.knockout(lost, **DIRECTION, n_top=0)
    lost["rna"].varm["jamie_knockout_correlation_protein"]["protein3"] = np.nan
    lost["rna"].uns["jamie_knockout_correlation_protein"]["baselines"][2] = np.nan
    with pytest.raises(ValueError, match=r"found 0 .* a baseline of nan; .*a feature that varies in the judged cells"):
        jm.pl.knockout(lost, **DIRECTION, feature="protein3")
    assert not plt.get_fignums()


def test_a_single_feature_that_is_scored_is_named(trained_session):
    mdata, model = trained_session
    mdata = mdata.copy()
    name = mdata["protein"].var_names[1]
    jm.tl.knockout(mdata, model, **DIRECTION, features=[name], groups=SETS)
    assert jm.pl.knockout(mdata, **DIRECTION, groups=True).get_xlabel() == f"correlation of {name}"


def test_random_features_stand_below_the_others(lost, unchanged):
    ax = jm.pl.knockout(unchanged(lost), **DIRECTION, n_top=4, n_random=6, rng=1)
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert len(set(names)) == 10
    (grey,) = [line for line in ax.get_lines() if line.get_label() == "6 others at random"]
    assert_allclose(grey.get_ydata(), range(4, 10))
    values = lost["rna"].var["jamie_knockout_correlation_protein"]
    assert_allclose(grey.get_xdata(), values[names[4:]])
    assert_allclose(points(ax)[0], values.sort_values()[:4])
    again = jm.pl.knockout(lost, **DIRECTION, n_top=4, n_random=6, rng=1)
    assert [label.get_text() for label in again.get_yticklabels()] == names
    other = jm.pl.knockout(lost, **DIRECTION, n_top=4, n_random=6, rng=2)
    assert [label.get_text() for label in other.get_yticklabels()] != names
    assert len(jm.pl.knockout(lost, **DIRECTION, n_top=38, n_random=6).get_yticks()) == 40
