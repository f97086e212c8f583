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
from scipy.stats import norm

import jamie as jm
from jamie.metrics import is_within
from jamie.model import _kernel_mixes
from jamie.model._intervals import LeftOutPairs
from jamie.model._sources import UNKNOWN, SourceErrors, left_out_of_several
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


# how far off it may be


def exact(n, seed):
    """Two sources without noise of a target with noise of sd 1 in all features: the truth of any interval is known."""
    mdata = three(n, seed)
    z = np.hstack([mdata["one"].X[:, :2], mdata["two"].X[:, :2]])
    level = z @ np.random.default_rng(9).normal(size=(4, 8))
    mdata["all"].X = (level + np.random.default_rng(seed).normal(size=level.shape)).astype(np.float32)
    return mdata, level


@pytest.fixture(scope="module")
def known_exactly():
    """Model of 600 cells of which the noise of the target is known."""
    return jm.JAMIE(RECIPE).fit(exact(600, 0)[0])


@pytest.mark.parametrize(("n", "level"), [(60, 0.8), (600, 0.5), (600, 0.9)])
def test_intervals_from_both_cover_new_cells_whatever_their_number(n, level, known_exactly):
    """Few cells get wider intervals, not ones that miss."""
    model = known_exactly if n == 600 else jm.JAMIE(RECIPE).fit(exact(n, 0)[0])
    new, _ = exact(500, 1)
    jm.tl.impute(new, model, source=["one", "two"], target="all", interval=level)
    found = jm.get.imputed(new, source=["one", "two"], target="all").layers
    lower, upper = found["jamie_imputed_lower"], found["jamie_imputed_upper"]
    within = is_within(new["all"].X, lower, upper)
    assert level - 0.06 < within.mean() < level + 0.1
    # noise of sd 1 alone asks for this width, and what is not known of the level for more
    assert (upper - lower).mean() > 2 * norm.ppf((1 + level) / 2) * 0.9


def test_intervals_from_both_are_narrower_than_from_either(fitted):
    mdata, model = fitted
    mdata, widths = mdata.copy(), []
    for source in ("one", "two", ["one", "two"]):
        jm.tl.impute(mdata, model, source=source, target="all", interval=0.8)
        layers = jm.get.imputed(mdata, source=source, target="all").layers
        widths.append((layers["jamie_imputed_upper"] - layers["jamie_imputed_lower"]).mean())
    assert widths[2] < 0.95 * min(widths[:2])


def test_what_both_left_out_is_the_weighted_mean_of_what_they_predict():
    names = ["a", "b", "t"]
    rng = np.random.default_rng(0)
    cells_of_a = rng.permutation(50)
    of_a = LeftOutPairs({"a": rng.permutation(50)}, cells_of_a, rng.normal(size=(50, 3)))
    partners = rng.permutation(80)[:60]
    of_b = LeftOutPairs({"b": partners + 100}, partners, rng.normal(size=(60, 3)))
    judged = {"t": errors([0.4, 0.8, 1], np.eye(3))}
    found = left_out_of_several(names, judged, {("a", "t"): of_a, ("b", "t"): of_b})
    ((direction, together),) = found.items()
    assert direction == (("a", "b"), "t")
    assert sorted(together.partners) == sorted(partners[partners < 50])
    w = judged["t"].weights([0, 1])
    for i, cell in enumerate(together.partners):
        k, j = list(cells_of_a).index(cell), list(partners).index(cell)
        assert_allclose(together.predicted[i], w[0] * of_a.predicted[k] + w[1] * of_b.predicted[j])
        assert together.rows["a"][i] == of_a.rows["a"][k]
        assert together.rows["b"][i] == cell + 100
    few = LeftOutPairs({"b": partners[:20]}, partners[:20], of_b.predicted[:20])
    assert left_out_of_several(names, judged, {("a", "t"): of_a, ("b", "t"): few}) == {}


