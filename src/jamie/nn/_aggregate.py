"""Latents of corresponding cells meet (eq. 3), for any number of modalities.

Correspondence is a mapping from ordered pairs of names to F_ab (n_a × n_b), one block a pair of modalities: (a, b)
given means (b, a) is its transpose. Dense and sparse torch matrices both serve, and lists of links.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from ._compared import picked
from ._links import Links

Correspondence = Mapping[tuple[str, str], Tensor | Links]


class Partners(NamedTuple):
    """What the partners that cells of one modality have in another add up to."""

    total: Tensor  # F_ab L_b, (..., n_a, g)
    mass: Tensor  # F_ab 1, (..., n_a, 1)


def meet(latents: Mapping[str, Tensor], correspondence: Correspondence) -> dict[tuple[str, str], Partners]:
    """Add up the latents of the partners that cells of a have in b, for each ordered pair (a, b)."""
    alike = {name: torch.cat([latent, latent.new_ones(*latent.shape[:-1], 1)], -1) for name, latent in latents.items()}
    found = {}
    for (a, b), f in correspondence.items():
        for at, other, matrix in ((a, b, f), (b, a, f.T)):
            both = matrix @ alike[other]
            found[at, other] = Partners(both[..., :-1], both[..., -1:])
    return found


def aggregate(
    latents: Mapping[str, Tensor], partners: Mapping[tuple[str, str], Partners], weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Mix each cell's latent with those of its partners, weighted by modality (eq. 3 for m modalities).

    M_a = (w_a L_a + Σ_b w_b F_ab L_b) / (w_a + Σ_b w_b F_ab 1); with two modalities and δ = w_y / w_x this is eq. 3
    exactly. A cell without a known partner keeps its own latent. Latents are (..., n, g), one batch for each of several
    networks where there are more dimensions.
    """
    mixed = {name: weights[name] * latent for name, latent in latents.items()}
    mass = {name: weights[name] * torch.ones_like(latent[..., :1]) for name, latent in latents.items()}
    for (a, b), those in partners.items():
        mixed[a] = mixed[a] + weights[b] * those.total
        mass[a] = mass[a] + weights[b] * those.mass
    return {name: mixed[name] / mass[name] for name in latents}


def cross(
    partners: Mapping[tuple[str, str], Partners], cells: Mapping[tuple[str, str], Tensor] = MappingProxyType({})
) -> dict[tuple[str, str], tuple[Tensor, Tensor]]:
    """For each cell of b the mean latent of its partners in a: what imputation a → b decodes.

    Returns, by (a, b), the latents F_ba L_a / F_ba 1 of the cells of b that have a partner (zeros elsewhere), and the
    confidence min(F_ba 1, 1) of each, which is 0 for a cell with none. Where `cells` names a and b, these of b.
    """
    crossed = {}
    for (b, a), those in partners.items():
        total, mass = (picked(x, cells.get((a, b))) for x in those)
        crossed[a, b] = total / mass.clamp_min(1e-12), mass.squeeze(-1).clamp_max(1)
    return crossed
