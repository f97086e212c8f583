from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.cross_decomposition import PLSRegression
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.neighbors import KNeighborsRegressor

from jamie.baselines import _predict, _regressions
from jamie.baselines._predict import METHODS, Components, predict, predict_each
from jamie.metrics import feature_correlation


@pytest.fixture(scope="module")
def curved():
    """A bent surface with noise: kernels do better than lines, and lines better than the mean."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(260, 3))
    y = np.column_stack([np.sin(2 * x[:, 0]), x[:, 1], x[:, 0] * x[:, 1], x[:, 2] ** 2 + x[:, 1]])
    y = y + 0.2 * rng.normal(size=y.shape)
    return x[:200], y[:200], x[200:], y[200:]


@pytest.fixture
def small_network(monkeypatch):
    monkeypatch.setattr(_regressions, "_HIDDEN", ((32,),))
    monkeypatch.setattr(_regressions, "_PENALTIES", (0.1, 100.0))
    monkeypatch.setattr(_regressions, "_EPOCHS", 50)


@pytest.fixture
def small_grid(small_network, monkeypatch):
    monkeypatch.setattr(_regressions, "RATES", (1 / 8, 1.0))
    monkeypatch.setattr(_regressions, "_KERNEL_ALPHAS", (0.03, 0.3, 3.0, 30.0))


@pytest.fixture
def linear():
    """Three latent components behind eight inputs and twelve outputs."""
    rng = np.random.default_rng(1)
    latent = rng.normal(size=(160, 3))
    x = latent @ rng.normal(size=(3, 8)) + 0.5 * rng.normal(size=(160, 8))
    y = latent @ rng.normal(size=(3, 12)) + 2 * rng.normal(size=(160, 12))
    x, y = x - x[:100].mean(0), y - y[:100].mean(0)
    return x[:100], y[:100], x[100:], y[100:]


def scores(method, data):
    x, y, x_test, y_test = data
    return np.mean(feature_correlation(y_test, predict(method, x, y, x_test, rng=0)))


def test_each_method_earns_its_place(curved):
    assert scores("kernel_ridge", curved) > scores("knn", curved) > scores("ridge", curved) > 0.3
    assert scores("kernel_ridge", curved) > 0.85


def test_the_network_bends(curved, monkeypatch):
    monkeypatch.setattr(_regressions, "_HIDDEN", ((128,),))
    monkeypatch.setattr(_regressions, "_PENALTIES", (1e-3,))
    assert scores("mlp", curved) > 0.85


def test_few_latent_components_suit_pls_and_reduced_rank(linear):
    x, y, x_test, y_test = linear
    error = {m: np.mean((predict(m, x, y, x_test, rng=0) - y_test) ** 2) for m in ("ridge", "pls", "reduced_rank")}
    assert max(error["pls"], error["reduced_rank"]) < error["ridge"]


def test_mean_is_the_training_mean(curved):
    x, y, x_test, _ = curved
    assert_allclose(predict("mean", x, y, x_test), np.tile(y.mean(0), (60, 1)))


@pytest.mark.usefixtures("small_network")
@pytest.mark.parametrize("method", METHODS)
def test_units_are_those_of_the_target(method, curved):
    x, y, x_test, _ = curved
    scale, shift = 10.0 ** np.arange(-2, 2), np.arange(4) * 100
    expected = predict(method, x, y, x_test, rng=0) * scale + shift
    assert_allclose(predict(method, x, y * scale + shift, x_test, rng=0), expected, rtol=1e-6)


@pytest.mark.usefixtures("small_network")
@pytest.mark.parametrize("method", METHODS)
def test_scale_and_origin_of_the_input_do_not_matter(method, curved):
    x, y, x_test, _ = curved
    moved = predict(method, 50 * x + 70, y, 50 * x_test + 70, rng=0)
    assert_allclose(moved, predict(method, x, y, x_test, rng=0), rtol=1e-6)


@pytest.mark.usefixtures("small_network")
@pytest.mark.parametrize("method", METHODS)
def test_a_seed_repeats(method, curved):
    x, y, x_test, _ = curved
    first = predict(method, x, y, x_test, rng=3)
    assert_array_equal(predict(method, x, y, x_test, rng=np.random.default_rng(3)), first)


def test_knn_is_scikit_learns(curved):
    x, y, x_test, _ = curved
    for k, predicted in _regressions.knn(x, y, x_test, [5, 20, 500], 0):
        assert_allclose(predicted, KNeighborsRegressor(min(k, 200)).fit(x, y).predict(x_test))


def test_ridge_is_scikit_learns(curved):
    x, y, x_test, _ = curved
    for alpha, predicted in _regressions.ridge(x, y, x_test, [0.1, 10.0], 0):
        assert_allclose(predicted, Ridge(alpha, fit_intercept=False).fit(x, y).predict(x_test))


def test_kernel_ridge_is_scikit_learns(curved):
    x, y, x_test, _ = curved
    grid = [(0.1, 0.01), (0.1, 1.0), (0.5, 1.0)]
    path = list(_regressions.kernel_ridge(x, y, x_test, grid, 0))
    assert [setting for setting, _ in path] == grid
    for (gamma, alpha), predicted in path:
        model = KernelRidge(alpha=alpha, kernel="precomputed").fit(np.exp(-gamma * euclidean_distances(x)), y)
        assert_allclose(predicted, model.predict(np.exp(-gamma * euclidean_distances(x_test, x))), rtol=1e-6, atol=1e-9)


def test_pls_is_scikit_learns(linear):
    x, y, x_test, _ = linear
    for h, predicted in _regressions.pls(x, y, x_test, [1, 3, 8], 0):
        model = PLSRegression(h, scale=False, tol=1e-14, max_iter=10_000).fit(x, y)
        assert_allclose(predicted, model.predict(x_test), atol=1e-6)


def test_pls_ends_with_least_squares(linear):
    x, y, x_test, _ = linear
    x, x_test = np.column_stack([x, x[:, 0]]), np.column_stack([x_test, x_test[:, 0]])
    ((_, predicted),) = _regressions.pls(x, y, x_test, [9], 0)  # more components than dimensions
    assert_allclose(predicted, x_test @ np.linalg.lstsq(x, y)[0], atol=1e-8)


def test_reduced_rank_is_a_projection_of_the_penalised_fit(linear):
    x, y, x_test, _ = linear
    grid = [(0.5, 1), (0.5, 4), (30.0, 2)]
    path = list(_regressions.reduced_rank(x, y, x_test, grid, 0))
    assert [setting for setting, _ in path] == grid
    for (alpha, rank), predicted in path:
        rows = np.vstack([x, np.sqrt(alpha) * np.eye(8)])  # ridge as least squares with rows for its penalty
        beta = np.linalg.lstsq(rows, np.vstack([y, np.zeros((8, 12))]))[0]
        right = np.linalg.svd(rows @ beta)[2][:rank]
        assert_allclose(predicted, x_test @ beta @ right.T @ right, atol=1e-9)


def test_full_rank_is_ridge(linear):
    x, y, x_test, _ = linear
    ((_, reduced),) = _regressions.reduced_rank(x, y, x_test, [(3.0, 30)], 0)
    ((_, full),) = _regressions.ridge(x, y, x_test, [3.0], 0)
    assert_allclose(reduced, full, atol=1e-9)


def test_a_penalised_network_is_the_mean_and_a_free_one_is_not(curved):
    x, y, x_test, y_test = curved
    (_, free), (_, bound) = _regressions.mlp(x, y, x_test, [((64,), 1e-3), ((64,), 1e4)], 0)
    assert_allclose(bound, np.tile(y.mean(0), (60, 1)), atol=0.5)
    assert np.mean((free - y_test) ** 2) < 0.5 * np.mean((bound - y_test) ** 2)


def test_of_a_wide_target_the_network_predicts_components(curved, monkeypatch):
    x, y, x_test, y_test = curved
    loadings = np.random.default_rng(0).normal(size=(4, 300))
    monkeypatch.setattr(_regressions, "_OUTPUTS", 4)  # all there are
    wide = y @ loadings + 7
    ((_, predicted),) = _regressions.mlp(x, wide, x_test, [((128,), 1e-3)], 0)
    assert np.linalg.matrix_rank(predicted - wide.mean(0), tol=1e-6) == 4
    centred = (predicted - wide.mean(0)).T  # in the span of what varies, to which the mean does not belong
    assert_allclose(loadings.T @ np.linalg.lstsq(loadings.T, centred)[0], centred, atol=1e-6)
    np.random.random(3)  # noqa: NPY002 - global randomness is not what the components are drawn by
    ((_, again),) = _regressions.mlp(x, wide, x_test, [((128,), 1e-3)], 0)
    assert_array_equal(again, predicted)
    assert np.mean(feature_correlation(y_test @ loadings + 7, predicted)) > 0.8


def test_the_network_is_tuned_on_one_fold(curved, monkeypatch):
    x, y, x_test, _ = curved
    fitted = []

    def mean(x, y, x_new, settings, seed, *, tuning=False):
        fitted.append(len(x))
        yield from ((setting, np.tile(y.mean(0), (len(x_new), 1))) for setting in settings)

    for method, expected in (("mlp", [160, 200]), ("pls", [160] * 5 + [200])):
        monkeypatch.setitem(_regressions.FAMILIES, method, (mean, _regressions.FAMILIES[method][1]))
        fitted.clear()
        predict(method, x, y, x_test, rng=0)
        assert fitted == expected


def test_landmarks_come_close_to_the_exact_kernel(curved, monkeypatch):
    x, y, x_test, _ = curved
    setting = (0.3, 0.1)
    ((_, exact),) = _regressions.kernel_ridge(x, y, x_test, [setting], 0)
    monkeypatch.setattr(_regressions, "_EXACT", 199)
    monkeypatch.setattr(_regressions, "LANDMARKS", 200)
    ((_, every_cell),) = _regressions.kernel_ridge(x, y, x_test, [setting], 0)
    assert_allclose(every_cell, exact, atol=1e-6)
    monkeypatch.setattr(_regressions, "LANDMARKS", 60)
    ((_, some_cells),) = _regressions.kernel_ridge(x, y, x_test, [setting], 0)
    assert not np.allclose(some_cells, exact, atol=1e-3)
    assert np.corrcoef(some_cells.ravel(), exact.ravel())[0, 1] > 0.98


def test_tuning_on_landmarks_costs_little(curved, monkeypatch):
    full = scores("kernel_ridge", curved)
    monkeypatch.setattr(_regressions, "LANDMARKS", 60)
    monkeypatch.setattr(_predict, "_TUNED", 150)
    assert scores("kernel_ridge", curved) == pytest.approx(full, abs=0.02)


@pytest.mark.usefixtures("small_network")
@pytest.mark.parametrize("method", _regressions.FAMILIES)
def test_tuning_finds_nearly_the_best_of_the_grid(method, request):
    data = request.getfixturevalue("linear" if method in ("pls", "reduced_rank") else "curved")
    x, y, x_test, y_test = data
    family, grid = _regressions.FAMILIES[method]
    centred = y - y.mean(0)
    errors = {s: np.mean((p + y.mean(0) - y_test) ** 2) for s, p in family(x, centred, x_test, grid(x), 0)}
    chosen = tuned(family, x, centred, grid(x))
    assert errors[chosen] <= 1.1 * min(errors.values())
    assert max(errors.values()) > errors[chosen]


def test_a_wide_target_is_tuned_as_the_whole(curved, monkeypatch):
    x, y, *_ = curved
    rng = np.random.default_rng(5)
    wide = y @ rng.normal(size=(4, 400)) + 3 * rng.normal(size=(200, 400))
    family, grid = _regressions.FAMILIES["ridge"]
    projected = tuned(family, x, wide, grid(x))
    monkeypatch.setattr(_predict, "_DIRECTIONS", 400)
    whole = tuned(family, x, wide, grid(x))
    assert abs(np.log10(projected / whole)) < 0.7


def hidden(x, y, how):
    """Target with NaN where `how` says; its last feature is complete."""
    y, rng = y.copy(), np.random.default_rng(5)
    if how == "a class":
        y[x[:, 0] > 0.5, :2] = np.nan
    elif how == "two panels":
        y[x[:, 2] > 0.5, 0] = np.nan
        y[x[:, 2] < -0.5, 1:3] = np.nan
    else:
        y[:, :-1][rng.random((len(y), y.shape[1] - 1)) < how] = np.nan
    return y


HOW = (0.1, 0.6, "a class", "two panels")


@pytest.mark.parametrize("how", HOW)
def test_neighbours_and_ridges_learn_each_feature_from_the_cells_that_have_it(curved, how):
    x, complete, x_test, _ = curved
    y = hidden(x, complete, how)
    cases = (
        ("knn", 7, KNeighborsRegressor(7)),
        ("ridge", 2.0, Ridge(2.0)),
        ("kernel_ridge", (0.3, 0.1), KernelRidge(alpha=0.1, kernel=lambda a, b: np.exp(-0.3 * np.linalg.norm(a - b)))),
    )
    for method, setting, model in cases:
        ((chosen, predicted),) = _regressions.MEASURED[method](x, y, x_test, [setting], 0)
        assert chosen == setting
        for j in range(4):
            has = ~np.isnan(y[:, j])
            mean = y[has, j].mean()
            expected = model.fit(x[has], y[has, j] - mean).predict(x_test) + mean
            assert_allclose(predicted[:, j], expected, atol=1e-6)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(("family", "setting"), [(_regressions.pls, 3), (_regressions.reduced_rank, (1e-9, 4))])
def test_of_full_rank_shared_components_are_least_squares_of_measured_values(linear, family, setting, how):
    x, y, x_test, _ = linear
    x, x_test, y = x[:, :3] - x[:, :3].mean(0), x_test[:, :3], hidden(x, y[:, :4], how)
    ((_, predicted),) = _regressions.completed(family, 1e-9)(x, y, x_test, [setting], 0)
    for j in range(4):
        has = ~np.isnan(y[:, j])
        design = np.column_stack([np.ones(has.sum()), x[has]])
        beta = np.linalg.lstsq(design, y[has, j])[0]
        filled = np.where(has, y[:, j], np.column_stack([np.ones(len(x)), x]) @ beta)
        assert_allclose(predicted[:, j], x_test @ np.linalg.lstsq(x, filled)[0], atol=1e-5)


@pytest.fixture(scope="module")
def many():
    """Linear, with enough cells that slopes are known to a few hundredths."""
    rng = np.random.default_rng(2)
    latent = rng.normal(size=(1200, 3))
    x = latent @ rng.normal(size=(3, 5)) + 0.3 * rng.normal(size=(1200, 5))
    y = latent @ rng.normal(size=(3, 6)) + rng.normal(size=(1200, 6)) + 5
    return x[:450], y[:450], x[450:], y[450:]


@pytest.mark.usefixtures("small_grid")
@pytest.mark.parametrize("method", METHODS[1:])
@pytest.mark.parametrize("share", [0.3, 0.6])
def test_missing_values_do_not_shrink_what_is_predicted(method, share, many, monkeypatch):
    monkeypatch.setattr(_regressions, "_EPOCHS", 100)
    x, y, x_test, y_test = many
    holed = hidden(x, y, share)
    shrunk = np.where(np.isnan(holed), np.nanmean(holed, 0), holed)
    complete, partial, filled = (predict(method, x, target, x_test, rng=0) for target in (y, holed, shrunk))
    slope = {
        name: np.mean([np.polyfit(imputed[:, j], y_test[:, j], 1)[0] for j in range(5)])
        for name, imputed in (("complete", complete), ("partial", partial), ("filled", filled))
    }
    within = 0.2 if method == "knn" else 0.1  # neighbours are few numbers to choose from
    assert slope["partial"] == pytest.approx(slope["complete"], abs=within)
    assert slope["filled"] > slope["complete"] + 0.3
    error = {name: np.square(imputed - y_test)[:, :5].mean() for name, imputed in (("p", partial), ("f", filled))}
    assert error["p"] < error["f"]


@pytest.mark.usefixtures("small_grid")
@pytest.mark.parametrize("method", METHODS)
def test_a_class_without_values_does_not_pull_the_others_to_the_mean(method):
    """Features that exist for one class only, as apical dendrites do, and slopes that are those of this class."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 2)) + np.repeat([[-4.0, 0.0], [4.0, 0.0]], 250, axis=0)
    y = np.column_stack([x[:, 1], 3 * x[:, 1] + 10, x[:, 0]]) + 0.1 * rng.normal(size=(500, 3))
    y[:250, 1] = np.nan
    train = rng.permutation(500)[:400]
    test = np.setdiff1d(np.arange(250, 500), train)
    imputed = predict(method, x[train], y[train], x[test], rng=0)
    assert np.isfinite(imputed).all()
    if method == "mean":
        assert_allclose(imputed, np.tile(np.nanmean(y[train], 0), (len(test), 1)))
    elif method not in {"mlp", "extra_trees"}:  # too small here, and means of leaves, which fall short anyway
        assert np.polyfit(imputed[:, 1], y[test, 1], 1)[0] == pytest.approx(1, abs=0.2)
        assert abs(imputed[:, 1].mean() - y[test, 1].mean()) < 1


