"""What a training is worth, on pairs it was not trained on."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.testing import assert_allclose

import jamie as jm
from jamie.model._summary import announce
from jamie.train._schedule import cycle_ends


def test_few_pairs_are_judged_in_training_and_said_so(toy, capsys):
    model = jm.tl.train(toy, max_steps=2)
    assert model.summary_["cells"] == "training"
    assert "on training pairs" in capsys.readouterr().err
    both = toy["rna"].obs_names.intersection(toy["protein"].obs_names)
    x, y = (
        pd.DataFrame(toy[name].obsm["X_jamie"], index=toy[name].obs_names).loc[both].to_numpy(dtype=float)
        for name in toy.mod
    )
    distance = np.linalg.norm(x[:, None] - y[None], axis=2)
    own = np.diag(distance)
    expected = ((distance < own[:, None]).mean() + (distance < own[None]).mean()) / 2
    assert_allclose(model.summary_["foscttm rna protein"], expected, atol=1e-6)


def test_validation_pairs_are_held_out_of_the_training_cells(trained):
    _, model = trained
    assert model.summary_["cells"] == "validation"
    assert model.summary_["foscttm rna protein"] < 0.25
    assert model.summary_["correlation rna protein"] > 0.5
    assert model.summary_["seconds"] > 0
    score = model.history_.set_index("step")["score"]
    ends = [end for end in cycle_ends(model.recipe_.max_steps, model.recipe_.cycles) if end in score.index]
    assert score.loc[ends].idxmin() == model.summary_["best_step"]


def test_kernel_ridge_stands_beside_each_correlation(trained, capsys):
    _, model = trained
    announce(model.summary_, model.recipe_)
    logged = capsys.readouterr().err
    for pair in ("rna protein", "protein rna"):
        alone = model.summary_[f"kernel ridge {pair}"]
        assert -1 <= alone <= 1
        assert f"{model.summary_[f'correlation {pair}']:.3f} (kernel ridge alone {alone:.3f})" in logged


def test_a_training_that_still_improved_at_its_end_is_told_from_one_that_did_not(trained, capsys):
    _, model = trained
    for best, said in ((60, True), (26, False)):
        announce({**model.summary_, "best_step": best}, model.recipe_)
        logged = capsys.readouterr().err
        assert f"best step {best}" in logged
        assert (f"best step {best}, the last (max_steps=120 may find a better one)" in logged) is said
    announce({**model.summary_, "best_step": 60, "cells": "training"}, model.recipe_)
    assert "may find" not in capsys.readouterr().err


def test_without_the_kernel_nothing_stands_beside(toy, capsys):
    model = jm.tl.train(toy, recipe="paper", max_steps=2)
    assert not [key for key in model.summary_ if key.startswith("kernel ridge")]
    assert "kernel ridge" not in capsys.readouterr().err
