"""The table of verdicts, on simulated cells for which the right verdicts are known."""

from __future__ import annotations

import logging

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from scipy import sparse

import jamie as jm
from jamie.diagnosis import COLUMNS


def verdicts(table, measure):
    return table.loc[table["measure"] == measure, "verdict"].tolist()


@pytest.fixture(scope="module")
def real_session():
    mdata = jm.datasets.toy(n_cells=300)
    jm.pp.split(mdata, test_fraction=0.3)
    return mdata, jm.tl.train(mdata, max_steps=100)


@pytest.fixture
def real(real_session):
    mdata, model = real_session
    return mdata.copy(), model


def permuted(mdata, rng=0):
    """The same cells, of which those of one modality have the names of others."""
    a, b = mdata.mod["rna"].copy(), mdata.mod["protein"].copy()
    shared = a.obs_names.intersection(b.obs_names)
    dealt = dict(zip(shared, np.random.default_rng(rng).permutation(shared), strict=True))
    b.obs_names = [dealt.get(name, name) for name in b.obs_names]
    return MuData({"rna": ad.AnnData(a.X, a.obs[[]], a.var), "protein": ad.AnnData(b.X, b.obs[[]], b.var)})


def test_what_works_is_good(real):
    mdata, model = real
    before = mdata["rna"].X.copy()
    table = jm.tl.diagnose(mdata, model, labels="cell_type")
    assert list(table) == list(COLUMNS)
    assert (table["verdict"] == "good").all(), table[table["verdict"] != "good"].to_string()
    assert (table["next_step"] == "").all()
    assert {"kind", "pairs", "training", "alignment", "alignment within labels", "imputation", "spread"} < set(
        table["measure"]
    )
    pd.testing.assert_frame_equal(mdata.uns["jamie_diagnosis"], table)
    pd.testing.assert_frame_equal(jm.get.diagnosis(mdata), table)
    assert (before != mdata["rna"].X).nnz == 0


def test_the_same_seed_gives_the_same_table(real):
    mdata, model = real
    a, b = (jm.tl.diagnose(mdata, model, labels="cell_type", rng=1) for _ in range(2))
    pd.testing.assert_frame_equal(a, b)


def test_every_check_scores_the_same_features(real, monkeypatch):
    monkeypatch.setattr("jamie.diagnosis._judged.MOST_FEATURES", 7)
    mdata, model = real
    table = jm.tl.diagnose(mdata, model, negative_control=True).set_index(["measure", "source"])["value"]
    for source in ("rna", "protein"):
        assert table["imputation", source] == table["control: imputation", source]


def test_permuted_pairs_are_bad():
    mdata = permuted(jm.datasets.toy(n_cells=300))
    jm.pp.split(mdata, test_fraction=0.3)
    table = jm.tl.diagnose(mdata, jm.tl.train(mdata, max_steps=100))
    assert verdicts(table, "pairs") == ["bad"]
    assert verdicts(table, "alignment") == ["bad"]
    assert verdicts(table, "imputation") == ["bad", "bad"]
    assert "jm.pp.correspondence" in table.set_index("measure").loc["pairs", "next_step"]


def test_the_control_collapses_where_pairs_made_it_work(real, caplog):
    mdata, model = real
    slots = set(mdata.uns), set(mdata.obsp), set(mdata.obs)
    table = jm.tl.diagnose(mdata, model, negative_control=True)
    assert verdicts(table, "control: alignment") == ["good"]
    assert verdicts(table, "control: imputation") == ["good", "good"]
    assert (set(mdata.uns), set(mdata.obsp), set(mdata.obs)) == (
        slots[0] | {"jamie_diagnosis", "jamie_models"},
        *slots[1:],
    )


def test_the_control_tells_that_a_training_on_wrong_pairs_was_no_better():
    mdata = permuted(jm.datasets.toy(n_cells=200))
    jm.pp.split(mdata, test_fraction=0.3)
    table = jm.tl.diagnose(mdata, jm.tl.train(mdata, max_steps=20), negative_control=True)
    assert verdicts(table, "control: alignment") == ["bad"]