@pytest.mark.usefixtures("small_grid")
@pytest.mark.parametrize("method", METHODS)
def test_a_feature_without_values_is_predicted_missing(method, curved):
    x, y, x_test, _ = curved
    holed = hidden(x, y, 0.2)
    holed[:, 3] = np.nan
    predicted = predict(method, x, holed, x_test, rng=0)
    assert np.isnan(predicted[:, 3]).all()
    assert np.isfinite(predicted[:, :3]).all()
    assert np.isnan(predict(method, x, np.full((200, 2), np.nan), x_test, rng=0)).all()


@pytest.mark.usefixtures("small_grid")
@pytest.mark.parametrize("method", METHODS)
def test_few_values_break_nothing(method, curved):
    x, y, x_test, _ = curved
    few = np.full((9, 4), np.nan)
    few[0, 0], few[1:3, 1], few[:, 2], few[4:, 3] = 3.0, (1.0, 2.0), y[:9, 2], y[4:9, 3]
    predicted = predict(method, x[:9], few, x_test, rng=0)
    assert np.isfinite(predicted).all()
    if method in ("mean", "knn", "ridge", "kernel_ridge"):
        assert_allclose(predicted[:, 0], 3)  # of the one value there is


@pytest.mark.usefixtures("small_grid")
@pytest.mark.parametrize("method", METHODS)
def test_units_are_those_of_a_target_with_missing_values(method, curved):
    x, y, x_test, _ = curved
    scale, shift, holed = 10.0 ** np.arange(-2, 2), np.arange(4) * 100, hidden(x, y, 0.4)
    expected = predict(method, x, holed, x_test, rng=0) * scale + shift
    assert_allclose(predict(method, x, holed * scale + shift, x_test, rng=0), expected, rtol=1e-5)


