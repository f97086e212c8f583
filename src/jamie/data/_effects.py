"""What batch and covariates change in the values of a modality, and how it is taken off.

Counts and proteins: a batch multiplies each feature by a factor, and a covariate by exp(effect × standard deviations
from its mean). Zeros stay zeros, so that a sparse matrix stays sparse. Continuous values: the effect is added.

The scale without effects is that of the average training cell: over the training cells the effects on a feature, or
the logarithms of its factors, have mean 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from jamie._checks import require_name, require_names
from jamie._errors import InvalidValueError, MissingNameError, WrongTypeError
from jamie._settings import logger
from jamie._types import Array, Kind, Matrix

from ._labels import labels

FARTHEST, IMPOSSIBLE = 6.0, 50.0
"""Standard deviations of a covariate from its training mean that are told, and that are refused."""
SHIFTED, ENOUGH_CELLS = 1.5, 20
"""Mean of a covariate, in standard deviations of the training, that is told, of as many cells or more."""
FEW = 10
"""Training cells of a batch, in the median, below which its effect is hardly told from the cells."""


@dataclass(frozen=True)
class Effects:
    """Effects of batches and covariates on the features of one modality.

    Attributes
    ----------
    batch_key
        Column of the batches; empty if there is none.
    batches
        Names of the batches of the training cells, (B,).
    covariates
        Columns of the covariates, (c,).
    center, spread
        Mean and standard deviation of each covariate over the training cells, (c,).
    of_batch
        Effect of each batch on each feature, (B, d); a logarithm where it is a factor. B is 1 without batches.
    of_covariate
        The same of one standard deviation of each covariate, (c, d).
    is_factor
        Whether values are multiplied by exp(effect), rather than the effect added to them.
    """

    batch_key: str
    batches: tuple[str, ...]
    covariates: tuple[str, ...]
    center: Array
    spread: Array
    of_batch: Array
    of_covariate: Array
    is_factor: bool

    def design(self, mdata: MuData, name: str) -> Array:
        """Batch, as its number, and standardised covariates of the cells of a modality, (n, 1 + c).

        Raises
        ------
        MissingNameError
            If a column is not there.
        InvalidValueError
            If a cell has no value, or is of a batch that the training cells were not of.
        """
        return design(mdata, name, self.batch_key, self.batches, self.covariates, self.center, self.spread)

    def unknown(self, mdata: MuData, name: str) -> list[str]:
        """Batches of the cells of a modality that the training did not have."""
        return sorted(map(str, set(_text(mdata, name, self.batch_key)) - set(self.batches))) if self.batch_key else []

    def removed(self, x: Matrix, design: Array, columns: Array | slice = slice(None)) -> Matrix:
        """Values as of the average training cell, of cells measured in the given `columns` of the features."""
        codes, values = design[:, 0].astype(int), design[:, 1:]
        of_batch, of_covariate = self.of_batch[:, columns], self.of_covariate[:, columns]
        if not sparse.issparse(x):
            effect = of_batch[codes] + values @ of_covariate
            return x * np.exp(-effect) if self.is_factor else x - effect
        x, rows = sparse.csr_matrix(x), np.repeat(np.arange(x.shape[0]), np.diff(x.indptr))
        effect = of_batch[codes[rows], x.indices]
        for i, slope in enumerate(of_covariate):
            effect = effect + values[rows, i] * slope[x.indices]
        return sparse.csr_matrix((x.data * np.exp(-effect), x.indices, x.indptr), x.shape)

    def added(self, values: Array, batch: str, kind: Kind, columns: Array | slice = slice(None)) -> Array:
        """Values of the average training cell on the imputed scale, (n, d), as a cell of a batch would have them."""
        effect = self.of(batch, columns)
        if not self.is_factor:
            return values + effect
        factor = np.exp(effect)
        if kind == "continuous":
            return values * factor
        scaled = np.log1p(np.expm1(values.clip(0)) * factor)
        return np.where(values > 0, scaled, values * factor)  # a straight line below 0

    def of(self, batch: str, columns: Array | slice = slice(None)) -> Array:
        """Effect of a batch on some features, (d,)."""
        hint = f"it names a batch that {self.batch_key!r} had in the training" if self.batches else ""
        return self.of_batch[self.batches.index(require_name(batch, self.batches, name="batch", hint=hint))][columns]

    def to_dict(self) -> dict[str, Any]:
        """Plain values and arrays."""
        plain = {
            "batch_key": self.batch_key,
            "batches": list(self.batches),
            "covariates": list(self.covariates),
            "is_factor": self.is_factor,
        }
        return plain | self.arrays()

    def arrays(self) -> dict[str, Array]:
        """The learned arrays by name."""
        return {name: getattr(self, name) for name in ("center", "spread", "of_batch", "of_covariate")}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Effects:
        """Read back what `to_dict` wrote."""
        return cls(
            batch_key=str(stored["batch_key"]),
            batches=tuple(map(str, stored["batches"])),
            covariates=tuple(map(str, stored["covariates"])),
            is_factor=bool(stored["is_factor"]),
            **{name: np.asarray(stored[name]) for name in ("center", "spread", "of_batch", "of_covariate")},
        )


@dataclass(frozen=True)
class EffectColumns:
    """Columns of cells whose effects a training is to take off.

    Attributes
    ----------
    batch_key
        Column of the batches, or `None`.
    covariates
        Columns of numbers.
    """

    batch_key: str | None = None
    covariates: tuple[str, ...] = ()

    @classmethod
    def of(cls, batch_key: str | None, covariates: Sequence[str]) -> EffectColumns:
        """Take what the user gave."""
        if batch_key is not None and not isinstance(batch_key, str):
            msg = f"expected `batch_key` as text, the name of a column of cells, found {batch_key!r}"
            raise WrongTypeError(msg)
        names = require_names(covariates, name="covariates")
        repeated = len(set(names)) < len(names) or batch_key in names
        if repeated:
            msg = f"expected each column once, found batch_key={batch_key!r} and covariates={names}"
            raise InvalidValueError(msg)
        return cls(batch_key, tuple(names))

    def __bool__(self) -> bool:
        """Whether there is any."""
        return self.batch_key is not None or bool(self.covariates)

    def __str__(self) -> str:
        """Their names."""
        return ", ".join(map(repr, [*([self.batch_key] if self.batch_key else []), *self.covariates]))

    def as_arguments(self) -> str:
        """How they are passed."""
        batch = [f"batch_key={self.batch_key!r}"] if self.batch_key else []
        return ", ".join([*batch, *([f"covariates={list(self.covariates)}"] if self.covariates else [])])

    def read(self, mdata: MuData, name: str, train: Array) -> tuple[Array, Effects]:
        """Design of all cells of a modality, and effects that are not fitted yet: none on any feature.

        Batches, centers and spreads are those of the training cells; others must be of the same batches.
        """
        batches: tuple[str, ...] = ()
        if self.batch_key is not None:
            column = _text(mdata, name, self.batch_key)
            batches = tuple(sorted(map(str, set(column[train]))))
            _warn_few(column[train], name, self.batch_key)
            if strange := sorted(map(str, set(column) - set(batches))):
                msg = (
                    f"expected training cells of {name!r} of each batch of {self.batch_key!r}, found none of "
                    f"{strange[0]!r}: all of its cells are held out, and its effect cannot be learned; leave these "
                    "cells out, or hold out cells of each batch: jm.pp.split(mdata)"
                )
                raise InvalidValueError(msg)
        values = np.column_stack([_numbers(mdata, name, c)[train] for c in self.covariates] or [np.empty((0, 0))])
        center, spread = (values.mean(axis=0), values.std(axis=0)) if values.size else (np.empty(0), np.empty(0))
        effects = Effects(
            self.batch_key or "", batches, self.covariates,
            center=center, spread=np.where(spread > 0, spread, 1.0),
            of_batch=np.zeros((max(len(batches), 1), 0), np.float32),
            of_covariate=np.zeros((len(self.covariates), 0), np.float32),
            is_factor=True,
        )  # fmt: skip
        return effects.design(mdata, name), effects


NO_COLUMNS = EffectColumns()


def _warn_few(batches: Array, name: str, batch_key: str) -> None:
    """Warn where batches are hardly more than single cells."""
    _, counts = np.unique(batches, return_counts=True)
    if np.median(counts) < FEW:
        logger.warning(
            "%r has %d batches of %g training cells of %r in the median: too few to tell its effect from that of "
            "its cells; name a column of fewer batches",
            batch_key, len(counts), np.median(counts), name,
        )  # fmt: skip


def design(
    mdata: MuData,
    name: str,
    batch_key: str,
    batches: Sequence[str],
    covariates: Sequence[str],
    center: Array,
    spread: Array,
) -> Array:
    """Batch, as its number, and standardised covariates of the cells of a modality, (n, 1 + c)."""
    codes = np.zeros(mdata[name].n_obs)
    if batch_key:
        column = _text(mdata, name, batch_key)
        codes = pd.Index(batches).get_indexer(column).astype(float)
        if (codes < 0).any():
            strange = sorted(map(str, set(column[codes < 0])))
            shown = ", ".join(map(repr, list(batches)[:5])) + (" …" if len(batches) > 5 else "")
            msg = (
                f"expected cells of {name!r} of the batches that the model was trained on, {batch_key!r} = {shown}, "
                f"found {len(strange)} others, first {strange[0]!r}: its effect is not known; call model.adapt(mdata), "
                "which learns it from these cells, train with them too, which takes no pairs, or give them the batch "
                "that they are most like"
            )
            raise InvalidValueError(msg)
    numbers = [(_numbers(mdata, name, c) - center[i]) / spread[i] for i, c in enumerate(covariates)]
    for covariate, z in zip(covariates, numbers, strict=True):
        _warn_far(z, covariate, name)
    return np.column_stack([codes, *numbers]).astype(np.float32)


def _warn_far(z: Array, covariate: str, name: str) -> None:
    """Warn of a covariate, (n,) in standard deviations of the training, that is not as it was there."""
    far = np.abs(z) > FARTHEST
    if (np.abs(z) > IMPOSSIBLE).any():
        msg = (
            f"expected the covariate {covariate!r} of the cells of {name!r} as in the training, found a value "
            f"{np.abs(z).max():.3g} standard deviations from its mean; give it in the units of the training"
        )
        raise InvalidValueError(msg)
    if far.any() or (len(z) >= ENOUGH_CELLS and abs(z.mean()) > SHIFTED):
        logger.warning(
            "the covariate %r of the cells of %r is not as in the training: %.1f standard deviations from its mean on "
            "average, %d cells more than %g; is it in the same units? Its effect is extrapolated",
            covariate, name, z.mean(), far.sum(), FARTHEST,
        )  # fmt: skip


def _text(mdata: MuData, name: str, column: str) -> Array:
    """Batches of the cells of a modality, as text, (n,); 1.0 is 1, as pandas makes it of a column with gaps."""
    values = _column(mdata, name, column, "batch_key")
    if pd.api.types.is_float_dtype(values) and (values == values.round()).all():
        values = values.astype(int)
    return values.astype(object).to_numpy().astype(str)


def _numbers(mdata: MuData, name: str, column: str) -> Array:
    """A covariate of the cells of a modality, (n,)."""
    values = _column(mdata, name, column, "covariates")
    try:
        numbers = values.astype(float).to_numpy()
    except (TypeError, ValueError):
        msg = (
            f"expected the covariate {column!r} as numbers, found {str(values.iloc[0])!r} in a cell of {name!r}; a "
            f"column of classes is a batch: batch_key={column!r}"
        )
        raise InvalidValueError(msg) from None
    if not np.isfinite(numbers).all():
        msg = f"expected finite values of the covariate {column!r} for the cells of {name!r}, found infinite ones"
        raise InvalidValueError(msg)
    return numbers


def _column(mdata: MuData, name: str, column: str, argument: str) -> pd.Series:
    try:
        values = labels(mdata, column, name, argument=argument)
    except MissingNameError as error:
        msg = f"{error}; effects of {column!r} are taken off: every cell needs its value, mdata.obs[{column!r}] = ..."
        raise MissingNameError(msg) from None
    if values.isna().any():
        first = str(values.index[values.isna()][0])
        msg = (
            f"expected a value of {column!r} for every cell of {name!r}, found {int(values.isna().sum())} without, "
            f"first {first!r}; fill `mdata.obs[{column!r}]`, or leave these cells out"
        )
        raise InvalidValueError(msg)
    return values
