"""Kernel ridge regression: against scikit-learn's, explicit refits, and what it must not trip over."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.kernel_ridge import KernelRidge as Reference
from sklearn.metrics.pairwise import euclidean_distances

from jamie.baselines import Setting, best_mix_weight, tune
from jamie.baselines import _kernel_ridge as kernel
from jamie.baselines import regress as regress_in_order

SETTING = Setting(0.4, 0.3)


def smooth(n, d=3, *, noise=0.05, seed=0):
    """Four inputs, and outputs that follow them without a kink."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    y = np.tanh(0.5 * x @ np.random.default_rng(9).normal(size=(4, d))) + 2 + noise * rng.normal(size=(n, d))
    return x, y.astype(np.float32)


def noise(n, d=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 4)).astype(np.float32), rng.normal(size=(n, d)).astype(np.float32)


def regress(x, y, setting, rng, partial=None, **options):
    return regress_in_order(x, y, setting, rng.permutation(len(x)), partial, **options)


def fresh():
    return np.random.default_rng(0)


def grid(monkeypatch, rates, alphas):
    monkeypatch.setattr(kernel, "RATES", tuple(rates))
    monkeypatch.setattr(kernel, "ALPHAS", np.array(alphas))


def similar(x, z, rate):
    return np.exp(-rate * euclidean_distances(x.astype(float), z.astype(float)))


def predict(ridge, x):
    return similar(x, ridge.landmarks, ridge.setting.rate) @ ridge.coefficients + ridge.offset


def reference(x, y, setting, new):
    """Scikit-learn on centred outputs, on all cells."""
    ridge = Reference(alpha=setting.alpha, kernel="precomputed").fit(similar(x, x, setting.rate), y - y.mean(0))
    return ridge.predict(similar(new, x, setting.rate)) + y.mean(0)


def left_out_error(x, y, rate, alpha):
    """Squared error of each cell predicted from a regression on all others; the mean is that of all."""
    y, k, error = y - y.mean(0), similar(x, x, rate), 0.0
    for i in range(len(x)):
        others = np.arange(len(x)) != i
        ridge = Reference(alpha=alpha, kernel="precomputed").fit(k[others][:, others], y[others])
        error += np.square(ridge.predict(k[i : i + 1, others]) - y[i]).sum()
    return error


@pytest.fixture
def errors(monkeypatch):
    """Errors that `tune` compares, in the order of the grid."""
    found = []

    def watch(best, this):
        found.append(this[0])
        return min(best, this)

    monkeypatch.setattr(kernel, "min", watch, raising=False)
    return found


def test_the_error_of_each_cell_from_all_others_is_that_of_refits(errors, monkeypatch):
    x, y = smooth(25, noise=0.3)
    alphas = (0.01, 0.3, 5.0)
    grid(monkeypatch, [0.2, 1.0], alphas)
    best = tune(x, y, fresh())
    median = np.median(euclidean_distances(x.astype(float))[np.triu_indices(25, 1)])
    settings = [Setting(rate / median, alpha) for rate in (0.2, 1.0) for alpha in alphas]
    expected = [left_out_error(x, y, *setting) for setting in settings]
    assert_allclose(errors, expected, rtol=1e-4)
    assert best == pytest.approx(settings[np.argmin(expected)], rel=1e-6)


def test_the_best_setting_of_the_whole_grid_is_found():
    x, y = smooth(20, noise=0.3)
    found = tune(x, y, fresh())
    median = np.median(euclidean_distances(x.astype(float))[np.triu_indices(20, 1)])
    expected = {(r, a): left_out_error(x, y, r / median, a) for r in kernel.RATES for a in kernel.ALPHAS[::6]}
    assert left_out_error(x, y, *found) <= min(expected.values()) * (1 + 1e-6)


