"""Cells of a batch become tensors on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from jamie._types import Array, Pair
from jamie.nn import ALL_CELLS, Compared, Links

from ._batch_index import BatchIndex, Indexer, taken_apart
from ._batches import Draw
from ._views import Problem

NAMED = 3
"""Features of a component that a message names."""


class Inferred(NamedTuple):
    """Two partners of some cells of a, drawn from their rows of F̃; of several networks in turn.

    Those are the cells without a known partner; at ρ below 1 all of which F̃ says more than F.
    """

    queries: Tensor  # (r,) in a
    first: Tensor  # (r,) in b
    second: Tensor  # (r,) in b
    links: Links  # (n_a, n_b), a half for each
    asked: Tensor | None = None  # (r,) 0 for what only fills the list up

    def kept(self, rho: float) -> Tensor:
        """Share of what is known that stays: ρ in rows of F̃, 1 in others, (n_a,)."""
        replaced = torch.full_like(self.links.confidence[: len(self.queries)], 1 - rho)
        replaced = replaced if self.asked is None else replaced * self.asked
        return replaced.new_ones(self.links.shape[0]).index_add(0, self.queries, replaced, alpha=-1)


class Batch(NamedTuple):
    """What one training step sees, by modality; `known` and `inferred` by pair of modalities.

    Of several networks each has cells of its own, and arrays of cells one more dimension, the first.
    """

    inputs: dict[str, Tensor]  # (n_m, k_m)
    values: dict[str, Tensor]  # (n_m, d_m) standardised features with NaN, only of modalities that miss any
    known: dict[Pair, Links]  # (n_a, n_b)
    weights: dict[str, Tensor] | None = None  # (n_m,) of each cell in losses of single cells; `None`: all alike
    inferred: Mapping[Pair, Inferred] = MappingProxyType({})
    n_blocks: int = 1  # of as many cells, one after the other, in which cells are contrasted
    present: dict[str, Tensor] | None = None  # (n_m,) 0 for what only fills a block up
    compared: Compared = ALL_CELLS  # those with a weight; from another modality those with a known partner there

    def correspondence(self, rho: float) -> dict[Pair, Links]:
        """ρ F + (1 − ρ) F̃ of the batch, F where nothing was inferred: what the aggregation mixes by."""
        if rho == 1:
            return self.known
        mixed = dict(self.known)
        for (a, b), partners in self.inferred.items():
            known = mixed[a, b] if (a, b) in mixed else mixed[b, a].T
            both = known.scaled(partners.kept(rho)).and_also(partners.links, 1 - rho)
            mixed.update({(a, b): both} if (a, b) in mixed else {(b, a): both.T})
        return mixed


class Loader:
    """Gathers batches from the prepared inputs, which stay where they are, in memory or on disk, or go to the GPU.

    They are divided by one number per modality, so that components keep their relative variance. A modality with fewer
    than `least` cells in a batch is left out of it: batch norm needs two. On a GPU batches have steady sizes, where
    `least` allows cells that only fill them up.
    """

    def __init__(self, problem: Problem, scales: dict[str, float], device: torch.device, *, least: int = 1) -> None:
        self._scales, self._device = scales, device
        self._preparations = {name: view.preparation for name, view in problem.modalities.items()}
        self._index = Indexer(problem.known, least=least, steady=device.type == "cuda" and least == 1)
        self._index_once = Indexer(problem.known, least=least, steady=False)
        self._inputs = {name: _resident(view.inputs, device) for name, view in problem.modalities.items()}
        self._values = {
            name: _resident(view.values, device) for name, view in problem.modalities.items() if view.values is not None
        }

    def __call__(self, draws: Sequence[Draw]) -> Batch:
        """Gather the cells of one draw for each network, which is none of training."""
        index = self._with_inputs(self._index_once(draws))
        return self.gather(index.with_tensors([tensor.to(self._device) for tensor in index.tensors()]))

    def index(self, draws: Sequence[Draw]) -> BatchIndex:
        """Say where the cells of one draw for each network are, on the host, with what the device does not hold."""
        return self._with_inputs(self._index(draws))

    def _with_inputs(self, index: BatchIndex) -> BatchIndex:
        if self._device.type == "cpu":
            return index
        rows = taken_apart(index).rows
        return replace(
            index,
            inputs={name: self._inputs[name][rows[name]] for name in rows if self._inputs[name].device.type == "cpu"},
            values={
                name: self._values[name][rows[name]]
                for name in rows
                if name in self._values and self._values[name].device.type == "cpu"
            },
        )

    def gather(self, index: BatchIndex) -> Batch:
        """Gather the cells of an index on the device; no value is looked at."""
        layout, parts = index.layout, taken_apart(index)

        def by_network(x: Tensor) -> Tensor:
            return x.unflatten(0, (layout.n_networks, -1)) if layout.n_networks > 1 else x

        def cells(held: Mapping[str, Tensor], given: Mapping[str, Tensor], name: str) -> Tensor:
            return by_network(given[name] if name in given else held[name].index_select(0, parts.rows[name]))

        def named(values: Mapping[str, Tensor] | None) -> dict[str, Tensor] | None:
            return None if values is None else {name: by_network(x) for name, x in values.items()}

        n = layout.n_cells
        return Batch(
            inputs={name: cells(self._inputs, index.inputs, name) / self._scales[name] for name in parts.rows},
            values={name: cells(self._values, index.values, name) for name in parts.rows if name in self._values},
            known={(a, b): Links(*links, (n[a], n[b])) for (a, b), links in parts.links.items()},
            weights=named(parts.weights),
            inferred={
                (a, b): _inferred(partners, (n[a], n[b]), None if parts.asked is None else parts.asked[a, b])
                for (a, b), partners in parts.partners.items()
            },
            n_blocks=layout.n_blocks,
            present=named(parts.present),
            compared=parts.compared,
        )

    def extremes(self, draws: Sequence[Draw]) -> str:
        """Name what is largest in the cells of a batch: modality and feature, or component and the features it is of.

        Both what the networks read and what their outputs are compared with; a value that is no number is the largest.
        """
        batch = self(draws)
        read = {(name, False): x.nan_to_num(np.inf, np.inf, -np.inf) for name, x in batch.inputs.items() if x.numel()}
        compared = {  # NaN is missing
            (name, True): x.nan_to_num(0, np.inf, -np.inf) for name, x in batch.values.items() if x.numel()
        }
        largest = {key: x.reshape(-1, x.shape[-1]).abs().amax(0) for key, x in (read | compared).items()}
        name, is_feature = max(largest, key=lambda key: largest[key].max().item())
        values, preparation = largest[name, is_feature], self._preparations[name]
        at = int(values.argmax())
        shown = f"the largest value of its batch is {values[at].item():.3g}, in "
        if is_feature:
            return shown + f"feature {str(preparation.features[at])!r} of {name!r}, in standard deviations"
        by_share = np.argsort(-np.abs(preparation.loadings[:, at]), kind="stable")
        first = ", ".join(repr(str(feature)) for feature in preparation.features[by_share[:NAMED]])
        return shown + f"component {at} of {name!r}, most of which is {first}"


def _inferred(partners: tuple[Tensor, Tensor, Tensor], shape: tuple[int, int], asked: Tensor | None) -> Inferred:
    queries, first, second = partners
    half = torch.full(queries.shape, 0.5, device=queries.device) if asked is None else 0.5 * asked
    links = Links(queries.repeat(2), torch.cat([first, second]), half.repeat(2), shape)
    return Inferred(queries, first, second, links, asked)


def _resident(values: Array, device: torch.device) -> Tensor:
    """Where cells are gathered from: on the GPU if half of its free memory holds them, else on the host."""
    tensor = torch.from_numpy(values)
    if device.type != "cuda" or tensor.nbytes > torch.cuda.mem_get_info(device)[0] / 2:
        return tensor
    return tensor.to(device)
