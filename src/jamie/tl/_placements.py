"""Cells of two modalities in one space, as other methods place them."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from mudata import MuData

from jamie._checks import require_choice
from jamie._errors import InvalidValueError
from jamie._types import Array, Pair
from jamie.baselines import ALIGNERS, align
from jamie.data import model_inputs
from jamie.get._pairs import CellPairs
from jamie.model import JAMIE


def require_aligner(mdata: MuData, method: str, names: Sequence[str]) -> None:
    """Raise unless `method` is one of ours or a slot that all modalities have, of as many dimensions."""
    slots = set.intersection(*(set(mdata[name].obsm) for name in names if name in mdata.mod))
    require_choice(method, [*ALIGNERS, *sorted(slots)], name="aligners", hint="or it names a slot of every `.obsm`")
    if method not in ALIGNERS:
        widths = {name: np.shape(mdata[name].obsm[method])[1] for name in names if name in mdata.mod}
        if len(set(widths.values())) > 1:
            msg = (
                f"expected as many dimensions of {method!r} in every modality, found {widths}; pass a slot with cells "
                "of all modalities in one space"
            )
            raise InvalidValueError(msg)


def placements(
    mdata: MuData, model: JAMIE, names: Pair, pairs: CellPairs, aligners: Sequence[str], rng: np.random.Generator
) -> dict[str, tuple[Array, Array, float]]:
    """Latents of all cells of both modalities by method, and the seconds that they took; NaN where they were there."""
    found: dict[str, tuple[Array, Array, float]] = {}
    if any(method in ALIGNERS for method in aligners):
        (rng,) = rng.spawn(1)  # baselines draw the same with and without aligners
        x, y = (model_inputs(mdata, name, model.preparations_[name]) for name in names)
    for method in aligners:
        if method in ALIGNERS:
            began = time.perf_counter()
            found[method] = (*align(method, x, y, pairs.train, rng=rng), time.perf_counter() - began)
        else:
            of_x, of_y = (np.asarray(mdata[name].obsm[method], dtype=np.float64) for name in names)
            found[method] = of_x, of_y, float("nan")
    return found