def test_smooth_outputs_get_a_small_rate_and_noise_a_strong_ridge():
    x, y = smooth(300)
    median = np.median(euclidean_distances(x)[np.triu_indices(300, 1)])
    of_smooth, of_noise = tune(x, y, fresh()), tune(*noise(300), fresh())
    assert of_smooth.rate * median < 0.5
    assert of_smooth.alpha < 1
    assert of_noise.alpha > 10 * of_smooth.alpha
    x, y = noise(300)
    assert predict(regress(x, y, of_noise, fresh()), noise(50, seed=1)[0]).std(0).max() < 0.3 * y.std()


def test_outputs_that_jump_get_a_larger_rate_than_smooth_ones():
    x = smooth(200)[0][:, :1]
    assert tune(x, np.sign(np.sin(6 * x)), fresh()).rate > tune(x, x / 5, fresh()).rate


def test_the_grid_is_in_units_of_the_distances():
    x, y = smooth(60, noise=0.3)
    small, large = tune(x, y, fresh()), tune(100 * x, y, fresh())
    assert large.rate == pytest.approx(small.rate / 100, rel=1e-5)
    assert large.alpha == small.alpha


@pytest.mark.parametrize("n", [10, 200])
def test_the_regression_is_scikit_learns(n):
    x, y = smooth(n)
    new = smooth(30, seed=1)[0]
    ridge = regress(x, y, SETTING, fresh())
    assert_allclose(predict(ridge, new), reference(x, y, SETTING, new), rtol=1e-4, atol=1e-4)
    assert {part.dtype for part in ridge[:3]} == {np.dtype("float32")}
    assert (ridge.landmarks.shape, ridge.coefficients.shape, ridge.offset.shape) == ((n, 4), (n, 3), (3,))
    assert ridge.setting == SETTING


@pytest.mark.parametrize("alpha", [kernel.ALPHAS[0], kernel.ALPHAS[-1]])
def test_the_regression_is_scikit_learns_at_the_ends_of_the_grid(alpha):
    x, y = smooth(100)
    new, setting = smooth(30, seed=1)[0], Setting(0.05, float(alpha))
    found = predict(regress(x, y, setting, fresh()), new)
    assert_allclose(found, reference(x, y, setting, new), rtol=1e-3, atol=2e-3)


def test_blocks_of_cells_change_nothing(monkeypatch):
    x, y = smooth(50)
    whole = regress(x, y, SETTING, fresh())
    monkeypatch.setattr(kernel, "BLOCK", 7)
    assert_allclose(regress(x, y, SETTING, fresh()).coefficients, whole.coefficients, rtol=1e-3, atol=1e-5)


def test_few_landmarks_are_close_to_all_cells_on_smooth_data():
    x, y = smooth(600)
    new, setting = smooth(100, seed=1)[0], Setting(0.1, 0.1)
    exact = reference(x, y, setting, new)
    ridge = regress(x, y, setting, fresh(), n_landmarks=150)
    assert ridge.landmarks.shape == (150, 4)
    assert np.square(predict(ridge, new) - exact).mean() < 0.01 * exact.var(axis=0).mean()
    alone = reference(ridge.landmarks, y[fresh().permutation(600)[:150]], setting, new)  # without the other cells
    assert np.square(predict(ridge, new) - exact).mean() < 0.5 * np.square(alone - exact).mean()


def test_settings_chosen_on_landmarks_are_about_as_good(monkeypatch):
    x, y = smooth(120, noise=0.3)
    exact = left_out_error(x, y, *tune(x, y, fresh()))
    monkeypatch.setattr(kernel, "LANDMARKS", 60)
    assert left_out_error(x, y, *tune(x, y, fresh())) < 1.1 * exact


def test_of_many_cells_some_are_tuned_and_fitted_on(monkeypatch):
    x, y = smooth(200)
    monkeypatch.setattr(kernel, "TUNED", 50)
    monkeypatch.setattr(kernel, "FITTED", 50)
    some = fresh().permutation(200)[:50]
    assert tune(x, y, fresh()) == pytest.approx(tune(x[some], y[some], np.random.default_rng(3)), rel=1e-6)
    assert_allclose(predict(regress(x, y, SETTING, fresh()), x), reference(x[some], y[some], SETTING, x), atol=1e-3)