def test_sources_leave_the_same_cells_out_where_not_all_are(monkeypatch):
    monkeypatch.setattr(_kernel_mixes, "n_calibrated", lambda n, _: 40 if n >= 40 else 0)
    model = jm.JAMIE(RECIPE).fit(three(200))
    assert model.calibrations_[("one", "two"), "all"].n_cells.max() == 40


def test_each_cell_has_the_intervals_of_what_it_has(fitted):
    mdata, model = fitted
    names = mdata.obs_names
    part = MuData({"one": mdata["one"][names[:90]].copy(), "two": mdata["two"][names[60:120]].copy()})
    options = {"target": "all", "interval": 0.8, "min_confidence": 0.0}
    jm.tl.impute(part, model, source=["one", "two"], **options)
    slot, sure = "jamie_imputed_all_one_two", "jamie_imputation_confidence_all_one_two"
    for chosen, source in ((names[:60], "one"), (names[90:120], "two")):
        alone = MuData({source: mdata[source].copy()})
        jm.tl.impute(alone, model, source=source, **options)
        for end in ("", "_lower", "_upper"):
            expected = alone[source].obsm[f"jamie_imputed_all{end}"].loc[chosen]
            assert_allclose(part.obsm[f"{slot}{end}"].loc[chosen], expected, atol=1e-5)
        for slots in ((sure, "jamie_imputation_confidence_all"), ("jamie_novelty_all_one_two", "jamie_novelty_all")):
            assert_allclose(part.obs.loc[chosen, slots[0]], alone[source].obs.loc[chosen, slots[1]], atol=1e-5)
    both = names[60:90]
    inputs = {name: model.open(mdata).inputs(name) for name in ("one", "two")}
    expected = model.confidence_jointly({name: x[60:90] for name, x in inputs.items()}, "all")
    assert_allclose(part.obs.loc[both, sure], expected.confidence, atol=1e-6)
    assert_allclose(part.obs.loc[both, "jamie_novelty_all_one_two"], expected.novelty, atol=1e-5)
    weights = model.source_weights(["one", "two"], "all")
    mean = sum(w * model.novelty(inputs[name][60:90], name, "all") for name, w in weights.items())
    assert_allclose(expected.novelty / mean, (expected.novelty / mean)[0], rtol=1e-4)


def test_one_in_twenty_cells_like_those_of_the_training_is_new_and_others_are(known_exactly):
    model = known_exactly
    new, _ = exact(800, 1)
    inputs = {name: model.open(new).inputs(name) for name in ("one", "two")}
    assert (model.confidence_jointly(inputs, "all").novelty > 1).mean() == pytest.approx(0.05, abs=0.05)
    new["two"].X = new["two"].X + 8
    inputs = {name: model.open(new).inputs(name) for name in ("one", "two")}
    assert (model.confidence_jointly(inputs, "all").novelty > 1).mean() > 0.95


def test_draws_of_both_vary_as_what_was_measured(known_exactly):
    model = known_exactly
    new, _ = exact(400, 1)
    jm.tl.impute(new, model, source=["two", "one"], target="all", n_samples=2, rng=3)
    found = jm.get.imputed(new, source=["one", "two"], target="all").layers
    layers = {name: found[name] for name in found if name is not None}  # which is X, in anndata 0.13
    assert sorted(layers) == ["jamie_imputed_sample_0", "jamie_imputed_sample_1"]
    assert_allclose(layers["jamie_imputed_sample_0"].std(axis=0), new["all"].X.std(axis=0), rtol=0.15)
    assert not np.allclose(*layers.values())


