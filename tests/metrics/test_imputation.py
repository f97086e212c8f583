from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.stats import pearsonr
from sklearn.metrics import roc_auc_score

from jamie.metrics import _columns, feature_auroc, feature_correlation, sd_ratio

SPARSE = [sparse.csr_matrix, sparse.csc_array, sparse.coo_array]


@pytest.fixture
def values():
    rng = np.random.default_rng(0)
    measured = rng.normal(size=(50, 9)) * 10.0 ** np.arange(-4, 5)
    return measured, measured + rng.normal(size=measured.shape) * 10.0 ** np.arange(-4, 5)


@pytest.fixture
def holed(values):
    rng = np.random.default_rng(1)
    return tuple(np.where(rng.random(side.shape) < 0.2, np.nan, side) for side in values)


def counts(n=40, d=7):
    rng = np.random.default_rng(3)
    measured = rng.poisson(np.linspace(0.3, 4, d), size=(n, d)).astype(float)
    return measured, measured + rng.normal(size=(n, d))


def pairwise(measured, imputed):
    for a, b in zip(measured.T, imputed.T, strict=True):
        seen = np.isfinite(a) & np.isfinite(b)
        yield a[seen], b[seen]


def test_correlation_is_pearsonr(values, holed):
    assert_allclose(
        feature_correlation(*values), [pearsonr(a, b)[0] for a, b in zip(*(s.T for s in values), strict=True)]
    )
    assert_allclose(feature_correlation(*holed), [pearsonr(a, b)[0] for a, b in pairwise(*holed)])


def test_correlation_survives_offsets_and_extreme_scales():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 200, 1))
    expected = pearsonr(a[:, 0], b[:, 0])[0]
    assert_allclose(feature_correlation(a * 1e-200, b * 1e200), [expected])
    assert_allclose(feature_correlation(a + 1e6, b - 1e6), [expected], rtol=1e-6)


def test_correlation_of_what_cannot_correlate_is_nan():
    ramp = np.arange(6.0)
    two = np.where(ramp < 2, ramp, np.nan)
    three = np.where(ramp < 3, ramp, np.nan)
    measured = np.column_stack([ramp, np.full(6, 0.1), ramp, two, three, np.full(6, np.nan), ramp])
    imputed = np.column_stack([ramp, ramp, np.full(6, 0.1), ramp, ramp, ramp, np.where(ramp > 3, np.inf, -ramp)])
    assert_allclose(feature_correlation(measured, imputed), [1, np.nan, np.nan, np.nan, 1, np.nan, -1])


@pytest.mark.parametrize("value", [0.1, -3.7, 1234.5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_with_rounding_is_constant(value, dtype):
    rng = np.random.default_rng(0)
    noisy = np.full((30, 1), value, dtype=dtype)
    noisy = np.nextafter(noisy, rng.choice([-np.inf, np.inf], size=noisy.shape).astype(dtype))
    ramp = np.arange(30, dtype=dtype)[:, None]
    assert np.ptp(noisy) > 0
    assert np.isnan(feature_correlation(noisy, ramp)).all()
    assert np.isnan(feature_correlation(ramp, noisy)).all()
    assert np.isnan(sd_ratio(noisy, ramp)).all()
    assert sd_ratio(ramp, noisy) < 1e-4


def test_constant_over_the_cells_that_are_left_is_constant():
    measured = np.array([[1.0], [1.0], [1.0], [7.0]])
    assert np.isnan(feature_correlation(measured, np.array([[1.0], [2.0], [3.0], [np.nan]]))).all()


def test_auroc_is_roc_auc_score(values, holed):
    for measured, imputed in (values, holed, counts()):
        expected = [roc_auc_score(a > np.median(a), b) for a, b in pairwise(measured, imputed)]
        assert_allclose(feature_auroc(measured, imputed), expected)


def test_auroc_counts_ties_half():
    measured, imputed = counts()
    expected = [roc_auc_score(a > np.median(a), b) for a, b in zip(measured.T, imputed.round().T, strict=True)]
    assert_allclose(feature_auroc(measured, imputed.round()), expected)
    assert_allclose(feature_auroc(measured, np.zeros_like(measured)), 0.5)


@pytest.mark.parametrize("shift", [-2, 0, 3])
def test_matrix_threshold_is_the_median_of_everything(holed, shift):
    measured, imputed = counts()
    measured += shift
    measured[:, 0] = -9
    median = np.median(measured)
    expected = [
        roc_auc_score(a > median, b) if len(set(a > median)) == 2 else np.nan
        for a, b in zip(measured.T, imputed.T, strict=True)
    ]
    assert np.isnan(expected[0])
    assert_allclose(feature_auroc(measured, imputed, threshold="matrix"), expected)
    for container in SPARSE:
        assert_allclose(feature_auroc(container(measured), imputed, threshold="matrix"), expected)
    median = np.nanmedian(holed[0])
    expected = [roc_auc_score(a > median, b) if len(set(a > median)) == 2 else np.nan for a, b in pairwise(*holed)]
    assert_allclose(feature_auroc(*holed, threshold="matrix"), expected)


@pytest.mark.parametrize(
    "measured",
    [
        [0, 0, 1],
        [-1, -1, 0],
        [-1, 0, 1],
        [-2, -1, 3, 4],
        [0, 0, 2, 3],
        [-1, 0, 2, 3],
        [5, 6, 7],
        [0, 2, 3, 4],
        [-3, -2, 0, 0, 1],
        [-3, -2, -1, 0, 0],
        [0, 0.2, 0.5, 2, 3],
        [-0.5, 0, 0, 0.3, 0.6],
    ],
)
def test_matrix_threshold_counts_zeros_that_are_not_stored(measured):
    measured = np.array(measured, dtype=float)
    imputed = np.random.default_rng(0).normal(size=len(measured))
    expected = roc_auc_score(measured > np.median(measured), imputed)
    for container in [np.asarray, *SPARSE]:
        value = feature_auroc(container(measured[:, None]), imputed[:, None], threshold="matrix")
        assert_allclose(value, [expected])


def test_numbers_that_are_objects_are_numbers():
    measured, imputed = counts()
    for threshold in ("feature", "matrix"):
        expected = feature_auroc(measured, imputed, threshold=threshold)
        assert_array_equal(feature_auroc(measured.astype(object), imputed, threshold=threshold), expected)


def test_the_thresholds_differ():
    measured, imputed = counts()
    assert not np.allclose(feature_auroc(measured, imputed), feature_auroc(measured, imputed, threshold="matrix"))


def test_auroc_of_one_class_is_nan():
    ramp = np.arange(6.0)
    measured = np.column_stack([np.full(6, 0.1), np.full(6, np.nan), ramp])
    assert_array_equal(feature_auroc(measured, np.tile(ramp[:, None], 3)), [np.nan, np.nan, 1])


def test_sd_ratio_is_that_of_numpy(values, holed):
    for measured, imputed in (values, holed, counts()):
        assert_allclose(sd_ratio(measured, imputed), [b.std() / a.std() for a, b in pairwise(measured, imputed)])


def test_sd_ratio_survives_offsets_and_extreme_scales():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 200, 1))
    expected = b.std() / a.std()
    assert_allclose(sd_ratio(a * 1e-200, b * 1e-200), [expected])
    assert_allclose(sd_ratio(a * 1e200, b * 1e200), [expected])
    assert_allclose(sd_ratio(a + 1e6, b - 1e6), [expected], rtol=1e-6)


