"""The hidden layers shared by encoders and decoders."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import nn

from ._dropout import Dropout

Norm = Literal["batch", "layer"]


def hidden_layers(widths: Sequence[int], *, norm: Norm, dropout: float) -> nn.Sequential:
    """Stack linear layers of the given widths, each normalised, activated and dropped out.

    ``norm="batch"`` is the paper's BatchNorm with LeakyReLU(0.01); ``"layer"`` is LayerNorm with GELU, which does
    not depend on who else is in the batch. Flat and free of functional calls, so that attribution can walk it.
    """
    layers: list[nn.Module] = []
    for width_in, width_out in pairwise(widths):
        layers.append(nn.Linear(width_in, width_out))
        layers += (
            [nn.BatchNorm1d(width_out), nn.LeakyReLU()] if norm == "batch" else [nn.LayerNorm(width_out), nn.GELU()]
        )
        layers.append(Dropout(dropout))
    return nn.Sequential(*layers)
