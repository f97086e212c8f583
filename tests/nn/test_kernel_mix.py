"""The path around the latent: a kernel ridge regression, mixed into what the decoder says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import euclidean_distances
from torch import nn

from jamie.nn import Ensemble, JointVAE, KernelMix

SIZES = {"a": 4, "b": 3, "c": 2}


def skip_of(n_inputs=4, n_outputs=3, *, m=12, rate=0.7, mix_weight=0.3, dtype=torch.float32, turned=False):
    generator = torch.Generator().manual_seed(0)
    turn = torch.randn(n_inputs, n_inputs, generator=torch.Generator().manual_seed(1), dtype=dtype)
    return KernelMix(
        torch.randn(m, n_inputs, generator=generator, dtype=dtype),
        torch.randn(m, n_outputs, generator=generator, dtype=dtype),
        origin=torch.randn(n_inputs, generator=generator, dtype=dtype)
        if turned
        else torch.zeros(n_inputs, dtype=dtype),
        directions=turn if turned else torch.eye(n_inputs, dtype=dtype),
        offset=torch.randn(n_outputs, generator=generator, dtype=dtype),
        rate=torch.tensor(rate, dtype=dtype),
        mix_weight=torch.tensor(mix_weight, dtype=dtype),
    )


def network():
    torch.manual_seed(0)
    hidden = dict.fromkeys(SIZES, (5,))
    return Ensemble([JointVAE(SIZES, n_latent=2, hidden=hidden, norm="layer", dropout=0.0)]).eval()


def network_with_skip():
    vae = network()
    vae.add_kernel_mix("a", "b", skip_of())
    return vae


@pytest.fixture
def x():
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("m", [12, 40])  # torch takes distances to few cells otherwise than to many
def test_the_prediction_is_scikit_learns(m):
    rng = np.random.default_rng(0)
    z, x, y = rng.normal(size=(m, 4)), rng.normal(size=(6, 4)), rng.normal(size=(m, 3))
    ridge = KernelRidge(alpha=0.2, kernel="precomputed").fit(np.exp(-0.7 * euclidean_distances(z)), y - y.mean(0))
    parts = (torch.from_numpy(part) for part in (z, ridge.dual_coef_))
    offset, rate, share = (torch.as_tensor(part, dtype=torch.float64) for part in (y.mean(0), 0.7, 1.0))
    place = {"origin": torch.zeros(4, dtype=torch.float64), "directions": torch.eye(4, dtype=torch.float64)}
    found = KernelMix(*parts, **place, offset=offset, rate=rate, mix_weight=share).predict(torch.from_numpy(x))
    assert_allclose(found, ridge.predict(np.exp(-0.7 * euclidean_distances(x, z))) + y.mean(0), rtol=1e-8)


def test_the_prediction_is_the_sum_over_landmarks(x):
    kernel_mix = skip_of()
    apart = np.sqrt(np.square(x.numpy()[:, None] - kernel_mix.landmarks.numpy()).sum(axis=2))
    expected = np.exp(-0.7 * apart) @ kernel_mix.coefficients.numpy() + kernel_mix.offset.numpy()
    assert_allclose(kernel_mix.predict(x), expected, rtol=1e-4, atol=1e-5)


def test_far_from_every_landmark_the_offset_is_left():
    kernel_mix = skip_of()
    assert_allclose(kernel_mix.predict(torch.full((1, 4), 1e4))[0], kernel_mix.offset)


@pytest.mark.parametrize("mix_weight", [0.0, 0.3, 1.0])
def test_the_share_is_that_of_the_kernel(x, mix_weight):
    kernel_mix, decoded = skip_of(mix_weight=mix_weight), torch.randn(6, 3)
    found = kernel_mix(x, decoded)
    assert_allclose(found, (1 - mix_weight) * decoded + mix_weight * kernel_mix.predict(x), rtol=1e-5, atol=1e-6)
    if mix_weight in (0, 1):
        assert torch.equal(found, kernel_mix.predict(x) if mix_weight else decoded)


def test_nothing_is_learned():
    kernel_mix = skip_of()
    assert not list(kernel_mix.parameters())
    assert set(kernel_mix.state_dict()) == {
        *("landmarks", "coefficients", "origin", "directions", "offset", "rate", "mix_weight")
    }


@pytest.mark.parametrize("m", [12, 40])
def test_gradients_are_finite_also_at_a_landmark(m):
    kernel_mix = skip_of(m=m)
    x = torch.cat([kernel_mix.landmarks[:2], torch.randn(3, 4)]).requires_grad_()
    decoded = torch.zeros(5, 3, requires_grad=True)
    kernel_mix(x, decoded).sum().backward()
    assert x.grad.isfinite().all()
    assert (x.grad != 0).any(dim=1).all()
    assert_allclose(decoded.grad, 0.7, rtol=1e-6)


def test_the_network_imputes_with_the_skip_where_there_is_one(x):
    vae, kernel_mix = network(), skip_of()
    decoded = vae.decode("b", vae.encode("a", x)[0])
    assert torch.equal(vae.impute("a", "b", x), decoded)
    vae.add_kernel_mix("a", "b", kernel_mix)
    assert vae.kernel_mix("a", "b") is kernel_mix
    assert_allclose(vae.impute("a", "b", x).detach(), (0.7 * decoded + 0.3 * kernel_mix.predict(x)).detach(), rtol=1e-5)
    assert torch.equal(vae.impute("a", "c", x), vae.decode("c", vae.encode("a", x)[0]))
    assert torch.equal(vae.impute("a", "a", x), vae.decode("a", vae.encode("a", x)[0]))
    assert vae.kernel_mix("b", "a") is None


def test_another_skip_takes_the_place_of_the_first():
    vae = network()
    for m in (12, 7):
        vae.add_kernel_mix("a", "b", skip_of(m=m))
    assert len(vae.kernel_mixes) == 1
    assert len(vae.kernel_mix("a", "b").landmarks) == 7


def test_skips_come_back_from_the_state(x):
    vae = network()
    vae.add_kernel_mix("a", "b", skip_of(m=12))
    vae.add_kernel_mix("b", "a", skip_of(3, 4, m=9, mix_weight=0.8))
    vae.add_kernel_mix("a", "c", skip_of(4, 2, m=5))
    state = {name: value.clone() for name, value in vae.state_dict().items()}
    again = network()
    for parameter in again.parameters():
        nn.init.zeros_(parameter)
    again.add_kernel_mixes_of(state)
    assert set(again.kernel_mixes) == set(vae.kernel_mixes) == {"0-1", "1-0", "0-2"}
    again.load_state_dict(state)
    for source, target, given in (("a", "b", x), ("a", "c", x), ("b", "a", x[:, :3])):
        assert torch.equal(again.impute(source, target, given), vae.impute(source, target, given))
    assert {name: value.dtype for name, value in again.state_dict().items()} == {n: v.dtype for n, v in state.items()}


def test_a_state_without_skips_makes_no_room():
    vae = network()
    vae.add_kernel_mixes_of(network().state_dict())
    assert not vae.kernel_mixes


def test_skips_follow_the_network_to_another_type(x):
    vae = network_with_skip()
    found = vae.double().impute("a", "b", x.double())
    assert found.dtype == torch.float64
    assert_allclose(found.detach(), network_with_skip().impute("a", "b", x).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("m", [12, 60])  # torch takes distances to few cells otherwise than to many
def test_the_distance_is_the_mean_to_ten_landmarks_of_which_the_cell_itself_is_none(m):
    mix, rng = skip_of(m=m, dtype=torch.float64), np.random.default_rng(0)
    landmarks = mix.landmarks.numpy()
    itself = np.concatenate([landmarks[[5, 2]], rng.normal(size=(20, 4))])
    x = itself + 0.1
    apart = np.sort(euclidean_distances(x, landmarks), axis=1)
    assert_allclose(mix.distance(torch.from_numpy(x)), apart[:, :10].mean(axis=1))
    without = mix.distance(torch.from_numpy(x), torch.from_numpy(itself))
    assert_allclose(without[2:], apart[2:, :10].mean(axis=1))
    for i, landmark in enumerate((5, 2)):
        others = np.sort(np.linalg.norm(x[i] - np.delete(landmarks, landmark, axis=0), axis=1))
        assert_allclose(without[i], others[:10].mean())
