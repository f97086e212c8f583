from __future__ import annotations

import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from jamie.nn import JointVAE
from jamie.nn._joint import _precision

SIZES = {"a": 6, "b": 4}


def network(norm="layer", dropout=0.0, sizes=SIZES, hidden=(8, 7)):
    torch.manual_seed(0)
    return JointVAE(sizes, n_latent=3, hidden=dict.fromkeys(sizes, hidden), norm=norm, dropout=dropout)


def batch(n=5, sizes=SIZES):
    generator = torch.Generator().manual_seed(1)
    names = list(sizes)
    known = {(a, b): torch.eye(n) for i, a in enumerate(names) for b in names[i + 1 :]}
    return {name: torch.randn(n, d, generator=generator) for name, d in sizes.items()}, known


def constant_encoder(vae, name, mean, log_variance):
    encoder = vae.encoders[vae.names.index(name)]
    for head, value in ((encoder.mean, mean), (encoder.log_variance, log_variance)):
        nn.init.zeros_(head.weight)
        nn.init.constant_(head.bias, value)


@pytest.mark.parametrize("training", [True, False])
def test_one_pass_gives_every_tensor_in_its_shape(training):
    inputs, known = batch()
    outputs = network().train(training)(inputs, known, crossed=True)
    for name, d in SIZES.items():
        for part in (outputs.mean, outputs.log_variance, outputs.latent, outputs.aggregated):
            assert part[name].shape == (5, 3)
        assert outputs.decoded[name].shape == (5, d)
    assert outputs.crossed["a", "b"][0].shape == (5, 4)
    assert outputs.crossed["b", "a"][0].shape == (5, 6)
    assert network()(inputs, known).crossed == {}


@torch.no_grad()
def test_afterwards_the_latent_is_the_mean_and_nothing_is_random():
    inputs, known = batch()
    vae = network(norm="batch", dropout=0.6).eval()
    one, two = vae(inputs, known), vae(inputs, known)
    for name in SIZES:
        assert torch.equal(one.latent[name], one.mean[name])
        assert torch.equal(one.decoded[name], two.decoded[name])


@torch.no_grad()
def test_in_training_the_latent_has_sd_exp_half_v():
    vae = network().train()
    constant_encoder(vae, "a", 2.0, 1.0)
    constant_encoder(vae, "b", -1.0, -3.0)
    inputs = {name: torch.randn(20_000, d) for name, d in SIZES.items()}
    latent = vae(inputs, {}).latent
    for name, mean, v in (("a", 2.0, 1.0), ("b", -1.0, -3.0)):
        assert_allclose(latent[name].mean(0), mean, atol=0.05)
        assert_allclose(latent[name].std(0), torch.tensor(v / 2).exp(), rtol=0.03)
    assert abs(torch.corrcoef(torch.stack([latent["a"][:, 0], latent["b"][:, 0]]))[0, 1]) < 0.03


@torch.no_grad()
def test_decoders_see_the_aggregate_and_crossing_sees_the_other_modality():
    inputs, known = batch()
    vae = network().eval()
    vae.log_weights.copy_(torch.tensor([0.0, 1.0]))
    outputs = vae(inputs, known, crossed=True)
    delta = torch.e
    met = (outputs.mean["a"] + delta * outputs.mean["b"]) / (1 + delta)
    assert_allclose(outputs.aggregated["a"], met, rtol=1e-5)
    assert_allclose(outputs.decoded["a"], vae.decode("a", met), rtol=1e-4, atol=1e-6)
    assert_allclose(outputs.crossed["a", "b"][0], vae.decode("b", outputs.mean["a"]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_gradient_reaches_every_parameter(norm):
    sizes = {**SIZES, "c": 5}
    inputs, known = batch(sizes=sizes)
    vae = network(norm, sizes=sizes).train()
    outputs = vae(inputs, known)
    sum(decoded.square().sum() for decoded in outputs.decoded.values()).backward()
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None, name
        if not (norm == "batch" and name.endswith(".bias")):  # BatchNorm takes away the bias before it
            assert parameter.grad.abs().max() > 0, name


def test_weights_of_the_modalities_start_equal_stay_positive_and_learn():
    vae = network()
    assert [weight.item() for weight in vae.weights.values()] == [1, 1]
    inputs, known = batch()
    optimiser = torch.optim.SGD([vae.log_weights], lr=0.1)
    for _ in range(5):
        optimiser.zero_grad()
        outputs = vae(inputs, known)
        (outputs.aggregated["a"] - outputs.mean["b"]).square().sum().backward()
        optimiser.step()
    assert vae.weights["b"] > 1 > vae.weights["a"] > 0


def test_a_batch_may_lack_a_modality():
    sizes = {**SIZES, "c": 5}
    inputs, known = batch(sizes=sizes)
    del inputs["b"]
    outputs = network(sizes=sizes)(inputs, {("a", "c"): known["a", "c"]}, crossed=True)
    assert set(outputs.decoded) == {"a", "c"}
    assert set(outputs.crossed) == {("a", "c"), ("c", "a")}


def test_in_low_precision_products_are_coarse_and_everything_else_is_single():
    inputs, known = batch(n=64)
    vae = network().eval()
    exact = vae(inputs, known, crossed=True)
    vae.low_precision = True
    outputs = vae(inputs, known, crossed=True)
    for part in ("mean", "log_variance", "latent", "aggregated", "decoded"):
        for name, values in getattr(outputs, part).items():
            assert values.dtype == torch.float32
            off = (values - getattr(exact, part)[name]).abs().max()
            assert 0 < off < 0.03
    assert_allclose(
        outputs.aggregated["a"].detach(), (outputs.latent["a"] + outputs.latent["b"]).detach() / 2, rtol=1e-5
    )
    sum(decoded.square().sum() for decoded in outputs.decoded.values()).backward()
    assert all(parameter.dtype == torch.float32 for parameter in vae.parameters())
    assert all(parameter.grad.isfinite().all() for parameter in vae.encoders.parameters())


@torch.no_grad()
@pytest.mark.parametrize("n_latent", [1, 2, 5])
def test_mean_variance_and_latent_are_those_of_the_encoder(n_latent):
    inputs, known = batch()
    vae = JointVAE(SIZES, n_latent=n_latent, hidden=dict.fromkeys(SIZES, (8,)), norm="layer", dropout=0.0).eval()
    outputs = vae(inputs, known)
    for name, x in inputs.items():
        mean, log_variance = vae.encode(name, x)
        for found, expected in ((outputs.mean, mean), (outputs.log_variance, log_variance), (outputs.latent, mean)):
            assert torch.equal(found[name], expected)


@pytest.mark.parametrize("is_low", [True, False])
def test_low_precision_is_bfloat16_on_any_device_and_caches_nothing(monkeypatch, is_low):
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **options: (arguments, options))
    found = _precision(torch.device("cuda", 1), is_low=is_low)
    assert found == (("cuda", torch.bfloat16), {"enabled": is_low, "cache_enabled": False})
