"""Correlations without regions near and far."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from numpy.testing import assert_allclose
from scipy.stats import sem

import jamie as jm

STORED = ["none", "near", "chromosome", "genome", "random"]
DRAWN = ["none", "random", "near", "chromosome", "genome"]


def table_of(n, *, sets=STORED):
    rng = np.random.default_rng(n)
    baseline = rng.uniform(0.1, 0.7, n)
    lost = {"none": 0, "near": 0.01, "chromosome": 0.05, "genome": 0.5, "random": 0.0001}
    size = {"none": 0, "near": 3, "chromosome": 570, "genome": 3000, "random": 3}
    rows = [
        (f"gene{g}", name, size[name] + (g % 2 and name != "none"), baseline[g] - lost[name] * rng.uniform(0, 2))
        for g in range(n)
        for name in sets
    ]
    return pd.DataFrame(rows, columns=["gene", "set", "n_regions", "correlation"])


@pytest.fixture
def judged(toy):
    toy.uns["jamie_knockout_by_distance"] = table_of(31)
    return toy


def by_set(mdata):
    table = mdata.uns["jamie_knockout_by_distance"]
    return {name: table.loc[table["set"] == name, "correlation"].to_numpy() for name in DRAWN}


def test_means_errors_and_quartiles_of_each_set(judged, unchanged):
    ax = jm.pl.knockout_by_distance(unchanged(judged))
    assert isinstance(ax, Axes)
    expected = by_set(judged)
    ((middle, _, (bars,)),) = ax.containers
    assert_allclose(middle.get_xydata()[:, 0], range(5))
    assert_allclose(middle.get_xydata()[:, 1], [one.mean() for one in expected.values()])
    ends = np.array([path[:, 1] for path in bars.get_segments()])
    assert_allclose(np.ptp(ends, axis=1) / 2, [sem(one) for one in expected.values()])
    blue = [line for line in ax.get_lines() if line.get_color() == "#0072B2"]
    medians = [line.get_ydata()[0] for line in blue if line.get_linewidth() == 1.2]
    assert_allclose(medians, [np.median(one) for one in expected.values()])
    boxes = [(min(y), max(y)) for y in (line.get_ydata() for line in blue) if len(y) == 5]
    assert_allclose(boxes, [np.percentile(one, [25, 75]) for one in expected.values()])
    (line,) = [line for line in ax.get_lines() if line.get_linestyle() == "--"]
    assert_allclose(line.get_ydata(), expected["none"].mean())


def test_sets_are_named_with_their_size(judged):
    ax = jm.pl.knockout_by_distance(judged)
    table = judged.uns["jamie_knockout_by_distance"]
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels == [f"{name}\n{np.median(table['n_regions'][table['set'] == name]):,.0f}" for name in DRAWN]
    assert ax.get_ylabel() == "correlation, 31 genes"


def test_differences_are_those_of_each_gene(judged):
    _, *texts = [text.get_text().split("\n± ") for text in jm.pl.knockout_by_distance(judged).texts]
    expected = by_set(judged)
    for (mean, error), name in zip(texts, DRAWN[1:], strict=True):
        difference = expected[name] - expected["none"]
        assert_allclose(float(mean.replace("−", "-")), difference.mean(), atol=max(5.1e-6, 0.06 * sem(difference)))
        assert_allclose(float(error), sem(difference), atol=max(5.1e-6, 0.06 * sem(difference)))


@pytest.mark.parametrize(("n", "lines"), [(100, 100), (101, 0)])
def test_few_genes_are_drawn_each(judged, n, lines):
    judged.uns["jamie_knockout_by_distance"] = table_of(n)
    ax = jm.pl.knockout_by_distance(judged)
    grey = [line.get_ydata() for line in ax.get_lines() if line.get_color() == "0.6"]
    assert len(grey) == lines
    if lines:
        assert_allclose(sorted(map(tuple, grey)), sorted(zip(*by_set(judged).values(), strict=True)))


def test_genes_without_a_correlation_are_left_out(judged):
    table = judged.uns["jamie_knockout_by_distance"]
    table.loc[table["gene"] == "gene4", "correlation"] = np.nan
    ax = jm.pl.knockout_by_distance(judged)
    assert ax.get_ylabel() == "correlation, 30 genes"
    assert_allclose(ax.containers[0][0].get_xydata()[:, 1], [np.nanmean(one) for one in by_set(judged).values()])
    table["correlation"] = np.nan
    with pytest.raises(ValueError, match=r"found none of 31; judge by more cells: n_cells"):
        jm.pl.knockout_by_distance(judged)


def test_without_random_sets(judged):
    judged.uns["jamie_knockout_by_distance"] = table_of(5, sets=STORED[:-1])
    labels = [label.get_text().split("\n")[0] for label in jm.pl.knockout_by_distance(judged).get_xticklabels()]
    assert labels == ["none", "near", "chromosome", "genome"]


def test_one_gene_alone(judged):
    judged.uns["jamie_knockout_by_distance"] = table_of(1)
    jm.pl.knockout_by_distance(judged).figure.draw_without_rendering()


def test_draws_on_the_axes_given(judged, unchanged):
    _, (left, right) = plt.subplots(1, 2)
    assert jm.pl.knockout_by_distance(unchanged(judged), ax=right) is right
    assert not left.lines
    assert len(plt.get_fignums()) == 1


def test_what_is_missing_is_said(toy, unchanged):
    with pytest.raises(KeyError, match=r"jamie_knockout_by_distance.*call jm\.tl\.knockout_by_distance\(mdata, model"):
        jm.pl.knockout_by_distance(unchanged(toy))
