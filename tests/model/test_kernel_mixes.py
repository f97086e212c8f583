"""Kernel regressions beside the networks: which cells they are fitted on, and that they are imputed with."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.metrics.pairwise import euclidean_distances

import jamie as jm
from jamie.baselines import Directions, Supervised, best_mix_weight, regress, supervised, tune
from jamie.model import _jamie, _kernel_mixes
from jamie.nn import KernelMix
from jamie.train import RECIPES

RECIPE = replace(RECIPES["default"], hidden=(16,), n_latent=6, max_steps=28, cycles=2, validation=0.1, kernel_mix=True)
BOTH = (("rna", "protein"), ("protein", "rna"))


def cells(n=120, **options):
    mdata = jm.datasets.toy(n_cells=n, **options)
    jm.pp.split(mdata)
    return mdata


def bits(model):
    return {name: value.numpy() for name, value in model.network_.state_dict().items()}


def assert_same_bits(one, other):
    assert set(one) == set(other)
    for name, value in one.items():
        assert_array_equal(value, other[name], err_msg=name)


def scaled(model, mdata, name):
    """Inputs of the network by cell."""
    x = model.open(mdata).inputs(name) / np.float32(model.divisors_[name])
    return pd.DataFrame(x, index=mdata[name].obs_names)


def training_pairs(mdata):
    both = mdata["rna"].obs_names.intersection(mdata["protein"].obs_names)
    return both[mdata.obs["jamie_split"].reindex(both) == "train"]


def rows_of(x):
    return {row.tobytes() for row in np.ascontiguousarray(x, dtype=np.float32)}


def along(kernel_mix, x):
    """Coordinates of cells along the directions of a kernel."""
    return (x - kernel_mix["origin"]) @ kernel_mix["directions"]


def nearest(kernel_mix, x):
    """Which cell each landmark is."""
    apart = euclidean_distances(kernel_mix["landmarks"], along(kernel_mix, x))
    assert apart.min(axis=1).max() < 1e-5
    return apart.argmin(axis=1).tolist()


def skip_of(model, *pair):
    return {key: value.numpy().astype(float) for key, value in model.network_.kernel_mix(*pair).named_buffers()}


@pytest.fixture
def seen(monkeypatch):
    """Calls while a model is fitted: name and arrays; and the units held out."""
    found = []

    def watched(name, function):
        def watch(*arguments, **named):
            found.append((name, *arguments))
            return function(*arguments, **named)

        return watch

    for function in (supervised, tune, regress, best_mix_weight):
        name = function.__name__
        monkeypatch.setattr(_kernel_mixes, name, watched(name, function))
    return found


@pytest.fixture
def held(monkeypatch):
    """By modality, the cells that were held out to choose by."""
    found, hold_out = {}, _jamie.hold_out

    def watch(units, recipe, rng):
        training, validation = hold_out(units, recipe, rng)
        found.update(units.cells(validation))
        return training, validation

    monkeypatch.setattr(_jamie, "hold_out", watch)
    return found


@pytest.fixture(scope="module")
def fitted():
    mdata = cells()
    return mdata, jm.JAMIE(RECIPE).fit(mdata)


@pytest.mark.parametrize("pair", BOTH)
def test_held_out_cells_are_imputed_by_network_and_kernel(fitted, pair):
    mdata, model = fitted
    source, target = pair
    test = mdata[source].obs_names[mdata.obs["jamie_split"].reindex(mdata[source].obs_names) == "test"]
    kernel_mix, preparation = skip_of(model, *pair), model.preparations_[target]
    x = scaled(model, mdata, source).loc[test].to_numpy()
    decoded = (
        model.network_.decode(target, model.network_.encode(source, torch.from_numpy(x.copy()))[0]).detach().numpy()
    )
    by_kernel = np.exp(-kernel_mix["rate"] * euclidean_distances(along(kernel_mix, x), kernel_mix["landmarks"]))
    by_kernel = by_kernel @ kernel_mix["coefficients"] + kernel_mix["offset"]
    mixed = (1 - kernel_mix["mix_weight"]) * decoded + kernel_mix["mix_weight"] * by_kernel
    expected = preparation.inverse((mixed * model.divisors_[target]).astype(np.float32), slice(None))
    found = pd.DataFrame(model.impute(mdata, source=source, target=target), index=mdata[source].obs_names).loc[test]
    assert 0 < kernel_mix["mix_weight"] <= 1
    assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    assert abs(decoded - by_kernel).max() > 0.05


def test_translating_inputs_is_imputing(fitted):
    mdata, model = fitted
    inputs = model.open(mdata).inputs("rna")
    found = model.translate(inputs, "rna", "protein")
    assert_array_equal(found, model.impute(mdata, source="rna", target="protein"))
    assert_allclose(model.translate(inputs, "rna", "protein", np.array([4, 0])), found[:, [4, 0]], rtol=1e-5)
    assert model.translate(inputs[:0], "rna", "protein").shape == (0, 12)


@pytest.mark.parametrize("pair", BOTH)
def test_the_kernel_is_fitted_on_every_training_pair(fitted, pair):
    mdata, model = fitted
    kernel_mix = skip_of(model, *pair)
    x, y = (scaled(model, mdata, name).loc[training_pairs(mdata)].to_numpy() for name in pair)
    order = nearest(kernel_mix, x)
    assert sorted(order) == list(range(len(x)))
    assert_allclose(kernel_mix["offset"], y.mean(axis=0), atol=1e-5)
    k = np.exp(-kernel_mix["rate"] * euclidean_distances(kernel_mix["landmarks"]))
    left = y[order] - kernel_mix["offset"] - k @ kernel_mix["coefficients"]  # which is α c
    alpha = (left * kernel_mix["coefficients"]).sum() / np.square(kernel_mix["coefficients"]).sum()
    assert alpha > 1e-4
    assert_allclose(left, alpha * kernel_mix["coefficients"], atol=1e-3)


def test_held_out_pairs_choose_the_share_and_are_fitted_on_afterwards(held, seen):
    mdata = cells()
    model = jm.JAMIE(RECIPE).fit(mdata)
    names = [name for name, *_ in seen]
    first, last = ["supervised", "tune", "regress"] * 2, ["supervised", "regress"] * 2
    assert names == [*first, *["best_mix_weight"] * 2, *last]
    calls = {name: [call for call in seen if call[0] == name] for name in set(names)}
    n_pairs = len(training_pairs(mdata))
    for i, (source, target) in enumerate(BOTH):
        x, y = (scaled(model, mdata, name).iloc[held[name]].to_numpy() for name in (source, target))
        before, after = calls["supervised"][i], calls["supervised"][i + 2]
        assert not rows_of(before[1]) & rows_of(x)
        for earlier in (before, calls["tune"][i], calls["regress"][i]):
            assert len(earlier[1]) == len(earlier[2]) == n_pairs - len(x)
            assert not rows_of(earlier[2]) & rows_of(y)
        assert len(after[1]) == len(calls["regress"][i + 2][1]) == n_pairs
        assert rows_of(after[1]) == rows_of(before[1]) | rows_of(x)
        assert calls["regress"][i][3] == calls["regress"][i + 2][3]
        measured, decoded, predicted = calls["best_mix_weight"][i][1:]
        assert rows_of(measured) == rows_of(y)
        assert len(measured) == len(x) >= 10
        assert skip_of(model, source, target)["mix_weight"] == pytest.approx(
            best_mix_weight(measured, decoded, predicted)
        )


def test_what_is_kept_has_more_landmarks_than_what_is_chosen_by(monkeypatch):
    fitted = []
    monkeypatch.setattr(_kernel_mixes, "LANDMARKS", 20)
    monkeypatch.setattr(_kernel_mixes, "LAST_LANDMARKS", 40)
    monkeypatch.setattr(_kernel_mixes, "KernelMix", lambda *a, **named: fitted.append(a[0]) or KernelMix(*a, **named))
    mdata = cells()
    model = jm.JAMIE(RECIPE).fit(mdata)
    assert [len(landmarks) for landmarks in fitted] == [20, 20, 40, 40]
    assert all(len(skip_of(model, *pair)["landmarks"]) == 40 for pair in BOTH)


def test_without_held_out_pairs_the_first_fit_is_kept_with_all_its_landmarks(monkeypatch):
    monkeypatch.setattr(_kernel_mixes, "LANDMARKS", 20)
    monkeypatch.setattr(_kernel_mixes, "LAST_LANDMARKS", 40)
    model = jm.JAMIE(replace(RECIPE, validation=0.0)).fit(cells())
    assert all(len(skip_of(model, *pair)["landmarks"]) == 40 for pair in BOTH)


def test_the_summary_is_of_the_kernel_that_has_not_seen_its_cells(monkeypatch, fitted):
    mdata, model = fitted
    monkeypatch.setattr(_kernel_mixes.KernelMixes, "refit", lambda *_: None)
    blind = jm.JAMIE(RECIPE).fit(mdata)
    assert len(skip_of(blind, "rna", "protein")["landmarks"]) < len(skip_of(model, "rna", "protein")["landmarks"])
    assert replace(blind.summary_, seconds=0) == replace(model.summary_, seconds=0)
    assert model.summary_.cells == "validation"
    without = jm.JAMIE(replace(RECIPE, kernel_mix=False)).fit(mdata)
    for source, target in BOTH:
        assert model.summary_.value("correlation", source, target) != without.summary_.value(
            "correlation", source, target
        )


def test_without_held_out_pairs_the_share_is_a_half(seen):
    mdata = jm.datasets.toy()
    model = jm.JAMIE(RECIPE).fit(mdata)
    assert model.summary_.cells == "training"
    assert [name for name, *_ in seen] == ["supervised", "tune", "regress"] * 2
    for pair in BOTH:
        assert skip_of(model, *pair)["mix_weight"] == 0.5
        assert len(skip_of(model, *pair)["landmarks"]) == 48


def test_the_network_is_the_same_with_and_without(fitted):
    mdata, model = fitted
    without = jm.JAMIE(replace(RECIPE, kernel_mix=False)).fit(mdata)
    assert not without.network_.kernel_mixes
    assert_same_bits({n: v for n, v in bits(model).items() if not n.startswith("kernel_mixes.")}, bits(without))
    pd.testing.assert_frame_equal(model.history_, without.history_)
    for name, latent in model.embed(mdata).items():
        assert_array_equal(latent, without.embed(mdata)[name])
        assert_array_equal(model.reconstruct(mdata, modality=name), without.reconstruct(mdata, modality=name))


def test_the_paper_has_none(toy):
    model = jm.JAMIE(replace(RECIPES["paper"], hidden=(8,), max_steps=1)).fit(toy)
    assert not model.network_.kernel_mixes
    assert not any(name.startswith("kernel_mixes") for name in model.network_.state_dict())


def test_held_out_cells_of_a_split_are_never_used(fitted):
    mdata, model = fitted
    changed = mdata.copy()
    for name, adata in changed.mod.items():
        test = (changed.obs["jamie_split"].reindex(adata.obs_names) == "test").to_numpy()
        x = adata.X.toarray() if sparse.issparse(adata.X) else adata.X.copy()
        x[test] = 3 * x[test][:, ::-1] + 1
        adata.X = sparse.csr_matrix(x) if name == "rna" else x
        assert test.sum() > 5
    again = jm.JAMIE(RECIPE).fit(changed)
    assert again.network_.kernel_mix("rna", "protein") is not None
    assert_same_bits(bits(again), bits(model))


@pytest.mark.parametrize(("n_pairs", "n_skips"), [(_kernel_mixes.LEAST - 1, 0), (_kernel_mixes.LEAST, 2)])
def test_too_few_pairs_have_none(n_pairs, n_skips):
    mdata = jm.datasets.toy(share_paired=n_pairs / 60)
    assert len(mdata["rna"].obs_names.intersection(mdata["protein"].obs_names)) == n_pairs
    model = jm.JAMIE(replace(RECIPE, infer_below=0.0)).fit(mdata)
    assert len(model.network_.kernel_mixes) == n_skips
    assert np.isfinite(model.impute(mdata, source="rna", target="protein")).all()


def three_modalities(n_both, n_rna):
    """The toy, and seven continuous features of some of its cells: of both modalities, and with genes alone."""
    mdata = jm.datasets.toy(n_cells=120)
    rng = np.random.default_rng(0)
    genes, proteins = (mdata[name].obs_names for name in ("rna", "protein"))
    names = rng.permutation([*genes.intersection(proteins)[:n_both], *genes.difference(proteins)[:n_rna]])
    z = mdata.obsm["true_latent"][mdata.obs_names.get_indexer(names)]
    values = (z @ rng.normal(size=(3, 7)) + 0.1 * rng.normal(size=(len(names), 7))).astype(np.float32)
    third = ad.AnnData(values, obs=pd.DataFrame(index=names), var=pd.DataFrame(index=list("abcdefg")))
    return MuData({"rna": mdata["rna"], "protein": mdata["protein"], "ephys": third})


def test_three_modalities_have_six_paths():
    mdata = three_modalities(80, 10)
    model = jm.JAMIE(replace(RECIPE, infer_below=0.0)).fit(mdata)
    assert len(model.network_.kernel_mixes) == 6
    for source, target in permutations(mdata.mod, 2):
        kernel_mix = skip_of(model, source, target)
        shared = mdata[source].obs_names.intersection(mdata[target].obs_names)
        x = scaled(model, mdata, source)
        assert sorted(nearest(kernel_mix, x.loc[shared].to_numpy())) == list(range(len(shared)))
        assert kernel_mix["coefficients"].shape == (len(shared), scaled(model, mdata, target).shape[1])
        assert model.network_.kernel_mix(source, source) is None


def test_only_those_that_share_enough_pairs_have_paths():
    mdata = three_modalities(_kernel_mixes.LEAST - 1, 5)
    model = jm.JAMIE(replace(RECIPE, infer_below=0.0, validation=0.0)).fit(mdata)
    found = {pair for pair in permutations(mdata.mod, 2) if model.network_.kernel_mix(*pair)}
    assert found == {*BOTH, ("rna", "ephys"), ("ephys", "rna")}
    assert len(skip_of(model, "rna", "ephys")["landmarks"]) == _kernel_mixes.LEAST + 4
    assert np.isfinite(model.impute(mdata, source="ephys", target="protein")).all()


def noisy(n=600):
    """Two modalities of continuous features behind which is the same latent, and one half held out."""
    rng = np.random.default_rng(1)
    z, names = rng.normal(size=(n, 3)), [f"cell{i}" for i in range(n)]
    a = z @ rng.normal(size=(3, 10)) + 0.3 * rng.normal(size=(n, 10))
    b = z @ rng.normal(size=(3, 9)) + rng.normal(size=(n, 9)) + 20
    parts = {}
    for name, x in (("a", a), ("b", b)):
        features = pd.DataFrame(index=[f"{name}{j}" for j in range(x.shape[1])])
        parts[name] = ad.AnnData(x.astype(np.float32), obs=pd.DataFrame(index=names), var=features)
    mdata = MuData(parts)
    jm.pp.split(mdata, test_fraction=0.5)
    return mdata


def with_gaps(mdata, how):
    """A copy in which training cells miss values of the first three features of b."""
    mdata = mdata.copy()
    test = (mdata.obs["jamie_split"].reindex(mdata["b"].obs_names) == "test").to_numpy()
    x = mdata["b"].X.copy()
    in_class = mdata["a"].X[:, 0] > np.median(mdata["a"].X[:, 0])
    gaps = (
        np.repeat(in_class[:, None], 3, axis=1)
        if how == "a class"
        else np.random.default_rng(2).random((len(x), 3)) < how
    )
    x[:, :3][gaps & ~test[:, None]] = np.nan
    mdata["b"].X = x
    return mdata, test, in_class


def slopes(imputed, measured):
    return np.array([np.polyfit(imputed[:, j], measured[:, j], 1)[0] for j in range(3)])


@pytest.fixture(scope="module")
def complete():
    mdata = noisy()
    return mdata, jm.JAMIE(RECIPE).fit(mdata)


@pytest.mark.parametrize("how", [0.3, 0.7, "a class"])
def test_missing_values_do_not_shrink_what_is_imputed(complete, how, monkeypatch):
    """Beside the same kernel of complete values, which is then not along supervised directions either."""
    mdata, _ = complete
    monkeypatch.setattr(_kernel_mixes, "supervised", lambda x, *_: Supervised(Directions.none(x.shape[1]), x, 1.0))
    monkeypatch.setattr(_kernel_mixes, "one_left_out", lambda x, *_: x)
    model = jm.JAMIE(RECIPE).fit(mdata)
    holed, test, in_class = with_gaps(mdata, how)
    partial = jm.JAMIE(RECIPE).fit(holed)
    cells = test & ~in_class if how == "a class" else test
    for way in ("translate", "regressed"):
        before, after = (
            slopes(getattr(m, way)(m.open(mdata).inputs("a")[cells], "a", "b"), mdata["b"].X[cells])
            for m in (model, partial)
        )
        assert after.mean() == pytest.approx(before.mean(), abs=0.15 if way == "translate" else 0.1)
    weights = [skip_of(m, "a", "b")["mix_weight"] for m in (model, partial)]
    assert weights[1] == pytest.approx(weights[0], abs=0.1)


def test_the_kernel_is_given_what_was_measured(complete, seen):
    mdata, *_ = with_gaps(complete[0], 0.5)
    model = jm.JAMIE(RECIPE).fit(mdata)
    preparation, scale = model.preparations_["b"], model.divisors_["b"]
    standardised = pd.DataFrame(preparation.standardised(mdata["b"].X) / scale, index=mdata["b"].obs_names)
    rows = {row.tobytes() for row in np.nan_to_num(standardised.to_numpy(np.float32), nan=-99)}
    for name, *given in seen:
        if name in {"best_mix_weight", "supervised"}:
            continue
        partial = given[-1]
        if given[1].shape[1] != 9:  # from b to a, which misses nothing
            assert partial is None
            continue
        assert np.isnan(partial.values).any()
        assert {row.tobytes() for row in np.nan_to_num(partial.values, nan=-99)} <= rows
        assert_allclose(np.nan_to_num(partial.values) @ partial.loadings, given[1], atol=1e-5)
    (measured,) = (given[0] for name, *given in seen if name == "best_mix_weight" and np.isnan(given[0]).any())
    assert {row.tobytes() for row in np.nan_to_num(measured, nan=-99)} <= rows
    assert np.isfinite(model.impute(mdata, source="a", target="b")).all()


def test_the_same_numbers_after_saving(fitted, tmp_path):
    mdata, model = fitted
    model.save(tmp_path / "model")
    loaded = jm.JAMIE.load(tmp_path / "model")
    assert_same_bits(bits(loaded), bits(model))
    for source, target in BOTH:
        assert loaded.network_.kernel_mix(source, target) is not None
        expected = model.impute(mdata, source=source, target=target)
        assert_array_equal(loaded.impute(mdata, source=source, target=target), expected)
    loaded.save(tmp_path / "again")
    assert_same_bits(bits(jm.JAMIE.load(tmp_path / "again")), bits(model))


def test_a_model_without_skips_is_loaded_without(toy, tmp_path):
    jm.JAMIE(replace(RECIPE, kernel_mix=False)).fit(toy).save(tmp_path / "model")
    assert not jm.JAMIE.load(tmp_path / "model").network_.kernel_mixes


def test_the_surest_partner_is_taken_of_those_allowed():
    f = sparse.csr_matrix(np.array([[0.2, 0.8, 0, 0], [0, 0, 0, 0], [0.3, 0, 0.6, 0.1], [0, 1, 0, 0]]))
    rows, columns = _kernel_mixes.surest_pairs(f, np.arange(4), np.arange(4))
    assert (rows.tolist(), columns.tolist()) == ([0, 2, 3], [1, 2, 1])
    rows, columns = _kernel_mixes.surest_pairs(f, np.array([3, 2, 0]), np.array([3, 0]))
    assert (rows.tolist(), columns.tolist()) == ([2, 0], [0, 0])
    rows, columns = _kernel_mixes.surest_pairs(f, np.array([1]), np.array([3, 0]))
    assert not len(rows)
    assert not len(columns)
