"""Several sources of one target: weights, and which cells have which."""

from __future__ import annotations

from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

import jamie as jm
from jamie.model._sources import UNKNOWN, SourceErrors
from jamie.train import RECIPES

RECIPE = replace(RECIPES["default"], hidden=(16,), n_latent=6, max_steps=28, cycles=2, validation=0.1)


def errors(error, correlation):
    return SourceErrors(np.asarray(error, float), np.asarray(correlation, float))


def three(n=150, seed=0):
    """Two sources that each know one half of what the target shows, and the target."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 4))
    names = [f"c{i}" for i in range(n)]

    def modality(columns, prefix, noise=0.3):
        x = z[:, columns] @ np.random.default_rng(len(prefix)).normal(size=(len(columns), 8))
        x = (x + noise * rng.normal(size=x.shape)).astype(np.float32)
        return ad.AnnData(x, obs=pd.DataFrame(index=names), var=pd.DataFrame(index=[f"{prefix}{j}" for j in range(8)]))

    return MuData({"one": modality([0, 1], "a"), "two": modality([2, 3], "bb"), "all": modality([0, 1, 2, 3], "ccc")})


@pytest.fixture(scope="module")
def fitted():
    mdata = three()
    jm.pp.split(mdata, test_fraction=0.3)
    return mdata, jm.JAMIE(RECIPE).fit(mdata)


def test_weights_are_those_of_the_least_squared_error():
    """The oracle is a search over all weights that sum to 1, on errors drawn with this covariance."""
    found = errors([0.5, 0.3, 0.9], [[1, 0.4, 0.1], [0.4, 1, 0.2], [0.1, 0.2, 1]])
    size = np.sqrt(found.error)
    drawn = np.random.default_rng(0).multivariate_normal(
        np.zeros(3), found.correlation * size * size[:, None], size=200_000
    )
    grid = [(a, b, 1 - a - b) for a in np.arange(0, 1.01, 0.05) for b in np.arange(0, 1.01 - a, 0.05)]
    best = min(grid, key=lambda w: np.square(drawn @ w).mean())
    assert_allclose(found.weights([0, 1, 2]), best, atol=0.06)
    assert found.weights([0, 1, 2]).sum() == pytest.approx(1)


def test_a_source_alone_has_all_the_weight_and_equal_ones_share_it():
    found = errors([0.4, 0.4, UNKNOWN], np.ones((3, 3)))
    assert_allclose(found.weights([1]), [1])
    assert_allclose(found.weights([0, 1]), [0.5, 0.5])
    assert_allclose(found.weights([0, 2]), [1, 0], atol=0.01)  # what errs alike and more tells nothing
    assert np.isfinite(errors([0, 0, 0], np.ones((3, 3))).weights([0, 1, 2])).all()


def test_both_are_better_than_either_where_each_knows_something_else(fitted):
    mdata, model = fitted
    test = (mdata.obs["jamie_split"] == "test").to_numpy()
    truth = mdata["all"].X[test]

    def score(source):
        imputed = model.impute(mdata, source=source, target="all")[test]
        return np.mean([np.corrcoef(imputed[:, j], truth[:, j])[0, 1] for j in range(truth.shape[1])])

    alone, both = [score(name) for name in ("one", "two")], score(["one", "two"])
    assert both > max(alone) + 0.05
    weights = model.source_weights(["one", "two"], "all")
    assert weights.keys() == {"one", "two"}
    assert sum(weights.values()) == pytest.approx(1)
    assert min(weights.values()) > 0.2


def test_it_is_the_decoded_mean_latent_and_the_mean_correction(fitted):
    mdata, model = fitted
    cells = model.open(mdata)
    w = model.source_weights(["one", "two"], "all")
    latent = sum(w[name] * model.encode(cells.inputs(name), name) for name in w)
    correction = sum(w[name] * model.correction(cells.inputs(name), name, "all") for name in w)
    expected = model.decode(latent.astype(np.float32), "all", correction=correction.astype(np.float32))
    assert_allclose(model.impute(mdata, source=["two", "one"], target="all"), expected, atol=1e-5)


def test_each_cell_is_imputed_from_what_it_has(fitted):
    mdata, model = fitted
    names = mdata.obs_names
    part = MuData({"one": mdata["one"][names[:90]].copy(), "two": mdata["two"][names[60:120]].copy()})
    found = pd.DataFrame(model.impute(part, source=["one", "two"], target="all"), index=part.obs_names)
    both = pd.DataFrame(model.impute(mdata, source=["one", "two"], target="all"), index=names)
    for chosen, source in ((names[:60], "one"), (names[90:120], "two")):
        single = pd.DataFrame(model.impute(mdata, source=source, target="all"), index=names)
        assert_allclose(found.loc[chosen], single.loc[chosen], atol=1e-5)
    assert_allclose(found.loc[names[60:90]], both.loc[names[60:90]], atol=1e-5)


def test_the_file_keeps_the_weights(fitted, tmp_path):
    mdata, model = fitted
    model.save(tmp_path / "model.jamie")
    again = jm.JAMIE.load(tmp_path / "model.jamie")
    assert again.source_errors_.keys() == model.source_errors_.keys() == {"one", "two", "all"}
    for target, of_target in model.source_errors_.items():
        for a, b in zip(of_target, again.source_errors_[target], strict=True):
            assert_array_equal(a, b)
    assert_array_equal(
        again.impute(mdata, source=["one", "two"], target="all"),
        model.impute(mdata, source=["one", "two"], target="all"),
    )


def test_without_kernels_the_learned_weights_of_the_aggregate_are_taken(fitted):
    mdata, _ = fitted
    model = jm.JAMIE(replace(RECIPE, kernel_mix=False)).fit(mdata)
    assert model.source_errors_ == {}
    learned = {name: float(model.network_.weights[name].detach().mean()) for name in ("one", "two")}
    expected = {name: weight / sum(learned.values()) for name, weight in learned.items()}
    assert model.source_weights(["one", "two"], "all") == pytest.approx(expected)


# the verb


def test_slots_and_what_reads_them(fitted, tmp_path):
    mdata, model = fitted
    mdata = mdata.copy()
    part = MuData({"one": mdata["one"][:90].copy(), "two": mdata["two"][60:120].copy(), "all": mdata["all"].copy()})
    assert jm.tl.impute(part, model, source=["two", "one"], target="all") is None
    slot = "jamie_imputed_all_one_two"
    imputed = part.obsm[slot]
    assert imputed.shape == (150, 8)
    has = part.obs_names.isin(mdata.obs_names[:120])
    assert imputed[has].notna().all(axis=None)
    assert imputed[~has].isna().all(axis=None)
    assert_array_equal(part["all"].layers["jamie_imputed"], imputed.loc[part["all"].obs_names])
    about = part.uns[slot]
    assert list(about["sources"]) == ["one", "two"]
    assert_allclose(about["weights"], list(model.source_weights(["one", "two"], "all").values()))
    part.write(tmp_path / "cells.h5mu")
    import mudata

    again = mudata.read_h5mu(tmp_path / "cells.h5mu")
    for order in (["one", "two"], ["two", "one"]):
        found = jm.get.imputed(again, source=order, target="all")
        assert found.shape == (120, 8)
        assert_array_equal(found.X, imputed[has])


def test_one_source_in_a_list_is_one_source(fitted):
    mdata, model = fitted
    mdata = mdata.copy()
    jm.tl.impute(mdata, model, source=["one"], target="all", interval=0.8)
    assert "jamie_imputed_all_lower" in mdata["one"].obsm
    assert jm.get.imputed(mdata, source=["one"], target="all").shape == (150, 8)


def test_to_a_file_it_is_the_same(fitted, tmp_path, monkeypatch):
    mdata, model = fitted
    part = MuData({"one": mdata["one"][:90].copy(), "two": mdata["two"][60:120].copy()})
    jm.tl.impute(part, model, source=["one", "two"], target="all", features=["ccc3", "ccc0"], out=tmp_path / "x.h5ad")
    found = ad.read_h5ad(tmp_path / "x.h5ad")
    jm.tl.impute(part, model, source=["one", "two"], target="all", features=["ccc3", "ccc0"])
    expected = jm.get.imputed(part, source=["one", "two"], target="all")
    assert list(found.var_names) == ["ccc3", "ccc0"]
    assert_array_equal(found.obs_names, expected.obs_names)
    assert_allclose(found.X, expected.X, rtol=1e-6)
    assert list(found.uns["jamie_imputed_all_one_two"]["features"]) == ["ccc3", "ccc0"]


def test_completed_cells_are_imputed_from_all_that_they_have(fitted):
    mdata, model = fitted
    part = MuData({"one": mdata["one"][:90].copy(), "two": mdata["two"][60:120].copy()})
    completed = jm.tl.complete(part, model)
    expected = model.impute(part, source=["one", "two"], target="all")
    found = pd.DataFrame(completed["all"].X, index=completed["all"].obs_names).loc[part.obs_names]
    assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"source": ["one", "one"]}, ValueError, r"each source once.*pass source=\['one'\]"),
        (
            {"source": ["one", "all"]},
            ValueError,
            r"sources other than the target, found 'all' among .*source=\['one'\]",
        ),
        ({"source": []}, ValueError, "at least one"),
        ({"source": ["one", "tw"]}, KeyError, "found 'tw'; did you mean 'two'"),
        ({"source": 3}, TypeError, "`source` to be a list of names"),
        (
            {"interval": 0.9},
            ValueError,
            r"one source with `interval`, `n_samples` or `min_confidence`, .*pass source='one'",
        ),
        ({"n_samples": 2}, ValueError, "one source with `interval`, `n_samples` or `min_confidence`"),
        ({"target": "al"}, KeyError, "found 'al'; did you mean 'all'"),
    ],
)
def test_bad_input_is_refused(fitted, options, error, message):
    mdata, model = fitted
    before = set(mdata.obsm), set(mdata.uns)
    with pytest.raises(error, match=message):
        jm.tl.impute(mdata, model, **{"source": ["one", "two"], "target": "all"} | options)
    assert (set(mdata.obsm), set(mdata.uns)) == before


def test_sparse_counts_beside_continuous_values_with_holes():
    mdata = three()
    counts = sparse.csr_matrix(np.random.default_rng(0).poisson(np.exp(0.3 * mdata["one"].X)).astype(np.float32))
    mdata.mod["one"].X = counts
    mdata["all"].X[:60, :3] = np.nan
    model = jm.JAMIE(RECIPE).fit(mdata)
    imputed = model.impute(mdata, source=["one", "two"], target="all")
    assert np.isfinite(imputed).all()
    assert model.source_weights(["one", "two"], "all")["two"] > 0.4
