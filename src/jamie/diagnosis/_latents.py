"""How many latent dimensions carry anything, and whether one modality decides where cells lie."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np

from jamie._types import Array
from jamie.data import Cells
from jamie.model import JAMIE

from ._finding import Finding

MOST_CELLS = 2_000
COLLAPSED = 0.01
"""Variance of a dimension, as a share of that of the widest, below which it carries nothing."""
FEWEST = 3
DOMINATES = 0.9
UNEVEN = 10.0


def check_latents(cells: Cells, model: JAMIE, rng: np.random.Generator) -> Iterator[Finding]:
    """Dimensions in use of each modality, and the balance of each two of them."""
    variances = {}
    for name in cells.names:
        inputs = cells.inputs(name)
        rows = np.sort(rng.choice(len(inputs), min(len(inputs), MOST_CELLS), replace=False))
        variances[name] = model.encode(inputs[rows], name).var(axis=0)
        if len(inputs) > 1:
            yield _in_use(name, variances[name])
    weights = {name: weight.detach().cpu().numpy() for name, weight in model.network_.weights.items()}
    for a, b in combinations(cells.names, 2):
        yield _balance(a, b, float(weights[a].mean()), float(weights[b].mean()))
        if min(len(cells.cells(a)), len(cells.cells(b))) > 1:
            yield _widths(a, b, float(variances[a].sum()), float(variances[b].sum()))


def dimensions_in_use(variance: Array) -> int:
    """Dimensions whose variance is not negligible beside the widest; 0 where none varies."""
    widest = variance.max(initial=0.0)
    return int((variance > COLLAPSED * widest).sum()) if widest > 1e-10 else 0


def _in_use(name: str, variance: Array) -> Finding:
    n, g = dimensions_in_use(variance), len(variance)
    few = n < min(FEWEST, g)
    return Finding(
        "latent dimensions", name, "", n, g, ("bad" if n == 0 else "doubtful") if few else "good",
        f"{n} of {g} latent dimensions vary among the cells of {name!r}" + ("; they collapsed" if few else ""),
        "See the rows 'pairs' and 'training': a latent collapses where nothing is learned; jm.tl.train(mdata) with the "
        "recipe's own weights." if few else "",
    )  # fmt: skip


def _balance(a: str, b: str, of_a: float, of_b: float) -> Finding:
    """Share that the first of two modalities has in the aggregate of a paired cell."""
    share = of_a / (of_a + of_b)
    most, name = max((share, a), (1 - share, b))
    uneven = most > DOMINATES
    return Finding(
        "weight in the aggregate", a, b, share, 0.5, "doubtful" if uneven else "good",
        f"{name!r} has {most:.0%} of the aggregate of {a!r} and {b!r}" + (" and decides alone" if uneven else ""),
        f"See whether the other says anything: its features, and jm.tl.knockout(mdata, model, source={b!r}, "
        f"target={a!r})." if uneven else "",
    )  # fmt: skip


def _widths(a: str, b: str, of_a: float, of_b: float) -> Finding:
    """How many times wider the latents of one of two modalities are."""
    ratio = of_a / of_b if of_b > 0 else float("inf") if of_a > 0 else 1.0
    uneven = not 1 / UNEVEN < ratio < UNEVEN
    return Finding(
        "latent variance", a, b, ratio, 1.0, "doubtful" if uneven else "good",
        f"the latents of {a!r} have {ratio:.2f} times the variance of those of {b!r}"
        + (": they do not lie on the same ground" if uneven else ""),
        "Look at jm.pl.embedding(mdata); the row 'alignment' tells whether it matters." if uneven else "",
    )  # fmt: skip
