"""Genes without the regions near and far."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import jamie as jm


@pytest.fixture
def stored(toy):
    toy.uns["jamie_knockout_by_distance"] = pd.DataFrame(
        {
            "gene": pd.Categorical(["g2", "g2", "g1", "g1", "g3", "g3", "g4", "g4"]),
            "set": pd.Categorical(["none", "near"] * 4),
            "n_regions": [0, 4, 0, 1, 0, 3, 0, 9],
            "correlation": [0.4, 0.3, 0.2, 0.1, np.nan, np.nan, 0.9, 0.5],
        }
    )
    return toy


def test_genes_by_sets_and_what_the_sets_cost(stored):
    without = jm.get.knockout_by_distance(stored)
    assert list(without.correlation) == list(without.sets.index) == ["none", "near"]
    assert without.correlation["near"].to_dict() == {"g1": 0.1, "g2": 0.3, "g4": 0.5}  # g3 has no correlation
    assert without.sets["n_regions"].tolist() == [0, 3.5]
    lost = np.array([0.1, 0.1, 0.4])
    assert_allclose(without.sets.loc["near", ["mean", "change"]].astype(float), [0.3, -lost.mean()])
    assert_allclose(without.sets.loc["near", "change_sem"], lost.std(ddof=1) / np.sqrt(3))
    assert without.sets.loc["none", "change"] == without.sets.loc["none", "change_sem"] == 0


def test_what_is_not_there_is_said(toy, stored):
    with pytest.raises(KeyError, match=r"mine_knockout_by_distance.*call jm\.tl\.knockout_by_distance\(mdata, model"):
        jm.get.knockout_by_distance(toy, key_added="mine")
    stored.uns["jamie_knockout_by_distance"]["correlation"] = np.nan
    with pytest.raises(ValueError, match="found none of 4; judge by more cells: n_cells"):
        jm.get.knockout_by_distance(stored)