@pytest.mark.parametrize("n", [10, 60])
def test_cells_that_are_equal_twice_break_nothing(n):
    x, y = smooth(n)
    x, y = np.repeat(x, 3, axis=0), np.repeat(y, 3, axis=0)
    y = y + 0.1 * np.random.default_rng(1).normal(size=y.shape).astype(np.float32)
    setting = tune(x, y, fresh())
    new = smooth(20, seed=1)[0]
    assert_allclose(
        predict(regress(x, y, setting, fresh()), new), reference(x, y, setting, new), atol=0.05 * y.std() + 1e-3
    )


def test_cells_that_are_all_equal_are_predicted_their_mean():
    x, y = np.ones((20, 4), np.float32), noise(20)[1]
    setting = tune(x, y, fresh())
    assert setting.rate == kernel.RATES[0]  # where there is no distance, its unit is 1
    assert_allclose(predict(regress(x, y, setting, fresh()), x), np.tile(y.mean(0), (20, 1)), atol=1e-3)


def test_a_constant_output_is_predicted_anywhere():
    x, y = smooth(30)
    y[:, 1] = 7
    ridge = regress(x, y, tune(x, y, fresh()), fresh())
    assert_allclose(predict(ridge, 3 * x)[:, 1], 7, rtol=1e-5)
    constant = np.full((30, 2), -3, np.float32)
    ridge = regress(x, constant, tune(x, constant, fresh()), fresh())
    assert_allclose(predict(ridge, 3 * x), -3, rtol=1e-5)


def test_the_same_seed_gives_the_same_bits():
    x, y = smooth(120)
    one, two = (regress(x, y, tune(x, y, rng), rng) for rng in (fresh(), fresh()))
    assert one.setting == two.setting
    for a, b in zip(one[:3], two[:3], strict=True):
        assert_array_equal(a, b)
    other = regress(x, y, one.setting, np.random.default_rng(1))
    assert not np.array_equal(one.landmarks, other.landmarks)
    assert_allclose(predict(other, x), predict(one, x), atol=1e-3)


def test_what_is_given_is_left_as_it_was():
    x, y = smooth(40)
    before = x.copy(), y.copy()
    ridge = regress(x, y, tune(x, y, fresh()), fresh())
    assert_array_equal(x, before[0])
    assert_array_equal(y, before[1])
    assert ridge.landmarks.base is None


@pytest.mark.parametrize("w", [0.0, 0.25, 0.8, 1.0])
def test_of_many_cells_the_share_is_that_of_the_least_error(w):
    rng = np.random.default_rng(0)
    decoded, predicted = rng.normal(size=(2, 5000, 6))
    measured = (1 - w) * decoded + w * predicted + 0.1 * rng.normal(size=(5000, 6))
    found = best_mix_weight(measured, decoded, predicted)
    assert found == pytest.approx(w, abs=0.005)
    apart = (predicted - decoded).ravel()
    optimum = np.linalg.lstsq(apart[:, None], (measured - decoded).ravel())[0][0]
    n = len(measured)
    assert found == pytest.approx(np.clip((n * optimum + 0.5 * kernel.PRIOR) / (n + kernel.PRIOR), 0, 1), abs=1e-9)


def test_few_cells_are_drawn_towards_a_half():
    rng = np.random.default_rng(0)
    decoded, predicted = rng.normal(size=(2, 5000, 2))
    shares = [best_mix_weight(decoded[:n], decoded[:n], predicted[:n]) for n in (0, 1, 10, 5000)]
    assert shares == pytest.approx([0.5, 0.5 * 10 / 11, 0.25, 0], abs=1e-3)


def test_the_share_is_a_half_where_nothing_tells_them_apart():
    none = np.empty((0, 3), np.float32)
    assert best_mix_weight(none, none, none) == 0.5
    same = np.ones((4, 3), np.float32)
    assert best_mix_weight(2 * same, same, same) == 0.5


