"""Dropout with cheap masks: the shares, the mean, and who is dropped with whom."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jamie.nn import _dropout
from jamie.nn._dropout import Dropout, kept


@pytest.mark.parametrize("p", [0.0, 0.1, 0.25, 0.5, 0.6, 0.999])
def test_a_share_of_the_units_is_dropped_and_the_others_are_scaled(p):
    torch.manual_seed(0)
    x = torch.full((500, 401), 3.0)
    dropped = Dropout(p)(x)
    others = dropped[dropped != 0]
    torch.testing.assert_close(others, torch.full_like(others, 3 / (1 - p)))
    share = (dropped == 0).double().mean().item()
    assert share == pytest.approx(p, abs=4 * (p * (1 - p) / x.numel()) ** 0.5 + 1e-5)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_each_place_of_a_random_number_keeps_the_same_share_and_none_depends_on_another(share):
    torch.manual_seed(0)
    mask = (kept(torch.Size((20_000, 16)), share) > 0).double()
    assert mask.mean(0).sub(share).abs().max() < 4 * (share * (1 - share) / 20_000) ** 0.5
    correlation = torch.corrcoef(mask.T).fill_diagonal_(0)
    assert correlation.abs().max() < 5 / 20_000**0.5


@pytest.mark.parametrize(("share", "levels"), [(0.5, 256), (0.25, 256), (0.9, 65_536), (0.3, 65_536), (1e-3, 65_536)])
def test_of_all_random_numbers_a_share_keeps_its_unit(share, levels, monkeypatch):
    """Each value of a byte, or of two bytes, once: as many are kept as is the share of them, exactly."""
    every = torch.from_numpy(np.arange(levels, dtype=np.uint8 if levels == 256 else np.uint16).view(np.int64))
    monkeypatch.setattr(torch.Tensor, "random_", lambda draws, *_, **__: draws.copy_(every))
    mask = kept(torch.Size((levels // 16, 16)), share)
    assert (mask > 0).sum() == round(share * levels)
    torch.testing.assert_close(mask[mask > 0].unique(), torch.tensor([1 / share]))


@pytest.mark.parametrize("n", [1, 7, 8, 9, 13])
def test_any_number_of_units_gets_its_mask(n):
    assert kept(torch.Size((n, 1)), 0.5).shape == kept(torch.Size((n, 1)), 0.3).shape == (n, 1)


def test_evaluation_and_no_dropout_leave_everything_as_it_is():
    x = torch.randn(7, 5)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x


def test_the_gradient_is_that_of_the_mask():
    torch.manual_seed(0)
    x = torch.randn(30, 20, requires_grad=True)
    y = Dropout(0.25)(x)
    y.sum().backward()
    assert torch.equal(x.grad, torch.where(y == 0, 0.0, torch.tensor(1 / 0.75)))


def test_the_same_seed_drops_the_same_units():
    x = torch.randn(30, 20)
    dropped = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        dropped.append(Dropout(0.5)(x))
    assert torch.equal(dropped[0], dropped[1])
    assert not torch.equal(dropped[0], dropped[2])


def test_elsewhere_than_on_a_cpu_the_dropout_is_torchs(monkeypatch):
    monkeypatch.setattr(_dropout, "dropout", lambda x, p: (x.device.type, p))
    assert Dropout(0.2)(torch.empty(3, device="meta")) == ("meta", 0.2)
