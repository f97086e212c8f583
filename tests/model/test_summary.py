"""What a training is worth, on pairs it was not trained on."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace

import mudata as md
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from numpy.testing import assert_allclose

import jamie as jm
from jamie.data import VALIDATION
from jamie.metrics import correlation_error, foscttm_error
from jamie.model import Summary, announce
from jamie.train._schedule import cycle_ends

HOSTILE = [
    ("a b", "a"),
    ("a", "b a"),
    ("rna_a", "rna a"),
    ("foscttm a", "correlation"),
    ("kernel ridge", "jamie"),
    ("a →", "→"),
]


def renamed(mdata, names):
    """The same modalities under other names."""
    return MuData({name: adata.copy() for name, adata in zip(names, mdata.mod.values(), strict=True)})


def test_few_pairs_are_judged_in_training_and_said_so(toy, capsys):
    model = jm.tl.train(toy, max_steps=2)
    assert model.summary_.cells == "training"
    assert "on training pairs" in capsys.readouterr().err
    both = toy["rna"].obs_names.intersection(toy["protein"].obs_names)
    x, y = (
        pd.DataFrame(toy[name].obsm["X_jamie"], index=toy[name].obs_names).loc[both].to_numpy(dtype=float)
        for name in toy.mod
    )
    distance = np.linalg.norm(x[:, None] - y[None], axis=2)
    own = np.diag(distance)
    n = len(both)
    expected = ((distance < own[:, None]).sum() + (distance < own[None]).sum()) / (2 * n * (n - 1))
    assert_allclose(model.summary_.value("foscttm", "rna", "protein"), expected, atol=1e-6)
    assert model.summary_.value("foscttm", "protein", "rna") == model.summary_.value("foscttm", "rna", "protein")


def test_validation_pairs_are_held_out_of_the_training_cells(trained):
    _, model = trained
    assert model.summary_.cells == "validation"
    assert model.summary_.value("foscttm", "rna", "protein") < 0.25
    assert model.summary_.value("correlation", "rna", "protein") > 0.5
    assert model.summary_.seconds > 0
    score = model.history_.set_index("step")["score"]
    ends = [end for end in cycle_ends(model.recipe_.max_steps, model.recipe_.cycles) if end in score.index]
    assert score.loc[ends].idxmin() == model.summary_.best_step


def test_kernel_ridge_stands_beside_each_correlation(trained, capsys):
    _, model = trained
    announce(model.summary_, model.recipe_)
    logged = capsys.readouterr().err
    errors = {
        (s.source, s.target): s.standard_error
        for s in model.summary_.scores
        if (s.measure, s.method) == ("correlation", "jamie")
    }
    for pair in (("rna", "protein"), ("protein", "rna")):
        alone = model.summary_.value("correlation", *pair, method="kernel_ridge")
        assert -1 <= alone <= 1
        ours = model.summary_.value("correlation", *pair)
        assert (
            f"correlation {pair[0]} → {pair[1]} {ours:.3f} ± {errors[pair]:.3f} (kernel ridge alone {alone:.3f})"
            in logged
        )
    assert logged.count("kernel ridge alone") == 2


def test_the_table_has_a_row_for_each_score(trained):
    _, model = trained
    table = model.summary_.table()
    assert list(table) == ["source", "target", "measure", "value", "standard_error", "method"]
    assert table.groupby(["measure", "method"]).size().to_dict() == {
        ("correlation", "jamie"): 2,
        ("correlation", "kernel_ridge"): 2,
        ("foscttm", "jamie"): 1,
    }
    for row in table.itertuples(index=False):
        assert model.summary_.value(row.measure, row.source, row.target, method=row.method) == row.value


def test_scores_have_standard_errors_over_the_validation_cells(trained):
    mdata, model = trained
    model = jm.JAMIE(replace(model.recipe_, kernel_mix=False)).fit(mdata)  # which is fitted on these cells in the end
    scores = model.summary_.table().set_index(["measure", "source", "target"])
    cells = model.open(mdata)
    rows = np.flatnonzero(cells.role("rna") == VALIDATION)
    partners = cells.cells("protein").get_indexer(cells.cells("rna")[rows])
    both = partners >= 0
    rows, partners = rows[both], partners[both]
    x, y = cells.inputs("rna")[rows], cells.inputs("protein")[partners]
    expected = correlation_error(
        cells.measured("protein", partners, np.arange(12)), model.translate(x, "rna", "protein"), n_resamples=2000
    )
    assert scores.loc[("correlation", "rna", "protein"), "standard_error"] == pytest.approx(expected, rel=0.3)
    found = scores.loc[("foscttm", "rna", "protein"), "standard_error"]
    assert found == pytest.approx(foscttm_error(model.encode(x, "rna"), model.encode(y, "protein")))


def test_a_training_that_still_improved_at_its_end_is_told_from_one_that_did_not(trained, capsys):
    _, model = trained
    for best, said in ((60, True), (26, False)):
        announce(replace(model.summary_, best_step=best), model.recipe_)
        logged = capsys.readouterr().err
        assert f"best step {best}" in logged
        assert (f"best step {best}, the last (max_steps=120 may find a better one)" in logged) is said
    announce(replace(model.summary_, best_step=60, cells="training"), model.recipe_)
    assert "may find" not in capsys.readouterr().err


def test_without_the_kernel_nothing_stands_beside(toy, capsys):
    model = jm.tl.train(toy, recipe="paper", max_steps=2)
    assert set(model.summary_.table()["method"]) == {"jamie"}
    assert "kernel ridge" not in capsys.readouterr().err


def test_it_cannot_be_changed(trained):
    with pytest.raises(FrozenInstanceError):
        trained[1].summary_.best_step = 1


def test_a_score_that_is_not_there_is_said(trained):
    with pytest.raises(KeyError, match=r"foscttm of 'rna' → 'protein' by jamie.*found foscttm of 'rna' → 'atac' by ja"):
        trained[1].summary_.value("foscttm", "rna", "atac")
    with pytest.raises(KeyError, match="found correlation of 'rna' → 'protein' by ridge"):
        trained[1].summary_.value("correlation", "rna", "protein", method="ridge")


@pytest.mark.parametrize("names", HOSTILE)
def test_names_with_spaces_and_underscores_break_nothing(names, capsys, tmp_path):
    mdata = renamed(jm.datasets.toy(), names)
    kinds = dict(zip(names, ("counts", "protein"), strict=True))
    jm.pp.prepare(mdata, kinds=kinds)
    model = jm.tl.train(mdata, max_steps=2)
    logged = capsys.readouterr().err
    scores = [score for score in model.summary_.scores if score.method == "jamie"]
    assert [(s.measure, s.source, s.target) for s in scores] == [
        ("foscttm", *names), ("correlation", *names), ("correlation", *names[::-1])
    ]  # fmt: skip
    for score in scores:
        assert f"{score.measure} {score.source} → {score.target} {score.value:.3f}" in logged
    assert Summary.from_dict(json.loads(json.dumps(model.summary_.to_dict()))) == model.summary_
    model.save(tmp_path / "model.jamie")
    assert jm.JAMIE.load(tmp_path / "model.jamie").summary_ == model.summary_
    mdata.write(tmp_path / "cells.h5mu")
    read = md.read_h5mu(tmp_path / "cells.h5mu")
    assert jm.get.summary(read) == jm.get.summary(mdata) == model.summary_
    jm.pl.history(read)


def test_no_score_and_scores_that_are_no_number_come_back_from_files(toy, tmp_path):
    none = Summary("training", 3, 0.5, 3)
    assert none.table().empty
    assert list(none.table()) == ["source", "target", "measure", "value", "standard_error", "method"]
    score = {
        "source": ["a"],
        "target": ["b"],
        "measure": ["correlation"],
        "value": [float("nan")],
        "standard_error": [0.1],
        "method": ["jamie"],
    }
    one = Summary.from_dict({**none.to_dict(), "scores": score})
    assert np.isnan(one.scores[0].value)
    toy.uns["none"], toy.uns["one"] = none.to_dict(), one.to_dict()
    toy.write(tmp_path / "cells.h5mu")
    read = md.read_h5mu(tmp_path / "cells.h5mu").uns
    assert Summary.from_dict(read["none"]) == none
    assert np.isnan(Summary.from_dict(read["one"]).scores[0].value)
    assert (type(Summary.from_dict(read["one"]).best_step), Summary.from_dict(read["one"]).seconds) == (int, 0.5)


@pytest.mark.parametrize(
    "stored",
    [
        {"cells": "training", "best_step": 3, "seconds": 0.5, "foscttm a b": 0.1},
        {"cells": "training", "best_step": 3, "seconds": 0.5, "scores": {"source": ["a"]}},
        {
            "cells": "training", "best_step": 3, "seconds": 0.5,
            "scores": {"source": ["a"], "target": [], "measure": [], "value": [], "standard_error": [], "method": []},
        },
        {},
    ],
)  # fmt: skip
def test_something_else_is_refused(stored):
    with pytest.raises(ValueError, match=r"expected the summary of a training .*call jm\.tl\.train\(mdata\) again"):
        Summary.from_dict(stored)


def test_repr_is_ascii_where_the_names_are(trained):
    assert repr(trained[1]).isascii()
    assert "foscttm rna -> protein" in repr(trained[1])