@pytest.mark.parametrize(("beyond", "expected"), [(-0.7, 0.0), (1.7, 1.0)])
def test_the_share_stays_between_none_and_all(beyond, expected):
    rng = np.random.default_rng(0)
    decoded, predicted = rng.normal(size=(2, 500, 4))
    assert best_mix_weight((1 - beyond) * decoded + beyond * predicted, decoded, predicted) == expected


def rotation(d, k=None, seed=3):
    """Orthonormal loadings, (d, k)."""
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0][:, :k].astype(np.float32)


def gaps(x, values, how):
    """Values with NaN where `how` says."""
    values, rng = values.copy(), np.random.default_rng(5)
    if how == "a class":
        values[x[:, 0] > 0, :2] = np.nan
    elif how == "two panels":
        values[x[:, 0] > 0.3, :2] = np.nan
        values[x[:, 0] < -0.3, 2:] = np.nan
    elif how == "none":
        pass
    else:
        values[:, : values.shape[1] - 1][rng.random((len(x), values.shape[1] - 1)) < how] = np.nan
    return values


def partly(values, loadings):
    """Outputs as the model sees them, and what is behind them."""
    return np.nan_to_num(values) @ loadings, kernel.Partial(values, loadings)


HOW = ("none", 0.05, 0.6, 0.9, "a class", "two panels")


@pytest.mark.parametrize("alpha", [0.03, 1.0, 100.0])
@pytest.mark.parametrize("how", HOW)
def test_each_feature_is_regressed_on_the_cells_that_have_it(how, alpha):
    x, complete = smooth(120, 5, noise=0.3)
    values, loadings, setting = gaps(x, complete, how), rotation(5), Setting(0.4, alpha)
    y, partial = partly(values, loadings)
    new = smooth(30, seed=1)[0]
    found = predict(regress(x, y, setting, fresh(), partial), new) @ loadings.T
    for j in range(5):
        has = ~np.isnan(values[:, j])
        expected = reference(x[has], values[has, j].astype(float), setting, new)
        assert_allclose(found[:, j], expected, atol=1e-3)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("k", [1, 3])
def test_of_fewer_components_than_features_the_measured_error_is_least(how, k):
    x, complete = smooth(25, 5, noise=0.3)
    values, loadings = gaps(x, complete, how), rotation(5, k)
    ridge = regress(x, *partly(values, loadings)[:1], SETTING, fresh(), partly(values, loadings)[1])
    z = values[fresh().permutation(25)].astype(float)
    z = z - np.where(np.isnan(z).all(0), 0, np.nan_to_num(z).sum(0) / (~np.isnan(z)).sum(0).clip(1))
    gram = similar(ridge.landmarks, ridge.landmarks, SETTING.rate)
    design = np.einsum("im,jk->ijmk", gram, loadings.astype(float)).reshape(25, 5, -1)  # of all coefficients at once
    seen = ~np.isnan(z)
    normal = design[seen].T @ design[seen] + SETTING.alpha * np.kron(gram, np.eye(k))
    expected = np.linalg.solve(normal, design[seen].T @ z[seen]).reshape(25, k)
    assert_allclose(gram @ ridge.coefficients, gram @ expected, atol=1e-4)


@pytest.mark.parametrize("how", HOW)
def test_of_many_cells_landmarks_too_see_measured_values_only(how, monkeypatch):
    x, complete = smooth(300, 4)
    monkeypatch.setattr(kernel, "LANDMARKS", 80)
    values, loadings = gaps(x, complete, how), rotation(4)
    ridge = regress(x, *partly(values, loadings)[:1], SETTING, fresh(), partly(values, loadings)[1])
    for j in range(4):
        has = ~np.isnan(values[:, j])
        y = values[has, j].astype(float)
        k = similar(x[has], ridge.landmarks, SETTING.rate)
        penalty = SETTING.alpha * similar(ridge.landmarks, ridge.landmarks, SETTING.rate)
        c = np.linalg.solve(k.T @ k + penalty, k.T @ (y - y.mean()))
        found = k @ ridge.coefficients @ loadings[j] + ridge.offset @ loadings[j]
        assert_allclose(found, k @ c + y.mean(), atol=2e-3)


