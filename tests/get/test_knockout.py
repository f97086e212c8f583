"""Knock-outs and links, as they were stored."""

from __future__ import annotations

import mudata
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import jamie as jm

DIRECTION = {"source": "rna", "target": "protein"}


@pytest.fixture(scope="module")
def lost_session(trained_session):
    mdata, model = trained_session
    mdata = mdata.copy()
    jm.tl.knockout(mdata, model, source="rna", features=["protein4", "protein2"])
    jm.tl.knockout(mdata, model, source="rna", measure="foscttm")
    jm.tl.knockout(mdata, model, source="rna", groups={"a": ["gene1", "gene2"], "b": ["gene7"]}, n_random=3)
    return mdata


@pytest.fixture
def lost(lost_session):
    return lost_session.copy()


def test_single_features_come_worst_first(lost):
    for measure, sign in (("correlation", -1), ("foscttm", 1)):
        found = jm.get.knockout(lost, **DIRECTION, measure=measure)
        values = lost["rna"].var[f"jamie_knockout_{measure}_protein"]
        baseline = lost["rna"].uns[f"jamie_knockout_{measure}_protein"]["baseline"]
        assert (found.baseline, found.worse) == (baseline, sign)
        assert sorted(found.table.index) == sorted(lost["rna"].var_names)
        assert_allclose(found.table["value"], values[found.table.index])
        assert_allclose(found.table["loss"], sign * (values[found.table.index] - baseline))
        assert found.table["loss"].is_monotonic_decreasing


def test_one_feature_of_the_target(lost):
    found = jm.get.knockout(lost, **DIRECTION, measure="correlation", feature="protein2")
    of_each = lost["rna"].varm["jamie_knockout_correlation_protein"]["protein2"]
    assert found.baseline == lost["rna"].uns["jamie_knockout_correlation_protein"]["baselines"][1]
    assert_allclose(found.table["value"], of_each.sort_values())


def test_a_feature_is_found_by_its_place_where_its_name_was_made_safe(lost):
    about = lost["rna"].uns["jamie_knockout_correlation_protein"]
    about["outputs"] = ["a/b", "a_b"]
    lost["rna"].varm["jamie_knockout_correlation_protein"].columns = ["a_b", "a_b-1"]
    first, second = (
        jm.get.knockout(lost, **DIRECTION, measure="correlation", feature=name).table["value"]
        for name in ("a/b", "a_b")
    )
    of_each = lost["rna"].varm["jamie_knockout_correlation_protein"]
    assert_allclose(first, np.sort(of_each.iloc[:, 0]))
    assert_allclose(second, np.sort(of_each.iloc[:, 1]))


def test_features_unknown_to_the_model_are_left_out(lost):
    lost["rna"].var.loc[["gene3", "gene8"], "jamie_knockout_foscttm_protein"] = np.nan
    names = jm.get.knockout(lost, **DIRECTION, measure="foscttm").table.index
    assert set(lost["rna"].var_names) - set(names) == {"gene3", "gene8"}


def test_groups_are_the_stored_table_also_from_a_file(lost, tmp_path):
    expected = lost["rna"].uns["jamie_knockout_groups_correlation_protein"]["table"]
    lost.write(tmp_path / "it.h5mu")
    for mdata in (lost, mudata.read_h5mu(tmp_path / "it.h5mu")):
        found = jm.get.knockout(mdata, **DIRECTION, measure="correlation", groups=True)
        pd.testing.assert_frame_equal(found.table, expected, check_index_type=False, check_dtype=False)
        jm.get.knockout(mdata, **DIRECTION, measure="correlation", feature="protein4")


def test_what_was_not_computed_is_said(lost):
    remedy = r"call jm\.tl\.knockout\(mdata, model, source='rna', target='protein', measure='%s'%s\)"
    for measure, given, groups in (
        ("lta", ", labels=...", False),
        ("likelihood", ", labels=...", False),
        ("foscttm", ", groups=...", True),
    ):
        where = rf"mdata\['rna'\]\.uns\['jamie_knockout_{'groups_' * groups}{measure}_protein.*" + remedy % (
            measure,
            given,
        )
        with pytest.raises(KeyError, match=where):
            jm.get.knockout(lost, **DIRECTION, measure=measure, groups=groups)
    with pytest.raises(ValueError, match=r"`measure`.*did you mean 'correlation'"):
        jm.get.knockout(lost, **DIRECTION, measure="corelation")
    with pytest.raises(KeyError, match=r"`target`.*did you mean 'protein'"):
        jm.get.knockout(lost, source="rna", target="protien", measure="lta")
    with pytest.raises(KeyError, match=r"`feature`.*did you mean 'protein4'.*or call jm\.tl\.knockout"):
        jm.get.knockout(lost, **DIRECTION, measure="correlation", feature="protein5")
    with pytest.raises(ValueError, match=r"expected `feature` with the correlation .*measure='foscttm'; leave out"):
        jm.get.knockout(lost, **DIRECTION, measure="foscttm", feature="protein4")
    with pytest.raises(ValueError, match=r"expected `feature` .*found it with groups"):
        jm.get.knockout(lost, **DIRECTION, measure="correlation", groups=True, feature="protein4")
    lost["rna"].uns["jamie_knockout_foscttm_protein"]["schema"] = 99
    with pytest.raises(ValueError, match=r"another version .*call jm\.tl\.knockout"):
        jm.get.knockout(lost, **DIRECTION, measure="foscttm")


def test_what_to_expect_without_any_one_feature(lost):
    without = jm.get.knockout(lost, **DIRECTION)
    values = lost["rna"].var["jamie_knockout_correlation_protein"]
    assert_allclose([without.mean, without.sd], [values.mean(), values.std(ddof=0)])
    assert (without.measure, without.labels, without.cells) == ("correlation", "", "held-out")
    assert without.outputs == ("protein4", "protein2")
    assert without.n_cells == (lost.obs["jamie_split"] == "test").sum()


def test_p_values_are_shares_of_features_that_cost_as_much(lost):
    for options in ({}, {"feature": "protein2"}, {"measure": "foscttm"}):
        table = jm.get.knockout(lost, **DIRECTION, **options).table
        losses = table["loss"].to_numpy()
        assert_allclose(table["p_value"], [(losses >= loss).mean() for loss in losses])
        assert table["p_value"].iloc[0] == 1 / 40
