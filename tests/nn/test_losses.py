from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch.distributions import Normal
from torch.distributions import kl_divergence as kl_of

from jamie.nn import alignment, combination, contrastive, kl_divergence, reconstruction

approx = pytest.approx


def drawn(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


def on(function, *arrays, **options):
    tensors = [torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in arrays]
    return function(*tensors, **options).item()


def test_kl_is_the_divergence_from_a_standard_normal():
    mean, v = drawn((6, 4), (6, 4))
    q = Normal(torch.from_numpy(mean), torch.from_numpy(np.exp(v / 2)))
    assert on(kl_divergence, mean, v) == approx(kl_of(q, Normal(0.0, 1.0)).mean().item())
    assert on(kl_divergence, np.zeros((2, 3)), np.zeros((2, 3))) == 0


def test_combination_is_equation_6():
    latent, aggregated = drawn((6, 4), (6, 4))
    assert on(combination, latent, aggregated) == approx(((latent - aggregated) ** 2).sum() / (4 * 6))


def test_reconstruction_is_a_fraction_of_the_variance():
    measured, decoded = drawn((5, 3), (5, 3))
    variance = measured.var(0).mean()
    expected = ((measured - decoded) ** 2).sum() / (3 * 5 * variance)
    assert on(reconstruction, decoded, measured, variance) == approx(expected)
    column_means = np.tile(measured.mean(0), (5, 1))
    assert on(reconstruction, column_means, measured, variance) == approx(1)
    assert on(reconstruction, measured, measured, variance) == 0


@pytest.mark.parametrize("weighted", [False, True])
def test_reconstruction_leaves_out_what_is_missing(weighted):
    measured, decoded = drawn((5, 3), (5, 3))
    measured[[0, 2, 2], [1, 0, 2]] = np.nan
    weights = np.array([0.5, 1, 0.2, 0, 1])
    total = count = 0
    for i in range(5):
        for j in range(3):
            if not np.isnan(measured[i, j]):
                w = weights[i] if weighted else 1
                total += w * (measured[i, j] - decoded[i, j]) ** 2
                count += w
    found = on(reconstruction, decoded, measured, 2.0, torch.from_numpy(weights) if weighted else None)
    assert found == approx(total / count / 2)


@pytest.mark.parametrize("weights", [None, torch.zeros(5)])
def test_reconstruction_of_nothing_is_zero_with_a_zero_gradient(weights):
    decoded = torch.ones(5, 3, requires_grad=True)
    measured = torch.full((5, 3), torch.nan) if weights is None else torch.zeros(5, 3)
    loss = reconstruction(decoded, measured, 1.0, weights)
    loss.backward()
    assert loss.item() == 0
    assert (decoded.grad == 0).all()


def test_missing_values_send_no_gradient():
    decoded = torch.ones(2, 2, requires_grad=True)
    reconstruction(decoded, torch.tensor([[torch.nan, 0.0], [0.0, torch.nan]]), 1.0).backward()
    assert decoded.grad.tolist() == [[0, 1], [1, 0]]


def test_alignment_is_equation_9_without_empty_rows():
    m_x, m_y = drawn((4, 3), (5, 3))
    f = np.abs(drawn((4, 5))[0])
    f /= f.sum(1, keepdims=True)
    assert on(alignment, m_x, m_y, f) == approx(((m_x - f @ m_y) ** 2).sum() / (3 * 4))
    f[1] = 0
    kept = [0, 2, 3]
    assert on(alignment, m_x, m_y, f) == approx(((m_x - f @ m_y)[kept] ** 2).sum() / (3 * 3))
    assert on(alignment, m_x, m_y, np.zeros((4, 5))) == 0


def test_contrastive_is_a_symmetric_cross_entropy():
    x, y = drawn((4, 3), (6, 3))
    f = np.zeros((4, 6))
    f[[0, 1, 3], [2, 0, 5]] = [1, 0.5, 1]
    tau = 0.3
    logits = np.array([[-((a - b) ** 2).sum() / (3 * tau) for b in y] for a in x])
    expected = -0.5 * (f * (log_softmax(logits, 1) + log_softmax(logits, 0))).sum() / f.sum()
    assert on(contrastive, x, y, f, tau) == approx(expected)
    assert on(contrastive, x, y, np.zeros((4, 6)), tau) == 0


def test_contrastive_falls_as_partners_meet_and_others_part():
    far = 10 * np.eye(4)
    right, wrong = np.eye(4), np.eye(4)[::-1].copy()
    assert on(contrastive, far, far, right, 0.3) < 1e-6 < 10 < on(contrastive, far, far, wrong, 0.3)


def test_contrastive_at_distance_zero_has_a_finite_gradient():
    x = torch.zeros(3, 2, requires_grad=True)
    contrastive(x, torch.zeros(3, 2), torch.eye(3), 0.3).backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize(
    ("loss", "names"),
    [
        (kl_divergence, "`mean` and `log_variance`"),
        (combination, "`latent` and `aggregated`"),
        (lambda a, b: reconstruction(a, b, 1.0), "`decoded` and `measured`"),
    ],
)
def test_broadcasting_is_refused(loss, names):
    with pytest.raises(ValueError, match=rf"expected {names} of the same shape, found .*3, 2.* and .*1, 2"):
        loss(torch.zeros(3, 2), torch.zeros(1, 2))
