"""Losses by step."""

from __future__ import annotations

import pandas as pd
import pytest

import jamie as jm


def test_the_table_is_the_models_and_a_copy(trained):
    mdata, model = trained
    history = jm.get.history(mdata)
    pd.testing.assert_frame_equal(history, model.history_)
    assert {"step", "total", "kl", "combination", "reconstruction", "cross", "contrastive", "score"} <= set(history)
    history["total"] = 0
    assert jm.get.history(mdata)["total"].any()
    assert history.loc[history["score"].idxmin(), "step"] == model.summary_.best_step


def test_untrained_says_what_to_call(toy):
    with pytest.raises(KeyError, match=r"mdata\.uns\['jamie'\].*call jm\.tl\.train\(mdata\)"):
        jm.get.history(toy)
    with pytest.raises(KeyError, match=r"mdata\.uns\['mine'\]"):
        jm.get.history(toy, key_added="mine")
