"""Kernel regressions beside the networks: fitted on training pairs, their share chosen on held-out ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import permutations
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse

from jamie._types import Array, Pair
from jamie.baselines import (
    LANDMARKS,
    LAST_LANDMARKS,
    Directions,
    Partial,
    Setting,
    best_mix_weight,
    regress,
    supervised,
    tune,
)
from jamie.data import Problem
from jamie.nn import Ensemble, KernelMix

LEAST = 10  # pairs to fit on

Cells = Mapping[str, Array]  # rows by modality


class Pairs(NamedTuple):
    """Paired cells of a source and a target, as the network sees them."""

    x: Array  # (n, k) of the source
    y: Array  # (n, k') of the target; what is missing counts as the mean
    partial: Partial | None  # features behind y, where any of these cells misses a value


class KernelMixes:
    """Adds a :class:`KernelMix` to the network for each two modalities that share enough training pairs."""

    def __init__(self, network: Ensemble, problem: Problem, scales: Mapping[str, float]) -> None:
        self._network, self._problem = network, problem
        self._scales = scales
        self._settings: dict[Pair, Setting] = {}

    def choose(self, training: Cells, validation: Cells, rng: np.random.Generator) -> None:
        """Tune and fit on the training cells, and choose the shares on the validation cells."""
        for pair, cells in self._pairs(training):
            if len(cells.x) >= LEAST:
                directions, left_out = self._directions(cells, rng)
                self._settings[pair] = tune(left_out, cells.y, rng, cells.partial)
                self._fit(pair, cells, directions, mix_weight=0.5, n_landmarks=LANDMARKS, rng=rng)
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
                directions, _ = self._directions(pairs, rng)
                weight = float(kernel_mix.mix_weight)
                self._fit((a, b), pairs, directions, mix_weight=weight, n_landmarks=LAST_LANDMARKS, rng=rng)

    def _directions(self, cells: Pairs, rng: np.random.Generator) -> tuple[Directions, Array]:
        """Coordinates of the source that tell the target: all of its components where the target misses values."""
        if cells.partial is None:
            return supervised(cells.x, cells.y, rng)
        return Directions.none(cells.x.shape[1]), cells.x

    def _fit(
        self,
        pair: Pair,
        cells: Pairs,
        directions: Directions,
        *,
        mix_weight: float,
        n_landmarks: int,
        rng: np.random.Generator,
    ) -> None:
        directions = Directions(*(part.astype(np.float32) for part in directions))
        setting, x = self._settings[pair], directions(cells.x)
        ridge = regress(x, cells.y, setting, rng, cells.partial, n_landmarks=n_landmarks)
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

    def _tensor(self, values: Array | np.float32) -> torch.Tensor:
        return torch.as_tensor(values, device=self._network.device)

    def _pairs(self, cells: Cells) -> Iterator[tuple[Pair, Pairs]]:
        """The paired ones of these cells, for each source and target."""
        for a, b in permutations(self._problem.modalities, 2):
            if len(cells[a]) and len(cells[b]):
                rows, columns = surest_pairs(self._problem.known_of(a, b), cells[a], cells[b])
                yield (a, b), Pairs(self._inputs(a, rows), self._inputs(b, columns), self._partial(b, columns))

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
    block = f[rows][:, columns]
    partner = np.asarray(block.argmax(axis=1)).ravel()
    has = np.asarray(block.sum(axis=1)).ravel() > 0
    return rows[has], columns[partner[has]]