def test_the_error_that_tunes_is_that_of_measured_values(curved):
    x, y, *_ = curved
    holed = hidden(x, y, 0.5)
    scores = {}

    def constant(x, y, x_new, settings, seed, *, tuning=False):
        yield from ((setting, np.full((len(x_new), 4), setting)) for setting in settings)

    for setting in (0.0, 1.0, 2.0):
        scores[setting] = np.nansum(np.square(holed + 2 - setting))
    assert tuned(constant, x, holed + 2, [0.0, 1.0, 2.0]) == min(scores, key=scores.get)


def test_a_wide_target_with_missing_values_is_tuned_as_without(curved, monkeypatch):
    x, y, x_test, _ = curved
    rng = np.random.default_rng(5)
    monkeypatch.setattr(_predict, "_DIRECTIONS", 30)
    wide = y @ rng.normal(size=(4, 60)) + 3 * rng.normal(size=(200, 60))
    holed = hidden(x, wide, 0.3)
    grid = _regressions.FAMILIES["ridge"][1](x)
    complete = tuned(_regressions.ridge, x, wide - wide.mean(0), grid)
    partial = tuned(_regressions.measured_ridge, x, holed, grid)
    assert abs(np.log10(complete / partial)) < 0.7
    assert np.isfinite(predict("ridge", x, holed, x_test, rng=0)).all()


