"""Training: what it reads, what it writes, and that only the seed and the training cells decide the result."""

from __future__ import annotations

from dataclasses import replace

import anndata as ad
import mudata
import numpy as np
import pandas as pd
import pytest
import torch
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

import jamie as jm
from jamie.train._schedule import cycle_ends


def three_modalities():
    """The toy and seven continuous features of its first 40 cells, in an order of their own."""
    mdata = jm.datasets.toy()
    rng = np.random.default_rng(0)
    cells = rng.permutation(mdata.obs_names[:40])
    z = mdata.obsm["true_latent"][mdata.obs_names.get_indexer(cells)]
    values = (z @ rng.normal(size=(3, 7)) + 0.1 * rng.normal(size=(40, 7))).astype(np.float32)
    ephys = ad.AnnData(values, obs=pd.DataFrame(index=cells), var=pd.DataFrame(index=list("abcdefg")))
    return MuData({"rna": mdata["rna"], "protein": mdata["protein"], "ephys": ephys})


def weights(model):
    return torch.cat([value.ravel() for value in model.network_.state_dict().values()]).numpy()


def rows(mdata, name, cells):
    return mdata[name].obs_names.isin(cells)


@pytest.fixture(scope="module")
def runs():
    """Seed 0 twice and seed 1, each in a MuData of its own, and the process's state before and after."""
    np.random.seed(7)  # noqa: NPY002, TID251
    torch.manual_seed(7)
    state = np.random.get_state()[1].copy(), torch.get_rng_state(), torch.get_num_threads()  # noqa: NPY002
    found = []
    for seed in (0, np.random.default_rng(0), 1):
        mdata = jm.datasets.toy()
        jm.pp.split(mdata)
        model = jm.tl.train(mdata, max_steps=10, rng=seed)
        jm.tl.impute(mdata, model, source="rna", target="protein")
        found.append((mdata, model))
    after = np.random.get_state()[1].copy(), torch.get_rng_state(), torch.get_num_threads()  # noqa: NPY002
    return found, state, after


def test_slots(runs):
    (mdata, model), *_ = runs[0]
    for name in ("rna", "protein"):
        latent = mdata[name].obsm["X_jamie"]
        assert latent.shape == (mdata[name].n_obs, 32)
        assert latent.dtype == np.float32
    assert mdata.obsm["X_jamie"].shape == (60, 32)
    about = mdata.uns["jamie"]
    assert about["modalities"] == ["rna", "protein"]
    assert about["version"] == jm.__version__
    assert about["recipe"]["max_steps"] == 10
    assert about["history"]["step"].is_monotonic_increasing
    assert about["history"]["step"].iloc[-1] == cycle_ends(10, model.recipe_.cycles)[0]  # no pairs to judge it by
    assert np.isfinite(about["history"].to_numpy(dtype=float)).all()
    assert 0 < about["summary"]["best_step"] <= 10
    assert isinstance(model, jm.JAMIE)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(runs):
    (first, _), (again, _), (other, _) = runs[0]
    for name in ("rna", "protein"):
        assert_array_equal(first[name].obsm["X_jamie"], again[name].obsm["X_jamie"])
        assert not np.allclose(first[name].obsm["X_jamie"], other[name].obsm["X_jamie"], atol=0.01)
    a, b, c = (mdata["rna"].obsm["jamie_imputed_protein"].to_numpy() for mdata in (first, again, other))
    assert_array_equal(a, b)
    assert not np.allclose(a, c, atol=0.01)


def test_global_random_state_and_threads_are_left_alone(runs):
    _, before, after = runs
    assert_array_equal(before[0], after[0])
    assert torch.equal(before[1], after[1])
    assert before[2] == after[2]


