from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.spatial.distance import jensenshannon
from scipy.stats import binomtest

from jamie.metrics import _columns, binomial_test, js_distance


def one(a, b, n_bins=20):
    """Distance of two samples from its definition."""
    edges = np.linspace(min(a.min(), b.min()), max(a.max(), b.max()), n_bins + 1)
    p, q = (np.histogram(side, edges)[0] / len(side) for side in (a, b))
    m = (p + q) / 2
    divergence = [sum(s * np.log2(s / t) for s, t in zip(side, m, strict=True) if s > 0) for side in (p, q)]
    return np.sqrt(np.mean(divergence))


@pytest.fixture
def values():
    rng = np.random.default_rng(0)
    measured = rng.normal(size=(90, 6))
    return measured, 0.5 * measured + np.linspace(0, 2, 6) + 0.1 * rng.normal(size=measured.shape)


@pytest.fixture
def groups():
    return np.random.default_rng(1).choice(["L6", "L2", "Pvalb"], size=90)


@pytest.mark.parametrize("n_bins", [2, 7, 20])
def test_js_is_the_definition(values, n_bins):
    expected = [one(a, b, n_bins) for a, b in zip(*(side.T for side in values), strict=True)]
    assert_allclose(js_distance(*values, n_bins=n_bins), expected)


def test_js_is_scipys_on_histograms(values):
    a, b = (side[:, 0] for side in values)
    span = (min(a.min(), b.min()), max(a.max(), b.max()))
    p, q = (np.histogram(side, 20, span)[0] for side in (a, b))
    assert_allclose(js_distance(*values)[0], jensenshannon(p, q, base=2))


def test_js_per_group_is_js_of_the_group(values, groups):
    measured, imputed = values
    expected = [js_distance(measured[groups == g], imputed[groups == g]) for g in ("L2", "L6", "Pvalb")]
    assert_array_equal(js_distance(*values, groups=groups), expected)
    with_missing = groups.astype(object)
    with_missing[groups == "L6"] = None
    assert_array_equal(js_distance(*values, groups=with_missing), [expected[0], expected[2]])


def test_equal_is_0_and_disjoint_is_1():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(40, 3))
    assert_array_equal(js_distance(z, z), [0, 0, 0])
    assert_array_equal(js_distance(z, z[::-1]), [0, 0, 0])  # of distributions, not of cells
    assert_allclose(js_distance(z, z + 100), [1, 1, 1])


def test_constants_that_differ_are_disjoint():
    ones = np.ones((5, 1))
    assert js_distance(ones, ones + 1e-9) == 1
    assert js_distance(ones * 0.1, np.linspace(0, 1, 5)[:, None]) > 0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, -3.7, 1234.5])
def test_a_constant_has_no_distribution_and_rounding_is_none(dtype, value):
    rng = np.random.default_rng(0)
    constant = np.full((40, 3), value, dtype=dtype)
    noisy = np.nextafter(constant, rng.choice([-np.inf, np.inf], size=constant.shape).astype(dtype))
    noisy[:, 0] = value
    noisy = noisy if value else constant  # next to zero there are numbers that are as exact
    assert_array_equal(js_distance(constant, constant), [np.nan] * 3)
    assert_array_equal(js_distance(constant, noisy), [np.nan] * 3)
    assert_array_equal(js_distance(noisy, noisy[::-1]), [np.nan] * 3)
    groups = np.repeat(["a", "b"], 20)
    assert_array_equal(js_distance(noisy, constant, groups=groups), np.full((2, 3), np.nan))


def test_rounding_is_that_of_the_coarser_type():
    steps = 1 + 1e-7 * np.arange(20)[:, None]
    assert js_distance(steps, steps[::-1]) == 0
    assert np.isnan(js_distance(steps.astype(np.float32), steps)).all()
    assert np.isnan(js_distance(steps, steps.astype(np.float32))).all()


def test_what_is_off_in_a_group_is_measured_by_the_size_of_the_feature():
    rng = np.random.default_rng(0)
    measured = np.r_[np.zeros(30), rng.uniform(1, 4, size=30)][:, None].astype(np.float32)
    imputed = measured + 1e-8 * rng.normal(size=measured.shape).astype(np.float32)  # what sums of float32 leave of 0
    groups = np.repeat(["off", "on"], 30)
    distances = js_distance(measured, imputed, groups=groups)[:, 0]
    assert np.isnan(distances[0])
    assert distances[1] == 0


