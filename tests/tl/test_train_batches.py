"""A training with batches: every verb takes their effects off, and a model keeps them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from mudata import MuData, read_h5mu
from numpy.testing import assert_allclose, assert_array_equal

import jamie as jm

BATCHES = ("first", "second")


@pytest.fixture(scope="module")
def made():
    """Cells with a factor for each gene in the second batch, one training with the batch and one without."""
    mdata = jm.datasets.toy(n_cells=300)
    rng = np.random.default_rng(5)
    mdata.obs["batch"] = np.where(rng.random(mdata.n_obs) < 0.5, *BATCHES)
    mdata.obs["depth"] = rng.standard_normal(mdata.n_obs)
    plain = mdata.copy()
    for name in ("rna", "protein"):
        second = mdata.obs["batch"].loc[mdata[name].obs_names] == "second"
        factor = np.exp(rng.normal(0, 1, mdata[name].n_vars))
        x = mdata[name].X.toarray() if name == "rna" else mdata[name].X
        mdata[name].X = np.where(second.to_numpy()[:, None], np.round(x * factor), x).astype(np.float32)
    jm.pp.split(mdata)
    plain.obs["jamie_split"] = mdata.obs["jamie_split"]
    without = jm.tl.train(mdata.copy(), max_steps=60)
    model = jm.tl.train(mdata, max_steps=60, batch_key="batch", covariates=["depth"])
    return mdata, plain, model, without


def gap(latents, batch):
    """Distance of the means of two batches, in standard deviations."""
    first, second = (latents[batch == name] for name in BATCHES)
    return np.linalg.norm(first.mean(axis=0) - second.mean(axis=0)) / latents.std(axis=0).mean()


def test_latents_and_imputed_values_are_free_of_the_batch(made):
    mdata, plain, model, without = made
    batch = mdata.obs["batch"].loc[mdata["rna"].obs_names].to_numpy()
    assert gap(model.embed(mdata)["rna"], batch) < 0.5 * gap(without.embed(mdata)["rna"], batch)
    held_out = mdata["rna"].obs_names.isin(mdata.obs_names[mdata.obs["jamie_split"] == "test"])
    target = plain["protein"].to_df().reindex(mdata["rna"].obs_names).to_numpy()[held_out]
    keep = np.isfinite(target[:, 0])
    truth = np.log1p(target[keep])
    scores = [
        np.mean([np.corrcoef(t, p)[0, 1] for t, p in zip(truth.T, imputed[held_out][keep].T, strict=True)])
        for imputed in (m.impute(mdata, source="rna", target="protein") for m in (model, without))
    ]
    assert scores[0] > scores[1] + 0.05


def test_a_file_keeps_the_effects(made, tmp_path):
    mdata, _, model, _ = made
    model.save(tmp_path / "model.jamie")
    loaded = jm.JAMIE.load(tmp_path / "model.jamie")
    assert_array_equal(
        loaded.impute(mdata, source="rna", target="protein"), model.impute(mdata, source="rna", target="protein")
    )
    assert loaded.batch_key == "batch"
    assert list(loaded.covariates) == ["depth"]
    assert loaded.preparations_["rna"].effects.batches == BATCHES


def test_new_cells_need_their_batch_and_covariates(made):
    mdata, _, model, _ = made
    new = jm.datasets.toy(rng=1)
    with pytest.raises(KeyError, match=r"found 'batch' in none.*mdata\.obs\['batch'\] = \.\.\."):
        jm.tl.embed(new, model)
    new.obs["batch"] = "first"
    with pytest.raises(KeyError, match=r"`covariates` to name a column .*found 'depth'"):
        jm.tl.impute(new, model, source="rna", target="protein")
    new.obs["depth"] = 0.0
    jm.tl.embed(new, model)
    new.obs["batch"] = "third"
    with pytest.raises(ValueError, match="found 1 others, first 'third'"):
        jm.tl.embed(new, model)
    assert mdata.uns["jamie"]["batch_key"] == "batch"


def test_values_come_as_in_a_batch(made, tmp_path):
    mdata, _, model, _ = made
    mdata, read = mdata.copy(), "jamie_imputed_protein"
    jm.tl.impute(mdata, model, source="rna", target="protein", interval=0.5)
    average = {key: mdata["rna"].obsm[key].to_numpy() for key in (read, f"{read}_lower")}
    jm.tl.impute(mdata, model, source="rna", target="protein", interval=0.5, batch="second")
    assert mdata["rna"].uns[read]["batch"] == "second"
    factor = np.exp(model.preparations_["protein"].effects.of("second"))
    for key, values in average.items():
        found = mdata["rna"].obsm[key].to_numpy()
        assert_allclose(np.expm1(found)[values > 0], (np.expm1(values) * factor)[values > 0], rtol=1e-3)
    jm.tl.impute(mdata, model, source="rna", target="protein", batch="second", out=tmp_path / "imputed.h5ad")
    assert_allclose(jm.get.imputed(mdata, source="rna", target="protein").X, mdata["rna"].obsm[read], rtol=1e-5)
    with pytest.raises(KeyError, match=r"`batch` to be one of \['first', 'second'\], found 'third'"):
        jm.tl.impute(mdata, model, source="rna", target="protein", batch="third")


def test_a_model_without_batches_answers_as_in_none(made):
    mdata, _, _, without = made
    with pytest.raises(ValueError, match=r"knows batches.*train\(mdata, batch_key=\.\.\.\), or leave out `batch`"):
        jm.tl.impute(mdata, without, source="rna", target="protein", batch="first")


def test_prepared_before_is_the_same_also_from_a_file_and_other_columns_are_refused(made, tmp_path):
    mdata = made[0].copy()
    first = jm.tl.train(mdata.copy(), max_steps=2, batch_key="batch", covariates=["depth"])
    jm.pp.prepare(mdata, batch_key="batch", covariates=["depth"])
    mdata.write(tmp_path / "prepared.h5mu")
    mdata = read_h5mu(tmp_path / "prepared.h5mu")
    with pytest.raises(
        ValueError, match=r"without the effects of 'batch', found .*prepare\(mdata, batch_key='batch'\)"
    ):
        jm.tl.train(mdata, max_steps=2, batch_key="batch")
    model = jm.tl.train(mdata, max_steps=2)
    for name, preparation in model.preparations_.items():
        expected = first.preparations_[name].effects
        assert preparation.effects.batches == expected.batches
        assert preparation.effects.is_factor == expected.is_factor
        assert_allclose(preparation.effects.of_covariate, expected.of_covariate, atol=0.05)  # other states were drawn
        assert preparation.effects.of_batch.dtype == np.float32
    assert_array_equal(model.open(mdata).inputs("rna"), mdata["rna"].obsm["X_jamie_input"])


@pytest.mark.parametrize(
    "verb",
    [
        lambda mdata, model: jm.tl.evaluate(mdata, model),
        lambda mdata, model: jm.tl.complete(mdata, model),
        lambda mdata, model: jm.tl.diagnose(mdata, model),
        lambda mdata, model: jm.tl.explain(mdata, model, source="rna", target="protein", n_cells=5),
        lambda mdata, model: jm.tl.knockout(mdata, model, source="rna", target="protein"),
        lambda mdata, model: jm.tl.reconstruct(mdata, model, modality="rna"),
    ],
    ids=["evaluate", "complete", "diagnose", "explain", "knockout", "reconstruct"],
)
def test_every_verb_reads_the_columns(made, verb):
    mdata, _, model, _ = made
    verb(mdata.copy(), model)
    lost = mdata.copy()
    lost.obs = pd.DataFrame(index=lost.obs_names)
    with pytest.raises(KeyError, match="'batch'"):
        verb(lost, model)


@pytest.mark.parametrize(("change", "says"), [(lambda z: z + 30, "not as in the training"), (lambda z: z * 1.0, None)])
def test_a_covariate_that_is_not_as_in_the_training_is_told(change, says, capsys):
    mdata = jm.datasets.toy(n_cells=100)
    mdata.obs["mito"] = np.random.default_rng(0).uniform(0, 20, mdata.n_obs)
    model = jm.tl.train(mdata, covariates=["mito"], max_steps=2)
    capsys.readouterr()
    query = mdata.copy()
    query.obs["mito"] = change(query.obs["mito"])
    jm.tl.embed(query, model)
    said = capsys.readouterr().err
    assert (says in said) if says else "not as in the training" not in said
    query.obs["mito"] = mdata.obs["mito"] * 1e4
    with pytest.raises(ValueError, match=r"standard deviations from its mean; give it in the units of the training"):
        jm.tl.embed(query, model)


def test_batches_of_a_cell_each_are_told_and_numbers_with_gaps_are_the_same_batches(capsys):
    mdata = jm.datasets.toy(n_cells=100)
    mdata.obs["cell"] = mdata.obs_names.astype(str)
    jm.tl.train(mdata, batch_key="cell", max_steps=1)
    assert "training cells of 'rna' in the median: too few" in capsys.readouterr().err
    mdata.obs["lane"] = np.arange(mdata.n_obs) % 2
    model = jm.tl.train(mdata, batch_key="lane", max_steps=1)
    expected = model.embed(mdata)["rna"]
    mdata.obs["lane"] = mdata.obs["lane"].astype(float)
    assert_array_equal(model.embed(mdata)["rna"], expected)


def test_effects_of_a_preparation_and_of_completed_rows_are_told(capsys):
    mdata = jm.datasets.toy(n_cells=100)
    mdata.obs["lane"] = np.where(np.arange(mdata.n_obs) % 2, "a", "b")
    jm.pp.prepare(mdata, batch_key="lane")
    capsys.readouterr()
    model = jm.tl.train(mdata, max_steps=1)
    assert "effects of 'lane' are taken off 'rna', as jm.pp.prepare was told" in capsys.readouterr().err
    jm.tl.complete(mdata, model)
    assert "imputed rows of ['rna', 'protein'] are without the effect of a batch" in capsys.readouterr().err


@pytest.fixture
def small():
    mdata = jm.datasets.toy(n_cells=120)
    mdata.obs["batch"] = np.where(np.arange(mdata.n_obs) % 3 == 0, *BATCHES)
    mdata.obs["depth"] = np.linspace(-1, 1, mdata.n_obs)
    for name in mdata.mod:  # by a factor that is not small
        second = (mdata.obs["batch"].loc[mdata[name].obs_names] == "second").to_numpy()
        x = mdata[name].X.toarray() if name == "rna" else mdata[name].X
        mdata[name].X = np.where(second[:, None] & (np.arange(x.shape[1]) % 2 == 0), 4 * x, x).astype(np.float32)
    jm.pp.split(mdata)
    return mdata


def relabelled(mdata, of, column="batch"):
    """The same with one cell of another batch, or covariate."""
    other = mdata.copy()
    cell = other.obs_names[other.obs["jamie_split"] == of][5]
    other.obs.loc[cell, column] = (
        3.0 if column == "depth" else next(b for b in BATCHES if b != other.obs.loc[cell, column])
    )
    return other


@pytest.mark.parametrize("of", ["train", "test"])
@pytest.mark.parametrize("column", ["batch", "depth"])
def test_one_cell_that_was_relabelled_since_it_was_prepared_is_noticed(small, of, column):
    jm.pp.prepare(small, batch_key="batch", covariates=["depth"])
    with pytest.raises(ValueError, match=r"call jm\.pp\.prepare\(mdata.*again"):
        jm.tl.train(relabelled(small, of, column), max_steps=2)
    jm.tl.train(small, max_steps=2)


def test_a_part_of_the_held_out_cells_is_no_change(small):
    jm.pp.prepare(small, batch_key="batch")
    kept = small.obs_names[(small.obs["jamie_split"] == "train") | (np.arange(small.n_obs) % 2 == 0)]
    fewer = MuData({name: adata[adata.obs_names.isin(kept)].copy() for name, adata in small.mod.items()})
    fewer.obs = small.obs.loc[fewer.obs_names]
    jm.tl.train(fewer, max_steps=2)


@pytest.mark.parametrize("column", ["batch", "depth"])
@pytest.mark.parametrize("saved", [False, True])
def test_measured_values_are_not_compared_by_columns_that_changed_since(small, column, saved, tmp_path):
    model = jm.tl.train(small, max_steps=5, batch_key="batch", covariates=["depth"])
    jm.tl.impute(small, model, source="rna", target="protein")
    before = jm.get.comparison(small, source="rna", target="protein")
    if saved:
        small.write(tmp_path / "x.h5mu")
        small = read_h5mu(tmp_path / "x.h5mu")
    again = jm.get.comparison(small, source="rna", target="protein")
    pd.testing.assert_frame_equal(again.measured, before.measured)
    half = small[: small.n_obs // 2].copy()
    jm.get.comparison(half, source="rna", target="protein")
    other = small.copy()
    cell = before.measured.index[0]
    other.obs.loc[cell, column] = (
        0.5 if column == "depth" else next(b for b in BATCHES if b != other.obs.loc[cell, column])
    )
    with pytest.raises(
        ValueError, match=r"'batch', 'depth' of the cells of 'protein'.*found others in 1.*impute again"
    ):
        jm.get.comparison(other, source="rna", target="protein")
    jm.tl.impute(other, model, source="rna", target="protein")
    jm.get.comparison(other, source="rna", target="protein")


@pytest.mark.parametrize(
    ("labels", "verdict"),
    [("batch", "bad"), ("nested", "bad"), ("around", "doubtful"), ("apart", "good")],
)
def test_batches_that_are_types_are_told(small, labels, verdict):
    """A type is the batch, one of two types in a batch, or of two batches; or both are independent."""
    half = np.arange(small.n_obs) // 3 % 2
    small.obs["four"] = [f"{batch}{h}" for batch, h in zip(small.obs["batch"], half, strict=True)]
    small.obs["nested"] = small.obs["four"]
    small.obs["around"] = small.obs["batch"]
    small.obs["apart"] = np.where(half, "x", "y")
    key = "four" if labels == "around" else "batch"
    model = jm.tl.train(small, max_steps=2, batch_key=key)
    table = jm.tl.diagnose(small, model, labels=labels)
    rows = table[table["measure"] == "batches and labels"]
    assert rows["verdict"].tolist() == [verdict, verdict]
    assert (rows["next_step"] != "").all() == (verdict != "good")
    if verdict == "bad":
        assert "hardly of more than one 'batch'" in rows["finding"].iloc[0]
    for other in (jm.tl.diagnose(small, model), jm.tl.diagnose(small, jm.tl.train(small, max_steps=2), labels=labels)):
        assert "batches and labels" not in set(other["measure"])
