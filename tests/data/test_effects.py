"""Effects of batches and covariates: planted ones are found, what has none is left, and columns are checked."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

import jamie as jm
from jamie.data import CellMatrix, EffectColumns, Effects, value_stats
from jamie.data._effects import _warn_far
from jamie.data._fit_effects import MOST_CELLS, _even, fit_effects

N, D = 600, 80
SHARES = {"a": (0.7, 0.2, 0.1), "b": (0.1, 0.2, 0.7)}
"""Of three cell states in two batches: the difference of the means of the batches is mostly biology."""


def planted(rng, *, sd=0.6, depth=40.0):
    """Counts of two batches of other composition, their log factors (2, d), batches and the expected counts without."""
    batch = np.repeat([0, 1], N // 2)
    state = np.array([rng.choice(3, p=list(SHARES.values())[b]) for b in batch])
    profile = np.exp(rng.normal(0, 1.2, (3, D)))
    mean = profile[state] / profile.sum(axis=1)[state][:, None] * depth * D
    factors = rng.normal(0, sd, (2, D))
    factors -= factors.mean(axis=0)
    return rng.poisson(mean * np.exp(factors[batch])).astype(np.float32), factors, batch, mean


def fitted(x, design, n_batches, *, kind="counts", train=None, seed=0):
    cells = CellMatrix(x)
    train = np.ones(len(design), dtype=bool) if train is None else train
    n_covariates = design.shape[1] - 1
    unfitted = Effects(
        "batch",
        tuple("abcdefgh"[:n_batches]),
        tuple("xyz"[:n_covariates]),
        center=np.zeros(n_covariates),
        spread=np.ones(n_covariates),
        of_batch=np.zeros((n_batches, 0), np.float32),
        of_covariate=np.zeros((n_covariates, 0), np.float32),
        is_factor=True,
    )
    return fit_effects(cells, train, value_stats(cells, train), design, unfitted, kind=kind, seed=seed)


def apart(found, planted):
    """Root mean square distance of the differences of two batches, beside what all features share."""
    left = (found[1] - found[0]) - (planted[1] - planted[0])
    return np.sqrt(np.mean((left - left.mean()) ** 2))


@pytest.mark.parametrize("kind", ["counts", "protein"])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_factors_are_found_where_composition_differs(kind, form):
    x, factors, batch, _ = planted(np.random.default_rng(0))
    effects = fitted(form(x), batch[:, None].astype(np.float32), 2, kind=kind)
    means = np.log(np.stack([x[batch == b].mean(axis=0) for b in (0, 1)]))
    assert effects.is_factor
    assert apart(effects.of_batch, factors) < 0.12
    assert apart(means, factors) > 0.5  # what one mean per batch would say


@pytest.mark.parametrize("kind", ["continuous", "protein"])
def test_sparse_values_with_gaps_have_the_effects_of_dense_ones(kind):
    x, _, batch, _ = planted(np.random.default_rng(0))
    x[:, 3] = 0  # a feature that is constant has none
    x[np.random.default_rng(1).random(x.shape) < 0.1] = np.nan
    x = x - 1 if kind == "continuous" else x
    design = batch[:, None].astype(np.float32)
    dense, thin = (fitted(form(x), design, 2, kind=kind) for form in (np.asarray, sparse.csr_matrix))
    assert dense.is_factor == thin.is_factor == (kind == "protein")
    assert_allclose(thin.of_batch, dense.of_batch, rtol=1e-4, atol=1e-5)
    assert np.isfinite(dense.of_batch).all()


def test_where_there_are_none_effects_shrink_to_nothing():
    x, _, batch, _ = planted(np.random.default_rng(0), sd=0.0)
    assert fitted(x, batch[:, None].astype(np.float32), 2).of_batch.std() < 0.05


def test_batches_without_a_common_state_are_told(caplog):
    rng = np.random.default_rng(0)
    batch = np.repeat([0, 1], N // 2)
    x = rng.poisson(np.exp(rng.normal(1, 2, (2, D)))[batch]).astype(np.float32)
    fitted(x, batch[:, None].astype(np.float32), 2)
    assert "cells of different 'batch' share hardly a state" in caplog.text


def test_a_covariate_is_found_beside_the_batch():
    rng = np.random.default_rng(0)
    _, factors, batch, mean = planted(rng)
    z, slope = rng.standard_normal(N), rng.normal(0, 0.4, D)
    x = rng.poisson(mean * np.exp(factors[batch] + np.outer(z, slope))).astype(np.float32)
    effects = fitted(sparse.csr_matrix(x), np.column_stack([batch, z]).astype(np.float32), 2)
    assert apart(effects.of_batch, factors) < 0.15
    assert np.corrcoef(effects.of_covariate[0], slope)[0, 1] > 0.97


def test_continuous_values_get_offsets_in_their_own_units_and_gaps_say_nothing():
    rng = np.random.default_rng(0)
    batch = np.repeat([0, 1], N // 2)
    state = np.array([rng.choice(3, p=list(SHARES.values())[b]) for b in batch])
    unit = 10.0 ** rng.integers(-3, 4, D)
    offset = rng.normal(0, 1, D)
    x = (rng.normal(0, 3, (3, D))[state] + np.outer(batch - 0.5, offset) + 0.5 * rng.normal(size=(N, D))) * unit
    x[rng.random((N, D)) < 0.2] = np.nan
    effects = fitted(x.astype(np.float32), batch[:, None].astype(np.float32), 2, kind="continuous")
    assert not effects.is_factor
    found = (effects.of_batch[1] - effects.of_batch[0]) / unit
    assert np.sqrt(np.mean((found - offset) ** 2)) < 0.15
    left = effects.removed(x, batch[:, None])
    assert_array_equal(np.isnan(left), np.isnan(x))
    assert_allclose(left, x - effects.of_batch[batch], rtol=1e-6)


def test_over_the_training_cells_effects_have_mean_zero_and_others_are_not_learned_from():
    x, _, batch, _ = planted(np.random.default_rng(0))
    train = np.random.default_rng(1).random(N) < 0.6
    other = np.where(train[:, None], x, 1e4).astype(np.float32)
    effects, same = (fitted(v, batch[:, None].astype(np.float32), 2, kind="protein", train=train) for v in (x, other))
    assert_array_equal(effects.of_batch, same.of_batch)
    share = np.bincount(batch[train]) / train.sum()
    assert_allclose(share @ effects.of_batch, 0, atol=1e-5)
    assert_allclose(effects.of_batch.mean(axis=1), 0, atol=1e-5)  # else it was the size of the cells


LACKS = [(0, slice(0, 7)), (1, slice(7, 20))]


@pytest.mark.parametrize("kind", ["counts", "protein", "continuous"])
def test_what_a_batch_was_never_measured_in_has_no_effect_there_and_hides_none_elsewhere(kind):
    x, factors, batch, _ = planted(np.random.default_rng(0))
    is_there = np.ones((2, D), dtype=bool)
    for b, features in LACKS:
        x[np.ix_(batch == b, np.arange(D)[features])] = np.nan
        is_there[b, features] = False
    effects = fitted(np.log1p(x) if kind == "continuous" else x, batch[:, None].astype(np.float32), 2, kind=kind)
    assert_array_equal(effects.of_batch[~is_there], 0)
    values = np.ones((4, D), np.float32)
    assert_array_equal(effects.added(values, "a", kind)[:, :7], values[:, :7])
    assert apart(effects.of_batch[:, 20:], factors[:, 20:]) < (0.3 if kind == "continuous" else 0.12)  # of log1p
    if kind == "continuous":  # the mean over the training cells that were measured is that without effects
        share = np.bincount(batch)[:, None] * is_there
        assert_allclose((share * effects.of_batch).sum(0), 0, atol=1e-3)


def test_batches_that_share_no_feature_are_taken_as_they_are():
    x, _, batch, _ = planted(np.random.default_rng(0))
    x[np.ix_(batch == 0, np.arange(40))] = np.nan
    x[np.ix_(batch == 1, np.arange(40, D))] = np.nan
    assert not fitted(x, batch[:, None].astype(np.float32), 2).of_batch[0, :40].any()


def test_removed_is_the_same_sparse_and_dense_and_of_some_features():
    rng = np.random.default_rng(0)
    x = rng.poisson(1.0, (50, 9)).astype(np.float32)
    design = np.column_stack([rng.integers(0, 3, 50), rng.standard_normal(50)]).astype(np.float32)
    effects = replace(
        fitted(x, design, 3), of_batch=rng.normal(size=(3, 9)), of_covariate=rng.normal(size=(1, 9))
    )  # fmt: skip
    dense, thin = effects.removed(x, design), effects.removed(sparse.csr_matrix(x), design)
    assert sparse.issparse(thin)
    assert_allclose(thin.toarray(), dense, rtol=1e-5)
    factor = np.exp(effects.of_batch[design[:, 0].astype(int)] + design[:, 1:] @ effects.of_covariate)
    assert_allclose(dense * factor, x, rtol=1e-5)
    some = np.array([7, 2])
    assert_allclose(effects.removed(x[:, some], design, some), dense[:, some], rtol=1e-6)


def test_of_many_cells_rare_batches_are_learned_from_too():
    codes = np.r_[np.zeros(3 * MOST_CELLS), np.ones(40)]
    rows = _even(np.arange(len(codes)), codes, np.random.default_rng(0))
    assert len(rows) == MOST_CELLS
    assert np.all(np.diff(rows) > 0)
    assert (codes[rows] == 1).sum() == 40


@pytest.fixture
def batched(toy):
    toy.obs["batch"] = np.where(np.arange(toy.n_obs) % 2, "a", "b")
    toy.obs["depth"] = np.arange(toy.n_obs, dtype=float)
    return toy


def read(mdata, train=None, **columns):
    columns = EffectColumns.of(columns.get("batch_key"), columns.get("covariates", ()))
    return columns.read(mdata, "rna", np.ones(mdata["rna"].n_obs, dtype=bool) if train is None else train)


def test_a_design_has_codes_and_standardised_covariates_of_the_training_cells(batched):
    train = np.arange(batched["rna"].n_obs) < 30
    design, effects = read(batched, train, batch_key="batch", covariates=["depth"])
    rows = batched.obs_names.get_indexer(batched["rna"].obs_names)
    depth = batched.obs["depth"].to_numpy()[rows]
    assert effects.batches == ("a", "b")
    assert_array_equal(design[:, 0], batched.obs["batch"].to_numpy()[rows] == "b")
    assert_allclose(design[:, 1], (depth - depth[train].mean()) / depth[train].std(), rtol=1e-5)
    assert_allclose(np.delete(read(batched, train, covariates=["depth"])[0], 1, axis=1), 0)  # one batch, the first


def test_columns_that_are_missing_empty_or_no_numbers_are_named(batched):
    with pytest.raises(KeyError, match=r"`batch_key` to name a column .*found 'donor' in.*every cell needs its value"):
        read(batched, batch_key="donor")
    batched.obs["text"] = "high"
    with pytest.raises(KeyError, match=r"expected `covariates` to name a column .*found 'age' in"):
        read(batched, covariates=["age"])
    with pytest.raises(ValueError, match=r"covariate 'text' as numbers, found 'high'.*batch_key='text'"):
        read(batched, covariates=["text"])
    batched.obs.loc[batched.obs_names[3], "depth"] = np.nan
    with pytest.raises(ValueError, match=r"a value of 'depth' for every cell of 'rna', found 1 without.*fill"):
        read(batched, covariates=["depth"])
    batched.obs["depth"] = np.inf
    with pytest.raises(ValueError, match="finite values of the covariate 'depth'"):
        read(batched, covariates=["depth"])


def test_arguments_are_checked():
    with pytest.raises(TypeError, match="`batch_key` as text"):
        EffectColumns.of(["batch"], ())
    with pytest.raises(TypeError, match=r"`covariates` to be a list of names.*pass covariates=\['depth'\]"):
        EffectColumns.of(None, "depth")
    with pytest.raises(ValueError, match="each column once"):
        EffectColumns.of("batch", ["batch"])


def test_batches_that_were_not_learned_are_named(batched):
    train = (batched.obs["batch"] == "a").to_numpy()[batched.obs_names.get_indexer(batched["rna"].obs_names)]
    with pytest.raises(ValueError, match=r"each batch of 'batch', found none of 'b': all of its cells are held out"):
        read(batched, train, batch_key="batch")
    _, effects = read(batched, batch_key="batch")
    batched.obs["batch"] = "c"
    with pytest.raises(ValueError, match=r"'batch' = 'a', 'b', found 1 others, first 'c'"):
        effects.design(batched, "rna")


def test_batches_may_be_numbers_or_categories_and_are_compared_as_text(batched):
    _, effects = read(batched, batch_key="batch")
    assert_array_equal(effects.design(batched, "rna"), read(batched, batch_key="batch")[0])
    batched.obs["batch"] = pd.Categorical(np.where(batched.obs["batch"] == "a", 1, 2))
    design, effects = read(batched, batch_key="batch")
    assert effects.batches == ("1", "2")
    batched.obs["batch"] = batched.obs["batch"].astype(int)
    assert_array_equal(effects.design(batched, "rna"), design)


def test_one_batch_alone_is_refused(batched):
    batched.obs["batch"] = "a"
    with pytest.raises(ValueError, match=r"two batches or more .*found 'batch' = \['a'\]; leave out `batch_key`"):
        jm.tl.train(batched, batch_key="batch", max_steps=2)


def test_the_modality_of_another_batch_keeps_its_own(batched):
    """Batches without pairs, in one modality alone, are no error."""
    rna, protein = batched["rna"][:40].copy(), batched["protein"][:30].copy()
    rna.obs["batch"], protein.obs["batch"] = np.where(np.arange(40) < 20, "a", "b"), "c"
    mdata = MuData({"rna": rna, "protein": protein})
    model = jm.tl.train(mdata, batch_key="batch", max_steps=2)
    assert model.preparations_["protein"].effects.batches == ("c",)
    assert not model.preparations_["protein"].effects.of_batch.any()


def two_batches(rng, *, is_factor):
    return Effects(
        "batch",
        ("a", "b"),
        ("depth",),
        center=np.array([2.0]),
        spread=np.array([3.0]),
        of_batch=rng.normal(size=(2, 9)),
        of_covariate=rng.normal(size=(1, 9)),
        is_factor=is_factor,
    )


def test_what_is_added_for_a_batch_is_what_was_taken_off_its_cells():
    rng = np.random.default_rng(0)
    x, some = rng.gamma(2.0, size=(20, 9)), np.array([7, 2])
    design = np.column_stack([np.ones(20), np.zeros(20)])  # of the second batch, at the mean of the covariate
    for is_factor in (True, False):
        effects = two_batches(rng, is_factor=is_factor)
        for columns in (slice(None), some):
            left = effects.removed(x[:, columns], design, columns)
            assert_allclose(effects.added(left, "b", "continuous", columns), x[:, columns])
    effects = two_batches(rng, is_factor=True)
    left = effects.removed(x, design)
    for kind in ("counts", "protein", "accessibility"):  # whose imputed scale is logarithmic
        assert_allclose(effects.added(np.log1p(left), "b", kind), np.log1p(x))
    assert_allclose(effects.added(-x, "b", "counts"), -x * np.exp(effects.of_batch[1]))
    with pytest.raises(KeyError, match=r"`batch` .*'c'.*it names a batch that 'batch' had in the training"):
        effects.of("c")


@pytest.mark.parametrize("is_factor", [True, False])
def test_effects_survive_being_stored(is_factor):
    effects = two_batches(np.random.default_rng(0), is_factor=is_factor)
    stored = effects.to_dict()
    assert list(stored)[:4] == ["batch_key", "batches", "covariates", "is_factor"]
    assert (stored["batch_key"], stored["batches"], stored["covariates"]) == ("batch", ["a", "b"], ["depth"])
    back = Effects.from_dict(stored)
    for field in fields(Effects):
        one, other = getattr(back, field.name), getattr(effects, field.name)
        assert type(one) is type(other)
        assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("z", "said"),
    [
        (np.full(20, 1.6), "1.6 standard deviations from its mean on average, 0 cells more than 6"),
        (np.full(20, -1.6), "-1.6 standard deviations"),
        (np.full(20, 1.4), ""),
        (np.full(19, 1.6), ""),
        (np.r_[np.zeros(30), -6.5, 7.0], "2 cells more than 6"),
        (np.r_[np.zeros(30), 5.9], ""),
        (np.r_[0.0, 49.0], "1 cells more than 6"),
    ],
)
def test_a_covariate_that_is_not_as_in_the_training_is_told(z, said, caplog):
    _warn_far(z, "depth", "rna")
    assert (said in caplog.text) if said else not caplog.text


@pytest.mark.parametrize("value", [51.0, -51.0])
def test_a_covariate_in_other_units_is_refused(value):
    with pytest.raises(ValueError, match=r"covariate 'depth' of the cells of 'rna' .* found a value 51 standard"):
        _warn_far(np.array([0.0, value]), "depth", "rna")


def test_batches_that_a_model_does_not_know_are_listed(batched):
    _, effects = read(batched, batch_key="batch")
    assert effects.unknown(batched, "rna") == []
    batched.obs["batch"] = np.resize(["d", "a", "c"], batched.n_obs)
    assert effects.unknown(batched, "rna") == ["c", "d"]
    _, without = read(batched, covariates=["depth"])
    assert without.unknown(batched, "rna") == []


@pytest.mark.parametrize(
    ("batch_key", "covariates", "said", "passed"),
    [
        ("donor", (), "'donor'", "batch_key='donor'"),
        (None, ("age", "sex"), "'age', 'sex'", "covariates=['age', 'sex']"),
        ("donor", ("age",), "'donor', 'age'", "batch_key='donor', covariates=['age']"),
        (None, (), "", ""),
    ],
)
def test_columns_are_named_as_they_are_passed(batch_key, covariates, said, passed):
    columns = EffectColumns.of(batch_key, covariates)
    assert (str(columns), columns.as_arguments(), bool(columns)) == (said, passed, bool(said))
    again = eval(f"dict({passed})")
    assert EffectColumns.of(again.get("batch_key"), again.get("covariates", ())) == columns
