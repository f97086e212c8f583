"""Networks and losses: torch only, no containers."""

from __future__ import annotations

from ._aggregate import aggregate, cross
from ._attribution import kernel_pullback, pullback
from ._coders import Decoder, Encoder
from ._joint import JointVAE, Outputs
from ._kernel_mix import KernelMix
from ._losses import alignment, combination, contrastive, kl_divergence, reconstruction
from ._ranks import average_gradients, copy_from_first, joined, n_ranks, own_noise

__all__ = [
    "Decoder",
    "Encoder",
    "JointVAE",
    "KernelMix",
    "Outputs",
    "aggregate",
    "alignment",
    "average_gradients",
    "combination",
    "contrastive",
    "copy_from_first",
    "cross",
    "joined",
    "kernel_pullback",
    "kl_divergence",
    "n_ranks",
    "own_noise",
    "pullback",
    "reconstruction",
]