@pytest.mark.usefixtures("small_grid")
@pytest.mark.parametrize("method", ["supervised_knn", "pls", "kernel_ridge"])
def test_all_that_is_drawn_comes_from_the_seed(method, curved, monkeypatch):
    x, y, x_test, _ = curved
    made, seeds = np.random.default_rng, []

    def watch(seed=None):
        seeds.append(seed)
        return made(seed)

    monkeypatch.setattr(np.random, "default_rng", watch)
    predict(method, x, hidden(x, y, "a class"), x_test, rng=0)
    assert None not in seeds


def test_wide_targets_are_compared_by_distinct_features_or_by_signed_sums(monkeypatch):
    monkeypatch.setattr(_predict, "_DIRECTIONS", 30)
    wide, numbered = np.zeros((5, 33)), np.eye(33)
    narrow = _predict._turn(wide[:, :30], np.random.default_rng(0))
    assert_array_equal(narrow(numbered), numbered)
    signed = _predict._turn(wide, np.random.default_rng(0))(numbered)
    assert signed.shape == (33, 30)
    assert set(signed.ravel()) == {-1.0, 1.0}
    wide[2, 7] = np.nan
    chosen = _predict._turn(wide, np.random.default_rng(0))(numbered)
    assert_array_equal(chosen.sum(0), 1)
    assert chosen.sum(1).max() == 1  # none twice


