"""Label transfer accuracy against FOSCTTM, over methods."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import pyplot as plt

import jamie as jm

DIRECTION = {"source": "rna", "target": "protein"}


@pytest.fixture(scope="module")
def evaluated_session(trained_session):
    mdata, model = trained_session
    mdata = mdata.copy()
    jm.tl.evaluate(mdata, model, labels="cell_type", baselines=["ridge"], aligners=["cca", "lma"])
    return mdata


@pytest.fixture
def evaluated(evaluated_session):
    return evaluated_session.copy()


def points(ax):
    return {line.get_label().split("\n")[0]: (line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines}


def test_a_point_for_each_method_that_aligns(evaluated, unchanged):
    ax = jm.pl.alignment(unchanged(evaluated), **DIRECTION)
    table = evaluated.uns["jamie_evaluation"]
    rows = table[(table["source"] == "rna") & table["foscttm"].notna()].set_index("method")
    assert list(rows.index) == ["jamie", "cca", "lma"]
    assert points(ax) == {name: (row["foscttm"], row["lta"]) for name, row in rows.iterrows()}
    assert ax.get_xlim()[0] < 0 < ax.get_xlim()[1] < 0.5  # a perfect point is whole, and chance is far
    assert ax.get_ylim()[1] > 1
    assert "rna → protein" in ax.get_title()
    assert "held-out cells" in ax.get_title()


def test_chance_is_shown_where_it_is_near(evaluated, unchanged):
    table = evaluated.uns["jamie_evaluation"]
    table.loc[table["method"] == "cca", "foscttm"] = 0.48
    ax = jm.pl.alignment(unchanged(evaluated), **DIRECTION)
    assert ax.get_xlim()[1] > 0.5
    assert [text.get_text() for text in ax.texts] == ["chance"]


def test_it_draws_on_given_axes(evaluated):
    _, ax = plt.subplots()
    assert jm.pl.alignment(evaluated, **DIRECTION, ax=ax) is ax


def test_without_labels_it_says_so(evaluated):
    evaluated.uns["jamie_evaluation"] = evaluated.uns["jamie_evaluation"].drop(columns="lta")
    with pytest.raises(KeyError, match=r"without labels; call jm\.tl\.evaluate"):
        jm.pl.alignment(evaluated, **DIRECTION)


def test_metrics_leave_out_what_imputes_nothing(evaluated):
    figure = jm.pl.metrics(evaluated, **DIRECTION)
    assert len(figure.axes[2].lines) == 3  # the model, a baseline, and two measured samples
    assert np.isfinite(figure.axes[0].collections[0].get_offsets()).all()
