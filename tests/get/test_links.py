"""The table of regions and genes."""

from __future__ import annotations

import pandas as pd
import pytest

import jamie as jm


def test_the_table_is_the_one_stored_and_a_copy(toy):
    toy.uns["jamie_links"] = pd.DataFrame({"gene": ["g1", "g2"], "abs_shap": [2.0, 1.0]})
    table = jm.get.links(toy)
    pd.testing.assert_frame_equal(table, toy.uns["jamie_links"])
    table["abs_shap"] = 0
    assert toy.uns["jamie_links"]["abs_shap"].all()


def test_what_was_not_computed_is_said(toy):
    with pytest.raises(KeyError, match=r"jamie_links.*call jm\.tl\.links\(mdata, model, genes="):
        jm.get.links(toy)
