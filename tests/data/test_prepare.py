from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from jamie.data import CellMatrix, Effects, Preparation, prepare_cells, value_stats

KINDS = ["counts", "accessibility", "protein", "continuous"]


def fit(x, kind="continuous", n_comps=5, **how):
    train = np.ones(x.shape[0], dtype=bool)
    cells = CellMatrix(x)
    return Preparation.fit(cells, train, value_stats(cells, train), kind=kind, n_comps=n_comps, seed=0, **how)


def dense(x):
    return x.toarray() if sparse.issparse(x) else np.asarray(x)


@pytest.fixture
def counts(rng):
    """60 cells × 20 features with four strong directions."""
    rate = np.exp(rng.normal(size=(60, 4)) @ rng.normal(size=(4, 20)) * [[0.8]] - 0.5)
    return rng.poisson(rate).astype(np.float32)


@pytest.fixture
def values(rng):
    return (rng.normal(size=(60, 6)) @ rng.normal(size=(6, 6)) + 3 * rng.normal(size=6)).astype(np.float32)


@pytest.fixture
def holes(values, rng):
    holes = values.copy()
    holes[rng.random(values.shape) < 0.2] = np.nan
    return holes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_transform_is_standard_scaler_and_pca(counts, kind, container):
    x = container(counts)
    preparation = fit(x, kind)
    normalised = dense(preparation.normaliser(x)).astype(float)
    pipeline = make_pipeline(StandardScaler(), PCA(5, svd_solver="full"))
    expected = pipeline.fit_transform(normalised)
    found = preparation.transform(x)
    sign = np.sign((found * expected).sum(0))
    assert found.dtype == np.float32
    assert_allclose(found * sign, expected, atol=1e-3 * np.abs(expected).max())
    assert_allclose(preparation.variance, pipeline[1].explained_variance_, rtol=1e-3)
    assert_allclose(preparation.loadings.T @ preparation.loadings, np.eye(5), atol=1e-5)
    assert_allclose(found[:7], preparation.transform(x[:7]), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_dense_and_sparse_give_the_same(counts, kind):
    one, other = fit(counts, kind), fit(sparse.csr_matrix(counts), kind)
    sign = np.sign((one.loadings * other.loadings).sum(0))
    assert_allclose(other.transform(sparse.csr_matrix(counts)) * sign, one.transform(counts), atol=2e-3)
    assert_allclose(other.mean, one.mean, atol=1e-6)
    assert_allclose(other.sd, one.sd, rtol=1e-4)
    assert_allclose(other.openness, one.openness, rtol=1e-3)


@pytest.mark.parametrize("n_features", [20, 5_200])  # beyond EXACT_FEATURES another solver runs
@pytest.mark.parametrize("kind", ["counts", "accessibility", "protein"])
def test_sparse_is_never_made_dense(kind, n_features, never_dense):
    x = sparse.random(61, n_features, density=0.05, format="csr", dtype=np.float32, rng=np.random.default_rng(0))
    x.data = np.ceil(4 * x.data)
    never_dense(61)
    preparation = fit(x, kind)
    assert preparation.transform(x).shape == (61, 5)
    assert_allclose(preparation.transform(x).mean(0), 0, atol=1e-3)


def test_constant_features_are_harmless(values):
    values[:, 2] = 7
    for x in (values, sparse.csr_matrix(values)):
        preparation = fit(x, n_comps=6)
        assert preparation.sd[2] == 1
        assert np.isfinite(preparation.transform(x)).all()
        assert_allclose(preparation.inverse(preparation.transform(x))[:, 2], 7, rtol=1e-5)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_missing_values_are_left_out_and_contribute_nothing(holes, container):
    preparation = fit(container(holes), n_comps=6)
    assert_allclose(preparation.mean, np.nanmean(holes, 0), rtol=1e-4)
    assert_allclose(preparation.sd, np.nanstd(holes, 0), rtol=1e-4)
    filled = np.where(np.isnan(holes), np.nanmean(holes, 0), holes)
    expected = ((filled - np.nanmean(holes, 0)) / np.nanstd(holes, 0)) @ preparation.loadings
    assert_allclose(preparation.transform(container(holes)), expected, atol=1e-4)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_outliers_of_continuous_values_are_clipped(holes, container):
    holes[3, 1] = 1_000
    preparation = fit(container(holes), n_comps=6, max_value=2)
    clipped = ((holes - np.nanmean(holes, 0)) / np.nanstd(holes, 0)).clip(-2, 2)
    assert (np.abs(clipped) == 2).any(axis=0).any()
    assert_allclose(preparation.standardised(container(holes)), clipped, rtol=1e-3, atol=1e-4)
    filled = np.nan_to_num(clipped)
    sign = np.sign((preparation.loadings * PCA(6).fit(filled).components_.T).sum(0))
    assert_allclose(preparation.loadings * sign, PCA(6).fit(filled).components_.T, atol=1e-3)
    assert_allclose(preparation.transform(container(holes)), filled @ preparation.loadings, atol=1e-3)


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("kind", KINDS)
def test_rare_values_are_signal_and_not_clipped(counts, kind, container):
    x = container(np.where(counts > np.quantile(counts, 0.7), counts, 0))
    kept, as_it_is = fit(x, kind, max_value=1), fit(x, kind)
    assert kept.max_value == 0
    assert_array_equal(kept.transform(x), as_it_is.transform(x))


def test_standardised_values_keep_nan_where_nothing_was_measured(holes):
    preparation = fit(holes)
    assert_allclose(
        preparation.standardised(holes), (holes - np.nanmean(holes, 0)) / np.nanstd(holes, 0), rtol=1e-3, atol=1e-5
    )


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
def test_a_missing_feature_counts_as_what_the_others_lead_one_to_expect(values, container):
    """The oracle is the mean of a normal distribution with the covariance of the factor model, given what is there."""
    preparation = fit(values, n_comps=3)
    columns, rest = np.array([4, 0, 3]), np.array([1, 2, 5])
    loadings = preparation.loadings.astype(float)
    common = loadings * preparation.variance @ loadings.T
    covariance = common + np.diag(np.clip(1 - np.diag(common), 1e-3, None))
    z = (values - preparation.mean) / preparation.sd
    z[:, rest] = z[:, columns] @ np.linalg.solve(
        covariance[np.ix_(columns, columns)], covariance[np.ix_(columns, rest)]
    )
    found = preparation.transform(container(values[:, columns]), columns)
    assert_allclose(found, z @ loadings, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_all_features_in_another_order_are_no_part(counts, kind):
    preparation = fit(counts, kind)
    order = np.arange(20)[::-1]
    assert preparation.panel(order) is None
    assert_allclose(preparation.transform(counts[:, order], order), preparation.transform(counts), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_components_of_half_of_the_features_are_near_those_of_all(rng, kind):
    """Nearer than with the training mean for what is missing, and with the same spread and level."""
    rate = np.exp(0.8 * rng.normal(size=(300, 3)) @ rng.normal(size=(3, 200)) - 0.5)
    x = rng.poisson(rate).astype(np.float32)
    preparation = fit(sparse.csr_matrix(x), kind, n_comps=3)
    columns = np.sort(rng.choice(200, 100, replace=False))
    part, whole = preparation.transform(x[:, columns], columns), preparation.transform(x)
    at_mean = dense(preparation.scaled(x[:, columns], columns)) @ preparation.loadings[columns]
    at_mean -= at_mean.mean(0)
    error, before = np.square(part - whole).sum(), np.square(at_mean - whole).sum()
    assert error < 0.3 * before
    assert_allclose(part.std(0), whole.std(0), rtol=0.2)
    assert np.abs(part.mean(0)).max() < 0.1 * whole.std(0).max()
    told = preparation.panel(columns).share
    assert told == pytest.approx(1 - error / np.square(whole).sum(), abs=0.1)


def test_a_constant_feature_tells_nothing_of_others(values):
    values[:, 2] = 7
    preparation = fit(values, n_comps=4)
    columns = np.array([2])
    assert_allclose(preparation.transform(values[:, columns], columns), 0, atol=1e-5)
    assert preparation.panel(columns).share == pytest.approx(0, abs=1e-6)


def test_inverse_undoes_transform_at_full_rank(values):
    preparation = fit(values, n_comps=6)
    scores = preparation.transform(values)
    assert_allclose(preparation.inverse(scores), values, atol=1e-3)
    assert_allclose(preparation.inverse(scores, np.array([5, 1])), values[:, [5, 1]], atol=1e-3)


def test_inverse_keeps_what_the_components_can(counts):
    preparation = fit(counts, "counts", n_comps=4)
    normalised = preparation.normaliser(counts)
    pca = PCA(4).fit(StandardScaler().fit_transform(normalised))
    residual = (preparation.inverse(preparation.transform(counts)) - normalised) / preparation.sd
    assert residual.var(0).mean() == pytest.approx(1 - pca.explained_variance_ratio_.sum(), rel=0.02)


def test_accessibility_becomes_a_probability_that_rises_with_the_evidence(counts):
    x = (counts > 0).astype(np.float32)
    preparation = fit(sparse.csr_matrix(x), "accessibility", n_comps=20)
    rate = x.mean(0)
    at_mean = preparation.inverse(np.zeros((1, 20), np.float32))[0]
    clipped = rate.clip(0.5 / 60, 1 - 0.5 / 60)
    assert_allclose(at_mean, clipped, rtol=1e-4)
    steps = np.linspace(-0.5, 0.5, 9, dtype=np.float32)[:, None] * preparation.loadings[3]
    risen = preparation.inverse(steps)[:, 3]
    assert np.all(np.diff(risen) > 0)
    probability = preparation.inverse(preparation.transform(x))
    assert probability.min() >= 0
    assert probability.max() <= 1
    assert probability[x > 0].mean() > probability[x == 0].mean() + 0.3


def test_slope_of_openness_is_the_regression_of_open_on_tfidf(counts):
    x = (counts > 0).astype(np.float32)
    x[:, 0] = 0
    preparation = fit(x, "accessibility")
    tfidf = dense(preparation.normaliser(x)).astype(float)
    for j in range(1, 20):
        if 0 < x[:, j].mean() < 1:
            slope = np.cov(tfidf[:, j], x[:, j], bias=True)[0, 1] / tfidf[:, j].var()
            assert preparation.openness[1, j] == pytest.approx(slope / x[:, j].var(), rel=1e-3)
    assert preparation.openness[0, 0] == pytest.approx(0.5 / 60)


def test_rare_regions_are_imputed_as_open_as_often_as_they_are(rng):
    """A logistic curve through the slope at the mean says two to four times too often."""
    rate = 0.01 * np.exp(0.8 * rng.normal(size=(500, 2)) @ rng.normal(size=(2, 200)))
    x = (rng.random(rate.shape) < rate).astype(np.float32)
    preparation = fit(sparse.csr_matrix(x), "accessibility", n_comps=2)
    imputed = preparation.inverse(preparation.transform(x))
    assert imputed.mean() == pytest.approx(x.mean(), rel=0.15)
    assert ((imputed - x) ** 2).mean() < ((x.mean(0) - x) ** 2).mean()


def test_far_scores_of_a_rare_region_stay_probabilities(rng):
    x = (rng.random((400, 30)) < 0.004).astype(np.float32)
    x[:2] = 1
    preparation = fit(sparse.csr_matrix(x), "accessibility", n_comps=30)
    probability = preparation.inverse(-3 * preparation.transform(x[:2]))
    assert np.isfinite(probability).all()
    assert probability.min() >= 0
    assert probability.max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_stored_can_be_read_back(counts, kind):
    x = sparse.csr_matrix(counts)
    preparation = fit(x, kind)
    stored = preparation.to_dict()
    json.dumps({key: value for key, value in stored.items() if not isinstance(value, np.ndarray)})
    back = Preparation.from_dict(stored, features=preparation.features, loadings=preparation.loadings)
    assert_array_equal(back.transform(x), preparation.transform(x))
    assert_array_equal(back.inverse(back.transform(x)), preparation.inverse(preparation.transform(x)))
    for field in {field.name for field in fields(Preparation)} - {"normaliser", "effects"}:
        assert_array_equal(getattr(back, field), getattr(preparation, field))
    assert preparation.features.tolist() == [str(j) for j in range(20)]
    assert (back.kind, back.scale, back.is_whole, back.is_nonnegative) == (kind, preparation.scale, True, True)


def test_regions_that_are_always_or_never_open_have_a_rate_between_none_and_one(counts):
    counts[:, 0], counts[:, 1] = 2, 0
    rate, slope = fit(counts, "accessibility").openness
    n = len(counts)
    assert_allclose(rate, ((counts > 0).mean(axis=0)).clip(0.5 / n, 1 - 0.5 / n), rtol=1e-6)
    assert np.isfinite(slope).all()


def test_new_cells_with_gaps_in_some_regions_are_refused_with_the_number_of_these(counts):
    preparation, gaps = fit(counts, "accessibility"), counts.copy()
    gaps[:7, [2, 5]] = np.nan  # of seven cells in two of twenty regions
    with pytest.raises(ValueError, match="found it in 2 of 20 regions"):
        preparation.inputs(CellMatrix(gaps))


def test_components_are_no_more_than_cells_and_features_allow(values):
    assert fit(values, n_comps=50).loadings.shape == (6, 6)
    assert fit(values[:4], n_comps=50).loadings.shape == (6, 3)
    with pytest.raises(FrozenInstanceError):
        fit(values).mean = 0


@pytest.mark.parametrize("container", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("kind", ["counts", "protein"])
def test_what_a_panel_lacks_stands_at_the_mean(counts, kind, container):
    counts[30:, 12:] = np.nan
    x = container(counts)
    preparation = fit(x, kind)
    normalised = dense(preparation.normaliser(x)).astype(float)
    assert_allclose(preparation.mean, np.nanmean(normalised, 0), rtol=1e-4)
    assert_allclose(preparation.sd, np.nanstd(normalised, 0), rtol=1e-3)
    scaled = (normalised - np.nanmean(normalised, 0)) / np.nanstd(normalised, 0)
    assert_allclose(preparation.transform(x), np.nan_to_num(scaled) @ preparation.loadings, atol=2e-3)
    assert_allclose(preparation.standardised(x), scaled, atol=1e-3)
    assert_allclose(dense(preparation.measured(x)), normalised, rtol=1e-5)
    assert_array_equal(preparation.inputs(CellMatrix(x)), preparation.transform(x))
    back = Preparation.from_dict(preparation.to_dict(), features=preparation.features, loadings=preparation.loadings)
    assert_array_equal(back.transform(x), preparation.transform(x))


@pytest.mark.parametrize("kind", ["counts", "protein"])
def test_cells_of_either_panel_are_prepared_alike(kind):
    """Depth would stand in the first component if each cell was divided by the total of its own panel."""
    rng = np.random.default_rng(0)
    rate = np.exp(rng.normal(1, 1, 30) + 0.5 * rng.normal(size=(400, 2)) @ rng.normal(size=(2, 30)))
    x = rng.poisson(rate).astype(np.float32)
    of_second = rng.random(400) < 0.5
    x[np.ix_(of_second, rate.mean(0).argsort()[-8:])] = np.nan
    scores = fit(x, kind).transform(x)
    apart = (scores[of_second].mean(0) - scores[~of_second].mean(0)) / scores.std(0)
    assert np.abs(apart).max() < 0.4


@pytest.mark.parametrize("kind", ["counts", "protein", "accessibility"])
def test_recovery_multiplies_what_is_carried_back(counts, kind):
    preparation, values = fit(counts, kind), np.full((2, 20), 0.5, np.float32)
    plain = preparation.normaliser.to_input_units(values)
    assert_array_equal(preparation.to_input_units(values), plain)
    factor = np.linspace(0.5, 4, 20, dtype=np.float32)
    expected = plain * factor
    expected = expected.clip(max=1) if kind == "accessibility" else expected
    assert_allclose(replace(preparation, recovery=factor).to_input_units(values), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_of_many_values_is_as_good(counts, kind, monkeypatch):
    x = sparse.csr_matrix(counts)
    preparation = fit(x, kind)
    prepared, _ = prepare_cells(CellMatrix(x), preparation)
    monkeypatch.setattr("jamie.data._cells.SINGLE", 0)
    seen = []
    monkeypatch.setattr(Preparation, "components", watched(Preparation.components, seen))
    single, _ = prepare_cells(CellMatrix(x), preparation)
    assert {scaled.dtype for scaled in seen} == {np.dtype(np.float32)}
    assert_allclose(single.inputs, prepared.inputs, atol=1e-5 * np.abs(prepared.inputs).max())
    assert_array_equal(single.digests, prepared.digests)


def watched(function, seen):
    """The function, which notes its second argument."""

    def watch(self, scaled, *arguments):
        seen.append(scaled)
        return function(self, scaled, *arguments)

    return watch


def test_of_very_many_values_mean_and_sd_are_those_of_some_cells(rng, monkeypatch):
    x = sparse.csr_matrix(rng.poisson(2.0, size=(4_000, 6)).astype(np.float32))
    whole = fit(x, "counts")
    monkeypatch.setattr("jamie.data._prepare.VALUES", 6_000)  # a quarter of the cells
    some = fit(x, "counts")
    assert not np.array_equal(some.mean, whole.mean)
    assert_allclose(some.mean, whole.mean, atol=5 * whole.sd.max() / np.sqrt(1_000))
    assert_allclose(some.sd, whole.sd, rtol=0.15)
    assert some.n_fitted == whole.n_fitted == 4_000


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_outside_of_the_components_is_what_they_do_not_rebuild(counts, kind):
    preparation = fit(counts, kind)
    scaled = dense(preparation.standardised(counts)) if kind == "continuous" else None
    if scaled is None:
        normalised = dense(preparation.normaliser(sparse.csr_matrix(counts)))
        scaled = (normalised - preparation.mean) / preparation.sd
    rebuilt = scaled @ preparation.loadings @ preparation.loadings.T
    expected = np.square(scaled - rebuilt).sum(axis=1)
    assert_allclose(preparation.outside(counts), expected, rtol=1e-4)
    assert_allclose(preparation.outside(sparse.csr_matrix(counts)), expected, rtol=1e-4)


def test_values_as_in_a_batch_have_its_effects(counts):
    effects = Effects(
        "donor", ("a", "b"), (), center=np.empty(0), spread=np.empty(0),
        of_batch=np.linspace(-1, 1, 40).reshape(2, 20), of_covariate=np.empty((0, 20)), is_factor=True,
    )  # fmt: skip
    preparation, some = replace(fit(counts, "counts"), effects=effects), np.array([7, 2])
    values = preparation.measured(counts)
    for columns in (slice(None), some):
        found = preparation.as_in_batch(values[:, columns], "b", columns)
        assert_allclose(np.expm1(found), np.expm1(values[:, columns]) * np.exp(effects.of_batch[1, columns]), rtol=1e-5)
    for without in (None, replace(effects, batch_key="", batches=())):
        with pytest.raises(ValueError, match="a model that knows batches to answer as in batch='b', found one without"):
            replace(preparation, effects=without).as_in_batch(values, "b")
