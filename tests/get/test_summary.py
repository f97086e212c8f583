"""What the training came to, as it was stored."""

from __future__ import annotations

import pytest

import jamie as jm


def test_it_is_the_models_own(trained):
    mdata, model = trained
    assert jm.get.summary(mdata) == model.summary_
    assert jm.get.summary(mdata).best_step in jm.get.history(mdata)["step"].tolist()


def test_untrained_and_other_versions_say_what_to_call(trained, toy):
    with pytest.raises(KeyError, match=r"mdata\.uns\['jamie'\].*call jm\.tl\.train\(mdata\)"):
        jm.get.summary(toy)
    mdata, _ = trained
    mdata.uns["jamie"] = {**mdata.uns["jamie"], "schema": 99}
    with pytest.raises(ValueError, match=r"schema 1 .*found 99.*call jm\.tl\.train\(mdata\)"):
        jm.get.summary(mdata)
