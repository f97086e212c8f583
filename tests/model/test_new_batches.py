"""A new batch without pairs: its effect is found, whatever is measured of it, and everything else stays."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from mudata import MuData
from numpy.testing import assert_allclose, assert_array_equal

import jamie as jm
from jamie.model import _new_batches

N = 500
LEARNED = 300  # cells of the reference


def batch_of(mdata, cells, name, *, sd=0.0, seed=1):
    """Some cells, as of a batch that multiplies each feature by a factor; the logarithms of these."""
    part = MuData({m: mdata[m][mdata[m].obs_names.isin(cells)].copy() for m in mdata.mod})
    rng, effects = np.random.default_rng(seed), {}
    for m in part.mod:
        x = part[m].X.toarray() if m == "rna" else part[m].X
        effects[m] = rng.normal(0, sd, x.shape[1])
        part[m].X = np.floor(x * np.exp(effects[m]) + rng.random(x.shape)).astype(np.float32) if sd else x
    part.obs["batch"] = name
    return part, effects


@pytest.fixture(scope="module")
def whole():
    return jm.datasets.toy(n_cells=N)


@pytest.fixture(scope="module")
def reference(whole):
    part, _ = batch_of(whole, whole.obs_names[:LEARNED], "a")
    part.obs["batch"] = np.where(np.arange(part.n_obs) % 2, "a", "b")
    return part


@pytest.fixture(scope="module")
def model(reference):
    return jm.JAMIE(max_steps=100, batch_key="batch").fit(reference)


@pytest.fixture(scope="module")
def new(whole):
    return batch_of(whole, whole.obs_names[LEARNED:], "c", sd=0.7)


def without_partners(mdata):
    """The same cells under names of their own in each modality."""
    parts = {m: mdata[m].copy() for m in mdata.mod}
    for m, adata in parts.items():
        adata.obs_names = f"{m}_" + adata.obs_names
    parts = MuData(parts)
    parts.obs["batch"] = "c"
    return parts


def learned(adapted, name):
    return adapted.preparations_[name].effects.of_batch[-1]


@pytest.mark.parametrize("names", [("rna", "protein"), ("rna",), ("protein",)])
def test_factors_are_found_without_partners_whatever_is_measured(model, new, names, caplog):
    mdata, effects = new
    alone = without_partners(mdata)
    alone = MuData({name: alone[name] for name in names})
    alone.obs["batch"] = "c"
    with caplog.at_level("INFO", "jamie"):
        adapted = model.adapt(alone)
    for name in ("rna", "protein"):
        if name in names:
            assert f"'{name}': what 'c' changes was learned from" in caplog.text
            truth = effects[name] - effects[name].mean()
            assert np.corrcoef(learned(adapted, name), truth)[0, 1] > 0.9
        else:
            assert_array_equal(adapted.preparations_[name].effects.of_batch, model.preparations_[name].effects.of_batch)


def test_the_reference_stays_bit_for_bit(model, new, reference):
    alone = without_partners(new[0])
    adapted = model.adapt(alone)
    for name in ("rna", "protein"):
        assert_array_equal(adapted.embed(reference)[name], model.embed(reference)[name])
    assert adapted.placement == model.placement  # so that their latents may be compared
    for source, target in (("rna", "protein"), ("protein", "rna")):
        before = model.impute(reference, source=source, target=target)
        assert_array_equal(adapted.impute(reference, source=source, target=target), before)
    for name in ("rna", "protein"):
        assert model.preparations_[name].effects.batches == ("a", "b")  # this one knows nothing of it
        assert adapted.preparations_[name].effects.batches == ("a", "b", "c")


def test_latents_and_imputed_values_are_those_without_the_effect(model, new, whole):
    """Nearer to those of the same cells in a known batch than before, and imputed as well."""
    mdata, _ = new
    adapted = model.adapt(without_partners(mdata))
    clean, _ = batch_of(whole, whole.obs_names[LEARNED:], "a")
    known = mdata.copy()
    known.obs["batch"] = "a"
    for name in ("rna", "protein"):
        expected = model.embed(clean)[name]
        off = [np.square(a.embed(of)[name] - expected).mean() for a, of in ((model, known), (adapted, mdata))]
        assert off[1] < 0.8 * off[0]
    jm.tl.impute(mdata, adapted, source="rna", target="protein", batch="c")
    pair = jm.get.comparison(mdata, source="rna", target="protein")
    jm.tl.impute(known, model, source="rna", target="protein")
    before = jm.get.comparison(known, source="rna", target="protein")
    shifts = [abs((p.imputed - p.measured).mean()).max() for p in (before, pair)]
    assert shifts[1] < 0.6 * shifts[0]


def test_a_batch_that_changes_nothing_hardly_changes_what_is_imputed(model, whole):
    same, _ = batch_of(whole, whole.obs_names[LEARNED:], "c")
    adapted = model.adapt(without_partners(same))
    known = same.copy()
    known.obs["batch"] = "a"
    for source, target in (("rna", "protein"), ("protein", "rna")):
        before, after = (a.impute(of, source=source, target=target) for a, of in ((model, known), (adapted, same)))
        assert np.sqrt(np.mean((after - before) ** 2)) < 0.15 * before.std(axis=0).mean()


def test_a_panel_of_some_features_tells_of_these_alone(model, new):
    mdata, effects = new
    alone = without_partners(mdata)
    part = MuData({"protein": alone["protein"][:, 3:].copy()})
    part.obs["batch"] = "c"
    found = learned(model.adapt(part), "protein")
    assert_array_equal(found[:3], 0)
    assert np.corrcoef(found[3:], effects["protein"][3:])[0, 1] > 0.9


def test_cells_with_partners_teach_both(model, new, caplog):
    mdata, _ = new
    with caplog.at_level("INFO", "jamie"):
        adapted = model.adapt(mdata)
    assert "what 'c' changes was learned" in caplog.text
    assert "new pairs" in caplog.text
    assert set(adapted.open(mdata).role_names("rna")) == {"train"}


def test_held_out_cells_teach_nothing(model, new):
    mdata = new[0].copy()
    jm.pp.split(mdata)
    adapted = model.adapt(mdata)
    test = mdata.obs_names[mdata.obs["jamie_split"] == "test"]
    garbled = mdata.copy()
    garbled["protein"].X[garbled["protein"].obs_names.isin(test)] += 50
    assert_array_equal(learned(model.adapt(garbled), "protein"), learned(adapted, "protein"))
    jm.tl.embed(mdata, adapted)
    role = mdata["protein"].obs["jamie_role"]
    assert set(role[mdata["protein"].obs_names.isin(test)]) == {"new"}


def test_it_comes_back_from_its_file(model, new, tmp_path):
    mdata, _ = new
    adapted = model.adapt(without_partners(mdata))
    adapted.save(tmp_path / "adapted.jamie")
    again = jm.JAMIE.load(tmp_path / "adapted.jamie")
    for source, target in (("rna", "protein"), ("protein", "rna")):
        expected = adapted.impute(mdata, source=source, target=target)
        assert_array_equal(again.impute(mdata, source=source, target=target), expected)


def test_too_few_cells_and_a_model_without_batches_are_told(model, new, reference, caplog):
    mdata, _ = new
    few = without_partners(mdata)
    few = MuData({"protein": few["protein"][:15].copy()})
    few.obs["batch"] = "c"
    with pytest.raises(ValueError, match="at least 10 pairs"):
        model.adapt(few)
    assert "15 cells of 'c' do not tell what it changes, which takes 20" in caplog.text
    plain = jm.JAMIE(max_steps=10).fit(reference)
    with pytest.raises(ValueError, match=r"Without pairs a model that was trained with batch_key=\.\.\. learns"):
        plain.adapt(without_partners(mdata))


def test_regions_are_left_as_they_are(caplog):
    effects = SimpleNamespace(batches=("a", "c"), design=lambda *_: np.ones((40, 1)))
    preparation = SimpleNamespace(kind="accessibility", effects=effects)
    model, cells = SimpleNamespace(preparations_={"atac": preparation}), SimpleNamespace(mdata=None)
    found, rows = _new_batches.learn_new_batch(model, cells, "atac", "c", np.ones(40, bool))
    assert found is preparation
    assert not len(rows)
    assert "open or closed" in caplog.text


def test_effects_are_shrunk_by_what_they_have_beyond_their_errors():
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 0.5, 20_000)
    error = rng.uniform(0.2, 1, 20_000)
    found = truth + rng.normal(0, error)
    best = found * 0.25 / (0.25 + error**2)  # the posterior mean under the true prior
    assert_allclose(_new_batches._shrunk(found, error), best, atol=0.03)
    assert_allclose(_new_batches._shrunk(rng.normal(0, error), error), 0, atol=0.2)
    assert_array_equal(_new_batches._shrunk(np.array([3.0, 1.0]), np.array([np.inf, np.inf])), 0)
