"""Several networks of one shape, trained side by side."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from ._joint import JointVAE


class SideBySide(JointVAE):
    """Networks whose weights are stacked, so that one call computes a layer of all of them.

    Each has its own weights, its own cells and its own chance; nothing of one reaches another. Inputs are (e, n, d)
    with e the number of networks, and all outputs have that dimension first. Names of the weights are those of one
    network.

    Parameters
    ----------
    networks
        Networks of the same shape, without batch norm; they are copied.
    """

    def __init__(self, networks: Sequence[JointVAE]) -> None:
        nn.Module.__init__(self)
        first = networks[0]
        self.names, self.n_latent, self.low_precision = first.names, first.n_latent, first.low_precision
        self.encoders, self.decoders = (
            cast(nn.ModuleList, _widened(part, len(networks))) for part in (first.encoders, first.decoders)
        )
        self.log_weights = nn.Parameter(first.log_weights.detach().expand(len(networks), -1).clone())
        states = [network.state_dict() for network in networks]
        self.load_state_dict({name: torch.stack([state[name] for state in states]) for name in states[0]})

    @property
    def n_networks(self) -> int:
        """How many networks these are."""
        return len(self.log_weights)

    @property
    def weights(self) -> dict[str, Tensor]:
        """Weight of each modality in the aggregate of each network, (e, 1, 1)."""
        return dict(zip(self.names, self.log_weights.exp()[:, :, None, None].unbind(1), strict=True))

    def give_back(self, networks: Sequence[JointVAE]) -> None:
        """Copy the weights into single networks."""
        for i, network in enumerate(networks):
            network.load_state_dict({name: value[i] for name, value in self.state_dict().items()})


class _Linears(nn.Module):
    def __init__(self, layer: nn.Linear, n: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(layer.weight.new_empty(n, *layer.weight.shape))
        self.bias = nn.Parameter(layer.bias.new_empty(n, *layer.bias.shape))

    def forward(self, x: Tensor) -> Tensor:
        return torch.baddbmm(self.bias.unsqueeze(1), x, self.weight.mT)


class _LayerNorms(nn.Module):
    def __init__(self, layer: nn.LayerNorm, n: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(layer.weight.new_empty(n, *layer.weight.shape))
        self.bias = nn.Parameter(layer.bias.new_empty(n, *layer.bias.shape))
        self._shape, self._eps = layer.normalized_shape, layer.eps

    def forward(self, x: Tensor) -> Tensor:
        centred = layer_norm(x, self._shape, eps=self._eps)
        return torch.addcmul(self.bias.unsqueeze(1), centred, self.weight.unsqueeze(1))


def _widened(module: nn.Module, n: int) -> nn.Module:
    """A copy in which each layer with weights is one of `n` networks."""
    if isinstance(module, nn.Linear):
        return _Linears(module, n)
    if isinstance(module, nn.LayerNorm):
        return _LayerNorms(module, n)
    wide = copy.copy(module)
    wide._modules = {name: None if part is None else _widened(part, n) for name, part in module._modules.items()}
    return wide
