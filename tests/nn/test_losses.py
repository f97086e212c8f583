from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch.distributions import Normal
from torch.distributions import kl_divergence as kl_of

from jamie.nn import Contrast, Links, alignment, combination, kl_divergence, reconstruction

approx = pytest.approx


def drawn(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in shapes]


def on(function, *arrays, **options):
    tensors = [torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in arrays]
    return function(*tensors, **options).item()


def contrastive(x, y, links, tau, **options):
    return Contrast.between(x, y, tau, **options).loss(links)


def contrast(x, y, f, tau, **options):
    """`contrastive` of arrays and a dense F."""
    return on(contrastive, x, y, Links.of(torch.from_numpy(f)), tau, **options)


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


@pytest.mark.parametrize("weights", [None, torch.tensor([0.0, 0.2])])
def test_reconstruction_of_one_value_is_its_error(weights):
    measured = torch.tensor([[torch.nan, torch.nan], [torch.nan, 1.0]])
    assert reconstruction(torch.full((2, 2), 4.0), measured, 2.0, weights).item() == approx((4 - 1) ** 2 / 2)


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


def every_two_partners(m_x, m_y, f, of):
    """Expectation of a loss over two partners of each cell, drawn from its row of F̃: each possible draw counted."""
    expected = 0
    rows = [np.flatnonzero(row) for row in f]
    for first in product(*rows):
        for second in product(*rows):
            i = np.arange(len(f))
            probability = f[i, first].prod() * f[i, second].prod()
            expected += probability * of(m_x, m_y[list(first)], m_y[list(second)])
    return expected


def test_alignment_expects_equation_9():
    m_x, m_y = drawn((3, 4), (5, 4))
    f = np.array([[0.2, 0.5, 0, 0.3, 0], [0, 0, 1, 0, 0], [0.4, 0, 0, 0, 0.6]])
    equation_9 = ((m_x - f @ m_y) ** 2).sum() / (4 * 3)
    assert every_two_partners(m_x, m_y, f, lambda *m: on(alignment, *m)) == approx(equation_9, rel=1e-12)
    spread = sum((f[i] * ((m_y - f[i] @ m_y) ** 2).sum(1)).sum() for i in range(3)) / (4 * 3)
    one_twice = every_two_partners(m_x, m_y, f, lambda x, first, _: on(alignment, x, first, first))
    assert one_twice == approx(equation_9 + spread)
    assert one_twice > 1.2 * equation_9


def test_alignment_pulls_as_equation_9_does():
    m_x, m_y = drawn((2, 3), (3, 3))
    f = np.array([[0.25, 0.75, 0], [0, 0.5, 0.5]])

    def gradient(x, first, second):
        x = torch.from_numpy(x).requires_grad_()
        return torch.autograd.grad(alignment(x, torch.from_numpy(first), torch.from_numpy(second)), x)[0].numpy()

    np.testing.assert_allclose(every_two_partners(m_x, m_y, f, gradient), 2 * (m_x - f @ m_y) / (3 * 2), rtol=1e-12)


def test_contrastive_is_a_symmetric_cross_entropy():
    x, y = drawn((4, 3), (6, 3))
    f = np.zeros((4, 6))
    f[[0, 1, 1, 3], [2, 0, 4, 5]] = [1, 0.25, 0.5, 1]
    tau = 0.3
    logits = np.array([[-((a - b) ** 2).sum() / (3 * tau) for b in y] for a in x])
    expected = -0.5 * (f * (log_softmax(logits, 1) + log_softmax(logits, 0))).sum() / 3
    assert contrast(x, y, f, tau) == approx(expected)
    assert contrast(x, y, np.zeros((4, 6)), tau) == 0


