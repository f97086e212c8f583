from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.decomposition import PCA

from jamie.data import Batch
from jamie.nn import JointVAE, Outputs, contrastive
from jamie.train import RECIPES, Target, objective

RECIPE = replace(
    RECIPES["default"], kl=0.3, combination=0.7, reconstruction=1.1, cross=1.7, contrastive=0.9, temperature=0.4
)
SIZES = {"a": 6, "b": 4, "c": 5}
WIDTHS = {"a": 3, "b": 2, "c": 4}
G = 2


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def case(rng):
    """Outputs and batch of three modalities with random numbers in every place."""

    def draw(*shape):
        return torch.from_numpy(rng.normal(size=shape))

    def by_cell():
        return {name: draw(n, G) for name, n in SIZES.items()}

    pairs = [("a", "b"), ("a", "c"), ("b", "c")]
    known = {(a, b): torch.from_numpy((rng.random((SIZES[a], SIZES[b])) < 0.3) * 0.5) for a, b in pairs}
    crossed = {
        (a, b): (draw(SIZES[b], WIDTHS[b]), torch.from_numpy(rng.random(SIZES[b])))
        for a in SIZES
        for b in SIZES
        if a != b
    }
    outputs = Outputs(
        by_cell(), by_cell(), by_cell(), by_cell(), {m: draw(n, WIDTHS[m]) for m, n in SIZES.items()}, crossed
    )
    batch = Batch({m: draw(n, WIDTHS[m]) for m, n in SIZES.items()}, {}, known)
    targets = {name: Target(0.5 + i, None) for i, name in enumerate(SIZES)}
    return outputs, batch, targets


def test_total_is_the_weighted_sum_of_terms_over_all_modalities(case):
    outputs, batch, targets = case
    kappa = 0.6
    losses = objective(outputs, batch, targets, RECIPE, kappa)

    kl = moved = own = crossed = 0
    for m, n in SIZES.items():
        mean, v = outputs.mean[m].numpy(), outputs.log_variance[m].numpy()
        kl += -0.5 * (1 + v - mean**2 - np.exp(v)).sum() / (n * G)
        moved += ((outputs.latent[m] - outputs.aggregated[m]) ** 2).sum().item() / (n * G)
        error = ((outputs.decoded[m] - batch.inputs[m]) ** 2).sum().item()
        own += error / (n * WIDTHS[m] * targets[m].variance)
    for (_, b), (decoded, sure) in outputs.crossed.items():
        error = ((decoded - batch.inputs[b]) ** 2).mean(1).numpy()
        crossed += np.average(error, weights=sure.numpy()) / targets[b].variance
    paired = sum(contrastive(outputs.mean[a], outputs.mean[b], f, 0.4).item() for (a, b), f in batch.known.items())

    found = [losses.kl, losses.combination, losses.reconstruction, losses.cross, losses.contrastive]
    assert_allclose([term.item() for term in found], [kl, moved, own, crossed, paired], rtol=1e-6)
    total = 0.3 * kappa * kl + 0.7 * moved + 1.1 * own + 1.7 * crossed + 0.9 * paired
    assert losses.total.item() == pytest.approx(total)


@pytest.mark.parametrize("name", SIZES)
def test_kl_holds_both_heads_of_every_modality(case, name):
    outputs, batch, targets = case
    for part in (outputs.mean, outputs.log_variance):
        part[name].requires_grad_()
    objective(outputs, batch, targets, RECIPE, 1.0).kl.backward()
    n = SIZES[name]
    assert_allclose(outputs.mean[name].grad, outputs.mean[name].detach() / (n * G))
    assert_allclose(outputs.log_variance[name].grad, (outputs.log_variance[name].detach().exp() - 1) / (2 * n * G))


