"""Markers among the features that matter most, against draws and counts by hand."""

from __future__ import annotations

from math import comb

import numpy as np
import pandas as pd
import pytest

import jamie as jm

WHAT = {"source": "rna", "target": "protein"}


@pytest.fixture(scope="module")
def ranked_once(trained_session):
    mdata, model = trained_session
    mdata = mdata.copy()
    jm.tl.explain(mdata, model, **WHAT, n_cells=20, n_background=10)
    jm.tl.knockout(mdata, model, **WHAT, n_cells=20)
    return mdata


@pytest.fixture
def ranked(ranked_once):
    return ranked_once.copy()


def by_hand(n, n_markers, k, found):
    """Chance of as many or more, by counting subsets."""
    ways = sum(comb(n_markers, i) * comb(n - n_markers, k - i) for i in range(found, min(k, n_markers) + 1))
    return ways / comb(n, k)


@pytest.mark.parametrize("feature", [None, "protein2"])
@pytest.mark.parametrize("by", ["shap", "knockout"])
def test_markers_in_the_top_are_counted_and_compared_with_chance(ranked, by, feature):
    rng = np.random.default_rng(0)
    sets = {"some": rng.choice(ranked["rna"].var_names, 9, replace=False), "two": ["gene4", "gene7"]}
    table = jm.get.enrichment(ranked, **WHAT, markers=sets, by=by, feature=feature, n_top=[5, 12, 40])
    if by == "shap":
        means = jm.get.importance(ranked, **WHAT, feature=feature).means
        weight = (means / means.sum()).mean(axis=1)
    else:
        weight = jm.get.knockout(ranked, **WHAT, feature=feature).table["loss"]
    order = list(weight.sort_values(ascending=False).index)
    assert list(zip(table["markers"], table["n_top"], strict=True)) == [(s, k) for s in sets for k in (5, 12, 40)]
    for row in table.itertuples():
        found = len(set(order[: row.n_top]) & set(sets[row.markers]))
        assert (row.n_features, row.n_markers, row.found) == (40, len(sets[row.markers]), found)
        assert row.expected == pytest.approx(row.n_top * row.n_markers / 40)
        assert row.p_value == pytest.approx(by_hand(40, row.n_markers, row.n_top, found))


def test_the_very_top_is_as_unlikely_as_can_be_and_the_bottom_is_certain(ranked):
    order = jm.get.knockout(ranked, **WHAT).table.index
    sets = {"top": order[:4], "bottom": order[-4:]}
    table = jm.get.enrichment(ranked, **WHAT, markers=sets, by="knockout", n_top=4)
    assert table["found"].tolist() == [4, 0]
    assert table["p_value"].tolist() == pytest.approx([1 / comb(40, 4), 1])


def test_p_values_are_even_under_chance(ranked):
    rng = np.random.default_rng(1)
    sets = {str(i): rng.choice(ranked["rna"].var_names, 10, replace=False) for i in range(400)}
    p = jm.get.enrichment(ranked, **WHAT, markers=sets, n_top=10)["p_value"]
    assert (p <= 0.2).mean() < 0.25
    assert p.min() > 0


def test_equal_features_at_the_last_place_are_left_out(ranked):
    ranked["rna"].var["jamie_knockout_correlation_protein"] = np.where(np.arange(40) < 3, 0.0, 0.5)
    table = jm.get.enrichment(ranked, **WHAT, markers=["gene1", "gene9"], by="knockout", n_top=[2, 3, 10, 40])
    assert table["n_top"].tolist() == [0, 3, 3, 40]
    assert table["found"].tolist() == [0, 1, 1, 2]
    assert table["p_value"].iloc[0] == 1


def test_markers_that_were_not_measured_are_left_out_and_counted(ranked, capsys):
    table = jm.get.enrichment(ranked, **WHAT, markers=["gene1", "Scn1a", "gene1", "Kcna1"], n_top=5)
    assert isinstance(table, pd.DataFrame)
    assert table["n_markers"].tolist() == [1]
    assert "2 of the 3 features of 'markers' were not ranked" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"markers": "gene1"}, TypeError, r"pass markers=\['gene1'\]"),
        ({"markers": {}}, ValueError, "sets of markers, found none"),
        ({"markers": ["Gene1"]}, KeyError, "did you mean 'gene1'"),
        ({"markers": {"empty": []}}, KeyError, "empty"),
        ({"markers": ["gene1"], "n_top": 41}, ValueError, "pass n_top=40"),
        ({"markers": ["gene1"], "n_top": [5, 0]}, ValueError, "at least 1"),
        ({"markers": ["gene1"], "n_top": 2.5}, ValueError, "whole number or several, found 2.5"),
        ({"markers": ["gene1"], "n_top": "20"}, ValueError, "found '20' of type str"),
        ({"markers": ["gene1"], "n_top": []}, ValueError, "n_top"),
        ({"markers": ["gene1"], "by": "lime"}, ValueError, "'shap'"),
        ({"markers": ["gene1"], "by": "knockout", "measure": "lta"}, KeyError, r"call jm\.tl\.knockout"),
        ({"markers": ["gene1"], "key_added": "mine"}, KeyError, r"call jm\.tl\.explain"),
    ],
)
def test_what_cannot_be_counted_is_said(ranked, arguments, error, message):
    with pytest.raises(error, match=message):
        jm.get.enrichment(ranked, **WHAT, **arguments)
