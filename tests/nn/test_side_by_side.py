"""Networks that are trained side by side, against each by itself."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from jamie.nn import JointVAE, Links, SideBySide

SIZES = {"a": 4, "b": 3}
N = {"a": 6, "b": 5}


def network():
    made = JointVAE(SIZES, n_latent=2, hidden={"a": (7, 5), "b": (6,)}, norm="layer", dropout=0.0).double()
    made.log_weights.data = torch.randn(2, dtype=torch.float64)
    return made


@pytest.fixture
def networks():
    torch.manual_seed(0)
    return [network() for _ in range(3)]


@pytest.fixture
def batch():
    """Inputs of three networks, and their links: one by one, and counted on."""
    torch.manual_seed(1)
    inputs = {name: torch.randn(3, N[name], d, dtype=torch.float64) for name, d in SIZES.items()}
    dense = [(torch.rand(6, 5, dtype=torch.float64) < 0.3) * 0.7 for _ in range(3)]
    return inputs, dense, Links.of(torch.block_diag(*dense))


def flat(outputs):
    """All tensors of a pass, by name."""
    found = {f"{part}-{name}": x for part in outputs._fields[:5] for name, x in getattr(outputs, part).items()}
    for pair, (decoded, confidence) in outputs.crossed.items():
        found |= {f"crossed-{pair}": decoded, f"confidence-{pair}": confidence}
    return found


def test_each_computes_and_learns_as_if_it_were_alone(networks, batch):
    inputs, dense, links = batch
    wide = SideBySide(networks).eval()
    assert wide.n_networks == 3
    together = flat(wide(inputs, {("a", "b"): links}, crossed=True))
    sum(x.square().sum() for x in together.values()).backward()
    slopes = {name: parameter.grad for name, parameter in wide.named_parameters()}
    for i, one in enumerate(networks):
        own = {name: x[i] for name, x in inputs.items()}
        alone = flat(one.eval()(own, {("a", "b"): Links.of(dense[i])}, crossed=True))
        assert set(alone) == set(together)
        for name, x in alone.items():
            assert_close(together[name][i], x)
        sum(x.square().sum() for x in alone.values()).backward()
        for name, parameter in one.named_parameters():
            assert_close(slopes[name][i], parameter.grad)


def test_weights_come_and_go(networks):
    before = [{name: value.clone() for name, value in one.state_dict().items()} for one in networks]
    wide = SideBySide(networks)
    for parameter in wide.parameters():
        parameter.data.mul_(2)
    for one, state in zip(networks, before, strict=True):
        assert_close(dict(one.state_dict()), state)
    wide.give_back(networks)
    for one, state in zip(networks, before, strict=True):
        assert_close(dict(one.state_dict()), {name: 2 * value for name, value in state.items()})


def test_dropout_is_drawn_for_each():
    torch.manual_seed(0)
    single = JointVAE(SIZES, n_latent=2, hidden=dict.fromkeys(SIZES, (64,)), norm="layer", dropout=0.5)
    wide = SideBySide([single, single]).train()
    x = torch.randn(6, 4)
    mean, _ = wide.encode("a", torch.stack([x, x]))
    assert (mean[0] - mean[1]).abs().max() > 0.01
    mean, _ = wide.eval().encode("a", torch.stack([x, x]))
    assert torch.equal(mean[0], mean[1])


def test_one_of_another_shape_is_refused(networks):
    other = JointVAE(SIZES, n_latent=2, hidden={"a": (7, 6), "b": (6,)}, norm="layer", dropout=0.0)
    with pytest.raises(RuntimeError):
        SideBySide([networks[0], other])
