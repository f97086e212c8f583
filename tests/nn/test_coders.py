from __future__ import annotations

import torch
from torch import nn

from jamie.nn import JointVAE
from jamie.train import RECIPES


def widths(module):
    return [(m.in_features, m.out_features) for m in module.modules() if isinstance(m, nn.Linear)]


def build(recipe, d, n_latent=32):
    return JointVAE(
        {"x": d, "y": d + 1},
        n_latent=n_latent,
        hidden={"x": recipe.hidden_for(d), "y": recipe.hidden_for(d + 1)},
        norm=recipe.norm,
        dropout=recipe.dropout,
    )


def test_paper_recipe_builds_the_published_network():
    d = 10
    vae = build(RECIPES["paper"], d)
    encoder, decoder = vae.encoders[0], vae.decoders[0]
    assert widths(encoder) == [(d, 2 * d), (2 * d, d), (d, 32), (d, 32)]
    assert widths(decoder) == [(32, d), (d, 2 * d), (2 * d, d)]
    block = [nn.Linear, nn.BatchNorm1d, nn.LeakyReLU, nn.Dropout]
    for coder in (encoder, decoder):
        assert len(coder.trunk) == 2 * len(block)
        assert all(isinstance(layer, kind) for layer, kind in zip(coder.trunk, 2 * block, strict=True))
        assert {layer.negative_slope for layer in coder.trunk if isinstance(layer, nn.LeakyReLU)} == {0.01}
        assert {layer.p for layer in coder.trunk if isinstance(layer, nn.Dropout)} == {0.6}
    assert widths(vae.encoders[1])[0] == (d + 1, 2 * (d + 1))


def test_default_recipe_normalises_each_cell_by_itself():
    vae = build(RECIPES["default"], 10).train()
    assert widths(vae.encoders[0]) == [(10, 256), (256, 256), (256, 32), (256, 32)]
    assert not [m for m in vae.modules() if isinstance(m, nn.BatchNorm1d)]
    vae.eval()
    x = torch.randn(4, 10)
    torch.testing.assert_close(vae.encode("x", x)[0][:1], vae.encode("x", x[:1])[0])


def test_decoder_mirrors_uneven_hidden_layers():
    vae = JointVAE({"x": 9}, n_latent=2, hidden={"x": [7, 5]}, norm="layer", dropout=0)
    assert widths(vae.encoders[0].trunk) == [(9, 7), (7, 5)]
    assert widths(vae.decoders[0]) == [(2, 5), (5, 7), (7, 9)]


def test_outputs_are_bare():
    vae = build(RECIPES["paper"], 6).eval()
    far = vae.decode("x", 100 * torch.randn(200, 32))
    assert far.min() < -1 < 1 < far.max()
    mean, log_variance = vae.encode("x", 100 * torch.randn(200, 6))
    assert mean.min() < 0 < mean.max()
    assert log_variance.min() < 0 < log_variance.max()
