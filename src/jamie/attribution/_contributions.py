"""Contributions of a modality's own features to what the network makes of them, cell by cell.

From features to components all is linear, and so is what follows the decoder. Multipliers are therefore taken between
components (:mod:`jamie.nn._attribution`), a few dozen whatever the number of features, and carried outwards:
with z the standardised features, L their loadings and M_b the multipliers against background cell b,

φ_j = mean over b of (z_j − z_bj) Σ_p L_jp M_bp, and Σ_j φ_j = f(z) − mean over b of f(z_b), without remainder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import reduce
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from jamie._progress import progress
from jamie._types import Array, Matrix
from jamie.data import CellMatrix, Cells, Preparation
from jamie.model import JAMIE, by_rows, isolated, on_threads
from jamie.nn import JointVAE, Pullback, kernel_pullback, pullback

BUDGET = 2**26  # bytes of multipliers at a time
AT_ONCE = 2**25
"""Features × background cells × components up to which their products are kept, 128 MB: one product per cell then."""
WIDEST = 512


class Readout(NamedTuple):
    """What is explained: f = outputs @ matrix.T + offset, cut to [0, 1] if it is a probability.

    The outputs are the decoded components of `target`, or, without one, the latents.
    """

    target: str | None
    matrix: Array  # (t, q)
    offset: Array  # (t,)
    is_probability: bool = False

    def __call__(self, outputs: Array) -> Array:
        """Take outputs (n, q) to what is explained, (n, t)."""
        values = outputs @ self.matrix.T + self.offset
        return values.clip(0, 1) if self.is_probability else values


class PreparedCells(NamedTuple):
    """The same cells as the network and as a reader see them: components (n, k) and scaled features (n, d).

    The features are the model's, or the `columns` of them that were measured.
    """

    inputs: Array
    scaled: Matrix
    columns: Array | slice = slice(None)

    def take(self, rows: Array | slice) -> PreparedCells:
        """Cells by position."""
        return PreparedCells(self.inputs[rows], self.scaled[rows], self.columns)


class SourceCells(NamedTuple):
    """All cells of a modality: their components (n, k), and their features where they lie (n, d)."""

    inputs: Array
    matrix: CellMatrix
    preparation: Preparation
    columns: Array | slice  # of the model's features
    position: Array  # of these features in the modality

    @classmethod
    def of(cls, cells: Cells, name: str, preparation: Preparation) -> SourceCells:
        """Take them from opened cells."""
        matched = cells.matched(name)
        return cls(cells.inputs(name), matched.values, preparation, matched.columns, matched.position)

    def take(self, rows: Array | slice) -> PreparedCells:
        """Cells by position, in memory."""
        scaled = self.preparation.scaled(self.matrix[rows], self.columns)
        return PreparedCells(self.inputs[rows], scaled, self.columns)


class Contribution(NamedTuple):
    """What each feature gives to each target in one cell."""

    cell: int
    values: Array  # (d, t)
    explained: Array  # (t,): f of the cell
    base: Array  # (t,): mean f of the background


def feature_readout(model: JAMIE, target: str, columns: Array | slice = slice(None)) -> Readout:
    """Features of `target` in imputed units."""
    preparation = model.preparations_[target]
    matrix, offset = preparation.readout(columns)
    return Readout(target, matrix * model.divisors_[target], offset, is_probability=preparation.kind == "accessibility")


def outputs(model: JAMIE, source: str, target: str | None, inputs: Array) -> Array:
    """Decoded components of `target`, or without one the latents, of prepared inputs of `source`: (n, k) → (n, q)."""
    network = model.network_

    def through(x: Tensor) -> Tensor:
        return network.encode(source, x)[0] if target is None else network.impute(source, target, x)

    return by_rows(inputs / np.float32(model.divisors_[source]), through, network.device)


def contributions(
    model: JAMIE,
    source: str,
    readout: Readout,
    cells: PreparedCells,
    background: PreparedCells,
    *,
    description: str = "explaining",
) -> Iterator[Contribution]:
    """Explain one cell after the other against the mean of the background cells."""
    walk = _Walk(model, source, readout, background)
    per_cell = 4 * len(background.inputs) * len(walk.seeds) * WIDEST
    step = max(1, BUDGET // per_cell)
    outwards = _Outwards(model.preparations_[source].loadings_of(cells.columns), background.scaled)
    with progress(len(cells.inputs), description=description) as bar:
        for start in range(0, len(cells.inputs), step):
            with on_threads(step * len(background.inputs)):
                multipliers, explained, base = walk(cells.inputs[start : start + step])
            for i, of_cell in enumerate(multipliers):
                values = outwards(of_cell, cells.scaled[start + i : start + i + 1])
                values = values if walk.through else values @ readout.matrix.T
                yield Contribution(start + i, values, explained[i], base[i])
                bar.update()


def path_of(network: JointVAE, source: str, target: str | None) -> list[nn.Module]:
    """Layers from a modality to its latents, and on to the components of the target if there is one."""
    encoder = network.encoders[network.names.index(source)]
    layers: list[nn.Module] = [*encoder.trunk, encoder.mean]  # type: ignore
    if target is not None:
        decoder = network.decoders[network.names.index(target)]
        layers += [*decoder.trunk, decoder.output]  # type: ignore
    return layers


def sum_of(tensors: Iterable[Tensor]) -> Tensor:
    """Add tensors up."""
    return reduce(torch.add, tensors)


class _Walk:
    """Multipliers of one source and readout against a fixed background."""

    @isolated()
    def __init__(self, model: JAMIE, source: str, readout: Readout, background: PreparedCells) -> None:
        network = model.network_
        self.readout, self.scale, self.device = readout, float(model.divisors_[source]), network.device
        self.paths = [path_of(member, source, readout.target) for member in network.members]
        self.kernel_mix = None if readout.target is None else network.kernel_mix(source, readout.target)
        self.matrix = self._tensor(readout.matrix)
        t, q = self.matrix.shape
        self.few = t < q  # fewer targets than components: it is cheaper to start at them
        self.seeds = self.matrix if self.few else torch.eye(q, device=self.device)
        self.through = self.few or readout.is_probability  # whether multipliers of targets are given, or of components
        self.background = self._tensor(background.inputs / self.scale)

    @isolated()
    @torch.no_grad()
    def __call__(self, inputs: Array) -> tuple[Array, Array, Array]:
        """Take n cells to multipliers (n, b, t, k), f of each (n, t) and mean f of the background (n, t)."""
        n, b = len(inputs), len(self.background)
        x = self._tensor(inputs / self.scale).repeat_interleave(b, 0)
        reference = self.background.repeat(n, 1)
        out, out_reference, back = self._through_networks(x, reference)
        if self.kernel_mix is not None:
            predicted, predicted_reference, around = kernel_pullback(self.kernel_mix, x, reference)
            share, through = self.kernel_mix.mix_weight, back
            out, out_reference = out.lerp(predicted, share), out_reference.lerp(predicted_reference, share)

            def back(seeds: Tensor) -> Tensor:
                return (1 - share) * through(seeds) + share * around(seeds)

        f, f_reference = (side @ self.matrix.T for side in (out, out_reference))
        multipliers, offset = back(self.seeds), self.readout.offset
        if self.readout.is_probability:
            f, f_reference, offset = (
                *(side + self._tensor(offset) for side in (f, f_reference)),
                np.zeros(1, np.float32),
            )
            cut, cut_reference = f.clamp(0, 1), f_reference.clamp(0, 1)
            change = f - f_reference
            kept = torch.where(change == 0, 1, (cut - cut_reference) / torch.where(change == 0, 1, change))
            f, f_reference = cut, cut_reference
            multipliers = kept[:, :, None] * (multipliers if self.few else self.matrix @ multipliers)
        multipliers = multipliers.unflatten(0, (n, b)) / self.scale
        return (
            multipliers.cpu().numpy(),
            f.reshape(n, b, -1)[:, 0].cpu().numpy() + offset,
            f_reference.reshape(n, b, -1).mean(1).cpu().numpy() + offset,
        )

    def _through_networks(self, x: Tensor, reference: Tensor) -> tuple[Tensor, Tensor, Pullback]:
        """Latents of all networks one after the other, or the mean of what they decode, and the way back."""
        outs, references, backs = zip(*(pullback(path, x, reference) for path in self.paths), strict=True)
        if self.readout.target is None:
            widths = [out.shape[1] for out in outs]
            return (
                torch.cat(outs, dim=1),
                torch.cat(references, dim=1),
                lambda seeds: sum_of(back(part) for back, part in zip(backs, seeds.split(widths, dim=-1), strict=True)),
            )
        n = len(outs)
        return sum_of(outs) / n, sum_of(references) / n, lambda seeds: sum_of(back(seeds) for back in backs) / n

    def _tensor(self, values: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(self.device)


class _Outwards:
    """Contributions of features from multipliers of components, without work for what sparse cells do not have."""

    def __init__(self, loadings: Array, background: Matrix) -> None:
        self.loadings = loadings
        rows = np.unique(background.indices) if sparse.issparse(background) else slice(None)
        self.rows, self.of_rows = rows, loadings[rows]
        self.background = background[:, rows].T.astype(np.float32)  # (d, b)
        self.outer = None
        if self.background.shape[1] * self.of_rows.size <= AT_ONCE:
            dense = self.background.toarray() if sparse.issparse(self.background) else self.background
            d, b = dense.shape  # d is 0 where no background cell has anything
            self.outer = (dense[:, :, None] * self.of_rows[:, None]).reshape(d, b * self.of_rows.shape[1])

    def __call__(self, multipliers: Array, cell: Matrix) -> Array:
        """Take multipliers (b, t, k) of one cell, (1, d), to contributions (d, t)."""
        b = len(multipliers)
        values = np.zeros((len(self.loadings), multipliers.shape[1]), dtype=np.float32)
        values[self.rows] -= self._of_background(multipliers) / b
        mean = multipliers.mean(0).T
        if sparse.issparse(cell):
            values[cell.indices] += cell.data[:, None].astype(np.float32) * (self.loadings[cell.indices] @ mean)
        else:
            values += cell.T * (self.loadings @ mean)
        return values

    def _of_background(self, multipliers: Array) -> Array:
        """What background cells have, times their multipliers, summed over them and the components."""
        b, t, k = multipliers.shape
        if self.outer is not None:
            return self.outer @ multipliers.transpose(0, 2, 1).reshape(b * k, t)
        by_background = (self.background @ multipliers.reshape(b, t * k)).reshape(-1, t, k)
        return np.einsum("dtk,dk->dt", by_background, self.of_rows, optimize=True)
