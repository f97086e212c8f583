"""Networks and losses: torch only, no containers."""

from __future__ import annotations

from ._aggregate import aggregate, cross
from ._attribution import kernel_pullback, pullback
from ._coders import Decoder, Encoder
from ._joint import JointVAE, Outputs
from ._losses import alignment, combination, contrastive, kl_divergence, reconstruction
from ._skip import KernelSkip

__all__ = [
    "Decoder",
    "Encoder",
    "JointVAE",
    "KernelSkip",
    "Outputs",
    "aggregate",
    "alignment",
    "combination",
    "contrastive",
    "cross",
    "kernel_pullback",
    "kl_divergence",
    "pullback",
    "reconstruction",
]
