"""The pairs of cells that a diagnosis rests on: what was measured, imputed and embedded of cells that were not seen."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from jamie._keys import of_sources
from jamie._spread import spread
from jamie._types import Array, Pair
from jamie.data import IN_SAMPLE, Cells, as_text
from jamie.model import JAMIE

MOST_PAIRS, MOST_FEATURES = 1_000, 1_000
FEWEST = 10
"""Pairs that tell something: of fewer all measures are luck."""


@dataclass(frozen=True)
class JudgedPairs:
    """Held-out pairs of two modalities, and their latents.

    Attributes
    ----------
    pair
        The modalities.
    rows
        Of the cells in either, (n,) each.
    latents
        Of these cells, (n, g) each.
    labels
        Of both sides, (n,) each, `None` for a cell without one; `None` where no column was named.
    cells
        What the cells are to the model, in words.
    """

    pair: Pair
    rows: tuple[Array, Array]
    latents: tuple[Array, Array]
    labels: tuple[Array, Array] | None
    cells: str

    @property
    def same_label(self) -> Array | None:
        """Label of each pair whose cells agree in it, (n,); `None` where no column was named."""
        if self.labels is None:
            return None
        a, b = self.labels
        return np.array([x if x is not None and x == y else None for x, y in zip(a, b, strict=True)], dtype=object)


@dataclass(frozen=True)
class JudgedDirection:
    """A target imputed from a source in held-out cells, on the imputed scale, (n, d) each.

    Attributes
    ----------
    source, target
        Modalities; several sources with a plus between them.
    rows
        Of the cells in either, (n,) each.
    measured, imputed
        Values.
    regressed
        Values by the kernel regression alone; `None` where the model has none.
    columns
        Positions of the features in the target.
    """

    source: str
    target: str
    rows: tuple[Array, Array]
    measured: Array
    imputed: Array
    regressed: Array | None
    columns: Array | slice = field(default_factory=lambda: slice(None))


def labels_of(cells: Cells, column: str | None, name: str) -> Array | None:
    """Labels of the cells of a modality as text, `None` for none, (n_m,); `None` where no column was named."""
    if column is None:
        return None
    return as_text(cells.labels(column, name)).to_numpy()


def judged_pairs(
    cells: Cells, model: JAMIE, pair: Pair, column: str | None, rng: np.random.Generator
) -> JudgedPairs | None:
    """Held-out pairs of two modalities, at most `MOST_PAIRS`; `None` where the model has seen all, or are too few."""
    pairs = cells.pairs(*pair)
    n = len(pairs.test[0])
    if pairs.cells == IN_SAMPLE or n < FEWEST:
        return None
    chosen = np.sort(rng.choice(n, min(n, MOST_PAIRS), replace=False))
    rows = pairs.test[0][chosen], pairs.test[1][chosen]
    latents = [model.encode(cells.inputs(name)[of], name) for name, of in zip(pair, rows, strict=True)]
    labels = [labels_of(cells, column, name) for name in pair]
    of_pairs = None
    if labels[0] is not None and labels[1] is not None:
        of_pairs = labels[0][rows[0]], labels[1][rows[1]]
    return JudgedPairs(pair, rows, (latents[0], latents[1]), of_pairs, pairs.cells)


def judged_direction(cells: Cells, model: JAMIE, judged: JudgedPairs, source: str) -> JudgedDirection:
    """Impute one of the two modalities from the other in the judged pairs: always the same features, for all checks."""
    forward = judged.pair[0] == source
    target, rows = judged.pair[int(forward)], judged.rows if forward else judged.rows[::-1]
    d = len(model.preparations_[target].features)
    columns = spread(d, MOST_FEATURES)
    inputs = cells.inputs(source)[rows[0]]
    has_kernel = model.network_.kernel_mix(source, target) is not None
    return JudgedDirection(
        source,
        target,
        rows,
        measured=cells.measured(target, rows[1], columns),
        imputed=model.translate(inputs, source, target, columns),
        regressed=model.regressed(inputs, source, target, columns) if has_kernel else None,
        columns=columns,
    )


def judged_together(
    cells: Cells, model: JAMIE, target: str, rng: np.random.Generator
) -> tuple[JudgedDirection, dict[str, Array]] | None:
    """Impute a target from all others in held-out cells that have all, and the inputs of these; `None` if too few."""
    sources = tuple(name for name in cells.names if name != target)
    joined = cells.joined(sources, target)
    n = len(joined.test[target])
    if joined.cells == IN_SAMPLE or n < FEWEST:
        return None
    chosen = np.sort(rng.choice(n, min(n, MOST_PAIRS), replace=False))
    rows = {name: of[chosen] for name, of in joined.test.items()}
    columns = spread(len(model.preparations_[target].features), MOST_FEATURES)
    inputs = {name: cells.inputs(name)[rows[name]] for name in sources}
    judged = JudgedDirection(
        of_sources(sources),
        target,
        (rows[sources[0]], rows[target]),
        measured=cells.measured(target, rows[target], columns),
        imputed=model.translate_jointly(inputs, target, columns),
        regressed=None,
        columns=columns,
    )
    return judged, inputs


def dummies(values: Array) -> Array:
    """A column of 0 and 1 for each value, (n, k); cells without one have 0 in all."""
    return pd.get_dummies(pd.Series(values, dtype=object), dtype=float).to_numpy()
