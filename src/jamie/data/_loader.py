"""Rows of a batch become tensors on the device."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from jamie._types import Array, Pair

from ._batches import Draw, Partners
from ._sampler import block
from ._views import Problem


class Inferred(NamedTuple):
    """Two partners of each cell of a that has no known one, drawn from its row of F̃."""

    rows: Tensor  # (r,) in a
    first: Tensor  # (r,) in b
    second: Tensor  # (r,) in b
    block: Tensor  # (n_a, n_b), a half for each


class Batch(NamedTuple):
    """What one training step sees, by modality; `known` and `inferred` by pair of modalities."""

    inputs: dict[str, Tensor]  # (n_m, k_m)
    values: dict[str, Tensor]  # (n_m, d_m) standardised features with NaN, only of modalities that miss any
    known: dict[Pair, Tensor]  # (n_a, n_b)
    weights: dict[str, Tensor] | None = None  # (n_m,) of each cell in losses of single cells; `None`: all alike
    inferred: Mapping[Pair, Inferred] = MappingProxyType({})

    def correspondence(self, rho: float) -> dict[Pair, Tensor]:
        """F + (1 − ρ) F̃ of the batch: what the aggregation mixes by."""
        if rho == 1:
            return self.known
        mixed = dict(self.known)
        for (a, b), partners in self.inferred.items():
            pair, block = ((a, b), partners.block) if (a, b) in mixed else ((b, a), partners.block.T)
            mixed[pair] = mixed[pair] + (1 - rho) * block
        return mixed


def resident(inputs: Array, device: torch.device) -> Tensor:
    """Inputs where batches are gathered from: on the GPU if half of its free memory holds them, else on the host."""
    tensor = torch.from_numpy(inputs)
    if device.type != "cuda" or tensor.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
        return tensor
    return tensor.to(device)


class Loader:
    """Gathers batches from the prepared inputs, which stay where they are, in memory or on disk, or go to the GPU.

    They are divided by one number a modality, so that components keep their relative variance. A modality with fewer
    than `least` cells in a batch is left out of it: batch norm needs two.
    """

    def __init__(self, problem: Problem, scales: dict[str, float], device: torch.device, *, least: int = 1) -> None:
        self._problem = problem
        self._least = least
        self._device = device
        self._scales = scales
        self._inputs = {name: resident(view.inputs, device) for name, view in problem.modalities.items()}
        self._values = {
            name: torch.from_numpy(view.values).to(device)
            for name, view in problem.modalities.items()
            if view.values is not None
        }

    def __call__(self, draw: Draw) -> Batch:
        """Gather the cells of each modality that has any."""
        cells = draw.cells
        index = {
            name: torch.from_numpy(rows).to(self._device) for name, rows in cells.items() if len(rows) >= self._least
        }
        return Batch(
            inputs={name: self._gather(name, cells[name]) for name in index},
            values={name: self._values[name][i] for name, i in index.items() if name in self._values},
            known={
                (a, b): torch.from_numpy(block(f, cells[a], cells[b])).to(self._device)
                for (a, b), f in self._problem.known.items()
                if a in index and b in index
            },
            weights=None if draw.weights is None else self._weights(draw.weights, index),
            inferred={
                (a, b): self._inferred(partners, len(cells[a]), len(cells[b]))
                for (a, b), partners in draw.partners.items()
                if a in index and b in index
            },
        )

    def _gather(self, name: str, rows: Array) -> Tensor:
        inputs = self._inputs[name]
        gathered = inputs[torch.from_numpy(rows).to(inputs.device)]
        return gathered.to(self._device, non_blocking=True) / self._scales[name]

    def _weights(self, weights: dict[str, Array], index: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: torch.from_numpy(weights[name]).float().to(self._device) for name in index}

    def _inferred(self, partners: Partners, n_a: int, n_b: int) -> Inferred:
        rows, first, second = (torch.from_numpy(positions).to(self._device) for positions in partners)
        block = torch.zeros(n_a, n_b, device=self._device)
        half = block.new_full(rows.shape, 0.5)
        for column in (first, second):
            block.index_put_((rows, column), half, accumulate=True)
        return Inferred(rows, first, second, block)