def test_without_held_out_pairs_there_is_no_control(toy):
    table = jm.tl.diagnose(toy, jm.tl.train(toy, max_steps=5), negative_control=True)
    assert verdicts(table, "control") == ["unknown"]


def test_counts_taken_for_continuous_values_are_told():
    mdata = jm.datasets.toy()
    jm.pp.prepare(mdata, kinds={"rna": "continuous"})
    table = jm.tl.diagnose(mdata, jm.tl.train(mdata, max_steps=5)).set_index(["measure", "source"])
    assert table.loc[("kind", "rna"), "verdict"] == "bad"
    assert "kinds={'rna': 'counts'}" in table.loc[("kind", "rna"), "next_step"]
    assert table.loc[("kind", "protein"), "verdict"] == "good"


def test_whole_numbers_of_another_name_that_rise_with_their_sum_are_doubted():
    mdata = jm.datasets.toy(n_cells=120)
    mdata = MuData({"rna": mdata.mod["rna"], "panel": mdata.mod["protein"]})
    table = jm.tl.diagnose(mdata, jm.tl.train(mdata, max_steps=5)).set_index(["measure", "source"])
    assert table.loc[("kind", "panel"), "verdict"] in ("doubtful", "good")


@pytest.mark.parametrize("logarithm", [True, False])
def test_normalised_counts_are_told_and_the_layer_that_has_them(logarithm):
    mdata = jm.datasets.toy()
    counts = mdata["rna"].X
    normalised = sparse.csr_matrix(counts.multiply(1e4 / counts.sum(axis=1)))
    if logarithm:
        normalised.data = np.log1p(normalised.data)
    mdata["rna"].X = normalised.astype(np.float32)
    mdata["rna"].layers["raw"] = counts
    table = jm.tl.diagnose(mdata, jm.tl.train(mdata, max_steps=5)).set_index(["measure", "source"])
    assert table.loc[("kind", "rna"), "verdict"] == "doubtful"
    assert "layer={'rna': 'raw'}" in table.loc[("kind", "rna"), "next_step"]


def test_constant_features_are_counted():
    mdata = jm.datasets.toy()
    x = mdata["protein"].X.copy()
    x[:, :3] = 0
    mdata["protein"].X = x
    table = jm.tl.diagnose(mdata, jm.tl.train(mdata, max_steps=5)).set_index(["measure", "source"])
    row = table.loc[("features that vary", "protein")]
    assert (row["value"], row["reference"], row["verdict"]) == (9, 12, "doubtful")


def test_a_short_training_is_told(toy):
    table = jm.tl.diagnose(toy, jm.tl.train(toy, max_steps=20))
    assert verdicts(table, "training") == ["bad"]


def test_without_held_out_pairs_nothing_is_claimed(toy):
    table = jm.tl.diagnose(toy, jm.tl.train(toy, max_steps=20))
    row = table.set_index("measure").loc["held-out pairs"]
    assert row["verdict"] == "unknown"
    assert "jm.pp.split(mdata)" in row["next_step"]
    assert not verdicts(table, "alignment")


def test_validation_pairs_stand_in_for_held_out_ones():
    mdata = jm.datasets.toy(n_cells=300)
    model = jm.tl.train(mdata, max_steps=100)
    assert model.summary_.cells == "validation"
    table = jm.tl.diagnose(mdata, model)
    row = table.set_index("measure").loc["alignment"]
    assert row["value"] == model.summary_.value("foscttm", "rna", "protein")
    assert verdicts(table, "imputation") == ["good", "good"]
    imputed = table[table["measure"] == "imputation"].set_index("source")
    kernel = model.summary_.value("correlation", "rna", "protein", method="kernel_ridge")
    assert imputed.loc["rna", "reference"] == kernel


