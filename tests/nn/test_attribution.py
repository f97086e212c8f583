"""Multipliers carry every difference of the outputs, agree with shap, and become the gradient where inputs meet."""

from __future__ import annotations

import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from jamie.nn import KernelMix
from jamie.nn._attribution import kernel_pullback, pullback
from jamie.nn._blocks import hidden_layers

N, P, Q = 12, 7, 3


def network(norm):
    torch.manual_seed(0)
    layers = [*hidden_layers([P, 16, 8], norm=norm, dropout=0.5), nn.Linear(8, Q)]
    for layer in layers:
        if isinstance(layer, nn.BatchNorm1d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
        elif isinstance(layer, nn.LayerNorm):
            layer.weight.data.uniform_(0.5, 2)
            layer.bias.data.normal_()
    return nn.Sequential(*layers).double().eval().requires_grad_(False)


@pytest.fixture
def kernel_mix():
    torch.manual_seed(1)
    z, c = torch.randn(20, P).double(), torch.randn(20, Q).double()
    offset, rate, share = torch.ones(Q).double(), torch.tensor(0.3).double(), torch.tensor(0.5).double()
    turn = torch.randn(P, P, generator=torch.Generator().manual_seed(5), dtype=z.dtype)
    return KernelMix(z, c, origin=turn[0], directions=turn, offset=offset, rate=rate, mix_weight=share)


@pytest.fixture
def cells():
    torch.manual_seed(2)
    return torch.randn(N, P).double(), torch.randn(N, P).double()


def each_output(n=N):
    return torch.eye(Q).double().expand(n, Q, Q)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_contributions_sum_to_the_difference_of_the_outputs(norm, cells):
    x, reference = cells
    y, y_reference, back = pullback(network(norm), x, reference)
    contributions = back(each_output()) * (x - reference)[:, None]
    assert contributions.shape == (N, Q, P)
    assert_allclose(contributions.sum(-1), y - y_reference, atol=1e-10)
    assert_allclose(y, network(norm)(x))


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_multipliers_are_the_gradient_where_cell_and_reference_are_the_same(norm, cells):
    x, _ = cells
    net = network(norm)
    found = pullback(net, x, x)[2](each_output())
    expected = torch.stack([torch.autograd.functional.jacobian(lambda v: net(v[None])[0], cell) for cell in x])
    assert_allclose(found, expected, atol=1e-5)


def test_the_papers_network_is_explained_as_by_shap(cells):
    shap = pytest.importorskip("shap")
    x, references = cells
    net = network("batch")
    expected = shap.DeepExplainer(net, references).shap_values(x, check_additivity=False)  # (n, p, q)
    every, each = x.repeat_interleave(N, 0), references.repeat(N, 1)
    contributions = pullback(net, every, each)[2](each_output(N * N)) * (every - each)[:, None]
    assert_allclose(contributions.reshape(N, N, Q, P).mean(1).mT, expected, atol=1e-8)


def test_the_kernel_is_carried_back_without_remainder(kernel_mix, cells):
    x, reference = cells
    y, y_reference, back = kernel_pullback(kernel_mix, x, reference)
    assert_allclose(y, kernel_mix.predict(x))
    assert_allclose(y_reference, kernel_mix.predict(reference))
    contributions = back(torch.eye(Q).double()) * (x - reference)[:, None]
    assert_allclose(contributions.sum(-1), y - y_reference, atol=1e-10)


def test_the_kernel_has_its_gradient_where_cell_and_reference_are_the_same(kernel_mix, cells):
    x, _ = cells
    expected = torch.stack(
        [torch.autograd.functional.jacobian(lambda v: kernel_mix.predict(v[None])[0], cell) for cell in x]
    )
    assert_allclose(kernel_pullback(kernel_mix, x, x)[2](torch.eye(Q).double()), expected, atol=1e-8)


def test_inputs_that_do_not_differ_contribute_nothing_of_their_own(cells):
    x, reference = cells
    reference = torch.cat([x[:, :3], reference[:, 3:]], dim=1)
    contributions = pullback(network("layer"), x, reference)[2](each_output()) * (x - reference)[:, None]
    assert not contributions[..., :3].any()


def test_a_layer_without_a_rule_is_refused(cells):
    with pytest.raises(NotImplementedError, match="found Softmax"):
        pullback([nn.Softmax(dim=1)], *cells)