@pytest.mark.parametrize("share_paired", [0.8, 0.4], ids=["enough pairs", "few, so that partners are inferred"])
def test_held_out_cells_have_no_influence(share_paired, capsys):
    found = []
    for change in (False, True):
        mdata = jm.datasets.toy(share_paired=share_paired)
        jm.pp.split(mdata)
        held_out = mdata.obs_names[mdata.obs["jamie_split"] == "test"]
        if change:
            x = mdata["rna"].X.toarray()
            x[rows(mdata, "rna", held_out)] = 5 * x[rows(mdata, "rna", held_out)][:, ::-1] + 1
            mdata["rna"].X = sparse.csr_matrix(x)
            mdata["protein"].X[rows(mdata, "protein", held_out)] = 11
        model = jm.tl.train(mdata, max_steps=10)
        assert model.history_["alignment"].any() == ("are inferred from them" in capsys.readouterr().err)
        assert model.history_["alignment"].any() == (share_paired == 0.4)
        found.append(weights(model))
    assert_array_equal(*found)


def test_a_gap_in_a_held_out_cell_has_no_influence():
    found = []
    for gap in (False, True):
        mdata = jm.datasets.toy()
        mdata["protein"].X = mdata["protein"].X + np.float32(0.25)
        jm.pp.split(mdata)
        held_out = mdata.obs_names[mdata.obs["jamie_split"] == "test"]
        if gap:
            mdata["protein"].X[np.flatnonzero(rows(mdata, "protein", held_out))[0], 0] = np.nan
        found.append(weights(jm.tl.train(mdata, max_steps=5)))
    assert_array_equal(*found)


@pytest.mark.parametrize("name", ["rna", "protein"])
def test_cells_without_a_partner_are_learned_from(name):
    mdata = jm.datasets.toy()
    jm.pp.prepare(mdata)
    model = jm.tl.train(mdata, max_steps=3)
    assert np.isfinite(mdata.obsm["X_jamie"]).all()
    alone = ~mdata[name].obs_names.isin(mdata[{"rna": "protein", "protein": "rna"}[name]].obs_names)
    assert alone.sum() == 6
    x = sparse.csr_matrix(mdata[name].X).toarray()
    x[alone] = x[alone][:, ::-1] + 2
    mdata[name].X = sparse.csr_matrix(x) if name == "rna" else x
    mdata[name].obsm["X_jamie_input"] = model.preparations_[name].transform(mdata[name].X)
    again = jm.tl.train(mdata, max_steps=3)
    assert_array_equal(again.preparations_[name].loadings, model.preparations_[name].loadings)
    assert not np.allclose(weights(again), weights(model), atol=1e-6)


def test_cells_are_matched_by_name_whatever_their_order():
    found = []
    for backwards in (False, True):
        mdata = jm.datasets.toy(share_paired=1)
        if backwards:
            mdata = MuData({"rna": mdata["rna"].copy(), "protein": mdata["protein"][::-1].copy()})
        model = jm.tl.train(mdata, max_steps=40)
        latent = mdata["protein"][mdata["rna"].obs_names].obsm["X_jamie"]
        found.append((latent, model.summary_.value("foscttm", "rna", "protein")))
    assert np.corrcoef(found[0][0].ravel(), found[1][0].ravel())[0, 1] > 0.999
    assert abs(found[0][1] - found[1][1]) < 0.02
    assert found[0][1] < 0.2


def test_any_number_of_modalities():
    mdata = three_modalities()
    model = jm.tl.train(mdata, max_steps=60)
    latents = {name: adata.obsm["X_jamie"] for name, adata in mdata.mod.items()}
    assert {name: l.shape for name, l in latents.items()} == {"rna": (54, 32), "protein": (54, 32), "ephys": (40, 32)}
    scores = model.summary_.table().query("method == 'jamie'").groupby("measure")["value"]
    assert scores.size().to_dict() == {"correlation": 6, "foscttm": 3}
    assert scores.min()["correlation"] > 0.2
    assert scores.max()["foscttm"] < 0.3

    model.network_.members[0].log_weights.data = torch.tensor([0.0, 1.0, -1.0])
    jm.tl.embed(mdata, model)
    weight = dict(zip(("rna", "protein", "ephys"), np.exp([0.0, 1.0, -1.0]), strict=True))
    for cell in (mdata.obs_names[0], mdata.obs_names[55], mdata.obs_names[25]):
        has = [name for name in mdata.mod if cell in mdata[name].obs_names]
        parts = [weight[name] * latents[name][mdata[name].obs_names.get_loc(cell)] for name in has]
        expected = np.sum(parts, axis=0) / sum(weight[name] for name in has)
        assert_allclose(mdata.obsm["X_jamie"][mdata.obs_names.get_loc(cell)], expected, rtol=1e-4, atol=1e-5)


