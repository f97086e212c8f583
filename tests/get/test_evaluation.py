"""The table of measures."""

from __future__ import annotations

import pandas as pd
import pytest

import jamie as jm


def test_the_table_is_the_one_returned_and_a_copy(trained):
    mdata, model = trained
    table = jm.tl.evaluate(mdata, model, baselines=[])
    found = jm.get.evaluation(mdata)
    pd.testing.assert_frame_equal(found, table)
    found["correlation"] = 2
    assert (jm.get.evaluation(mdata)["correlation"] < 1).all()


def test_unevaluated_says_what_to_call(trained):
    with pytest.raises(KeyError, match=r"jamie_evaluation.*call jm\.tl\.evaluate\(mdata, model\)"):
        jm.get.evaluation(trained[0])