def test_sd_ratio_without_variance_is_zero_or_nan():
    ramp = np.arange(6.0)
    one, two = (np.where(ramp < n, ramp, np.nan) for n in (1, 2))
    constant = np.full(6, 0.1)
    measured = np.column_stack([ramp, constant, constant, one, two, np.full(6, np.nan), ramp])
    imputed = np.column_stack([constant, ramp, constant, ramp, 3 * ramp, ramp, np.where(ramp > 1, np.inf, ramp / 2)])
    assert_allclose(sd_ratio(measured, imputed), [0, np.nan, np.nan, np.nan, 3, np.nan, 0.5], atol=0)


@pytest.mark.parametrize("container", SPARSE)
@pytest.mark.parametrize("measure", [feature_correlation, feature_auroc, sd_ratio])
def test_sparse_matrices_give_the_same(container, measure):
    measured, imputed = counts()
    expected = measure(measured, imputed)
    assert_allclose(measure(container(measured), imputed), expected)
    assert_allclose(measure(measured, container(imputed)), expected)
    assert_allclose(measure(container(measured.astype(int)), imputed.astype(np.float32)), expected, rtol=1e-5)


@pytest.mark.parametrize("measure", [feature_correlation, feature_auroc, sd_ratio])
def test_blocks_do_not_show(measure, holed, monkeypatch):
    expected = measure(*holed)
    for block in (1, 150, 8 * 50):
        monkeypatch.setattr(_columns, "_BLOCK", block)
        assert_array_equal(measure(*holed), expected)


def test_blocks_of_a_sparse_matrix_are_small(monkeypatch):
    monkeypatch.setattr(_columns, "_BLOCK", 100)
    matrix = sparse.random_array((30, 20), density=0.2, rng=0, format="csr")
    blocks = list(_columns.column_blocks(matrix, matrix))
    assert [a.shape for a, _ in blocks] == [(30, 3)] * 6 + [(30, 2)]
    assert_array_equal(np.hstack([a for a, _ in blocks]), matrix.toarray())


@pytest.mark.parametrize("measure", [feature_correlation, feature_auroc, sd_ratio])
def test_the_input_stays_and_no_features_are_no_scores(measure, holed):
    before = [side.copy() for side in holed]
    measure(*holed)
    assert_array_equal(holed, before)
    assert measure(np.empty((5, 0)), np.empty((5, 0))).shape == (0,)


@pytest.mark.parametrize("measure", [feature_correlation, feature_auroc, sd_ratio])
def test_refusals(measure, values):
    measured, imputed = values
    with pytest.raises(ValueError, match=r"same shape, found \(50, 9\) and \(50, 8\)"):
        measure(measured, imputed[:, 1:])
    with pytest.raises(ValueError, match=r"found shape \(50,\); one feature is a column"):
        measure(measured[:, 0], imputed[:, 0])
    with pytest.raises(ValueError, match="at least one cell"):
        measure(measured[:0], imputed[:0])


def test_unknown_threshold_is_refused_with_the_choices(values):
    with pytest.raises(ValueError, match=r"\['feature', 'matrix'\], found 'features'; did you mean 'feature'"):
        feature_auroc(*values, threshold="features")
