"""The shap package's way to the same values, and what it cannot do."""

from __future__ import annotations

from itertools import combinations
from math import factorial

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import jamie as jm
from jamie.attribution import Readout, SourceCells, _shap, contributions, feature_readout, outputs, shap_contributions


@pytest.fixture(scope="module")
def learned():
    mdata = jm.datasets.toy(share_paired=1.0)
    mdata["protein"].X = (mdata["protein"].X - np.median(mdata["protein"].X, 0) > 0).astype(np.float32)
    jm.pp.prepare(mdata, kinds={"protein": "accessibility"})
    return mdata, jm.tl.train(mdata, recipe="paper", max_steps=30)


def values(each):
    return np.stack([one.values for one in each])


def read(mdata, model, source):
    preparation = model.preparations_[source]
    return SourceCells.of(model.open(mdata), source, preparation).take(slice(None))


@pytest.mark.parametrize(("source", "target"), [("rna", "protein"), ("protein", "rna"), ("rna", None)])
def test_deep_explainer_gives_the_same(learned, source, target):
    mdata, model = learned
    if target is None:
        readout = Readout(None, np.eye(model.recipe_.n_latent)[:3], np.zeros(3))
    else:
        readout = feature_readout(model, target, np.array([2, 5]))
    assert readout.is_probability == (target == "protein")
    cells = read(mdata, model, source)
    explained, background = cells.take(slice(0, 5)), cells.take(slice(20, 30))
    ours = list(contributions(model, source, readout, explained, background))
    theirs = list(
        shap_contributions(model, source, readout, explained, background, method="shap", rng=np.random.default_rng(0))
    )
    assert_allclose(values(theirs), values(ours), atol=1e-4 * np.abs(values(ours)).max())
    for one, other in zip(ours, theirs, strict=True):
        assert one.cell == other.cell
        assert_allclose(one.explained, other.explained, atol=1e-4)
        assert_allclose(one.base, other.base, atol=1e-4)


def test_kernel_explainer_gives_shapley_values_and_leaves_numpy_alone():
    """Against the definition: the mean over all coalitions of what a feature adds."""
    mdata = jm.datasets.toy(share_paired=1.0)
    mdata = jm.datasets.toy(share_paired=1.0)[:, [*mdata["rna"].var_names, *mdata["protein"].var_names[:5]]].copy()
    model = jm.tl.train(mdata, max_steps=30)
    readout = feature_readout(model, "rna", np.array([4]))
    cells = read(mdata, model, "protein")
    explained, background = cells.take(slice(0, 2)), cells.take(slice(20, 26))
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    shap_values = values(
        shap_contributions(
            model, "protein", readout, explained, background, method="kernel", rng=np.random.default_rng(0)
        )
    )
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    preparation = model.preparations_["protein"]
    z, z_background = (np.asarray(part.scaled, dtype=np.float64) for part in (explained, background))

    def value(i, coalition):
        mixed = z_background.copy()
        mixed[:, list(coalition)] = z[i, list(coalition)]
        return readout(outputs(model, "protein", "rna", (mixed @ preparation.loadings).astype(np.float32))).mean()

    d = z.shape[1]
    for i in range(2):
        for j in range(d):
            others = [k for k in range(d) if k != j]
            expected = sum(
                factorial(size) * factorial(d - size - 1) / factorial(d) * (value(i, (*c, j)) - value(i, c))
                for size in range(d)
                for c in combinations(others, size)
            )
            assert_allclose(shap_values[i, j, 0], expected, atol=2e-4)


def test_networks_and_sources_they_cannot_explain_are_refused(monkeypatch):
    mdata = jm.datasets.toy(share_paired=1.0)
    model = jm.tl.train(mdata, max_steps=20)
    with pytest.raises(ValueError, match=r"DeepExplainer has rules for, found KernelMix and LayerNorm; .*deeplift"):
        jm.tl.explain(mdata, model, source="rna", target="protein", method="shap")
    monkeypatch.setattr(_shap, "MOST_FEATURES", 20)
    with pytest.raises(ValueError, match="at most 20 features to draw coalitions from, found 40 in 'rna'"):
        jm.tl.explain(mdata, model, source="rna", target="protein", method="kernel")
    with pytest.raises(ValueError, match=r"`method`.*'shap'"):
        jm.tl.explain(mdata, model, source="rna", target="protein", method="shapp")
    assert "jamie_shap_protein" not in mdata["rna"].varm


def test_the_method_is_recorded(learned):
    mdata, model = learned
    first, again = (
        jm.tl.explain(
            mdata,
            model,
            source="protein",
            target="rna",
            features=["gene3"],
            method="kernel",
            n_background=5,
            n_cells=5,
            copy=True,
        )["protein"]
        for _ in range(2)
    )
    assert first.uns["jamie_shap_rna"]["method"] == "kernel"
    assert first.uns["jamie_shap_rna"]["additivity"] < 1e-4
    assert_array_equal(first.layers["jamie_shap_rna_gene3"], again.layers["jamie_shap_rna_gene3"])
