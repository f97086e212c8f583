"""Accuracy of each feature, from the best to the worst."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import jamie as jm


def test_imputed_features_are_those_of_the_comparison(trained):
    mdata, model = trained
    jm.tl.impute(mdata, model, source="rna", target="protein")
    table = jm.get.imputed_features(mdata, source="rna", target="protein")
    pair = jm.get.comparison(mdata, source="rna", target="protein")
    expected = pair.measured.corrwith(pair.imputed).sort_values(ascending=False)
    pd.testing.assert_series_equal(table["correlation"], expected, check_names=False, rtol=1e-4)
    errors = np.sqrt(((pair.measured - pair.imputed) ** 2).mean())
    pd.testing.assert_series_equal(table["rmse"], errors[table.index], check_names=False, check_dtype=False, rtol=1e-4)


def test_coverage_and_width_are_those_of_the_intervals(trained):
    mdata, model = trained
    jm.tl.impute(mdata, model, source="rna", target="protein", interval=0.5)
    mdata["protein"].X[3, 0] = np.nan
    table = jm.get.imputed_features(mdata, source="rna", target="protein")
    both = jm.get.agreement(mdata, source="rna", target="protein", features=list(table.index))
    pd.testing.assert_series_equal(table["coverage"], both.within.mean(), check_names=False)
    assert 0.2 < table["coverage"].mean() < 0.8
    widths = (both.beside["upper"] - both.beside["lower"]).where(both.within.notna()).mean()
    pd.testing.assert_series_equal(table["width"], widths, check_names=False, check_dtype=False, rtol=1e-5)


def test_it_names_the_call_that_imputes(toy):
    with pytest.raises(KeyError, match=r"jm\.tl\.impute"):
        jm.get.imputed_features(toy, source="rna", target="protein")
