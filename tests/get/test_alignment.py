"""Alignment by method."""

from __future__ import annotations

import pandas as pd
import pytest

import jamie as jm

DIRECTION = {"source": "rna", "target": "protein"}


def test_methods_that_align_the_model_first(trained):
    mdata, model = trained
    table = jm.tl.evaluate(mdata, model, labels="cell_type", baselines=["mean"], aligners=["cca"])
    methods = jm.get.alignment(mdata, **DIRECTION)
    expected = table[(table["source"] == "rna") & table["foscttm"].notna()].set_index("method")
    pd.testing.assert_frame_equal(methods, expected)
    assert list(methods.index) == ["jamie", "cca"]


def test_what_is_not_there_is_said(trained):
    mdata, model = trained
    with pytest.raises(KeyError, match=r"jamie_evaluation.*call jm\.tl\.evaluate\(mdata, model\)"):
        jm.get.alignment(mdata, **DIRECTION)
    jm.tl.evaluate(mdata, model, baselines=[])
    with pytest.raises(KeyError, match=r"without labels; call jm\.tl\.evaluate"):
        jm.get.alignment(mdata, **DIRECTION)
    with pytest.raises(KeyError, match=r"expected rna → rna .*found \['protein → rna', 'rna → protein'\]; call jm"):
        jm.get.alignment(mdata, source="rna", target="rna")
