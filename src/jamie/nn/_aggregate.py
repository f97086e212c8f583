"""Latents of corresponding cells meet (eq. 3), for any number of modalities.

Correspondence is a mapping from ordered pairs of names to F_ab (n_a × n_b), one block a pair of modalities: (a, b)
given means (b, a) is its transpose. Dense and sparse torch matrices both serve, and lists of links.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from torch import Tensor

from ._compared import picked
from ._links import Links

Correspondence = Mapping[tuple[str, str], Tensor | Links]


def aggregate(
    latents: Mapping[str, Tensor], correspondence: Correspondence, weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Mix each cell's latent with those of its partners, weighted by modality (eq. 3 for m modalities).

    M_a = (w_a L_a + Σ_b w_b F_ab L_b) / (w_a + Σ_b w_b F_ab 1); with two modalities and δ = w_y / w_x this is eq. 3
    exactly. A cell without a known partner keeps its own latent. Latents are (..., n, g), one batch for each of several
    networks where there are more dimensions.
    """
    mixed = {name: weights[name] * latent for name, latent in latents.items()}
    mass = {name: weights[name] * _ones(latent) for name, latent in latents.items()}
    for a, b, f in _directions(correspondence):
        mixed[a] = mixed[a] + weights[b] * (f @ latents[b])
        mass[a] = mass[a] + weights[b] * (f @ _ones(latents[b]))
    return {name: mixed[name] / mass[name] for name in latents}


def cross(
    latents: Mapping[str, Tensor],
    correspondence: Correspondence,
    cells: Mapping[tuple[str, str], Tensor] = MappingProxyType({}),
) -> dict[tuple[str, str], tuple[Tensor, Tensor]]:
    """For each cell of b the mean latent of its partners in a: what imputation a → b decodes.

    Returns, by (a, b), the latents F_ba L_a / F_ba 1 of the cells of b that have a partner (zeros elsewhere), and the
    confidence min(F_ba 1, 1) of each, which is 0 for a cell with none. Where `cells` names a and b, these of b.
    """
    crossed = {}
    for b, a, f in _directions(correspondence):
        mass, total = (picked(f @ x, cells.get((a, b))) for x in (_ones(latents[a]), latents[a]))
        crossed[a, b] = total / mass.clamp_min(1e-12), mass.squeeze(-1).clamp_max(1)
    return crossed


def _ones(latent: Tensor) -> Tensor:
    return latent.new_ones(*latent.shape[:-1], 1)


def _directions(correspondence: Correspondence) -> Iterator[tuple[str, str, Tensor | Links]]:
    for (a, b), f in correspondence.items():
        yield a, b, f
        yield b, a, f.T