def test_modalities_of_choice():
    mdata = three_modalities()
    model = jm.tl.train(mdata, modalities=["ephys", "rna"], max_steps=2)
    assert list(model.preparations_) == ["ephys", "rna"]
    assert "X_jamie" not in mdata["protein"].obsm


def test_a_modality_named_twice_is_refused(toy):
    with pytest.raises(ValueError, match="'rna'"):
        jm.tl.train(toy, modalities=["rna", "rna", "protein"], max_steps=2)


def test_the_paper_recipe_runs(toy):
    model = jm.tl.train(toy, recipe="paper", max_steps=3)
    assert model.recipe_.name == "paper"
    assert list(model.history_["step"]) == [1, 2, 3]
    assert np.isfinite(toy.obsm["X_jamie"]).all()
    assert not model.history_["cross"].any()


def test_the_paper_recipe_takes_values_as_they_are_and_the_default_clips_outliers():
    mdata = jm.datasets.toy()
    mdata["protein"].X[0, 0] = 1e4
    mdata["protein"].X += 0.5  # no counts any more
    limits = {name: jm.tl.train(mdata, recipe=name, max_steps=1).preparations_ for name in ("paper", "default")}
    assert [limits[name]["protein"].max_value for name in limits] == [0, 3]
    assert limits["default"]["rna"].max_value == 0


def test_integration_joins_the_cells_it_was_trained_on():
    model = jm.tl.train(jm.datasets.toy(share_paired=1.0), recipe="integrate", max_steps=300)
    assert model.summary_.cells == "training"
    assert not model.network_.kernel_mixes
    assert model.summary_.value("foscttm", "rna", "protein") < 0.01


def test_the_paper_recipe_survives_a_batch_with_one_cell_of_a_modality(toy):
    rna, protein = toy["rna"], toy["protein"]
    few = MuData({"rna": rna.copy(), "protein": protein[protein.obs_names.isin(rna.obs_names)][:4].copy()})
    jm.tl.train(few, recipe="paper", batch_size=9, max_steps=4)
    assert np.isfinite(few.obsm["X_jamie"]).all()


def test_overrides_reach_the_recipe_and_the_network(toy):
    model = jm.tl.train(toy, n_latent=5, dropout=0.1, batch_size=20, max_steps=2)
    assert (model.recipe_.dropout, model.recipe_.batch_size, model.recipe_.max_steps) == (0.1, 20, 2)
    assert toy["rna"].obsm["X_jamie"].shape[1] == 5
    assert {m.p for m in model.network_.modules() if isinstance(m, torch.nn.Dropout)} == {0.1}


def test_the_recipe_of_a_model_has_the_batch_that_was_used(toy):
    third = toy["protein"].copy()
    third.var_names = [f"tag{i}" for i in range(third.n_vars)]
    three = MuData({"rna": toy["rna"], "protein": toy["protein"], "tags": third})
    n_each = sum(three.obs_names.isin(adata.obs_names).astype(int) for adata in three.mod.values())
    assert jm.tl.train(three, max_steps=2).recipe_.batch_size == round(512 / n_each.mean())
    assert jm.tl.train(three, max_steps=2, batch_size=20).recipe_.batch_size == 20
    assert jm.tl.train(toy, max_steps=2).recipe_.batch_size == 256
    given = replace(jm.recipes["default"], batch_size=30)
    assert jm.tl.train(three, recipe=given, max_steps=2).recipe_.batch_size == 30
    assert jm.tl.train(three, recipe="paper", max_steps=2).recipe_.batch_size == 512