def test_tuning_a_kernel_on_many_groups_costs_little(curved, monkeypatch):
    x, y, *_ = curved
    holed, sizes = hidden(x, np.tile(y, (1, 5)), 0.2), []

    def watch(x, y, x_new, settings, seed, *, tuning=False):
        sizes.append(len(x))
        yield from ((setting, np.zeros((len(x_new), y.shape[1]))) for setting in settings)

    list(_regressions.by_pattern(watch, n_solved=4)(x, holed, x, [0], 0, tuning=True))
    assert len(sizes) == 20
    assert sum((n / 200) ** 3 for n in sizes) <= 4
    sizes.clear()
    list(_regressions.by_pattern(watch, n_solved=4)(x, holed, x, [0], 0))
    assert sorted(sizes) == sorted((~np.isnan(holed)).sum(0))


@pytest.mark.parametrize(
    ("n", "n_groups", "n_solved", "expected"), [(80, 1, 1, 80), (80, 8, 1, 40), (80, 4, 4, 80), (8, 8, 1, 10)]
)
def test_in_tuning_groups_take_as_many_cells_as_cost_what_was_asked(n, n_groups, n_solved, expected):
    """With g groups of m cells each, g m³ is n_solved n³; but ten cells at least."""
    y, sizes = np.random.default_rng(0).normal(size=(n + n_groups, n_groups)), []
    y[n + np.arange(n_groups), np.arange(n_groups)] = np.nan  # another cell misses each
    y[n:, 0] = np.nan if n_groups == 1 else y[n:, 0]

    def watch(x, y, x_new, settings, seed, *, tuning=False):
        sizes.append((len(x), tuning))
        yield from ((setting, np.zeros((len(x_new), y.shape[1]))) for setting in settings)

    x = np.zeros((len(y), 1))
    list(_regressions.by_pattern(watch, n_solved=n_solved)(x, y, x, [0], 0, tuning=True))
    assert len(sizes) == n_groups
    assert all(tuning for _, tuning in sizes)
    assert max(size for size, _ in sizes) == pytest.approx(expected, abs=0.06 * n if n_groups > 1 else 0)


