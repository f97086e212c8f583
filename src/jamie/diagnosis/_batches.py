"""Whether batches, whose effects were taken off, can be told from types of cells."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from jamie._types import Array
from jamie.data import Cells, Preparation

from ._finding import Finding
from ._judged import labels_of

LEAST_WITHIN = 0.2
"""Share of the variance of batches within labels, below which training takes their states to be the same as well."""
PURE = 0.95
"""Share of a batch's cells that have its commonest label, above which it is a batch of one label."""
ENOUGH = 20
"""Labelled cells that are judged by."""


def check_batches(cells: Cells, preparations: dict[str, Preparation], column: str | None) -> Iterator[Finding]:
    """Whether the cells of a label come from several batches, of each modality that batches were taken off."""
    for name in cells.names:
        effects = preparations[name].effects
        labels = labels_of(cells, column, name)
        if effects is None or len(effects.batches) < 2 or labels is None:
            continue
        batches = cells.design(name, preparations[name])[:, 0].astype(int)
        known = np.flatnonzero(pd.notna(labels) & cells.train(name))
        if len(known) >= ENOUGH and len(set(labels[known])) > 1:
            yield batches_finding(name, str(column), effects.batch_key, batches[known], labels[known])


def batches_finding(name: str, column: str, batch_key: str, batches: Array, labels: Array) -> Finding:
    """Judge batches, (n,), beside labels, (n,), of the training cells of a modality."""
    counts = pd.crosstab(labels, batches).to_numpy()
    within = float((counts * (1 - counts / counts.sum(axis=1, keepdims=True))).sum())
    of_batch = counts.sum(axis=0)
    value = within / max(float((of_batch * (1 - of_batch / of_batch.sum())).sum()), 1e-12)
    share_pure = float(of_batch[counts.max(axis=0) >= PURE * of_batch].sum() / of_batch.sum())
    if value < LEAST_WITHIN:
        return Finding(
            "batches and labels", name, "", value, 1.0, "bad",
            f"cells of one {column!r} are hardly of more than one {batch_key!r}: what types differ by is taken off "
            f"{name!r} with the batches",
            f"Train without batch_key={batch_key!r}, or name a column of batches that have types in common.",
        )  # fmt: skip
    if share_pure > PURE:
        return Finding(
            "batches and labels", name, "", value, 1.0, "doubtful",
            f"each {batch_key!r} has cells of one {column!r} only: what batches of different ones differ by cannot "
            f"be told from the types of {name!r}",
            "Believe differences between types only where they share a batch; for others hold out whole batches, "
            "jm.pp.split(mdata, group=...).",
        )  # fmt: skip
    return Finding("batches and labels", name, "", value, 1.0, "good", f"types of {name!r} come from several batches")