def test_a_model_of_three_modalities_is_trained_again_with_its_own_recipe(toy, tmp_path):
    """It names the batch that was used, which is not made smaller once more."""
    tags = toy["protein"].copy()
    tags.var_names = [f"tag{i}" for i in range(tags.n_vars)]
    three = MuData({"rna": toy["rna"], "protein": toy["protein"], "tags": tags})
    model = jm.tl.train(three, max_steps=2)
    again = jm.tl.train(three, recipe=model.recipe_)
    assert again.recipe_ == model.recipe_
    model.save(tmp_path / "m.jamie")
    loaded = jm.JAMIE.load(tmp_path / "m.jamie").fit(three)
    for one, other in zip(model.arrays(), loaded.arrays(), strict=True):
        assert_array_equal(one, other)


def test_missing_constant_and_empty_survive():
    mdata = jm.datasets.toy()
    rng = np.random.default_rng(0)
    values = (mdata.obsm["true_latent"] @ rng.normal(size=(3, 6)) + 20).astype(np.float32)
    values[0, 0] = np.nan
    values[5:12, 1] = np.nan
    values[15, 1:] = np.nan
    values[:, 5] = -3
    ephys = ad.AnnData(values, obs=pd.DataFrame(index=mdata.obs_names), var=pd.DataFrame(index=list("abcdef")))
    genes = mdata["rna"].X.toarray()
    genes[4] = 0
    genes[:, 7] = 0
    mdata["rna"].X = sparse.csr_matrix(genes)
    mdata = MuData({"rna": mdata["rna"], "ephys": ephys})
    model = jm.tl.train(mdata, max_steps=40)
    jm.tl.impute(mdata, model, source="rna", target="ephys")
    jm.tl.impute(mdata, model, source="ephys", target="rna")
    for slot in (
        mdata.obsm["X_jamie"],
        mdata["rna"].obsm["jamie_imputed_ephys"],
        mdata["ephys"].obsm["jamie_imputed_rna"],
    ):
        assert np.isfinite(np.asarray(slot)).all()
    assert np.isfinite(model.history_.to_numpy(dtype=float)).all()
    assert_allclose(mdata["rna"].obsm["jamie_imputed_ephys"]["f"], -3, atol=1e-4)
    assert_allclose(mdata["ephys"].obsm["jamie_imputed_rna"]["gene8"], 0, atol=1e-4)
    assert model.summary_.value("correlation", "rna", "ephys") > 0.3
    assert np.isnan(mdata["ephys"].X).sum() == np.isnan(values).sum()


def test_a_modality_without_variance_is_refused_or_survives(toy):
    flat = ad.AnnData(np.full((60, 3), 1.5, dtype=np.float32), obs=pd.DataFrame(index=toy.obs_names))
    mdata = MuData({"rna": toy["rna"], "flat": flat})
    try:
        jm.tl.train(mdata, max_steps=5)
    except ValueError as error:
        assert "flat" in str(error)  # noqa: PT017
    else:
        assert np.isfinite(mdata.obsm["X_jamie"]).all()


def test_a_modality_of_one_feature(toy):
    one = ad.AnnData(toy.obsm["true_latent"][:, :1].copy(), obs=pd.DataFrame(index=toy.obs_names))
    mdata = MuData({"rna": toy["rna"], "one": one})
    jm.tl.train(mdata, max_steps=5)
    assert np.isfinite(mdata.obsm["X_jamie"]).all()


def test_modalities_that_are_views_of_other_objects_are_written_to(toy):
    mdata = MuData({"rna": toy["rna"][:40], "protein": toy["protein"][:40]})
    jm.tl.train(mdata, max_steps=2)
    assert "X_jamie" in mdata["rna"].obsm


