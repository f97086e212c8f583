"""What is computed on a GPU is what is computed on the CPU: run by `make test-gpu`, skipped where there is none."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import sparse

import jamie as jm
from jamie.data import LinkedCells, Loader, ModalityView, Problem, stratified
from jamie.nn import JointVAE
from jamie.train import Target
from jamie.train._graphs import Graphs
from jamie.train._step import Moment, TrainingStep

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


@pytest.mark.parametrize(
    "options", [{"recipe": "default"}, {"recipe": "paper"}, {"n_networks": 3}], ids=["default", "paper", "three"]
)
def test_training_is_as_good_and_is_repeated_to_the_bit(options, capsys):
    """As long as a cell has one partner: sums of several are taken in any order (see the page on reproducibility)."""
    mdata = jm.datasets.toy(n_cells=200, share_paired=1.0)
    jm.pp.split(mdata)
    trained = [jm.tl.train(mdata, max_steps=40, device=device, rng=0, **options) for device in (*DEVICES, "cuda")]
    assert "without a CUDA graph" not in capsys.readouterr().err
    scores = [jm.tl.evaluate(mdata, model, baselines=())["correlation"].to_numpy() for model in trained]
    assert_allclose(scores[1], scores[0], atol=0.1)
    for once, again in zip(trained[1].arrays(), trained[2].arrays(), strict=True):
        assert np.array_equal(once, again)


def test_few_pairs_with_inferred_partners_are_trained_by_graphs(capsys):
    mdata = jm.datasets.toy(n_cells=400, share_paired=0.3)
    jm.pp.split(mdata)
    scores = []
    for device in (*DEVICES, "cuda"):
        model = jm.tl.train(mdata, max_steps=60, device=device, rng=0)
        scores.append(jm.tl.evaluate(mdata, model, baselines=())["correlation"].to_numpy())
    assert "without a CUDA graph" not in capsys.readouterr().err
    assert_allclose(scores[1], scores[0], atol=0.1)
    assert_allclose(scores[2], scores[1], atol=0.02)


@pytest.fixture
def steps():
    """Makes losses of twenty steps on prepared cells: pairs and cells alone, in batches of two blocks."""
    rng = np.random.default_rng(0)
    sizes = {"a": 3_000, "b": 4_000}
    views = {
        name: ModalityView(
            name, pd.RangeIndex(n), rng.normal(size=(n, 20)).astype(np.float32), None, np.ones(n, dtype=bool), None
        )
        for name, n in sizes.items()
    }
    problem = Problem(views, {("a", "b"): sparse.eye(3_000, 4_000, format="csr", dtype=np.float32)}, {})
    linked = LinkedCells.of(problem)

    def make(device, *, graphs):
        torch.manual_seed(0)
        recipe = replace(jm.recipes["default"], dropout=0.0)
        network = JointVAE(
            dict.fromkeys(sizes, 20), n_latent=8, hidden=dict.fromkeys(sizes, (64,)), norm="layer", dropout=0
        )
        network = network.to(device).eval()  # without chance
        load = Loader(problem, dict.fromkeys(sizes, 1.0), torch.device(device))
        step = TrainingStep(network, load.gather, dict.fromkeys(sizes, Target(1.0, None)), recipe)
        draws = stratified(
            linked, np.arange(len(linked)), size=1_000, least_paired=0.1, n_blocks=2, rng=np.random.default_rng(0)
        )
        compute = Graphs(step.compute, torch.device(device)) if graphs else step.compute
        found = []
        for i, draw in enumerate(islice(draws, 20)):
            index = load.index([draw])
            if not graphs:
                index = index.with_tensors([tensor.to(device) for tensor in index.tensors()])
            schedule = step.schedule(Moment(i + 1, rate=1e-3, kappa=0.5, averaging=0.1))
            found.append(compute(index, schedule if graphs else schedule.to(device)).cpu().numpy())
        return np.array(found)

    return make


def test_a_graph_computes_what_single_calls_compute_and_what_a_cpu_does(steps):
    replayed = steps("cuda", graphs=True)
    assert_allclose(replayed, steps("cuda", graphs=False), rtol=1e-5)
    assert_allclose(replayed, steps("cpu", graphs=False), rtol=2e-3)


def test_cells_that_the_card_cannot_hold_are_gathered_on_the_host(steps, monkeypatch):
    expected = steps("cuda", graphs=True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _=None: (0, 0))
    assert_allclose(steps("cuda", graphs=True), expected, rtol=1e-5)


def test_a_model_of_a_gpu_is_read_without_one(tmp_path):
    mdata = jm.datasets.toy()
    model = jm.tl.train(mdata, max_steps=20, device="cuda")
    model.save(tmp_path / "toy.jamie")
    read = jm.JAMIE.load(tmp_path / "toy.jamie", device="cpu")
    for name, latent in read.embed(mdata).items():
        assert_allclose(latent, model.embed(mdata)[name], atol=1e-4)