def test_values_that_are_all_there_are_regressed_as_components_are():
    x, values = smooth(80, 4)
    loadings = rotation(4)
    y, partial = partly(values, loadings)
    one, other = (regress(x, y, SETTING, fresh(), given) for given in (None, partial))
    assert_allclose(other.coefficients, one.coefficients, atol=1e-4)
    assert_allclose(other.offset, one.offset, atol=1e-5)
    assert tune(x, y, fresh(), partial) == pytest.approx(tune(x, y, fresh()))


@pytest.mark.parametrize("how", HOW[1:])
def test_settings_are_chosen_by_the_error_of_measured_values(how, errors, monkeypatch):
    x, complete = smooth(25, noise=0.3)
    values, loadings = gaps(x, complete, how), rotation(3)
    alphas = (0.01, 0.3, 5.0)
    grid(monkeypatch, [0.2, 1.0], alphas)
    monkeypatch.setattr(kernel, "EXTRA", 10)
    tune(x, *partly(values, loadings)[:1], fresh(), partly(values, loadings)[1])
    median = np.median(euclidean_distances(x.astype(float))[np.triu_indices(25, 1)])
    expected = [
        sum(
            left_out_error(x[has], values[has, j : j + 1].astype(float), rate / median, alpha)
            for j, has in enumerate((~np.isnan(values)).T)
            if has.sum() > 1
        )
        for rate in (0.2, 1.0)
        for alpha in alphas
    ]
    assert_allclose(errors, expected, rtol=1e-4)


def test_settings_of_many_groups_are_about_those_of_all_values(monkeypatch):
    x, complete = smooth(200, 40, noise=0.5)
    values = np.where(np.random.default_rng(0).random(complete.shape) < 0.3, np.nan, complete)
    loadings, sizes, left_out = rotation(40), [], kernel.left_out_errors

    def watch(p, *rest):
        sizes.append(len(p))
        return left_out(p, *rest)

    monkeypatch.setattr(kernel, "left_out_errors", watch)
    setting = tune(x, *partly(values, loadings)[:1], fresh(), partly(values, loadings)[1])
    assert len(sizes) == len(kernel.RATES) * kernel.PATTERNS
    assert sum((n / 200) ** 3 for n in sizes[: kernel.PATTERNS]) <= kernel.EXTRA  # decompositions of all cells
    exact = left_out_error(x, complete, *tune(x, complete @ loadings, fresh()))
    assert left_out_error(x, complete, *setting) < 1.05 * exact


def test_noise_outside_the_components_does_not_choose_the_settings():
    x, outcomes = smooth(150, 2)
    loadings = rotation(60, 2)
    rng = np.random.default_rng(1)
    values = (outcomes @ loadings.T + 0.3 * rng.normal(size=(150, 60))).astype(np.float32)
    expected = tune(x, values @ loadings, fresh())
    values[:20] = np.nan
    found = tune(x, *partly(values, loadings)[:1], fresh(), partly(values, loadings)[1])
    assert abs(np.log10(found.alpha / expected.alpha)) < 0.7


def test_missing_values_do_not_shrink_what_is_predicted():
    x, complete = smooth(400, 6, noise=0.3)
    values, loadings = complete.copy(), rotation(6)
    complete, values = complete - 2, values - 2  # as standardised features are, 0 in the mean
    values[:, :2][np.random.default_rng(0).random((400, 2)) < 0.7] = np.nan
    y, partial = partly(values, loadings)
    new, truth = smooth(200, 6, seed=1)
    slopes = {}
    for name, outputs, given in (("complete", complete @ loadings, None), ("partial", y, partial), ("filled", y, None)):
        ridge = regress(x, outputs, tune(x, outputs, fresh(), given), fresh(), given)
        imputed = predict(ridge, new) @ loadings.T
        slopes[name] = [np.polyfit(imputed[:, j], truth[:, j], 1)[0] for j in (0, 1)]
    assert_allclose(slopes["partial"], slopes["complete"], atol=0.1)
    assert min(slopes["filled"]) > 2