def test_the_prefix_names_every_slot(toy):
    jm.pp.split(toy, key_added="mine")
    jm.pp.correspondence(toy, key_added="mine")
    jm.pp.prepare(toy, key_added="mine")
    model = jm.tl.train(toy, max_steps=2, key_added="mine")
    jm.tl.impute(toy, model, source="rna", target="protein", key_added="mine")
    jm.tl.reconstruct(toy, model, modality="rna", key_added="mine")
    jm.tl.evaluate(toy, model, baselines=[], key_added="mine")
    slots = [
        key
        for container in (toy, *toy.mod.values())
        for slot in ("obs", "obsm", "obsp", "var", "varm", "layers", "uns")
        if getattr(container, slot, None) is not None
        for key in getattr(container, slot)
    ]
    assert not [key for key in slots if "jamie" in str(key)]
    assert len([key for key in slots if "mine" in str(key)]) >= 20
    assert model.preparations_["rna"].n_fitted == 45


def test_what_pp_prepared_is_used_and_survives_the_file(toy, tmp_path):
    import mudata as md

    jm.pp.prepare(toy, kinds={"protein": "continuous"}, n_comps=6)
    toy.write(tmp_path / "prepared.h5mu")
    read = md.read_h5mu(tmp_path / "prepared.h5mu")
    models = [jm.tl.train(mdata, max_steps=3) for mdata in (toy, read)]
    assert models[0].preparations_["protein"].kind == "continuous"
    assert models[0].preparations_["rna"].loadings.shape == (40, 6)
    assert_array_equal(*map(weights, models))


@pytest.mark.parametrize("change", ["names", "values"])
def test_a_preparation_of_other_data_is_refused(toy, change):
    jm.pp.prepare(toy)
    if change == "names":
        toy["rna"].var_names = toy["rna"].var_names[::-1].copy()
        toy.update()
    else:
        toy["rna"].X = toy["rna"].X[:, ::-1].tocsr()
    with pytest.raises(ValueError, match=r"call jm\.pp\.prepare\(mdata\) again"):
        jm.tl.train(toy, max_steps=2)


def test_training_does_not_change_the_values(toy):
    before = {name: adata.X.copy() for name, adata in toy.mod.items()}
    jm.tl.train(toy, max_steps=2)
    assert (before["rna"] != toy["rna"].X).nnz == 0
    assert_array_equal(before["protein"], toy["protein"].X)


def test_a_line_says_what_the_model_is_worth(capsys):
    mdata = jm.datasets.toy(n_cells=200)
    model = jm.tl.train(mdata, max_steps=40)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "trained in" in line]
    assert "on validation pairs" in line
    scores = [score for score in model.summary_.scores if score.method == "jamie"]
    assert len(scores) == 3
    for score in scores:
        assert f"{score.measure} {score.source} → {score.target} {score.value:.3f}" in line
    assert "near chance" not in line


def test_near_chance_is_warned_of(capsys):
    mdata = jm.datasets.toy(n_cells=200, share_paired=1)
    shuffled = np.random.default_rng(0).permutation(mdata.obs_names)
    jm.pp.correspondence(mdata, pairs=pd.DataFrame({"a": mdata.obs_names, "b": shuffled}))
    jm.settings.verbosity = "warning"
    try:
        jm.tl.train(mdata, max_steps=20)
    finally:
        jm.settings.verbosity = "info"
    error = capsys.readouterr().err
    assert "near chance (0.5)" in error
    assert "foscttm rna → protein is 0." in error
    assert "trained in" not in error


def test_results_kept_in_uns_are_not_the_models_own(runs):
    mdata, model = runs[0][2]
    mdata.uns["jamie"]["summary"]["seconds"] = -1
    mdata.uns["jamie"]["history"]["total"] = 0.0
    assert model.summary_.seconds > 0
    assert model.history_["total"].any()


