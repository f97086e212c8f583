"""Knock-outs and links, as they were stored."""

from __future__ import annotations

import mudata
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import jamie as jm
from jamie.get._knockout import knockout_by_distance, knockouts, links

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
        found = knockouts(lost, **DIRECTION, measure=measure)
        values = lost["rna"].var[f"jamie_knockout_{measure}_protein"]
        baseline = lost["rna"].uns[f"jamie_knockout_{measure}_protein"]["baseline"]
        assert (found.baseline, found.worse) == (baseline, sign)
        assert sorted(found.table.index) == sorted(lost["rna"].var_names)
        assert_allclose(found.table["value"], values[found.table.index])
        assert_allclose(found.table["loss"], sign * (values[found.table.index] - baseline))
        assert found.table["loss"].is_monotonic_decreasing


def test_one_feature_of_the_target(lost):
    found = knockouts(lost, **DIRECTION, measure="correlation", feature="protein2")
    of_each = lost["rna"].varm["jamie_knockout_correlation_protein"]["protein2"]
    assert found.baseline == lost["rna"].uns["jamie_knockout_correlation_protein"]["baselines"][1]
    assert_allclose(found.table["value"], of_each.sort_values())


def test_a_feature_is_found_by_its_place_where_its_name_was_made_safe(lost):
    about = lost["rna"].uns["jamie_knockout_correlation_protein"]
    about["outputs"] = ["a/b", "a_b"]
    lost["rna"].varm["jamie_knockout_correlation_protein"].columns = ["a_b", "a_b-1"]
    first, second = (
        knockouts(lost, **DIRECTION, measure="correlation", feature=name).table["value"] for name in ("a/b", "a_b")
    )
    of_each = lost["rna"].varm["jamie_knockout_correlation_protein"]
    assert_allclose(first, np.sort(of_each.iloc[:, 0]))
    assert_allclose(second, np.sort(of_each.iloc[:, 1]))


def test_features_unknown_to_the_model_are_left_out(lost):
    lost["rna"].var.loc[["gene3", "gene8"], "jamie_knockout_foscttm_protein"] = np.nan
    names = knockouts(lost, **DIRECTION, measure="foscttm").table.index
    assert set(lost["rna"].var_names) - set(names) == {"gene3", "gene8"}


def test_groups_are_the_stored_table_also_from_a_file(lost, tmp_path):
    expected = lost["rna"].uns["jamie_knockout_groups_correlation_protein"]["table"]
    lost.write(tmp_path / "it.h5mu")
    for mdata in (lost, mudata.read_h5mu(tmp_path / "it.h5mu")):
        found = knockouts(mdata, **DIRECTION, measure="correlation", groups=True)
        pd.testing.assert_frame_equal(found.table, expected, check_index_type=False, check_dtype=False)
        knockouts(mdata, **DIRECTION, measure="correlation", feature="protein4")


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
            knockouts(lost, **DIRECTION, measure=measure, groups=groups)
    with pytest.raises(ValueError, match=r"`measure`.*did you mean 'correlation'"):
        knockouts(lost, **DIRECTION, measure="corelation")
    with pytest.raises(KeyError, match=r"`target`.*did you mean 'protein'"):
        knockouts(lost, source="rna", target="protien", measure="lta")
    with pytest.raises(KeyError, match=r"`feature`.*did you mean 'protein4'.*or call jm\.tl\.knockout"):
        knockouts(lost, **DIRECTION, measure="correlation", feature="protein5")
    with pytest.raises(ValueError, match=r"expected `feature` with the correlation .*measure='foscttm'; leave out"):
        knockouts(lost, **DIRECTION, measure="foscttm", feature="protein4")
    with pytest.raises(ValueError, match=r"expected `feature` .*found it with groups"):
        knockouts(lost, **DIRECTION, measure="correlation", groups=True, feature="protein4")
    lost["rna"].uns["jamie_knockout_foscttm_protein"]["schema"] = 99
    with pytest.raises(ValueError, match=r"another version .*call jm\.tl\.knockout"):
        knockouts(lost, **DIRECTION, measure="foscttm")


def test_tables_of_the_whole(toy):
    with pytest.raises(KeyError, match=r"jamie_links.*call jm\.tl\.links\(mdata, model, genes="):
        links(toy)
    with pytest.raises(KeyError, match=r"mine_knockout_by_distance.*call jm\.tl\.knockout_by_distance\(mdata, model"):
        knockout_by_distance(toy, key_added="mine")
    toy.uns["jamie_links"] = pd.DataFrame({"gene": ["g1"]})
    assert links(toy) is toy.uns["jamie_links"]
    toy.uns["jamie_knockout_by_distance"] = pd.DataFrame(
        {
            "gene": pd.Categorical(["g2", "g2", "g1", "g1", "g3", "g3"]),
            "set": pd.Categorical(["none", "near"] * 3),
            "n_regions": [0, 4, 0, 1, 0, 3],
            "correlation": [0.4, 0.3, 0.2, 0.1, np.nan, np.nan],
        }
    )
    values, n_regions = knockout_by_distance(toy)
    assert values["near"].dropna().to_dict() == {"g1": 0.1, "g2": 0.3}
    assert n_regions.to_dict() == {"none": 0, "near": 3}