@pytest.mark.parametrize("confidence", [0.5, 0.1])
def test_contrastive_pulls_by_as_much_as_pairs_are_sure(confidence):
    x, y = (torch.from_numpy(z).requires_grad_() for z in drawn((5, 3), (6, 3)))
    f = torch.eye(5, 6, dtype=torch.float64)
    sure = torch.autograd.grad(contrastive(x, y, Links.of(f), 0.3), (x, y))
    unsure = torch.autograd.grad(contrastive(x, y, Links.of(confidence * f), 0.3), (x, y))
    for one, other in zip(sure, unsure, strict=True):
        assert one.abs().max() > 0.01
        torch.testing.assert_close(other, confidence * one, rtol=1e-12, atol=1e-14)


def test_contrastive_of_one_unsure_pair_among_sure_ones_does_not_weigh_on_them():
    far = 10 * np.eye(4)
    f = np.eye(4)[::-1].copy()
    f[0] *= 0.5
    assert contrast(far, far, f, 0.3) == approx(3.5 / 4 * contrast(far, far, np.eye(4)[::-1].copy(), 0.3))


def test_contrastive_falls_as_partners_meet_and_others_part():
    far = 10 * np.eye(4)
    right, wrong = np.eye(4), np.eye(4)[::-1].copy()
    assert contrast(far, far, right, 0.3) < 1e-6 < 10 < contrast(far, far, wrong, 0.3)


