"""Networks and losses: torch only, no containers."""

from __future__ import annotations

from ._aggregate import aggregate, cross, meet
from ._attribution import Pullback, kernel_pullback, pullback
from ._chance import chance_state, drawing_from, initialise, set_chance_state
from ._coders import Decoder, Encoder
from ._compared import ALL_CELLS, Compared, picked
from ._ensemble import Ensemble
from ._joint import JointVAE, Outputs
from ._kernel_mix import KernelMix
from ._links import Links
from ._losses import Contrast, alignment, combination, kl_divergence, reconstruction
from ._ranks import average_over_ranks, copy_from_first, joined, n_ranks, own_noise
from ._side_by_side import SideBySide

__all__ = [
    "ALL_CELLS",
    "Compared",
    "Contrast",
    "Decoder",
    "Encoder",
    "Ensemble",
    "JointVAE",
    "KernelMix",
    "Links",
    "Outputs",
    "Pullback",
    "SideBySide",
    "aggregate",
    "alignment",
    "average_over_ranks",
    "chance_state",
    "combination",
    "copy_from_first",
    "cross",
    "drawing_from",
    "initialise",
    "joined",
    "kernel_pullback",
    "kl_divergence",
    "meet",
    "n_ranks",
    "own_noise",
    "picked",
    "pullback",
    "reconstruction",
    "set_chance_state",
]