def test_counts_and_truth_values_are_exact():
    ones = np.ones((6, 1), dtype=int)
    assert js_distance(10**6 * ones, 10**6 * ones + 1) == 1
    assert np.isnan(js_distance(ones, ones)).all()
    assert js_distance(ones.astype(bool), np.zeros((6, 1), dtype=bool)) == 1


def test_failures_are_nan_and_never_perfect():
    z = np.arange(5.0)
    single = np.where(z < 1, z, np.nan)
    measured = np.column_stack([z, z, np.full(5, np.nan), single, z])
    imputed = np.column_stack([np.full(5, np.nan), np.full(5, np.inf), z, z, z])
    assert_array_equal(js_distance(measured, imputed), [np.nan] * 4 + [0])
    assert_array_equal(js_distance(z[:, None], z[:, None], groups=list("aabbc")), [[0], [0], [np.nan]])


def test_missing_entries_are_left_out_of_both(values):
    measured, imputed = (side.copy() for side in values)
    measured[:10, 0] = np.nan
    imputed[80:, 0] = -np.inf
    assert_allclose(js_distance(measured, imputed)[0], one(measured[10:80, 0], imputed[10:80, 0]))


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csc_array])
def test_sparse_and_blocks_give_the_same(values, groups, container, monkeypatch):
    measured, imputed = np.maximum(values[0], 0), values[1]
    expected = js_distance(measured, imputed), js_distance(measured, imputed, groups=groups)
    monkeypatch.setattr(_columns, "_BLOCK", 4 * 90)
    assert_array_equal(js_distance(container(measured), imputed), expected[0])
    assert_array_equal(js_distance(container(measured), container(imputed), groups=groups), expected[1])


def test_js_without_features(groups):
    assert js_distance(np.empty((90, 0)), np.empty((90, 0))).shape == (0,)
    assert js_distance(np.empty((90, 0)), np.empty((90, 0)), groups=groups).shape == (3, 0)


def test_js_refuses(values):
    measured, imputed = values
    with pytest.raises(ValueError, match="`n_bins` >= 2, found 1"):
        js_distance(measured, imputed, n_bins=1)
    with pytest.raises(ValueError, match=r"each of the 90 cells of `measured`, found shape \(3,\)"):
        js_distance(measured, imputed, groups=["a", "b", "c"])
    with pytest.raises(ValueError, match="pass `groups=None`"):
        js_distance(measured, imputed, groups=[None] * 90)
    with pytest.raises(ValueError, match="same shape"):
        js_distance(measured, imputed[1:])


def test_binomial_counts_and_is_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 60))
    a += 1
    a[:5] = b[:5]
    a[5:9] = np.nan
    b[8:12] = np.nan
    result = binomial_test(a, b)
    wins, losses = int(np.sum(a > b)), int(np.sum(a < b))
    assert result == (wins, losses, 5, binomtest(wins, wins + losses, 0.5, alternative="two-sided").pvalue)
    assert wins + losses + 5 == 60 - 7
    assert binomial_test(b, a) == (losses, wins, 5, result.p_value)
    assert result.wins > result.losses
    assert result.p_value < 0.05


def test_binomial_of_the_paper():
    # 22 of 29 features, as published for motor cortex: sum of both tails of Binomial(29, ½)
    from math import comb

    a = np.r_[np.ones(22), np.zeros(7)]
    tails = 2 * sum(comb(29, k) for k in range(22, 30)) / 2**29
    assert binomial_test(a, 1 - a).p_value == pytest.approx(tails)


def test_nothing_won_or_lost_says_nothing():
    assert binomial_test([1.0, np.nan], [1.0, 2.0]) == (0, 0, 1, 1.0)
    assert binomial_test([], []) == (0, 0, 0, 1.0)
    assert binomial_test([0.9, None, 0.1], [0.1, 0.2, None]) == (1, 0, 0, 1.0)


def test_binomial_refuses():
    with pytest.raises(ValueError, match=r"same shape, found \(2,\) and \(3,\)"):
        binomial_test([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match=r"one score a feature, found shape \(2, 3\)"):
        binomial_test(np.ones((2, 3)), np.ones((2, 3)))