@pytest.mark.parametrize("n_blocks", [1, 2])
def test_a_contrast_with_sides_exchanged_is_that_of_the_other_side(n_blocks):
    x, y, f = (torch.from_numpy(values) for values in drawn((4, 3), (6, 3), (6, 4)))
    links = Links.of((f > 0.5) * torch.block_diag(*[torch.ones(6 // n_blocks, 4 // n_blocks)] * n_blocks).double())
    found = Contrast.between(x, y, 0.3, n_blocks=n_blocks).T.loss(links)
    assert found.item() == approx(contrastive(y, x, links, 0.3, n_blocks=n_blocks).item())
    assert found > 0


def test_contrastive_at_distance_zero_has_a_finite_gradient():
    x = torch.zeros(3, 2, requires_grad=True)
    contrastive(x, torch.zeros(3, 2), Links.of(torch.eye(3)), 0.3).backward()
    assert torch.isfinite(x.grad).all()


SINGLE = {
    "kl": (kl_divergence, 2),
    "combination": (combination, 2),
    "reconstruction": (lambda decoded, measured, weights=None: reconstruction(decoded, measured, 1.7, weights), 2),
    "alignment": (alignment, 3),
}


@pytest.mark.parametrize("name", SINGLE)
def test_weights_say_how_often_a_cell_counts(name):
    loss, n_arguments = SINGLE[name]
    arguments = drawn(*[(4, 3)] * n_arguments)
    counted = [np.repeat(z, [2, 0, 1, 3], axis=0) for z in arguments]
    weights = torch.tensor([1.0, 0.0, 0.5, 1.5], dtype=torch.float64)
    assert on(loss, *arguments, weights=weights) == approx(on(loss, *counted))
    assert on(loss, *arguments, weights=torch.full((4,), 0.3, dtype=torch.float64)) == approx(on(loss, *arguments))


@pytest.mark.parametrize("name", SINGLE)
def test_cells_that_weigh_nothing_send_no_gradient_and_none_at_all_is_zero(name):
    loss, n_arguments = SINGLE[name]
    first, *others = (torch.from_numpy(z) for z in drawn(*[(4, 3)] * n_arguments))
    first.requires_grad_()
    weights = torch.tensor([1.0, 0.0, 2.0, 0.0], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(loss(first, *others, weights=weights), first)
    assert (gradient[[1, 3]] == 0).all()
    assert (gradient[[0, 2]] != 0).all()
    nothing = loss(first, *others, weights=0 * weights)
    assert nothing.item() == 0
    assert (torch.autograd.grad(nothing, first)[0] == 0).all()


@pytest.mark.parametrize(
    ("loss", "names"),
    [
        (kl_divergence, "`mean` and `log_variance`"),
        (combination, "`latent` and `aggregated`"),
        (lambda a, b: reconstruction(a, b, 1.0), "`decoded` and `measured`"),
        (lambda a, b: alignment(a, b, a), "`aggregated_x` and `first`"),
        (lambda a, b: alignment(a, a, b), "`aggregated_x` and `second`"),
    ],
)
def test_broadcasting_is_refused(loss, names):
    with pytest.raises(ValueError, match=rf"expected {names} of the same shape, found .*3, 2.* and .*1, 2"):
        loss(torch.zeros(3, 2), torch.zeros(1, 2))


@pytest.mark.parametrize("scale", [1, 1e4])
@pytest.mark.parametrize("gone", [(), (1,), (0, 2)])
def test_contrastive_in_blocks_and_networks_is_that_of_each_block(gone, scale):
    """Two networks of two blocks of 3 and 4 cells; those that are gone leave the others as if they were never there."""
    x, y = (scale * values for values in drawn((2, 6, 3), (2, 8, 3)))
    f = np.zeros((2, 2, 3, 4))
    f[0, 0, [0, 1], [3, 1]], f[0, 1, 2, 0], f[1, 0, [1, 2], [0, 0]], f[1, 1, 0, 1] = [1, 0.5], 1, [0.25, 1], 1
    here = np.ones((2, 6))
    for cell in gone:
        f[:, :, cell] = 0
        here[:, [cell, 3 + cell]] = 0
    whole = np.zeros((12, 16))
    for i in range(4):
        whole[3 * i : 3 * i + 3, 4 * i : 4 * i + 4] = f.reshape(4, 3, 4)[i]
    present = torch.from_numpy(here)
    tensors = (torch.from_numpy(x), torch.from_numpy(y), Links.of(torch.from_numpy(whole)), 0.3)
    for options in ({}, {"present_y": torch.ones(2, 8, dtype=torch.float64)}):
        found = contrastive(*tensors, n_blocks=2, present_x=present, **options)
        assert found.shape == (2,)
        stay = [cell for cell in range(3) if cell not in gone]
        for network in range(2):
            total, n = 0, 0
            for block in range(2):
                part = f[network, block][stay]
                n_linked = (part.sum(1) > 0).sum()
                of_x, of_y = x[network, 3 * block :][stay], y[network, 4 * block : 4 * block + 4]
                total += n_linked * contrast(of_x, of_y, part, 0.3)
                n += n_linked
            assert found[network].item() == approx(total / max(n, 1))


def test_contrastive_of_a_block_without_cells_has_a_finite_gradient():
    x = torch.randn(4, 2, requires_grad=True, generator=torch.Generator().manual_seed(0))
    links = Links.of(torch.eye(4)[:2])
    found = contrastive(x, x, links, 0.3, n_blocks=2, present_x=torch.tensor([1.0, 1, 0, 0]), present_y=torch.zeros(4))
    found.backward()
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("loss", [kl_divergence, combination])
@pytest.mark.parametrize("weighted", [False, True])
def test_networks_side_by_side_have_a_loss_each(loss, weighted):
    x, y = drawn((3, 5, 2), (3, 5, 2))
    weights = np.random.default_rng(1).random((3, 5)) if weighted else None
    found = loss(torch.from_numpy(x), torch.from_numpy(y), None if weights is None else torch.from_numpy(weights))
    for i in range(3):
        alone = [x[i], y[i]] + ([weights[i]] if weighted else [])
        assert found[i].item() == approx(on(loss, *alone))


@pytest.mark.parametrize("weighted", [False, True])
def test_reconstructions_side_by_side_have_an_error_each(weighted):
    x, y = drawn((3, 5, 2), (3, 5, 2))
    y[0, 1, 0] = y[2, :4, 1] = np.nan
    weights = np.random.default_rng(1).random((3, 5)) if weighted else None
    tensors = [torch.from_numpy(x), torch.from_numpy(y), 1.3]
    found = reconstruction(*tensors, *([torch.from_numpy(weights)] if weighted else []))
    for i in range(3):
        assert found[i].item() == approx(on(reconstruction, x[i], y[i], 1.3, *([weights[i]] if weighted else [])))
