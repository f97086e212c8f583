"""Adapting to new cells: what it changes there, what stays, and which cells count."""

from __future__ import annotations

import numpy as np
import pytest
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal

import jamie as jm
from jamie.model._adapt import _ridge


@pytest.fixture(scope="module")
def model():
    return jm.JAMIE(max_steps=60).fit(jm.datasets.toy(n_cells=200))


@pytest.fixture
def new():
    """Cells of another batch, with a factor for each gene and protein; a part of them is held out."""
    mdata = jm.datasets.toy(n_cells=200, rng=0)
    mdata["rna"].obs_names = mdata["rna"].obs_names + "-new"
    mdata["protein"].obs_names = mdata["protein"].obs_names + "-new"
    rng = np.random.default_rng(1)
    for name in ("rna", "protein"):
        x = mdata[name].X.toarray() if name == "rna" else mdata[name].X
        mdata[name].X = np.round(x * np.exp(rng.normal(0, 0.8, x.shape[1]))).astype(np.float32)
    mdata = type(mdata)({name: mdata[name] for name in ("rna", "protein")})
    jm.pp.split(mdata)
    return mdata


def held_out_error(model, mdata):
    target = mdata["protein"].to_df().reindex(mdata["rna"].obs_names)
    rows = (
        target.notna().all(axis=1).to_numpy()
        & (mdata.obs["jamie_split"].loc[mdata["rna"].obs_names] == "test").to_numpy()
    )
    measured = np.log1p(target.to_numpy()[rows])
    measured = np.log1p(target.to_numpy()[rows] / np.exp(measured.mean(axis=1, keepdims=True)))
    return np.mean((model.impute(mdata, source="rna", target="protein")[rows] - measured) ** 2)


def test_held_out_new_cells_are_imputed_better_and_latents_stay(model, new, caplog):
    reference = jm.datasets.toy(n_cells=200)
    before = {name: model.embed(mdata)[name] for mdata in (reference, new) for name in ("rna", "protein")}
    imputed = model.impute(reference, source="rna", target="protein")
    with caplog.at_level("INFO", "jamie"):
        adapted = model.adapt(new)
    assert "rna → protein adapted to" in caplog.text
    assert held_out_error(adapted, new) < 0.7 * held_out_error(model, new)
    for name in ("rna", "protein"):
        assert_array_equal(adapted.embed(new)[name], before[name])
        assert_array_equal(adapted.embed(reference)[name], model.embed(reference)[name])
    assert_array_equal(model.impute(reference, source="rna", target="protein"), imputed)
    moved = adapted.impute(reference, source="rna", target="protein") - imputed
    assert np.sqrt(np.mean(moved**2)) < 0.3 * imputed.std(axis=0).mean()


def test_the_new_cells_are_known_as_learned_from_but_those_held_out(model, new):
    adapted = model.adapt(new)
    jm.tl.embed(new, adapted)
    role, split = new["protein"].obs["jamie_role"], new.obs["jamie_split"].loc[new["protein"].obs_names]
    paired = new["protein"].obs_names.isin(new["rna"].obs_names)
    assert set(role[paired & (split == "train").to_numpy()]) == {"train"}
    assert set(role[(split == "test").to_numpy()]) == {"new"}


def test_garbled_held_out_cells_change_nothing(model, new):
    adapted = model.adapt(new)
    names = new.obs_names[new.obs["jamie_split"] == "test"]
    new["protein"].X[new["protein"].obs_names.isin(names)] += 1000
    again = model.adapt(new)
    reference = jm.datasets.toy(n_cells=200)
    expected = adapted.impute(reference, source="rna", target="protein")
    assert_array_equal(again.impute(reference, source="rna", target="protein"), expected)


def test_an_adapted_model_comes_back_from_its_file(model, new, tmp_path):
    adapted = model.adapt(new)
    adapted.save(tmp_path / "adapted.jamie")
    expected = adapted.impute(new, source="rna", target="protein")
    loaded = jm.JAMIE.load(tmp_path / "adapted.jamie")
    assert_array_equal(loaded.impute(new, source="rna", target="protein"), expected)
    assert_array_equal(loaded.open(new).role("rna"), adapted.open(new).role("rna"))


def test_cells_of_the_training_and_too_few_pairs_are_refused(model, new):
    with pytest.raises(ValueError, match=r"at least 10 pairs of cells that the model has not met, found 0, .*embed"):
        model.adapt(jm.datasets.toy(n_cells=200))
    few = new[new.obs_names[:5]].copy()
    with pytest.raises(ValueError, match=r"at least 10 pairs .*jm\.pp\.correspondence"):
        model.adapt(few)


def test_without_a_kernel_there_is_nothing_to_adapt(new):
    model = jm.JAMIE("integrate", max_steps=2).fit(jm.datasets.toy())
    with pytest.raises(ValueError, match="kernel regression, which is what adapts, found none"):
        model.adapt(new)


def test_left_out_errors_are_those_of_fits_without_the_pair():
    rng = np.random.default_rng(0)
    z, left = rng.normal(size=(12, 3)), rng.normal(size=(12, 2))
    kernel = np.exp(-np.linalg.norm(z[:, None] - z, axis=2))
    coefficients, errors = _ridge(kernel, left, 0.5)
    assert_allclose((kernel + 0.5 * np.eye(12)) @ coefficients, left, rtol=1e-8)
    for i in range(12):
        others = np.delete(np.arange(12), i)
        fitted = np.linalg.solve(kernel[np.ix_(others, others)] + 0.5 * np.eye(11), left[others])
        assert_allclose(errors[i], left[i] - kernel[i, others] @ fitted, rtol=1e-8)


def test_features_that_are_not_there_are_not_learned_from_guesses():
    mdata = jm.datasets.toy(n_cells=200)
    model = jm.JAMIE(max_steps=20).fit(mdata)
    new = jm.datasets.toy(n_cells=100, rng=1)
    part = {"rna": new["rna"].copy(), "protein": new["protein"][:, :4].copy()}
    for adata in part.values():
        adata.obs_names = [f"new_{name}" for name in adata.obs_names]
    part = MuData(part)
    before = model.impute(part, source="rna", target="protein")
    assert_array_equal(model.adapt(part).impute(part, source="rna", target="protein"), before)
