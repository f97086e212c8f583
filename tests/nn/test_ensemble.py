"""Networks that predict together, against the networks one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from jamie.nn import Ensemble, JointVAE, KernelMix, aggregate, meet

SIZES = {"a": 4, "b": 3}


def ensemble(n):
    torch.manual_seed(0)
    networks = [
        JointVAE(SIZES, n_latent=2, hidden=dict.fromkeys(SIZES, (5,)), norm="layer", dropout=0.1) for _ in range(n)
    ]
    for network in networks:
        network.log_weights.data = torch.randn(2)
    return Ensemble(networks).eval().requires_grad_(requires_grad=False)


@pytest.mark.parametrize("n", [2, 3])
def test_latents_stand_side_by_side_and_what_is_decoded_is_the_mean(n):
    model, x = ensemble(n), torch.randn(6, 4)
    mean, log_variance = model.encode("a", x)
    assert mean.shape == log_variance.shape == (6, 2 * n)
    assert model.n_latent == 2 * n
    decoded = torch.zeros(6, 3)
    for i, network in enumerate(model.members):
        own = network.encode("a", x)
        assert torch.equal(mean[:, 2 * i : 2 * i + 2], own[0])
        assert torch.equal(log_variance[:, 2 * i : 2 * i + 2], own[1])
        decoded += network.decode("b", own[0]) / n
    assert_allclose(model.decode("b", mean), decoded, rtol=1e-5, atol=1e-6)
    assert_allclose(model.impute("a", "b", x), decoded, rtol=1e-5, atol=1e-6)
    assert not model.correction("a", "b", x).any()


def test_the_kernel_mix_is_mixed_into_the_mean():
    model, x = ensemble(2), torch.randn(6, 4)
    before = model.impute("a", "b", x)
    kernel_mix = KernelMix(
        torch.randn(5, 4),
        torch.randn(5, 3),
        origin=torch.zeros(4),
        directions=torch.eye(4),
        offset=torch.zeros(3),
        rate=torch.tensor(0.5),
        mix_weight=torch.tensor(0.3),
    )
    model.add_kernel_mix("a", "b", kernel_mix)
    assert_allclose(model.impute("a", "b", x), 0.7 * before + 0.3 * kernel_mix.predict(x), rtol=1e-5, atol=1e-6)
    assert_allclose(model.correction("a", "b", x), model.impute("a", "b", x) - before, atol=1e-6)


def test_latents_of_all_networks_are_aggregated_each_by_its_own_weights():
    model = ensemble(3)
    latents = {"a": torch.randn(4, 6), "b": torch.randn(5, 6)}
    f = torch.from_numpy(np.random.default_rng(0).random((4, 5))).float()
    together = aggregate(latents, meet(latents, {("a", "b"): f}), model.weights)
    for i, network in enumerate(model.members):
        own = {name: latent[:, 2 * i : 2 * i + 2] for name, latent in latents.items()}
        for name, mixed in aggregate(own, meet(own, {("a", "b"): f}), network.weights).items():
            assert_allclose(together[name][:, 2 * i : 2 * i + 2], mixed, rtol=1e-5)


def test_one_network_is_that_network():
    model, x = ensemble(1), torch.randn(6, 4)
    (network,) = model.members
    assert torch.equal(model.encode("a", x)[0], network.encode("a", x)[0])
    assert torch.equal(model.impute("a", "b", x), network.decode("b", network.encode("a", x)[0]))
    assert model.names == ["a", "b"]
    assert model.device == torch.device("cpu")
