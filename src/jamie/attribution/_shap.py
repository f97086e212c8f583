"""The same contributions by the shap package, an independent way to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy

import numpy as np
import torch
from scipy import sparse
from torch import nn

from jamie._errors import InvalidValueError
from jamie._progress import progress
from jamie._types import Array
from jamie.model import JAMIE, isolated

from ._contributions import Contribution, PreparedCells, Readout, outputs, path_of

MOST_FEATURES = 50  # of a source that coalitions of features are drawn from


def shap_contributions(
    model: JAMIE,
    source: str,
    readout: Readout,
    cells: PreparedCells,
    background: PreparedCells,
    *,
    method: str,
    rng: np.random.Generator,
) -> Iterator[Contribution]:
    """Explain cell by cell as `contributions` does, by ``"shap"`` (DeepExplainer) or ``"kernel"`` (KernelExplainer).

    Both work on dense standardised features: DeepExplainer walks through the layers in double precision and knows
    those of the paper's network; KernelExplainer knows nothing of the network and evaluates it on coalitions.

    Raises
    ------
    ValueError
        If the network has layers that DeepExplainer has no rule for, or the source too many features for coalitions.
    """
    explain = (_deep if method == "shap" else _kernel)(model, source, readout, background, rng)
    base = _values(model, source, readout, _centred(model, source, background), background.columns).mean(0)
    with progress(len(cells.inputs), description="explaining") as bar:
        for i in range(len(cells.inputs)):
            z = _centred(model, source, cells.take(slice(i, i + 1)))
            explained = _values(model, source, readout, z, cells.columns)[0]
            yield Contribution(i, explain(z).reshape(z.shape[1], -1), explained, base)
            bar.update()


@isolated()
def _deep(
    model: JAMIE, source: str, readout: Readout, background: PreparedCells, _: np.random.Generator
) -> Callable[[Array], Array]:
    from shap import DeepExplainer

    network = model.network_
    layers = path_of(network.members[0], source, readout.target)
    unknown = {type(layer).__name__ for layer in layers if isinstance(layer, nn.LayerNorm)}
    if readout.target is not None and network.kernel_mix(source, readout.target) is not None:
        unknown.add("KernelMix")
    if len(network.members) > 1:
        unknown.add("several networks")
    if unknown:
        msg = (
            f"expected layers that shap.DeepExplainer has rules for, found {' and '.join(sorted(unknown))}; pass "
            "method='deeplift', which knows them, method='kernel' for a source of few features, or train with "
            "recipe='paper'"
        )
        raise InvalidValueError(msg)
    loadings = model.preparations_[source].loadings_of(background.columns)
    ends: list[nn.Module] = [_linear(readout.matrix, readout.offset)]
    if readout.is_probability:  # cut to [0, 1] by layers that shap knows: 1 − relu(1 − relu(f))
        turn = _linear(-np.eye(len(readout.matrix)), np.ones(len(readout.matrix)))
        ends += [nn.ReLU(), turn, nn.ReLU(), deepcopy(turn)]
    path = nn.Sequential(
        _linear(loadings.T / model.divisors_[source], np.zeros(loadings.shape[1])), *deepcopy(layers), *ends
    )
    z = torch.from_numpy(_centred(model, source, background)).double()
    explainer = DeepExplainer(path.cpu().double().eval(), z)

    @isolated()
    def explain(of_cell: Array) -> Array:
        return explainer.shap_values(torch.from_numpy(of_cell).double(), check_additivity=False)[0]

    return explain


def _kernel(
    model: JAMIE, source: str, readout: Readout, background: PreparedCells, rng: np.random.Generator
) -> Callable[[Array], Array]:
    from shap import KernelExplainer

    z = _centred(model, source, background)
    if z.shape[1] > MOST_FEATURES:
        msg = (
            f"expected at most {MOST_FEATURES} features to draw coalitions from, found {z.shape[1]:,} in {source!r}; "
            "pass method='deeplift'"
        )
        raise InvalidValueError(msg)
    explainer = KernelExplainer(lambda rows: _values(model, source, readout, rows, background.columns), z)

    def explain(of_cell: Array) -> Array:
        with _legacy_seed(rng):
            return explainer.shap_values(of_cell, silent=True, l1_reg=False)[0]

    return explain


def _centred(model: JAMIE, source: str, cells: PreparedCells) -> Array:
    """Dense standardised features, (n, d)."""
    if not sparse.issparse(cells.scaled):
        return np.asarray(cells.scaled, dtype=np.float32)
    preparation = model.preparations_[source]
    return (cells.scaled.toarray() - (preparation.mean / preparation.sd)[cells.columns]).astype(np.float32)


def _values(model: JAMIE, source: str, readout: Readout, z: Array, columns: Array | slice) -> Array:
    """What is explained, of cells by their standardised features: (n, d) → (n, t)."""
    return readout(
        outputs(model, source, readout.target, z.astype(np.float32) @ model.preparations_[source].loadings_of(columns))
    )


def _linear(matrix: Array, offset: Array) -> nn.Linear:
    layer = nn.Linear(matrix.shape[1], matrix.shape[0])
    layer.weight.data, layer.bias.data = (
        torch.from_numpy(np.array(part, dtype=np.float64)) for part in (matrix, offset)
    )
    return layer


@contextmanager
def _legacy_seed(rng: np.random.Generator) -> Iterator[None]:
    """Lend shap, which draws from NumPy's global state, a state of `rng`, and restore the caller's."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(int(rng.integers(2**32)))  # noqa: NPY002, TID251
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
