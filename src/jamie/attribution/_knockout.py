"""What the network makes of cells without some of their features, which stand at their background instead.

The background of a feature is its training mean; a region of open chromatin is closed. With D the standardised features
less their background and L the loadings, knocking out the features G changes a cell's components by −D_G L_G: a product
of rank |G|, whatever the number of features. Each set is knocked out of the full cell, never on top of another, and
only cells that it changes pass through the network again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd
from scipy import sparse

from jamie._checks import require_name, require_names, require_option
from jamie._errors import InvalidValueError
from jamie._progress import progress
from jamie._types import Array, Matrix
from jamie.data import Preparation, coordinates, require_bases
from jamie.model import JAMIE

from ._contributions import PreparedCells, outputs

Groups: TypeAlias = Mapping[str, Sequence[str]] | str | int
"""Names of features by group, ``"chromosome"``, or the length of windows in bases."""
ROWS = 16_384  # of changed cells at a time


def feature_sets(groups: Groups, var: pd.DataFrame, position: Array, *, modality: str) -> dict[str, Array]:
    """Sets of features by name, as indices into `position`, the features of `var` that the model knows.

    Raises
    ------
    KeyError
        If a set names a feature that the modality does not have, or features have no coordinates to group by.
    ValueError
        If there are no sets, none of a set's features is known to the model, or windows have no length in bases.
    """
    if isinstance(groups, Mapping):
        sets = _named(groups, var.index, position)
    elif isinstance(groups, str) and not any(character.isdigit() for character in groups):
        require_option(groups, ["chromosome"], name="groups")
        sets = _chromosomes(coordinates(var.iloc[position], modality=modality))
    else:
        width = require_bases(groups, name="groups")
        sets = _windows(coordinates(var.iloc[position], modality=modality), width)
    empty = [group for group, members in sets.items() if not len(members)]
    if empty or not sets:
        msg = (
            f"expected groups of features of {modality!r} that the model was trained on, found "
            f"{f'none of {empty[0]!r}' if empty else 'no group'}; pass e.g. groups={{'a name': ['a feature']}}"
        )
        raise InvalidValueError(msg)
    return sets


def random_sets(sets: Mapping[str, Array], n: int, *, n_random: int, rng: np.random.Generator) -> list[Array]:
    """Sets of the same sizes drawn from n features, `n_random` for each: all of the first draw, then the second's."""
    return [rng.choice(n, len(members), replace=False) for _ in range(n_random) for members in sets.values()]


def knocked_out(
    model: JAMIE, source: str, target: str | None, cells: PreparedCells, sets: Sequence[Array]
) -> Iterator[tuple[Array, Array]]:
    """For each set of features, positions among those of `cells`: the cells it changes, and their `outputs`, (r, q)."""
    preparation = model.preparations_[source]
    loadings, deviation = preparation.loadings_of(cells.columns), _Deviation(preparation, cells)
    with progress(len(sets), description="knocking out") as bar:
        changed: list[Array] = []
        inputs: list[Array] = []
        for i, features in enumerate(sets):
            of_set = deviation(features)
            rows = np.flatnonzero((of_set != 0).any(1))
            changed.append(rows)
            inputs.append(cells.inputs[rows] - of_set[rows] @ loadings[features])
            if sum(map(len, changed)) >= ROWS or i == len(sets) - 1:
                out = outputs(model, source, target, np.concatenate(inputs).astype(np.float32))
                yield from zip(changed, np.split(out, np.cumsum([len(rows) for rows in changed])[:-1]), strict=True)
                bar.update(len(changed))
                changed, inputs = [], []


class _Deviation:
    """How far standardised features are from their background, in every cell."""

    def __init__(self, preparation: Preparation, cells: PreparedCells) -> None:
        is_sparse, is_open = sparse.issparse(cells.scaled), preparation.kind == "accessibility"
        self.by_feature: Matrix = cells.scaled.tocsc() if is_sparse else np.asfortranarray(cells.scaled)
        mean = (preparation.mean / preparation.sd)[cells.columns]
        if is_sparse:  # not centred: what is not stored is 0, which for regions is the background
            self.background = np.zeros_like(mean) if is_open else mean
        else:
            self.background = -mean if is_open else np.zeros_like(mean)

    def __call__(self, features: Array) -> Array:
        """Take features to (n, features), dense."""
        values = self.by_feature[:, features]
        return (values.toarray() if sparse.issparse(values) else values) - self.background[features]


def _named(groups: Mapping[str, Sequence[str]], features: pd.Index, position: Array) -> dict[str, Array]:
    """Features of each group, each once, as indices into `position`, without those that are not there."""
    known, sets = pd.Index(position), {}
    for group, names in groups.items():
        if str(group) in sets:
            msg = f"expected names of `groups` that differ as text, found {str(group)!r} twice; name one otherwise"
            raise InvalidValueError(msg)
        where = f"groups[{group!r}]"
        named = dict.fromkeys(require_names(names, name=where))
        members = [features.get_loc(require_name(name, features, name=where)) for name in named]
        at = known.get_indexer(np.unique(np.array(members, dtype=int)))
        sets[str(group)] = at[at >= 0]
    return sets


def _chromosomes(places: pd.DataFrame) -> dict[str, Array]:
    places = places.reset_index(drop=True).dropna()
    return {str(chrom): rows.index.to_numpy() for chrom, rows in places.groupby("chrom", sort=False)}


def _windows(places: pd.DataFrame, width: int) -> dict[str, Array]:
    """Features by the window that their middle is in."""
    places = places.reset_index(drop=True).dropna()
    window = (((places["start"] + places["end"]) / 2) // width * width).astype(int)
    return {
        f"{chrom}:{start}-{start + width}": rows.index.to_numpy()
        for (chrom, start), rows in places.groupby([places["chrom"], window])
    }
