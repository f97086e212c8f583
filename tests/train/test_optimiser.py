"""One vector of weights moves as torch's AdamW moves them one by one."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from jamie.nn import JointVAE, SideBySide
from jamie.train._optimiser import FlatAdamW, RunningAverage, separated


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Linear(7, 3)).double()


def loss(network, step):
    x = torch.randn(20, 5, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
    return network(x).square().mean() * (100 if step == 2 else 1)


def test_it_is_adamw_with_clipping_step_for_step(network):
    other = copy.deepcopy(network)
    ours = FlatAdamW(network, weight_decay=0.1, clip=0.5)
    theirs = torch.optim.AdamW(other.parameters(), lr=1.0, weight_decay=0.1)
    for step in range(6):
        rate = 0.01 * (step + 1)
        norm, _ = ours.step(loss(network, step), torch.tensor(ours.factors(rate, step + 1), dtype=torch.float64))
        theirs.zero_grad()
        loss(other, step).backward()
        theirs.param_groups[0]["lr"] = rate
        assert norm.item() == pytest.approx(nn.utils.clip_grad_norm_(other.parameters(), 0.5).item())
        theirs.step()
    for a, b in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_the_average_follows_weights_and_statistics(network):
    average, expected = copy.deepcopy(network), copy.deepcopy(network).state_dict()
    optimiser = FlatAdamW(network, weight_decay=0.0, clip=1.0)
    running = RunningAverage(average, network, optimiser.weights)
    for step in range(3):
        optimiser.step(loss(network, step), torch.tensor(optimiser.factors(0.1, step + 1), dtype=torch.float64))
        running.follow(torch.tensor([[0.3]], dtype=torch.float64))
        for name, value in network.state_dict().items():
            expected[name] = value.clone() if name.endswith("tracked") else expected[name].lerp(value, 0.3)
    for name, value in average.state_dict().items():
        torch.testing.assert_close(value, expected[name])


def test_a_network_that_is_kept_shares_no_memory(network):
    before = [parameter.detach().clone() for parameter in network.parameters()]
    optimiser = FlatAdamW(network, weight_decay=0.0, clip=1.0)
    separated(network)
    optimiser.weights.fill_(9)
    for parameter, value in zip(network.parameters(), before, strict=True):
        assert torch.equal(parameter, value)


def test_networks_side_by_side_move_as_each_would_alone():
    """Their gradients differ a hundredfold, so that one is clipped and the others are not."""
    torch.manual_seed(0)
    single = [JointVAE({"a": 4}, n_latent=2, hidden={"a": (5,)}, norm="layer", dropout=0.0).double() for _ in range(3)]
    wide = SideBySide(single)
    x = torch.randn(3, 6, 4, dtype=torch.float64)
    size = torch.tensor([0.01, 1.0, 100.0], dtype=torch.float64)
    together = FlatAdamW(wide, weight_decay=0.1, clip=0.5, n_networks=3)
    alone = [FlatAdamW(network, weight_decay=0.1, clip=0.5) for network in single]
    for step in range(3):
        factors = torch.tensor(together.factors(0.01, step + 1), dtype=torch.float64)
        means, _ = wide.encode("a", x)
        norms, _ = together.step(means.square().mean((1, 2)) * size, factors)
        for i, network in enumerate(single):
            norm, _ = alone[i].step(network.encode("a", x[i])[0].square().mean() * size[i], factors)
            torch.testing.assert_close(norms[i], norm[0])
    assert norms[0] < 0.5 < norms[2]
    for i, network in enumerate(single):
        for name, value in network.state_dict().items():
            torch.testing.assert_close(wide.state_dict()[name][i], value)


@pytest.mark.parametrize("bad", ["loss", "gradient"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_of_networks_side_by_side_only_that_with_a_bad_step_stays(bad, value):
    """And it remembers nothing of it: from the next step on it is where it would be with a step less."""
    torch.manual_seed(0)
    single = [JointVAE({"a": 4}, n_latent=2, hidden={"a": (5,)}, norm="layer", dropout=0.0).double() for _ in range(2)]
    wide = SideBySide(single)
    x = torch.randn(2, 6, 4, dtype=torch.float64)
    together = FlatAdamW(wide, weight_decay=0.1, clip=0.5, n_networks=2)
    alone = [FlatAdamW(network, weight_decay=0.1, clip=0.5) for network in single]
    for step in range(4):
        factors = torch.tensor(together.factors(0.01, step + 1), dtype=torch.float64)
        losses = wide.encode("a", x)[0].square().mean((1, 2))
        if step == 1 and bad == "loss":
            losses = losses + torch.tensor([0.0, value])
        if step == 1 and bad == "gradient":
            losses = torch.stack([losses[0], losses[1] + (0 * losses[1]).sqrt()])
        _, moves = together.step(losses, factors)
        assert moves.tolist() == [[True], [step != 1]]
        for i, network in enumerate(single):
            if moves[i]:
                alone[i].step(network.encode("a", x[i])[0].square().mean(), factors)
    for i, network in enumerate(single):
        for name, parameter in network.state_dict().items():
            torch.testing.assert_close(wide.state_dict()[name][i], parameter)