def test_too_few_cells_with_both_are_refused_with_what_can_be_done():
    mdata = three(120)
    mdata = MuData({"one": mdata["one"][:80].copy(), "two": mdata["two"][60:].copy(), "all": mdata["all"].copy()})
    model = jm.JAMIE(RECIPE).fit(mdata)
    assert set(model.calibrations_) >= {("one", "all"), ("two", "all")}
    assert not any(isinstance(sources, tuple) for sources, _ in model.calibrations_)
    before = set(mdata.obsm), set(mdata.uns), set(mdata.obs)
    with pytest.raises(ValueError, match=r"fewer than 30 training cells .*'one' and 'two' as well.*source='one'"):
        jm.tl.impute(mdata, model, source=["one", "two"], target="all", interval=0.8)
    assert (set(mdata.obsm), set(mdata.uns), set(mdata.obs)) == before
    apart = MuData({"one": mdata["one"][:40].copy(), "two": mdata["two"][40:].copy()})  # no cell of these has both
    jm.tl.impute(apart, model, source=["one", "two"], target="all", interval=0.8)
    assert apart.obsm["jamie_imputed_all_one_two_lower"].notna().all(axis=None)


def test_bounds_confidence_and_roles_survive_a_file_and_are_compared(fitted, tmp_path):
    import mudata

    mdata, model = fitted
    mdata = mdata.copy()
    jm.tl.impute(mdata, model, source=["one", "two"], target="all", interval=0.8, n_samples=1)
    mdata.write(tmp_path / "cells.h5mu")
    again = mudata.read_h5mu(tmp_path / "cells.h5mu")
    for source in (["one", "two"], ["two", "one"]):
        pair = jm.get.comparison(again, source=source, target="all")
        assert pair.cells == "held-out"
        assert pair.interval == 0.8
        assert set(pair.beside) == {"lower", "upper", "sample_0"}
        held_out = mdata.obs_names[mdata.obs["jamie_split"] == "test"]
        assert sorted(pair.measured.index) == sorted(held_out)
        assert_allclose(pair.measured, mdata["all"].to_df().loc[pair.measured.index], rtol=1e-5)
    both = jm.get.agreement(again, source=source, target="all")
    table = jm.get.imputed_features(again, source=source, target="all")
    assert both.within.to_numpy().mean() == pytest.approx(table["coverage"].mean())
    figure = jm.pl.imputation(again, source=["one", "two"], target="all")
    assert figure.get_suptitle().startswith("one + two → all")
    jm.tl.impute(mdata, model, source=["one", "two"], target="all")  # what is of other values goes
    assert not [key for key in mdata.obsm if key.startswith("jamie_imputed") and key.endswith(("lower", "sample_0"))]
    assert "jamie_imputation_confidence_all_one_two" not in mdata.obs
    assert set(mdata["all"].layers) & {"jamie_imputed_lower", "jamie_imputed_sample_0"} == set()


def test_a_file_of_bounds_is_what_is_written_to_memory(fitted, tmp_path):
    mdata, model = fitted
    part = MuData({"one": mdata["one"][:90].copy(), "two": mdata["two"][60:120].copy()})
    options = {"source": ["one", "two"], "target": "all", "interval": 0.8, "n_samples": 1, "min_confidence": 0.3}
    jm.tl.impute(part, model, **options)
    jm.tl.impute(part, model, **options, out=tmp_path / "x.h5ad")
    found, expected = ad.read_h5ad(tmp_path / "x.h5ad"), jm.get.imputed(part, source=["one", "two"], target="all")
    assert_allclose(found.X, expected.X, rtol=1e-6)
    assert set(found.layers) == set(expected.layers)
    for name in expected.layers:
        assert_allclose(found.layers[name], expected.layers[name], rtol=1e-6)
    for slot in ("jamie_imputation_confidence_all_one_two", "jamie_role_all_one_two"):
        assert_array_equal(found.obs[slot], expected.obs[slot])


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
        ({"interval": 0.99}, ValueError, r"`interval` above 0 and at most 0\.9\d, found 0\.99"),
        ({"min_confidence": 2}, ValueError, "`min_confidence` as a number from 0 to 1"),
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
