"""Kernel regressions beside the networks: fitted on training pairs, their share chosen on held-out ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import permutations
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse

from jamie._types import Array, Direction, Pair
from jamie.baselines import (
    LANDMARKS,
    LAST_LANDMARKS,
    Directions,
    Partial,
    Setting,
    Supervised,
    best_mix_weight,
    one_left_out,
    regress,
    supervised,
    tune,
)
from jamie.correspondence import likeliest
from jamie.data import Problem
from jamie.nn import Ensemble, KernelMix

from ._intervals import LeftOutPairs, n_calibrated

LEAST = 10  # pairs to fit on

Cells = Mapping[str, Array]  # rows by modality


class Pairs(NamedTuple):
    """Paired cells of a source and a target, as the network sees them."""

    rows: Array  # (n,) of the source
    partners: Array  # (n,) of the target
    x: Array  # (n, k) of the source
    y: Array  # (n, k') of the target; what is missing counts as the mean
    partial: Partial | None  # features behind y, where any of these cells misses a value


class KernelMixes:
    """Adds a :class:`KernelMix` to the network for each two modalities that share enough training pairs.

    Attributes
    ----------
    left_out
        By source and target, pairs of the last fit, each predicted from all the others: what intervals are learned
        from, where there are enough.
    """

    def __init__(self, network: Ensemble, problem: Problem, scales: Mapping[str, float]) -> None:
        self._network, self._problem = network, problem
        self._scales = scales
        self._settings: dict[Pair, Setting] = {}
        self._ranks: dict[str, Array] = {}
        self.left_out: dict[Direction, LeftOutPairs] = {}

    def choose(self, training: Cells, validation: Cells, rng: np.random.Generator) -> None:
        """Tune and fit on the training cells, and choose the shares on the validation cells."""
        is_last = not any(map(len, validation.values()))
        for pair, cells in self._pairs(training):
            if len(cells.x) >= LEAST:
                found = self._directions(cells, rng)
                self._settings[pair] = tune(found.left_out, cells.y, rng, cells.partial)
                self._fit(pair, cells, found, mix_weight=0.5, rng=rng, is_last=is_last)
        for (a, b), cells in self._pairs(validation):
            if kernel_mix := self._network.kernel_mix(a, b):
                inputs = self._tensor(cells.x)
                with torch.inference_mode():
                    decoded = self._network.decode(b, self._network.encode(a, inputs)[0]).cpu().numpy()
                    predicted = kernel_mix.predict(inputs).cpu().numpy()
                if cells.partial is None:
                    weight = best_mix_weight(cells.y, decoded, predicted)
                else:
                    values, loadings = cells.partial
                    weight = best_mix_weight(values, decoded @ loadings.T, predicted @ loadings.T)
                kernel_mix.mix_weight.fill_(weight)

    def refit(self, cells: Cells, rng: np.random.Generator) -> None:
        """Fit once more, on all of these cells, with settings and shares as they were chosen."""
        for (a, b), pairs in self._pairs(cells):
            if kernel_mix := self._network.kernel_mix(a, b):
                found, weight = self._directions(pairs, rng), float(kernel_mix.mix_weight)
                self._fit((a, b), pairs, found, mix_weight=weight, rng=rng, is_last=True)

    def _directions(self, cells: Pairs, rng: np.random.Generator) -> Supervised:
        """Coordinates of the source that tell the target: all of its components where the target misses values."""
        if cells.partial is None:
            return supervised(cells.x, cells.y, rng)
        return Supervised(Directions.none(cells.x.shape[1]), cells.x, 0.0)

    def _fit(
        self,
        pair: Pair,
        cells: Pairs,
        found: Supervised,
        *,
        mix_weight: float,
        rng: np.random.Generator,
        is_last: bool,
    ) -> None:
        directions = Directions(*(part.astype(np.float32) for part in found.directions))
        x, as_new = directions(cells.x), None
        n_left_out = n_calibrated(len(x), len(self._problem.modalities[pair[1]].preparation.features))
        if is_last and n_left_out:
            alike = cells.partial is not None  # no direction was fitted on these cells
            as_new = cells.x if alike else one_left_out(cells.x, cells.y, found.directions, found.penalty)
        ridge = regress(
            x,
            cells.y,
            self._settings[pair],
            self._order(pair[1], cells.partners, rng),
            cells.partial,
            n_landmarks=LAST_LANDMARKS if is_last else LANDMARKS,
            as_new=as_new,
            n_left_out=n_left_out,
        )
        if ridge.left_out is not None:
            chosen, predicted = ridge.left_out
            self.left_out[pair] = LeftOutPairs({pair[0]: cells.rows[chosen]}, cells.partners[chosen], predicted)
        self._network.add_kernel_mix(
            *pair,
            KernelMix(
                self._tensor(ridge.landmarks),
                self._tensor(ridge.coefficients),
                origin=self._tensor(directions.origin),
                directions=self._tensor(directions.matrix),
                offset=self._tensor(ridge.offset),
                rate=self._tensor(np.float32(ridge.setting.rate)),
                mix_weight=self._tensor(np.float32(mix_weight)),
            ),
        )

    def _order(self, target: str, partners: Array, rng: np.random.Generator) -> Array:
        """Random order of pairs; that of the target's cells, so that several sources leave the same cells out."""
        if len(self._problem.modalities) == 2:
            return rng.permutation(len(partners))
        if target not in self._ranks:
            self._ranks[target] = rng.permutation(self._problem.modalities[target].inputs.shape[0])
        return np.argsort(self._ranks[target][partners], kind="stable")

    def _tensor(self, values: Array | np.float32) -> torch.Tensor:
        return torch.as_tensor(values, device=self._network.device)

    def _pairs(self, cells: Cells) -> Iterator[tuple[Pair, Pairs]]:
        """The paired ones of these cells, for each source and target."""
        for a, b in permutations(self._problem.modalities, 2):
            if len(cells[a]) and len(cells[b]):
                rows, columns = surest_pairs(self._problem.known_of(a, b), cells[a], cells[b])
                x, y = self._inputs(a, rows), self._inputs(b, columns)
                yield (a, b), Pairs(rows, columns, x, y, self._partial(b, columns))

    def _inputs(self, name: str, rows: Array) -> Array:
        return self._problem.modalities[name].inputs[rows] / np.float32(self._scales[name])

    def _partial(self, name: str, rows: Array) -> Partial | None:
        view = self._problem.modalities[name]
        if view.values is None:
            return None
        values = view.values[rows] / np.float32(self._scales[name])
        return Partial(values, view.preparation.loadings) if np.isnan(values).any() else None


def surest_pairs(f: sparse.csr_matrix, rows: Array, columns: Array) -> tuple[Array, Array]:
    """Those of `rows` that have a partner in `columns`, and the surest partner of each."""
    has, partner = likeliest(f[rows][:, columns])
    return rows[has], columns[partner]
