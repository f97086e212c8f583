"""The losses over the training."""

from __future__ import annotations

import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from numpy.testing import assert_allclose

import jamie as jm


def test_terms_score_and_best_step(mdata, unchanged):
    ax = jm.pl.history(unchanged(mdata))
    assert isinstance(ax, Axes)
    history, summary = jm.get.history(mdata), jm.get.summary(mdata)
    lines = {line.get_label(): line for line in ax.get_lines()}
    assert_allclose(lines["contrastive"].get_ydata(), history["contrastive"])
    assert_allclose(lines["other modality, held-out pairs"].get_ydata(), history["score"])
    assert any(list(line.get_xdata()) == [summary.best_step] * 2 for line in ax.get_lines())
    assert ax.get_yscale() == "log"
    assert ax.get_xlabel() == "step"


def test_draws_on_the_axes_given(mdata, unchanged):
    _, (left, right) = plt.subplots(1, 2)
    assert jm.pl.history(unchanged(mdata), ax=right) is right
    assert not left.lines


def test_terms_that_a_recipe_lacks_are_left_out(toy, unchanged):
    jm.tl.train(toy, recipe="paper", max_steps=2)
    labels = {line.get_label() for line in jm.pl.history(unchanged(toy)).get_lines()}
    assert "combination" in labels
    assert not labels & {"contrastive", "reconstruction, other modality", "other modality, held-out pairs"}


def test_untrained_says_what_to_call(toy, unchanged):
    with pytest.raises(KeyError, match=r"call jm\.tl\.train\(mdata\)"):
        jm.pl.history(unchanged(toy))


def test_alignment_with_inferred_partners_is_drawn_where_there_are_any(toy, unchanged):
    toy.obs["known"] = toy.obs_names.isin(toy["rna"].obs_names.intersection(toy["protein"].obs_names)[:20])
    jm.pp.correspondence(toy, known="known")
    jm.tl.train(toy, max_steps=40)
    lines = {line.get_label(): line for line in jm.pl.history(unchanged(toy)).get_lines()}
    assert_allclose(lines["alignment, inferred partners"].get_ydata(), jm.get.history(toy)["alignment"])


def test_alignment_is_left_out_where_all_pairs_are_known(mdata, unchanged):
    labels = {line.get_label() for line in jm.pl.history(unchanged(mdata)).get_lines()}
    assert "alignment, inferred partners" not in labels
