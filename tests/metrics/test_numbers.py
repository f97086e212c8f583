"""Every measure takes arrays, lists and tables of numbers alike, and refuses what is none with an error of ours."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

import jamie as jm
from jamie import metrics

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
Y = X + RNG.normal(size=(40, 3))
COUNTS = RNG.poisson(20, (40, 3)) * np.arange(1, 41)[:, None]
LABELS = np.array(["a", "b"] * 20)
RIGHT = RNG.random(40) < 0.7

MATRICES = {
    "feature_correlation": (metrics.feature_correlation, (X, Y)),
    "feature_auroc": (metrics.feature_auroc, (X, Y)),
    "feature_auroc of all": (lambda x, y: metrics.feature_auroc(x, y, threshold="matrix"), (X, Y)),
    "sd_ratio": (metrics.sd_ratio, (X, Y)),
    "js_distance": (metrics.js_distance, (X, Y)),
    "js_distance by group": (lambda x, y: metrics.js_distance(x, y, groups=LABELS.tolist()), (X, Y)),
    "js_floor": (lambda x: metrics.js_floor(x, 20), (X,)),
    "correlation_error": (metrics.correlation_error, (X, Y)),
    "compare_methods": (metrics.compare_methods, (X, Y, 2 * X - Y)),
    "max_correlation": (metrics.max_correlation, (COUNTS,)),
    "is_within": (metrics.is_within, (X, Y - 1, Y + 1)),
}
LATENTS = {
    "foscttm": (metrics.foscttm, (X, Y)),
    "foscttm by group": (lambda x, y: metrics.foscttm(x, y, groups=LABELS.tolist()), (X, Y)),
    "foscttm_error": (metrics.foscttm_error, (X, Y)),
    "label_transfer_accuracy": (lambda x, y: metrics.label_transfer_accuracy(x, y, LABELS.tolist()), (X, Y)),
}
VECTORS = {
    "binomial_test": (metrics.binomial_test, (X[:, 0], Y[:, 0])),
    "calibration_error": (metrics.calibration_error, (np.linspace(0, 1, 40), RIGHT)),
}
ALL = MATRICES | LATENTS | VECTORS
LIKE = {
    "lists": np.ndarray.tolist,
    "tuples": lambda x: tuple(map(tuple, x)) if x.ndim > 1 else tuple(x),
    "table": lambda x: pd.DataFrame(x) if x.ndim > 1 else pd.Series(x),
    "nullable": lambda x: pd.DataFrame(x).astype("Float64") if x.ndim > 1 else pd.Series(x).astype("Float64"),
    "objects": lambda x: x.astype(object),
    "list of arrays": list,
}


def test_every_public_measure_is_here():
    assert {name.partition(" ")[0] for name in ALL} - {"is_within"} == set(metrics.__all__)


@pytest.mark.parametrize("like", LIKE)
@pytest.mark.parametrize("measure", ALL)
def test_lists_and_tables_are_as_good_as_arrays(measure, like):
    function, arrays = ALL[measure]
    given = [LIKE[like](array) for array in arrays]
    assert_allclose(np.asarray(function(*given), float), np.asarray(function(*arrays), float))


@pytest.mark.parametrize("measure", sorted(set(MATRICES) - {"is_within"}))
def test_sparse_ones_are_too(measure):
    function, arrays = MATRICES[measure]
    assert_allclose(
        np.asarray(function(*map(sparse.csr_matrix, arrays)), float), np.asarray(function(*arrays), float), atol=0.1
    )


def with_a_word(x):
    other = x.astype(object)
    other.ravel()[3] = "high"
    return other.tolist()


def ragged(x):
    return (
        [row[:-1] if i == 1 else row for i, row in enumerate(x.tolist())] if x.ndim > 1 else [*x.tolist()[1:], [1, 2]]
    )


WRONG = {
    "text": (lambda x: "abc", "found 'abc' of type str"),
    "words": (lambda x: np.full(x.shape, "high").tolist(), "found text"),
    "numbers as text": (lambda x: x.astype(str), "found text"),
    "a word": (with_a_word, "found text"),
    "a word among objects": (lambda x: np.array(with_a_word(x), object), "found 'high' of type str"),
    "rows of other lengths": (ragged, "found others"),
    "complex": (lambda x: x + 1j, "found complex numbers"),
    "dates": (lambda x: np.full(x.shape, np.datetime64("2026-01-01")), "found dates"),
    "nothing": (lambda x: None, "found None"),
    "a dictionary": (lambda x: {"a": 1}, "of type dict"),
    "bytes": (lambda x: x.astype("S8"), "found bytes"),
}


@pytest.mark.parametrize(("make", "says"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("measure", ALL)
@pytest.mark.parametrize("which", ["all", "first", "last"])
def test_what_is_no_number_is_refused_by_name(measure, make, says, which):
    function, arrays = ALL[measure]
    chosen = {"all": range(len(arrays)), "first": [0], "last": [len(arrays) - 1]}[which]
    given = [make(array) if i in chosen else array for i, array in enumerate(arrays)]
    with pytest.raises(jm.JamieError, match=f"expected (real numbers|rows of one length) in `.*{says}") as refused:
        function(*given)
    assert isinstance(refused.value, ValueError)


@pytest.mark.parametrize("measure", [name for name in MATRICES if name not in ("max_correlation", "is_within")])
@pytest.mark.parametrize("shape", [(), (40,), (0, 3), (2, 3, 4)])
def test_what_is_no_matrix_is_refused(measure, shape):
    function, arrays = MATRICES[measure]
    with pytest.raises(jm.JamieError):
        function(*(np.zeros(shape) for _ in arrays))


def test_what_is_missing_or_masked_is_left_out():
    x = X.copy()
    x[::5, 1] = np.nan
    expected = metrics.feature_correlation(x, Y)
    hidden = np.where(np.isnan(x), None, x)
    for other in (hidden, hidden.tolist(), np.ma.masked_invalid(x), pd.DataFrame(x).astype("Float64")):
        assert_allclose(metrics.feature_correlation(other, Y), expected)


@pytest.mark.parametrize("wrong", ["5", 2.5, 0, None, True])
def test_numbers_of_bins_and_neighbours_are_whole(wrong):
    for call in (
        lambda: metrics.js_distance(X, Y, n_bins=wrong),
        lambda: metrics.label_transfer_accuracy(X, Y, LABELS, n_neighbors=wrong),
        lambda: metrics.calibration_error([0.5], [True], n_bins=wrong),
    ):
        with pytest.raises(jm.JamieError, match=r"expected `n_(bins|neighbors)`"):
            call()
