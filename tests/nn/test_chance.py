"""Numbers of a training come from a generator of its own."""

from __future__ import annotations

import pytest
import torch

from jamie.nn import JointVAE, drawing_from, initialise


def network(norm):
    return JointVAE({"x": 5, "y": 3}, n_latent=2, hidden={"x": [8, 6], "y": [4]}, norm=norm, dropout=0.5)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_first_weights_are_those_of_torch(norm):
    torch.manual_seed(3)
    expected = network(norm).state_dict()
    with torch.device("meta"):
        empty = network(norm)
    before = torch.get_rng_state()
    initialise(empty, torch.Generator().manual_seed(3))
    assert torch.equal(torch.get_rng_state(), before)
    found = empty.state_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_a_pass_draws_from_the_generator_what_it_would_draw_from_torch():
    one, inputs = network("layer"), {"x": torch.ones(7, 5), "y": torch.ones(6, 3)}
    torch.manual_seed(5)
    expected = one(inputs, {})
    torch.manual_seed(6)
    before = torch.get_rng_state()
    with drawing_from(torch.Generator().manual_seed(5)):
        found = one(inputs, {})
    assert torch.equal(torch.get_rng_state(), before)
    for name in inputs:
        assert torch.equal(found.latent[name], expected.latent[name])
        assert torch.equal(found.decoded[name], expected.decoded[name])