def test_the_network_is_as_it_was_asked_for_and_stops_early_where_cells_suffice(curved, monkeypatch):
    x, y, x_test, _ = curved
    made, network = [], _regressions.MLPRegressor

    def watch(**options):
        made.append(options)
        return network(**options)

    monkeypatch.setattr(_regressions, "MLPRegressor", watch)
    monkeypatch.setattr(_regressions, "_EPOCHS", 5)
    for n in (19, 20):
        list(_regressions.mlp(x[:n], y[:n], x_test, [((6,), 0.1), ((5, 4), 2.0)], 7))
    assert made == [
        {
            "hidden_layer_sizes": hidden,
            "alpha": penalty,
            "early_stopping": early,
            "max_iter": 5,
            "random_state": 7,
        }
        for early in (False, True)
        for hidden, penalty in (((6,), 0.1), ((5, 4), 2.0))
    ]


@pytest.mark.usefixtures("small_network")
@pytest.mark.parametrize("method", METHODS)
def test_two_cells_are_enough(method):
    x, y = np.array([[0.0], [1.0]]), np.array([[3.0], [5.0]])
    predicted = predict(method, x, y, np.array([[0.2], [0.9], [0.5]]), rng=0)
    assert predicted.shape == (3, 1)
    assert np.isfinite(predicted).all()


