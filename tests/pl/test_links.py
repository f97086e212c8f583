"""Stems of one gene, and all pairs by distance."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from numpy.testing import assert_allclose, assert_array_equal

import jamie as jm
from jamie.pl import _links


def table_of(n, rng, n_genes=3, window=250_000):
    distance = rng.integers(-window, window, n)
    shap = rng.normal(size=n) * np.exp(-np.abs(distance) / 50_000)
    start = 20_000_000 + distance
    table = pd.DataFrame(
        {
            "region": [f"chr1:{a}-{a + 500}" for a in start],
            "gene": rng.choice([f"gene{i + 1}" for i in range(n_genes)], n),
            "chrom": "chr1",
            "distance": distance,
            "shap": shap,
            "abs_shap": np.abs(shap) * rng.uniform(0.2, 0.5, n),
        }
    )
    return table.sort_values("abs_shap", ascending=False, ignore_index=True)


@pytest.fixture
def linked(toy):
    toy.uns["jamie_links"] = table_of(60, np.random.default_rng(0))
    return toy


def of_gene(mdata, gene="gene2"):
    return mdata.uns["jamie_links"].query("gene == @gene")


def test_a_stem_for_each_region(linked, unchanged):
    ax = jm.pl.links(unchanged(linked), gene="gene2")
    assert isinstance(ax, Axes)
    found = []
    for stems in ax.collections:
        for path in stems.get_segments():
            assert path[0, 1] == 0
            assert path[0, 0] == path[1, 0]
            found.append((*path[1], to_hex(stems.get_color()[0])))
    x, height, color = zip(*sorted(found), strict=True)
    expected = of_gene(linked).sort_values("distance")
    assert_allclose(x, expected["distance"] / 1000)
    assert_allclose(height, expected["abs_shap"])
    assert_array_equal(color, np.where(expected["shap"] > 0, "#0072b2", "#d55e00"))
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    raises = (expected["shap"] > 0).sum()
    assert labels == [f"opening raises the gene ({raises})", f"opening lowers the gene ({len(expected) - raises})"]
    assert ax.get_xlabel() == "kb downstream of the start site of gene2"


def test_a_region_that_is_never_open_is_neither(linked):
    linked.uns["jamie_links"].loc[of_gene(linked).index[3:5], "shap"] = 0.0
    texts = jm.pl.links(linked, gene="gene2").get_legend().get_texts()
    assert texts[-1].get_text() == "neither (2)"


def test_the_start_site_is_marked(linked):
    far = linked.uns["jamie_links"]
    far["distance"] = far["distance"].abs() + 50_000  # all downstream
    ax = jm.pl.links(linked, gene="gene1")
    ax.figure.draw_without_rendering()
    labels = {tick: label.get_text() for tick, label in zip(ax.get_xticks(), ax.get_xticklabels(), strict=True)}
    assert labels[0] == "TSS"
    assert all(float(text.replace("−", "-")) == tick for tick, text in labels.items() if tick)
    assert ax.get_xlim()[0] < 0
    assert any(list(line.get_xdata()) == [0, 0] and line.get_linestyle() == ":" for line in ax.get_lines())


@pytest.mark.parametrize("n_top", [0, 1, 5, 9])
def test_the_highest_are_named(linked, n_top):
    ax = jm.pl.links(linked, gene="gene2", n_top=n_top)
    expected = of_gene(linked).nlargest(n_top, "abs_shap").set_index("region")["distance"]
    assert sorted(text.get_text() for text in ax.texts) == sorted(expected.index)
    for text in ax.texts:
        assert text.xy[0] == expected[text.get_text()] / 1000


@pytest.mark.parametrize("seed", range(6))
def test_names_overlap_nothing_and_are_not_cut(linked, seed):
    rng = np.random.default_rng(seed)
    linked.uns["jamie_links"] = table_of(15, rng, n_genes=1, window=[250_000, 2_000][seed % 2])
    if seed > 3:  # all crowded at both ends
        linked.uns["jamie_links"]["distance"] = rng.choice([-240_000, 230_000], 15) + rng.integers(900, size=15)
    figure = jm.pl.links(linked, gene="gene1", n_top=7).figure
    (ax,) = figure.axes
    figure.draw_without_rendering()
    assert len(ax.texts) == 7
    boxes = [text.get_window_extent() for text in ax.texts]
    for a, b in combinations(boxes, 2):
        assert not a.overlaps(b)
    for line in ax.get_lines():
        x, y = ax.transData.transform(line.get_xydata()).T
        if len(x) == 2 and x[0] == x[1]:
            assert not any(b.x0 < x[0] < b.x1 and y.max() > (b.y0 + b.y1) / 2 + 1 for b in boxes)
    edges = [ax.bbox.x0, figure.bbox.x1]
    assert all(edges[0] - 3 <= b.x0 and b.x1 <= edges[1] + 1 for b in boxes)
    highest = ax.transData.transform([0, linked.uns["jamie_links"]["abs_shap"].max()])[1]
    assert all(b.y0 > highest for b in boxes)


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_arranged_names_are_free_of_each_other_and_of_all_lines(n):
    rng = np.random.default_rng(n)
    for _ in range(100):
        at, wide = np.sort(rng.choice([rng.uniform(0, 200, n), rng.normal(100, 3, n)])), rng.uniform(60, 90, n)
        sides, rows, short = _links._arranged(at, wide, 200)
        start, end = np.where(sides > 0, at, at - wide), np.where(sides > 0, at + wide, at)
        assert_allclose(short, [max(0, -start.min()), max(0, end.max() - 200)])
        for i, j in combinations(range(n), 2):
            assert rows[i] != rows[j] or end[i] <= start[j] or end[j] <= start[i]
        for i in range(n):
            beneath = (start[i] < at) & (at < end[i])
            assert (rows[beneath] < rows[i]).all()


def test_as_many_names_as_there_is_room_for(linked, unchanged):
    figure, (left, right) = plt.subplots(1, 2, figsize=(7, 1.6), layout="constrained")
    assert jm.pl.links(unchanged(linked), gene="gene2", n_top=40, ax=right) is right
    assert not left.lines
    assert plt.get_fignums() == [figure.number]
    n = len(right.texts)
    assert 0 < n < 15
    assert {text.get_text() for text in right.texts} == set(of_gene(linked)["region"][:n])


def test_all_pairs_by_distance(linked, unchanged):
    table = linked.uns["jamie_links"] = table_of(400, np.random.default_rng(1))
    table.loc[7, "distance"] = 3
    ax = jm.pl.links(unchanged(linked))
    x, y = ax.get_lines()[0].get_data()
    kb = np.maximum(table["distance"].abs() / 1000, 0.1)
    assert_allclose(x, kb)
    assert_allclose(y, table["abs_shap"])
    assert ax.get_lines()[0].get_rasterized()
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    ((middle, _, (bars,)),) = ax.containers
    edges = 0.1 * (kb.max() / 0.1) ** (np.arange(1, 10) / 10)
    bins = [table["abs_shap"][np.searchsorted(edges, kb, side="right") == k] for k in range(10)]
    quartiles = np.array([np.percentile(one, [25, 50, 75]) for one in bins if len(one) >= 5])
    assert 3 <= len(quartiles) < 10
    assert_allclose(middle.get_xydata()[:, 1], quartiles[:, 1])
    assert_allclose([path[:, 1] for path in bars.get_segments()], quartiles[:, [0, 2]])
    assert np.all(np.diff(middle.get_xydata()[:, 0]) > 0)
    assert ax.get_legend().get_title().get_text() == "400 pairs"


def test_many_pairs_are_thinned_evenly_but_all_count(linked, monkeypatch):
    monkeypatch.setattr(_links, "MOST_POINTS", 100)
    table = linked.uns["jamie_links"] = table_of(250, np.random.default_rng(1))
    ax = jm.pl.links(linked)
    assert_allclose(ax.get_lines()[0].get_ydata(), table["abs_shap"][::3])
    assert ax.get_legend().get_title().get_text() == "250 pairs, 84 drawn"
    thinned = ax.containers[0][0].get_xydata()[:, 1]
    monkeypatch.undo()
    assert_allclose(thinned, jm.pl.links(linked).containers[0][0].get_xydata()[:, 1])


def test_pairs_without_effect(linked):
    table = linked.uns["jamie_links"]
    table.loc[40:, "abs_shap"] = 0.0
    assert len(jm.pl.links(linked).get_lines()[0].get_xdata()) == 40
    table[["shap", "abs_shap"]] = 0.0
    for gene in (None, "gene2"):
        jm.pl.links(linked, gene=gene).figure.draw_without_rendering()


def test_what_is_missing_is_said(linked, trained, unchanged):
    with pytest.raises(KeyError, match=r"jamie_links.*call jm\.tl\.links\(mdata, model, genes=\.\.\., regions="):
        jm.pl.links(unchanged(trained[0]), gene="gene1")
    with pytest.raises(KeyError, match=r"`gene`.*did you mean 'gene.*jm\.tl\.links\(mdata, model.*`features` and"):
        jm.pl.links(unchanged(linked), gene="gene7")
    assert not plt.get_fignums()
