"""Features against a baseline, and distances of all methods."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal

import jamie as jm

SLOT = "jamie_scores_rna"
MEASURES = ["correlation", "auroc", "js_distance", "sd_ratio"]


@pytest.fixture(scope="module")
def evaluated_session(trained_session):
    mdata, model = trained_session
    mdata = mdata.copy()
    jm.tl.evaluate(mdata, model, labels="cell_type", baselines=["mean", "knn", "ridge"])
    return mdata


@pytest.fixture
def evaluated(evaluated_session):
    return evaluated_session.copy()


def points(ax):
    return np.asarray(ax.collections[0].get_offsets())


def test_points_are_the_features(evaluated, unchanged):
    figure = jm.pl.metrics(unchanged(evaluated), source="rna", target="protein", against="knn")
    assert isinstance(figure, Figure)
    frame = evaluated["protein"].varm[SLOT]
    for ax, measure in zip(figure.axes, ("correlation", "auroc"), strict=False):
        expected = frame[[f"{measure}_knn", f"{measure}_jamie"]].to_numpy()
        assert_allclose(points(ax), expected)
        wins = (expected[:, 1] > expected[:, 0]).sum()
        assert f"jamie higher in {wins} of 12 features" in ax.get_title()
        blue = (ax.collections[0].get_facecolors()[:, :3] == to_rgba("#0072B2")[:3]).all(axis=1)
        assert_array_equal(blue, expected[:, 1] > expected[:, 0])
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("knn", "jamie")
        assert ax.get_xlim() == ax.get_ylim()
    row = evaluated.uns["jamie_evaluation"].query("source == 'rna' and method == 'knn'").iloc[0]
    said = f"mean {row['gain']:+.3f} ± {row['gain_se']:.3f} over cells, p = {row['p_value']:.1g}"
    assert said in figure.axes[0].get_title()
    assert "a perfect predictor 0.9" in figure.axes[0].get_title()
    assert "over cells" not in figure.axes[1].get_title()


def test_wins_are_counted_and_what_was_not_scored_is_left_out(evaluated, unchanged):
    frame = evaluated["protein"].varm[SLOT]
    frame["correlation_knn"] = 0.5
    frame["correlation_jamie"] = [0.6] * 8 + [0.4, 0.5, np.nan, np.nan]
    figure = jm.pl.metrics(unchanged(evaluated), source="rna", target="protein", against="knn")
    assert figure.axes[0].get_title().startswith("correlation\njamie higher in 8 of 10 features\nmean")
    assert len(points(figure.axes[0])) == 10


def test_by_default_against_the_best_baseline(evaluated):
    table = jm.get.evaluation(evaluated)
    here = table[(table["source"] == "protein") & (table["method"] != "jamie")]
    best = here.loc[here["correlation"].idxmax(), "method"]
    figure = jm.pl.metrics(evaluated, source="protein", target="rna")
    assert figure.axes[0].get_xlabel() == best
    table.loc[(table["source"] == "protein") & (table["method"] == "mean"), "correlation"] = 0.99
    evaluated.uns["jamie_evaluation"] = table
    assert jm.pl.metrics(evaluated, source="protein", target="rna").axes[0].get_xlabel() == "mean"


def test_curves_are_fractions_at_or_below_a_distance(evaluated, unchanged):
    frame = evaluated["protein"].varm["jamie_js_distance_rna"]
    frame.iloc[3, 0] = np.nan
    figure = jm.pl.metrics(unchanged(evaluated), source="rna", target="protein")
    ax = figure.axes[2]
    lines = {line.get_label().split(" ")[0]: line for line in ax.get_lines()}
    assert set(lines) == {"jamie", "mean", "knn", "ridge", "two"}
    lines["floor"] = lines.pop("two")
    for method, line in lines.items():
        values = np.ravel(frame[[f"{method}: type {letter}" for letter in "ABC"]])
        values = values[np.isfinite(values)]
        x, y = line.get_data()
        for distance in (0.3, 0.5, 0.7):
            assert y[x <= distance].max(initial=0) == pytest.approx((values <= distance).mean())
        shown = "two measured samples" if method == "floor" else method
        assert line.get_label() == f"{shown} ({np.median(values):.2f})"
    assert lines["jamie"].get_linewidth() > lines["ridge"].get_linewidth()
    shown = [text.get_text().split(" ")[0] for text in ax.get_legend().get_texts()]
    assert shown == ["jamie", "mean", "knn", "ridge", "two"]
    assert ax.get_ylabel() == "fraction of features × labels"


def test_without_labels_curves_are_of_features(evaluated, unchanged):
    del evaluated["protein"].varm["jamie_js_distance_rna"]
    ax = jm.pl.metrics(unchanged(evaluated), source="rna", target="protein").axes[2]
    (ours,) = (line for line in ax.get_lines() if line.get_label().startswith("jamie"))
    expected = np.sort(evaluated["protein"].varm[SLOT]["js_distance_jamie"])
    assert_allclose(ours.get_xdata()[1:], expected)
    assert ax.get_ylabel() == "fraction of features"


def test_the_title_says_which_cells_and_how_many(evaluated, toy):
    n_test = (evaluated.obs["jamie_split"] == "test").sum()
    figure = jm.pl.metrics(evaluated, source="rna", target="protein")
    title, aligned = figure.get_suptitle().split("\n")
    assert title == f"rna → protein, {n_test} held-out cells"
    ours = evaluated.uns["jamie_evaluation"].iloc[0]
    assert f"within labels {ours['foscttm_within']:.3f} (chance 0.5)" in aligned
    assert f"label transfer {ours['lta']:.3f} (chance {ours['lta_chance']:.2f})" in aligned
    model = jm.tl.train(toy, max_steps=2)
    jm.tl.evaluate(toy, model, baselines=["mean"])
    figure = jm.pl.metrics(toy, source="protein", target="rna")
    assert figure.get_suptitle().startswith("protein → rna, 48 in-sample cells\nFOSCTTM 0.")
    assert "label" not in figure.get_suptitle()
    assert not figure.axes[0].collections  # the mean has no correlation
    assert figure.axes[0].get_title().startswith("correlation\njamie higher in 0 of 0 features")


def test_many_features_are_small_points(evaluated):
    wide = ad.AnnData(np.zeros((180, 1200)), obs=evaluated["protein"].obs[[]])
    frame = evaluated["protein"].varm[SLOT].iloc[np.arange(12).repeat(100)]
    wide.varm[SLOT] = frame.set_axis(wide.var_names)
    many = MuData({"rna": evaluated["rna"].copy(), "protein": wide})
    many.uns["jamie_evaluation"] = evaluated.uns["jamie_evaluation"]
    few, many = (
        jm.pl.metrics(mdata, source="rna", target="protein").axes[0].collections[0] for mdata in (evaluated, many)
    )
    assert len(many.get_offsets()) == 1200
    assert many.get_sizes().max() < few.get_sizes().min() / 3
    assert many.get_alpha() < few.get_alpha()
    assert many.get_rasterized()
    assert not few.get_rasterized()


def test_every_method_has_a_line_of_its_own(evaluated):
    frame, table = evaluated["protein"].varm[SLOT], jm.get.evaluation(evaluated)
    evaluated["protein"].varm.pop("jamie_js_distance_rna")
    here = table[(table["source"] == "rna") & (table["method"] == "knn")]
    for method in ("kernel_ridge", "pls", "reduced_rank", "mlp"):
        table = pd.concat([table, here.assign(method=method)])
        frame = frame.assign(**{f"{name}_{method}": frame[f"{name}_knn"] for name in MEASURES})
    evaluated["protein"].varm[SLOT], evaluated.uns["jamie_evaluation"] = frame, table
    lines = jm.pl.metrics(evaluated, source="rna", target="protein", against="reduced_rank").axes[2].get_lines()
    assert len(lines) == 9
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 9


def test_what_was_not_evaluated_is_said(evaluated, toy, unchanged):
    with pytest.raises(KeyError, match=r"jamie_evaluation.*call jm\.tl\.evaluate\(mdata, model\)"):
        jm.pl.metrics(unchanged(toy), source="rna", target="protein")
    with pytest.raises(KeyError, match=r"`against`.*\['mean', 'knn', 'ridge'\], found 'ridg'; did you mean 'ridge'"):
        jm.pl.metrics(evaluated, source="rna", target="protein", against="ridg")
    with pytest.raises(KeyError, match=r"`target`.*did you mean 'protein'"):
        jm.pl.metrics(evaluated, source="rna", target="protien")
    with pytest.raises(KeyError, match=r"expected rna → rna .*found \['protein → rna', 'rna → protein'\]; call jm"):
        jm.pl.metrics(evaluated, source="rna", target="rna")
    del evaluated["protein"].varm[SLOT]
    with pytest.raises(KeyError, match=r"mdata\['protein'\]\.varm\['jamie_scores_rna'\].*call jm\.tl\.evaluate"):
        jm.pl.metrics(evaluated, source="rna", target="protein")


def test_no_baseline_says_how_to_get_one(trained):
    mdata, model = trained
    jm.tl.evaluate(mdata, model, baselines=[], key_added="mine")
    with pytest.raises(KeyError, match=r"expected a baseline.*found none.*baselines=\['ridge'\]"):
        jm.pl.metrics(mdata, source="rna", target="protein", key_added="mine")