@pytest.mark.usefixtures("small_network")
@pytest.mark.parametrize("method", METHODS)
def test_one_feature_and_none_that_varies(method, curved):
    x, y, x_test, _ = curved
    assert predict(method, x, y[:, :1], x_test, rng=0).shape == (60, 1)
    assert_allclose(predict(method, x, np.full((200, 250), 7.0), x_test, rng=0), 7)


@pytest.mark.usefixtures("small_network")
@pytest.mark.parametrize("method", METHODS)
def test_constant_features_and_few_cells(method):
    x = np.arange(6.0)[:, None]
    predicted = predict(method, x[:3], np.column_stack([x[:3], np.full(3, 7.0)]), x[3:], rng=0)
    assert predicted.shape == (3, 2)
    assert_allclose(predicted[:, 1], 7)
    assert np.isfinite(predict(method, np.zeros((4, 2)), np.arange(8.0).reshape(4, 2), np.zeros((1, 2)), rng=0)).all()


def test_refusals(curved):
    x, y, x_test, _ = curved
    with pytest.raises(ValueError, match="did you mean 'ridge'"):
        predict("rigde", x, y, x_test)
    with pytest.raises(ValueError, match="found 199 and 200"):
        predict("ridge", x[1:], y, x_test)
    with pytest.raises(ValueError, match="at least two training cells"):
        predict("mean", x[:1], y[:1], x_test)


def test_one_decomposition_gives_the_errors_of_each_cell_from_all_others(curved):
    x, y = curved[0][:40], curved[1][:40]
    y, choices = y - y.mean(0), [(0.1, 0.01), (0.1, 1.0), (2.0, 0.3)]
    expected = dict.fromkeys(choices, 0.0)
    for i in range(40):
        others = np.arange(40) != i
        for choice, predicted in _regressions.kernel_ridge(x[others], y[others], x[[i]], choices, 0, tuning=True):
            expected[choice] += np.square(predicted - y[[i]]).sum()
    found = {choice: np.square(error).sum() for choice, error in _regressions.kernel_ridge_errors(x, y, choices)}
    assert found == pytest.approx(expected, rel=1e-8)


