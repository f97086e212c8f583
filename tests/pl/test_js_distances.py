"""Curves of how many features are above each similarity."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot as plt
from numpy.testing import assert_allclose

import jamie as jm

DIRECTION = {"source": "rna", "target": "protein"}


def test_a_curve_of_each_group_and_their_mean(mdata, unchanged):
    _, given = plt.subplots()
    ax = jm.pl.js_distances(unchanged(mdata), **DIRECTION, groupby="cell_type", ax=given)
    assert ax is given
    table = jm.get.js_distances(mdata, **DIRECTION, groupby="cell_type").table
    *lines, mean = ax.get_lines()
    assert [line.get_label().split(" (")[0] for line in lines] == list(table)
    for line, group in zip(lines, table, strict=True):
        for x, y in zip(*line.get_data(), strict=True):
            assert y == pytest.approx(np.mean(1 - table[group] > x))
    assert_allclose(mean.get_ydata(), np.mean([line.get_ydata() for line in lines], axis=0))
    assert mean.get_label() == f"mean: {1 - table.to_numpy().mean():.2f}"


def test_too_many_groups_and_what_was_not_imputed_are_refused(mdata, unchanged):
    mdata.obs["name"] = mdata.obs_names
    with pytest.raises(ValueError, match=r"expected 1 to 18 groups.*pass groupby="):
        jm.pl.js_distances(unchanged(mdata), **DIRECTION, groupby="name")
    with pytest.raises(KeyError, match=r"call jm\.tl\.impute"):
        jm.pl.js_distances(mdata, **DIRECTION, groupby="cell_type", key_added="mine")
