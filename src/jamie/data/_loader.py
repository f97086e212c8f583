"""Rows of a batch become tensors on the device."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from jamie._types import Array, Pair

from ._sampler import block
from ._views import Problem


class Batch(NamedTuple):
    """What one training step sees, by modality; `known` by pair of modalities."""

    inputs: dict[str, Tensor]  # (n_m, k_m)
    values: dict[str, Tensor]  # (n_m, d_m) standardised features with NaN, only of modalities that miss any
    known: dict[Pair, Tensor]  # (n_a, n_b)


class Loader:
    """Holds the prepared inputs on the device and gathers batches from them.

    Inputs are divided by one number a modality, so that components keep their relative variance. A modality with fewer
    than `least` cells in a batch is left out of it: batch norm needs two.
    """

    def __init__(self, problem: Problem, scales: dict[str, float], device: torch.device, *, least: int = 1) -> None:
        self._problem = problem
        self._least = least
        self._device = device
        self._inputs = {
            name: torch.from_numpy(view.inputs / scales[name]).to(device) for name, view in problem.modalities.items()
        }
        self._values = {
            name: torch.from_numpy(view.values).to(device)
            for name, view in problem.modalities.items()
            if view.values is not None
        }

    def __call__(self, cells: dict[str, Array]) -> Batch:
        """Gather the given rows of each modality that has any."""
        index = {
            name: torch.from_numpy(rows).to(self._device) for name, rows in cells.items() if len(rows) >= self._least
        }
        return Batch(
            inputs={name: self._inputs[name][i] for name, i in index.items()},
            values={name: self._values[name][i] for name, i in index.items() if name in self._values},
            known={
                (a, b): torch.from_numpy(block(f, cells[a], cells[b])).to(self._device)
                for (a, b), f in self._problem.known.items()
                if a in index and b in index
            },
        )
