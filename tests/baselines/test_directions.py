"""Supervised directions: against ridge regression of scikit-learn, cell by cell."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import Ridge

from jamie.baselines import Directions, _directions, one_left_out, supervised


def told(n, seed=0):
    """Inputs of which the first two of six tell the three outputs, and noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6)) * [1, 1, 3, 3, 3, 3] + 5
    y = x[:, :2] @ np.array([[1.0, 0.5, 0], [0, 1, -1]]) + 0.3 * rng.normal(size=(n, 3)) - 2
    return x.astype(np.float32), y.astype(np.float32)


def fresh():
    return np.random.default_rng(0)


def left_out_error(x, y, penalty):
    """Squared error of each cell predicted from a ridge of all others."""
    error = 0.0
    for i in range(len(x)):
        others = np.arange(len(x)) != i
        ridge = Ridge(alpha=penalty).fit(x[others], y[others])
        error += np.square(ridge.predict(x[[i]]) - y[i]).sum()
    return error


def test_coordinates_are_the_fitted_values_of_ridge(monkeypatch):
    x, y = told(60)
    monkeypatch.setattr(_directions, "PENALTIES", np.array([1e-2]))
    directions, *_ = supervised(x, y, fresh())
    unit = np.linalg.eigvalsh((x - x.mean(0)).astype(float).T @ (x - x.mean(0)))[-1]
    expected = Ridge(alpha=1e-2 * unit).fit(x.astype(float), y).predict(x) - y.mean(0)
    assert_allclose(directions(x), expected, atol=1e-5)
    assert directions.matrix.shape == (6, 3)


def test_the_penalty_has_the_least_error_of_each_cell_from_all_others():
    x, y = (values.astype(float) for values in told(40))
    y += np.random.default_rng(1).normal(size=y.shape) * 3
    unit = np.linalg.eigvalsh((x - x.mean(0)).T @ (x - x.mean(0)))[-1]
    errors = [left_out_error(x, y, penalty) for penalty in _directions.PENALTIES * unit]
    found = _directions._penalty(x, y)
    assert found == pytest.approx(_directions.PENALTIES[int(np.argmin(errors))] * unit)


@pytest.mark.parametrize(("n", "k"), [(20, 15), (20, 19), (20, 20), (20, 40), (3, 2), (2, 5)])
def test_ridge_that_could_meet_every_cell_is_penalised_as_new_cells_ask(n, k):
    rng = np.random.default_rng(n + k)
    x = rng.normal(size=(n, k)) * np.geomspace(3, 0.3, k) + 2
    y = x[:, :1] @ rng.normal(size=(1, 4)) + 2 * rng.normal(size=(n, 4)) - 5
    unit = np.linalg.eigvalsh((x - x.mean(0)).T @ (x - x.mean(0)))[-1]
    errors = [left_out_error(x, y, penalty) for penalty in _directions.PENALTIES * unit]
    found = left_out_error(x, y, _directions._penalty(x, y))
    assert found == pytest.approx(min(errors), rel=1e-6)


def test_left_out_coordinates_are_those_of_new_cells(monkeypatch):
    """Of noise that nothing tells they are apart from the outputs, where those of the fitted cells are not."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 30)), rng.normal(size=(60, 2))
    monkeypatch.setattr(_directions, "PENALTIES", np.array([1e-6]))
    directions, left_out, _ = supervised(x, y, fresh())
    assert np.corrcoef(directions(x)[:, 0], y[:, 0])[0, 1] > 0.5
    assert np.corrcoef(left_out[:, 0], y[:, 0])[0, 1] < 0.3


def test_left_out_coordinates_come_from_the_other_parts(monkeypatch):
    x, y = told(50)
    part = np.array_split(fresh().permutation(50), _directions.FOLDS)[0]
    changed = y.copy()
    changed[part] += [3, -3, 0] * np.array([1, -1, 1, -1, 0])[:, None]  # whose mean does not change
    monkeypatch.setattr(_directions, "_penalty", lambda *_: 1.0)
    _, one, _ = supervised(x, y, fresh())
    _, other, _ = supervised(x, changed, fresh())
    assert_allclose(one[part], other[part], atol=1e-9)
    others = np.setdiff1d(np.arange(50), part)
    assert abs(one[others] - other[others]).max() > 1e-3


@pytest.mark.parametrize("n", [2, 3, 11])
def test_few_cells_and_constant_ones_have_finite_coordinates(n):
    x, y = told(n)
    for inputs, outputs in ((x, y), (np.ones_like(x), y), (x, np.ones_like(y))):
        directions, left_out, _ = supervised(inputs, outputs, fresh())
        assert np.isfinite(directions(inputs)).all()
        assert np.isfinite(left_out).all()


def test_what_is_given_is_left_as_it_was_and_the_seed_decides():
    x, y = told(40)
    before = x.copy(), y.copy()
    _, one, _ = supervised(x, y, fresh())
    _, again, _ = supervised(x, y, fresh())
    assert_array_equal(one, again)
    assert_array_equal(x, before[0])
    assert_array_equal(y, before[1])


def test_no_directions_leave_inputs_as_they_are():
    x, _ = told(5)
    assert_array_equal(Directions.none(6)(x), x)


def test_one_cell_left_out_is_ridge_without_it():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(25, 6)), rng.normal(size=(25, 3)) + 5
    directions, _, penalty = supervised(x, y, fresh())
    found = one_left_out(x, y, directions, penalty)
    for i in (0, 7, 24):
        others = np.arange(25) != i
        origin, mean = x[others].mean(0), y[others].mean(0)
        centred = x[others] - origin
        matrix = np.linalg.solve(centred.T @ centred + penalty * np.eye(6), centred.T @ (y[others] - mean))
        assert_allclose(found[i], (x[i] - origin) @ matrix + mean - y.mean(0), atol=1e-10)
    assert abs(found - directions(x)).max() > 1e-3