def test_the_papers_total_has_the_papers_terms_only(case):
    outputs, batch, targets = case
    losses = objective(outputs, batch, targets, RECIPES["paper"], 1.0)
    expected = 0.032 * losses.kl + 32 * losses.combination + losses.reconstruction
    assert losses.total.item() == pytest.approx(expected.item())


def test_a_batch_without_pairs_has_no_paired_terms(case):
    outputs, batch, targets = case
    losses = objective(outputs._replace(crossed={}), batch._replace(known={}), targets, RECIPE, 1.0)
    assert losses.cross.item() == losses.contrastive.item() == 0
    assert torch.isfinite(losses.total)


def test_every_pair_counts_not_only_the_first_two(case):
    outputs, batch, targets = case
    f = torch.zeros(6, 4, dtype=torch.float64)
    f[[0, 1, 2, 3], [0, 1, 2, 3]] = 1
    mean = outputs.mean["b"].requires_grad_()
    objective(outputs, batch._replace(known={("a", "b"): f}), targets, RECIPE, 0.0).contrastive.backward()
    assert (mean.grad.abs().sum(1) > 1e-6).all()


def test_error_on_components_is_that_on_features_up_to_a_factor_and_a_constant(rng):
    n, d, k, scale = 40, 7, 3, 2.5
    x = rng.normal(size=(n, 4)) @ rng.normal(size=(4, d))
    x = (x - x.mean(0)) / x.std(0)
    pca = PCA(k).fit(x)
    variance = pca.explained_variance_.mean()
    inputs = torch.from_numpy(pca.transform(x) / scale)
    project = torch.from_numpy(pca.components_ * scale)
    batch = Batch({"x": inputs}, {"x": torch.from_numpy(x)}, {})
    decoded = torch.from_numpy(rng.normal(size=(n, k))).requires_grad_()
    flat = {"x": torch.zeros(n, 1, dtype=torch.float64)}

    def error(project):
        outputs = Outputs(flat, flat, flat, flat, {"x": decoded}, {})
        loss = objective(outputs, batch, {"x": Target(variance / scale**2, project)}, RECIPE, 0.0).reconstruction
        return loss, torch.autograd.grad(loss, decoded)[0]

    on_components, gradient_on_components = error(None)
    on_features, gradient_on_features = error(project)
    factor = d / (k * variance)
    assert_allclose(gradient_on_components, factor * gradient_on_features)
    beyond = ((x - pca.inverse_transform(pca.transform(x))) ** 2).mean()
    assert on_components.item() == pytest.approx(factor * (on_features.item() - beyond))


def test_missing_values_do_not_count(rng):
    values = torch.from_numpy(rng.normal(size=(5, 4)))
    values[1, 2] = torch.nan
    flat = {"x": torch.zeros(5, 1, dtype=torch.float64)}
    decoded, project = (torch.from_numpy(rng.normal(size=shape)) for shape in ((5, 3), (3, 4)))
    batch = Batch({"x": torch.zeros(5, 3)}, {"x": values}, {})
    losses = objective(
        Outputs(flat, flat, flat, flat, {"x": decoded}, {}), batch, {"x": Target(9.0, project)}, RECIPE, 0
    )
    assert losses.reconstruction.item() == pytest.approx(np.nanmean((decoded @ project - values).numpy() ** 2))


def test_gradient_of_the_total_reaches_every_parameter():
    torch.manual_seed(0)
    network = JointVAE(WIDTHS, n_latent=G, hidden=dict.fromkeys(WIDTHS, (6, 5)), style=RECIPE.style, dropout=0.0)
    inputs = {name: torch.randn(5, d) for name, d in WIDTHS.items()}
    known = {pair: torch.eye(5) for pair in (("a", "b"), ("a", "c"), ("b", "c"))}
    outputs = network(inputs, known, crossed=True)
    targets = dict.fromkeys(WIDTHS, Target(1.0, None))
    objective(outputs, Batch(inputs, {}, known), targets, RECIPE, 1.0).total.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.abs().max() > 0, name