def tuned(family, x, y, choices):
    """The setting chosen for features alone."""
    setting, _ = _predict._tune(family, x, [_predict._Outputs(y, None)], y, choices, 0)
    return setting


def low_rank(n=150, d=40, noise=2.0):
    """A target of three directions in much noise, its components, and inputs that tell them."""
    rng = np.random.default_rng(0)
    x, x_test = rng.normal(size=(n, 6)), rng.normal(size=(80, 6))
    basis = np.linalg.qr(rng.normal(size=(d, 3)))[0]
    told = rng.normal(size=(6, 3)) * 4
    y = np.tanh(x @ told / 6) * 6 @ basis.T + noise * rng.normal(size=(n, d))
    truth = np.tanh(x_test @ told / 6) * 6 @ basis.T
    return x, y, x_test, truth, Components((y - y.mean(0)) @ basis, basis)


@pytest.mark.parametrize("method", ["knn", "ridge", "kernel_ridge", "supervised_kernel_ridge", "average"])
def test_components_are_predicted_where_they_have_the_smaller_error(method):
    x, y, x_test, truth, components = low_rank()
    error = [
        np.square(predict(method, x, y, x_test, components=given, rng=0) - truth).mean() for given in (None, components)
    ]
    assert error[1] <= error[0] * 1.001
    if method == "knn":  # of which features are the noisiest
        assert error[1] < 0.9 * error[0]


def test_components_that_lack_what_features_have_are_not_predicted():
    x, y, x_test, *_ = low_rank(noise=0.1)
    empty = Components(np.random.default_rng(1).normal(size=(150, 3)), np.random.default_rng(2).normal(size=(40, 3)))
    found = predict("ridge", x, y, x_test, components=empty, rng=0)
    assert_array_equal(found, predict("ridge", x, y, x_test, rng=0))


def test_components_have_no_say_where_values_are_missing():
    x, y, x_test, _, components = low_rank()
    y[::3, 4] = np.nan
    found = predict("knn", x, y, x_test, components=components, rng=0)
    assert_array_equal(found, predict("knn", x, y, x_test, rng=0))


def test_supervised_directions_help_where_most_inputs_tell_nothing():
    rng = np.random.default_rng(0)
    x, x_test = rng.normal(size=(300, 30)), rng.normal(size=(200, 30))

    def truth(x):
        return np.stack([np.sin(1.5 * x[:, 0]), np.sin(1.5 * x[:, 1])], axis=1)

    y = truth(x) + 0.2 * rng.normal(size=(300, 2))
    error = {
        method: np.square(predict(method, x, y, x_test, rng=0) - truth(x_test)).mean()
        for method in ("ridge", "kernel_ridge", "supervised_kernel_ridge", "knn", "supervised_knn")
    }
    assert error["supervised_kernel_ridge"] < 0.7 * min(error["ridge"], error["kernel_ridge"])
    assert error["supervised_knn"] < 0.7 * error["knn"]


def test_no_method_depends_on_which_others_are_asked_for(curved):
    x, y, x_test, _ = curved
    methods = ["average", "mean", "ridge", "knn"]
    for method, found in predict_each(methods, x, y, x_test, rng=3):
        assert_array_equal(found, predict(method, x, y, x_test, rng=3))


def test_the_average_computes_nothing_again(curved, monkeypatch):
    x, y, x_test, _ = curved
    computed, predicted = [], _predict._predicted
    monkeypatch.setattr(
        _predict, "_predicted", lambda method, *rest: computed.append(method) or predicted(method, *rest)
    )
    list(predict_each(["knn", "average", "ridge"], x, y, x_test, rng=0))
    assert sorted(computed) == sorted(_predict.AVERAGED)


def test_the_average_is_the_mean_of_the_simple_ones(curved):
    x, y, x_test, _ = curved
    found = predict("average", x, y, x_test, rng=np.random.default_rng(3))
    each = [predict(method, x, y, x_test, rng=np.random.default_rng(3)) for method in _predict.AVERAGED]
    assert_allclose(found, np.mean(each, axis=0))