def test_swapped_types_are_named():
    mdata = jm.datasets.toy(n_cells=300)
    cells = mdata["rna"].obs_names.intersection(mdata["protein"].obs_names)
    types = mdata["rna"].obs.loc[cells, "cell_type"].astype(str).to_numpy()
    one, two = (np.flatnonzero(types == name) for name in np.unique(types)[:2])
    n = min(len(one), len(two))
    partner = cells.to_numpy(copy=True)
    partner[one[:n]], partner[two[:n]] = cells[two[:n]], cells[one[:n]]
    kept = np.setdiff1d(np.arange(len(cells)), np.r_[one[n:], two[n:]])
    table = pd.DataFrame({"rna": cells[kept], "protein": partner[kept]})
    jm.pp.correspondence(mdata, modalities=["rna", "protein"], pairs=table)
    jm.pp.split(mdata, test_fraction=0.3)
    found = jm.tl.diagnose(mdata, jm.tl.train(mdata, max_steps=100), labels="cell_type")
    assert verdicts(found, "types") == ["bad", "bad"]
    first, second = np.unique(types)[:2]
    assert f"{first!r} → {second!r}" in found.set_index("measure").loc["types", "finding"].iloc[0]


def test_a_batch_is_taken_out(real):
    mdata, model = real
    mdata.obs["batch"] = np.where(np.arange(mdata.n_obs) % 2 == 0, "one", "two")
    table = jm.tl.diagnose(mdata, model, batch_key="batch")
    assert verdicts(table, "beyond batch") == ["good", "good"]


def test_what_asks_for_something_is_logged(toy, caplog, monkeypatch):
    model = jm.tl.train(toy, max_steps=20)
    monkeypatch.setattr(logging.getLogger("jamie"), "propagate", True)
    with caplog.at_level("INFO", logger="jamie"):
        jm.tl.diagnose(toy, model)
    assert "diagnosis: 1 bad" in caplog.text
    assert "bad, training: 20 steps are too few" in caplog.text
    assert "mdata.uns['jamie_diagnosis']" in caplog.text


def test_other_prefixes_and_files(real, tmp_path):
    mdata, model = real
    jm.tl.diagnose(mdata, model, key_added="second")
    assert "second_diagnosis" in mdata.uns
    mdata.write(tmp_path / "a.h5mu")
    read = md.read_h5mu(tmp_path / "a.h5mu")
    expected = jm.get.diagnosis(mdata, key_added="second")
    pd.testing.assert_frame_equal(jm.get.diagnosis(read, key_added="second"), expected, check_dtype=False)


def test_what_cannot_be_is_refused(real):
    mdata, model = real
    with pytest.raises(KeyError, match="did you mean 'cell_type'"):
        jm.tl.diagnose(mdata, model, labels="celltype")
    with pytest.raises(KeyError, match=r"batch_key.*expected|expected.*batch_key"):
        jm.tl.diagnose(mdata, model, batch_key="lane")
    with pytest.raises(ValueError, match="at least two modalities"):
        jm.tl.diagnose(MuData({"rna": mdata.mod["rna"]}), model)
    assert "jamie_diagnosis" not in mdata.uns


@pytest.mark.parametrize("as_stored", [int, float, "category", "Int64"])
def test_labels_that_are_numbers_are_judged_as_their_names_are(trained, as_stored):
    mdata, model = trained
    for adata in (mdata, *mdata.mod.values()):
        codes = adata.obs["cell_type"].cat.codes.astype(int)
        adata.obs["cluster"] = codes.astype(as_stored)
    named, numbered = (jm.tl.diagnose(mdata, model, labels=labels) for labels in ("cell_type", "cluster"))
    pd.testing.assert_series_equal(numbered["value"], named["value"])
    assert (numbered["measure"] == "types").any()
    assert numbered.loc[numbered["measure"] == "types", "value"].min() > 0.5