def test_ctrl_c_keeps_the_best_weights_so_far(toy, monkeypatch, capsys):
    from jamie.train import _step

    calls, objective = [], _step.objective

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) > 5:
            raise KeyboardInterrupt
        return objective(*arguments, **options)

    monkeypatch.setattr(_step, "objective", interrupted)
    model = jm.tl.train(toy, max_steps=1000)
    assert "interrupted after step 5" in capsys.readouterr().err
    assert 0 < model.summary_.best_step <= 5
    assert np.isfinite(toy.obsm["X_jamie"]).all()
    assert not model.network_.training


def test_a_training_that_diverges_keeps_the_best_weights_and_says_so_everywhere(toy, monkeypatch, capsys, tmp_path):
    from jamie.train import _step

    calls, objective = [], _step.objective

    def diverging(*arguments, **options):
        calls.append(1)
        true = objective(*arguments, **options)
        return true._replace(total=true.total * float("nan")) if len(calls) in (4, 12, 13) else true

    monkeypatch.setattr(_step, "objective", diverging)
    recipe = replace(jm.recipes["default"], cycles=0, min_steps=5, max_steps=1000)
    model = jm.tl.train(toy, recipe=recipe)
    said = capsys.readouterr().err
    assert "step 4 is rolled back, for it had a loss of nan; the largest value of its batch is" in said
    assert "training diverged: a loss of nan twice in a row (the largest value of its batch is" in said
    assert "diverged at step 13, 3 steps rolled back; " in said
    assert "    diverged at step 13, 3 steps rolled back, with the weights of step " in repr(model)
    for summary in (model.summary_, jm.get.summary(toy)):
        assert (summary.diverged, summary.rolled_back) == (13, 3)
        assert 5 <= summary.best_step <= 11
        assert summary.n_steps < 13 + 20
    assert np.isfinite(toy.obsm["X_jamie"]).all()
    model.save(tmp_path / "model.jamie")
    assert jm.JAMIE.load(tmp_path / "model.jamie").summary_ == model.summary_
    toy.write(tmp_path / "toy.h5mu")
    assert jm.get.summary(mudata.read_h5mu(tmp_path / "toy.h5mu")).diverged == 13


def test_the_largest_value_of_a_batch_is_named_with_the_features_it_is_of(toy, monkeypatch, capsys):
    """In the protein that stands out a hundredfold in one cell; all cells are in each batch."""
    from jamie.train import _step

    calls, objective = [], _step.objective

    def once(*arguments, **options):
        calls.append(1)
        true = objective(*arguments, **options)
        return true._replace(total=true.total * float("inf")) if len(calls) == 2 else true

    monkeypatch.setattr(_step, "objective", once)
    toy["protein"].X = np.asarray(toy["protein"].X, dtype=float)
    toy["protein"].X[0, 3] = 1e4 * toy["protein"].X.max()
    jm.pp.prepare(toy, kinds={"rna": "counts", "protein": "continuous"}, max_value=None)
    jm.tl.train(toy, recipe=replace(jm.recipes["default"], dropout=0.0), max_steps=4)
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "rolled back, for" in line)
    assert "of 'protein', most of which is 'protein4'" in line  # its fourth


def apart(n_cells=120):
    """The toy with every cell in both modalities but no name in both, and the true partner of each cell of rna."""
    mdata = jm.datasets.toy(n_cells=n_cells, share_paired=1)
    protein = mdata["protein"].copy()
    partner = protein.obs_names.get_indexer(mdata["rna"].obs_names)
    protein.obs_names = "other " + protein.obs_names
    return MuData({"rna": mdata["rna"].copy(), "protein": protein}), partner


def foscttm(mdata, partner):
    x, y = mdata["rna"].obsm["X_jamie"], mdata["protein"].obsm["X_jamie"][partner]
    distance = np.linalg.norm(x[:, None] - y[None], axis=2)
    return (distance < np.diag(distance)[:, None]).mean()


