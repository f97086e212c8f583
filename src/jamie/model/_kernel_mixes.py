"""Kernel regressions beside the networks: fitted on training pairs, their share chosen on held-out ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import permutations

import numpy as np
import torch
from scipy import sparse

from jamie._types import Array, Pair
from jamie.data import Problem
from jamie.nn import JointVAE, KernelMix
from jamie.train import Setting, best_mix_weight, regress, tune

LEAST = 10  # pairs to fit on

Cells = Mapping[str, Array]  # rows by modality


class KernelMixes:
    """Adds a :class:`KernelMix` to the network for each two modalities that share enough training pairs."""

    def __init__(self, network: JointVAE, problem: Problem, scales: Mapping[str, float]) -> None:
        self._network, self._problem = network, problem
        self._scales = scales
        self._settings: dict[Pair, Setting] = {}

    def choose(self, training: Cells, validation: Cells, rng: np.random.Generator) -> None:
        """Tune and fit on the training cells, and choose the shares on the validation cells."""
        for pair, x, y in self._pairs(training):
            if len(x) >= LEAST:
                self._settings[pair] = tune(x, y, rng)
                self._fit(pair, x, y, mix_weight=0.5, rng=rng)
        for (a, b), x, y in self._pairs(validation):
            if kernel_mix := self._network.kernel_mix(a, b):
                inputs = self._tensor(x)
                with torch.inference_mode():
                    decoded = self._network.decode(b, self._network.encode(a, inputs)[0]).cpu().numpy()
                    predicted = kernel_mix.predict(inputs).cpu().numpy()
                kernel_mix.mix_weight.fill_(best_mix_weight(y, decoded, predicted))

    def refit(self, cells: Cells, rng: np.random.Generator) -> None:
        """Fit once more, on all of these cells, with settings and shares as they were chosen."""
        for (a, b), x, y in self._pairs(cells):
            if kernel_mix := self._network.kernel_mix(a, b):
                self._fit((a, b), x, y, mix_weight=float(kernel_mix.mix_weight), rng=rng)

    def _fit(self, pair: Pair, x: Array, y: Array, *, mix_weight: float, rng: np.random.Generator) -> None:
        ridge = regress(x, y, self._settings[pair], rng)
        self._network.add_kernel_mix(
            *pair,
            KernelMix(
                self._tensor(ridge.landmarks),
                self._tensor(ridge.coefficients),
                offset=self._tensor(ridge.offset),
                rate=self._tensor(np.float32(ridge.setting.rate)),
                mix_weight=self._tensor(np.float32(mix_weight)),
            ),
        )

    def _tensor(self, values: Array | np.float32) -> torch.Tensor:
        return torch.as_tensor(values, device=self._network.log_weights.device)

    def _pairs(self, cells: Cells) -> Iterator[tuple[Pair, Array, Array]]:
        """Inputs of the paired ones of these cells, for each source and target."""
        for a, b in permutations(self._problem.modalities, 2):
            if len(cells[a]) and len(cells[b]):
                rows, columns = surest_pairs(self._problem.known_of(a, b), cells[a], cells[b])
                yield (a, b), self._inputs(a, rows), self._inputs(b, columns)

    def _inputs(self, name: str, rows: Array) -> Array:
        return self._problem.modalities[name].inputs[rows] / np.float32(self._scales[name])


def surest_pairs(f: sparse.csr_matrix, rows: Array, columns: Array) -> tuple[Array, Array]:
    """Those of `rows` that have a partner in `columns`, and the surest partner of each."""
    block = f[rows][:, columns]
    partner = np.asarray(block.argmax(axis=1)).ravel()
    has = np.asarray(block.sum(axis=1)).ravel() > 0
    return rows[has], columns[partner[has]]
