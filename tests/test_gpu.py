"""What is computed on a GPU is what is computed on the CPU: run by `make test-gpu`, skipped where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

import jamie as jm

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, and -m gpu"),
]
DEVICES = ("cpu", "cuda")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """One MuData, and the same model on both devices."""
    mdata = jm.datasets.toy(n_cells=200)
    jm.pp.split(mdata)
    path = tmp_path_factory.mktemp("gpu") / "toy.jamie"
    jm.tl.train(mdata, max_steps=60, device="cpu").save(path)
    return mdata, [jm.JAMIE.load(path, device=device) for device in DEVICES]


def test_a_model_gives_the_same_everywhere(models):
    mdata, loaded = models
    latents, imputed, scores, shap = [], [], [], []
    for model in loaded:
        own = mdata.copy()
        latents.append(model.embed(own))
        imputed.append(model.impute(own, source="rna", target="protein"))
        scores.append(jm.tl.evaluate(own, model, labels="cell_type", rng=0))
        jm.tl.explain(own, model, source="rna", target="protein", n_cells=10, rng=0)
        shap.append(own["rna"].varm["jamie_shap_protein"])
    for name in latents[0]:
        assert_allclose(latents[1][name], latents[0][name], atol=1e-4)
    assert_allclose(imputed[1], imputed[0], atol=1e-4)
    numbers = scores[0].select_dtypes("number").columns.drop("seconds")
    assert_allclose(scores[1][numbers], scores[0][numbers], atol=1e-3, equal_nan=True)
    assert_allclose(shap[1], shap[0], atol=1e-4)


@pytest.mark.parametrize("recipe", ["default", "paper"])
def test_training_is_as_good_and_is_repeated_to_the_bit(recipe):
    mdata = jm.datasets.toy(n_cells=200)
    jm.pp.split(mdata)
    trained = [jm.tl.train(mdata, recipe=recipe, max_steps=40, device=device, rng=0) for device in (*DEVICES, "cuda")]
    scores = [jm.tl.evaluate(mdata, model, baselines=())["correlation"].to_numpy() for model in trained]
    assert_allclose(scores[1], scores[0], atol=0.1)
    for once, again in zip(trained[1].arrays(), trained[2].arrays(), strict=True):
        assert np.array_equal(once, again)


def test_a_model_of_a_gpu_is_read_without_one(tmp_path):
    mdata = jm.datasets.toy()
    model = jm.tl.train(mdata, max_steps=20, device="cuda")
    model.save(tmp_path / "toy.jamie")
    read = jm.JAMIE.load(tmp_path / "toy.jamie", device="cpu")
    for name, latent in read.embed(mdata).items():
        assert_allclose(latent, model.embed(mdata)[name], atol=1e-4)