def test_features_and_cells_without_a_value():
    x, values = smooth(40, 4)
    values[:, 1] = np.nan
    values[:5] = np.nan
    loadings = rotation(4)
    y, partial = partly(values, loadings)
    ridge = regress(x, y, tune(x, y, fresh(), partial), fresh(), partial)
    imputed = predict(ridge, x) @ loadings.T
    assert_allclose(imputed[:, 1], 0, atol=1e-3)
    assert np.corrcoef(imputed[5:, 0], values[5:, 0])[0, 1] > 0.9
    nothing = np.full((12, 4), np.nan, np.float32)
    y, partial = partly(nothing, loadings)
    setting = tune(x[:12], y, fresh(), partial)
    median = np.median(euclidean_distances(x[:12].astype(float))[np.triu_indices(12, 1)])
    assert setting == pytest.approx((1 / median, 1))  # nothing to choose by
    ridge = regress(x[:12], y, setting, fresh(), partial)
    assert_allclose(predict(ridge, x), 0, atol=1e-6)


def test_blocks_of_cells_with_missing_values_change_nothing(monkeypatch):
    x, complete = smooth(60, 4)
    y, partial = partly(gaps(x, complete, 0.4), rotation(4))
    before = partial.values.copy()
    whole = regress(x, y, SETTING, fresh(), partial)
    monkeypatch.setattr(kernel, "BLOCK", 7)
    assert_allclose(regress(x, y, SETTING, fresh(), partial).coefficients, whole.coefficients, rtol=1e-3, atol=1e-4)
    assert_array_equal(partial.values, before)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_share_is_chosen_by_measured_values_alone(share):
    rng = np.random.default_rng(0)
    decoded, predicted = rng.normal(size=(2, 400, 6))
    predicted *= 0.3  # nearer to 0, which a missing value must not be taken for
    measured = 0.7 * decoded + 0.3 * predicted + 0.1 * rng.normal(size=(400, 6))
    seen = rng.random(measured.shape) >= share
    found = best_mix_weight(np.where(seen, measured, np.nan), decoded, predicted)
    slope = np.linalg.lstsq((predicted - decoded)[seen][:, None], (measured - decoded)[seen])[0][0]
    n = seen.mean() * 400
    assert found == pytest.approx((n * slope + 0.5 * kernel.PRIOR) / (n + kernel.PRIOR))
    assert best_mix_weight(np.where(seen, measured, 0), decoded, predicted) > found + 0.02
    whole = seen[:, :1] & np.ones(6, dtype=bool)
    rows = best_mix_weight(np.where(whole, measured, np.nan), decoded, predicted)
    assert rows == pytest.approx(best_mix_weight(measured[whole[:, 0]], decoded[whole[:, 0]], predicted[whole[:, 0]]))
    assert best_mix_weight(np.full((9, 3), np.nan), decoded[:9, :3], predicted[:9, :3]) == 0.5


@pytest.mark.parametrize("n_landmarks", [80, 30])
def test_cells_left_out_are_predicted_as_by_a_fit_without_them(n_landmarks):
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(80, 3)), rng.normal(size=(80, 2))
    as_new = x + 0.1 * rng.normal(size=x.shape)
    ridge = regress(x, y, SETTING, fresh(), n_landmarks=n_landmarks, as_new=as_new, n_left_out=20)
    cells, predicted = ridge.left_out
    assert len(set(cells.tolist())) == 20
    k, k_new = (np.exp(-SETTING.rate * euclidean_distances(side, ridge.landmarks)) for side in (x, as_new))
    among = np.exp(-SETTING.rate * euclidean_distances(ridge.landmarks))
    for place in (0, 11, 19):
        others = np.arange(80) != cells[place]
        gram = k[others].T @ k[others] + SETTING.alpha * among
        c = np.linalg.solve(gram, k[others].T @ (y[others] - y.mean(0)))
        assert_allclose(predicted[place], k_new[cells[place]] @ c + y.mean(0), atol=1e-4)
    assert regress(x, y, SETTING, fresh()).left_out is None