def test_modalities_without_a_pair_are_joined_by_what_was_inferred(capsys):
    mdata, partner = apart()
    rows, columns = (mdata.obs_names.get_indexer(mdata[name].obs_names) for name in ("rna", "protein"))
    f = np.zeros((240, 240), dtype=np.float32)
    f[rows, columns[partner]] = 0.7
    f[rows, columns[np.roll(partner, 1)]] += 0.3  # now and then the partner of another cell
    mdata.obsp["jamie_inferred_rna_protein"] = sparse.csr_matrix(f)
    model = jm.tl.train(mdata, max_steps=150)
    said = capsys.readouterr().err
    assert foscttm(mdata, partner) < 0.15
    assert not model.summary_.scores
    assert model.summary_.cells == "training"
    assert "trained in" in said
    assert "no pairs are known to score it by" in said
    assert "near chance" not in said
    assert not model.history_["cross"].any()
    assert model.history_["alignment"].all()
    assert model.history_["contrastive"].all()
    jm.tl.impute(mdata, model, source="rna", target="protein")
    assert np.isfinite(mdata["rna"].obsm["jamie_imputed_protein"].to_numpy()).all()


def test_inference_without_a_pair_runs_end_to_end():
    mdata, _ = apart(60)
    jm.pp.infer_correspondence(mdata, n_starts=2)
    model = jm.tl.train(mdata, max_steps=3)
    assert model.history_["alignment"].all()
    assert np.isfinite(mdata.obsm["X_jamie"]).all()


def test_modalities_without_pairs_and_without_inference_are_refused():
    mdata, _ = apart(60)
    with pytest.raises(ValueError, match=r"no cell name is shared; written alike, 60 of 60 .*run mdata\.mod\["):
        jm.tl.train(mdata, max_steps=2)
    assert not mdata.uns


@pytest.mark.parametrize("rho", [1.0, 0.5])
def test_few_pairs_are_helped_by_inferred_ones_that_are_not_written(capsys, rho):
    from dataclasses import replace

    from jamie.train import RECIPES

    mdata = jm.datasets.toy(share_paired=0.3)
    model = jm.tl.train(mdata, recipe=replace(RECIPES["default"], rho=rho), max_steps=10)
    assert "18 known pairs of 'rna' and 'protein' are few" in capsys.readouterr().err
    assert not mdata.obsp
    assert model.history_["alignment"].all()
    assert model.summary_.value("foscttm", "rna", "protein") < 1


def test_the_papers_recipe_infers_nothing_by_itself_but_uses_what_is_written(capsys):
    mdata = jm.datasets.toy(share_paired=0.3)
    assert not jm.tl.train(mdata, recipe="paper", max_steps=2).history_["alignment"].any()
    assert "are few" not in capsys.readouterr().err
    jm.pp.infer_correspondence(mdata)
    model = jm.tl.train(mdata, recipe="paper", max_steps=2)
    assert model.history_["alignment"].all()
    assert not model.history_["contrastive"].any()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"recipe": "papr"}, ValueError, "did you mean 'paper'"),
        ({"device": "gpu0"}, ValueError, "expected `device` to be one of .*'auto', 'cpu'.*found 'gpu0'"),
    ],
)
def test_unknown_settings_are_refused(toy, arguments, error, message):
    with pytest.raises(error, match=message):
        jm.tl.train(toy, **arguments)
    assert not toy.uns


def test_what_a_training_rests_on_is_recorded(toy):
    jm.tl.train(toy, max_steps=2, rng=7, device="cpu")
    about = toy.uns["jamie"]
    assert (about["seed"], about["device"]) == (7, "cpu")
    assert about["versions"]["numpy"] == np.__version__
    jm.tl.train(toy, max_steps=2, rng=np.random.default_rng(7))
    assert "seed" not in toy.uns["jamie"]
