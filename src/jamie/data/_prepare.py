"""Normalise, standardise, reduce: from features to the network's input and back, fitted on training cells."""

from __future__ import annotations

from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from scipy import sparse

from jamie._errors import InvalidValueError
from jamie._keys import SCHEMA
from jamie._settings import settings
from jamie._spread import spread
from jamie._types import Array, Kind, Matrix

from ._accept import Expected
from ._cell_matrix import MOSTLY_FILLED, CellMatrix, missing
from ._effects import Effects
from ._kinds import SCALES, Normaliser, measured
from ._moments import combined, moments
from ._partial_panel import PartialPanel, noise_of
from ._pca import VALUES, drawn, principal_components, values_per_cell
from ._rounding import is_rounded
from ._value_stats import ValueStats

DEFAULT_COMPS = 50
DEFAULT_MAX_VALUE = 3.0
MAX_COMPS = 512
IN_MEMORY = 0.25  # share of `settings.memory_gb` up to which components are kept there


@dataclass(frozen=True)
class Preparation:
    """How one modality becomes cells × components, and how components become features again.

    Attributes
    ----------
    normaliser
        Normalisation of the kind.
    features
        Names of the features, (d,).
    mean, sd
        Of each normalised feature over the training cells, missing values left out; sd is 1 where it would be 0. In
        double precision where single would round away what the values of a feature differ by.
    loadings
        Orthonormal columns, (d, k).
    variance
        Variance of each component over the training cells, (k,).
    openness
        Accessibility: share of training cells that are open, and the change in log-odds of being open a unit of
        TF-IDF, (2, d); otherwise empty.
    n_fitted
        Training cells that all this was learned from.
    max_value
        Standardised values are clipped to ± this; 0: not clipped.
    layer
        Layer of the AnnData that holds the values; empty for `.X`.
    is_whole, is_nonnegative
        Whether all values were whole numbers from 0 up, and whether none was below 0.
    totals
        1st, 50th and 99th percentile of the sums of the training cells, of regions of how many are open, (3,); 0
        where continuous values are negative or missing.
    recovery
        By which imputed values, carried back to the units of the input, are multiplied, so that their mean is that of
        the counts, (d,); empty until a model was trained. The imputed value is a mean of logarithms, whose exponential
        is less than the mean of the counts.
    effects
        Effects of batches and covariates that are taken off the values before; `None` if there are none.
    """

    normaliser: Normaliser
    features: Array
    mean: Array
    sd: Array
    loadings: Array
    variance: Array
    openness: Array
    n_fitted: int
    max_value: float = 0.0
    layer: str = ""
    is_whole: bool = False
    is_nonnegative: bool = False
    totals: Array = field(default_factory=lambda: np.zeros(3, np.float32))
    recovery: Array = field(default_factory=lambda: np.empty(0, np.float32))
    effects: Effects | None = None

    @classmethod
    def fit(
        cls,
        cells: CellMatrix,
        train: Array,
        stats: ValueStats,
        *,
        kind: Kind,
        n_comps: int,
        seed: int,
        max_value: float = 0.0,
        layer: str = "",
    ) -> Preparation:
        """Learn from the training cells, a mask; a sparse matrix is never densified, unless it is mostly full.

        Outliers are clipped in continuous values that are mostly not zero. In sparse values, what is far from the
        mean is the signal.
        """
        max_value = max_value if kind == "continuous" and stats.filled >= MOSTLY_FILLED else 0.0
        normaliser = Normaliser.fit(kind, cells, train, stats)
        some = drawn(train, int(VALUES / values_per_cell(cells)), np.random.default_rng(seed))
        over = combined(cells.map(lambda x, of_some: moments(normaliser(x[of_some])), some, description="moments"))
        mean, sd = np.asarray(over.mean), over.sd
        dtype = np.float64 if cells.is_double and is_rounded(mean, sd, np.float32).any() else np.float32
        if not np.any(over.variance):
            msg = (
                f"expected a feature of `{cells.where}` that varies among the training cells, found none; leave it out"
            )
            raise InvalidValueError(msg)
        vectors, variance = principal_components(
            cells,
            train,
            lambda x, dtype: _standardised(normaliser(x), mean, sd, max_value, dtype),
            n_comps=n_comps,
            seed=seed,
        )
        varying = variance > 1e-6 * variance[0]  # others would carry noise to constant features
        return cls(
            normaliser=normaliser,
            features=np.asarray(cells.features).astype(str),
            mean=mean.astype(dtype),
            sd=sd.astype(dtype),
            loadings=np.ascontiguousarray(vectors[varying].T, dtype=np.float32),
            variance=variance[varying].astype(np.float32),
            openness=_openness(stats, mean, sd) if kind == "accessibility" else np.empty((2, 0), np.float32),
            n_fitted=stats.n_train,
            max_value=max_value,
            layer=layer,
            is_whole=stats.is_whole,
            is_nonnegative=not stats.negative.any(),
            totals=_percentiles(kind, stats),
        )

    def expected(self, columns: Array | slice = slice(None)) -> Expected:
        """What the values of other cells must look like, of the given `columns` of the features."""
        mean, sd = self.mean[columns], self.sd[columns]
        return Expected(self.kind, self.is_whole, self.is_nonnegative, self.totals, mean, sd)

    @property
    def kind(self) -> Kind:
        """Kind of the measurement."""
        return self.normaliser.kind

    @property
    def dtype(self) -> np.dtype:
        """Of values on the imputed scale; float64 if float32 would round them away."""
        return np.dtype(self.mean.dtype)

    def read(self, cells: CellMatrix) -> CellMatrix:
        """Cells as they are to be read: in double precision where that is needed."""
        return cells.in_double() if self.dtype == np.float64 else cells

    @property
    def scale(self) -> str:
        """Scale of imputed values."""
        return SCALES[self.kind]

    def transform(self, x: Matrix, columns: Array | slice = slice(None)) -> Array:
        """Components of cells measured in the given `columns` of the features, the others as these let expect."""
        return self.components(self.scaled(x, columns), columns)

    def without_effects(self, cells: CellMatrix, design: Array, columns: Array | slice = slice(None)) -> CellMatrix:
        """Values of cells measured in the given `columns` of the features as of the average training cell."""
        effects = self.effects
        if effects is None:
            return cells
        return cells.changed(lambda x, of_cells: effects.removed(x, of_cells, columns), design)

    def inputs(self, cells: CellMatrix, columns: Array | slice = slice(None)) -> Array:
        """Components of all cells, (n, k), a block at a time; on disk if they are large beside `settings.memory_gb`."""
        shape = cells.shape[0], self.loadings.shape[1]
        out = empty_inputs(shape)
        start = 0

        def of(x: Matrix) -> Array:
            require_complete(missing(x, axis=0), cells.where, self.kind)
            return self.transform(x, columns)

        for scores in cells.map(of, description="preparing"):
            out[start : start + len(scores)] = scores
            start += len(scores)
        return out

    def components(self, scaled: Matrix, columns: Array | slice = slice(None)) -> Array:
        """Components of cells from what `scaled` gives."""
        loadings = self.loadings_of(columns)
        scores = scaled @ loadings
        if sparse.issparse(scaled):
            scores = scores - (self.mean[columns] / self.sd[columns]) @ loadings
        return np.asarray(scores, dtype=np.float32)

    def outside(self, x: Matrix) -> Array:
        """Squared length of each cell of standardised features that is in no component, (n,)."""
        scaled = self.scaled(x)
        if sparse.issparse(scaled):  # not centred
            centre = self.mean.astype(np.float64) / self.sd
            lengths = np.asarray(scaled.multiply(scaled).sum(axis=1)).ravel() - 2 * (scaled @ centre) + centre @ centre
        else:
            lengths = np.square(scaled).sum(axis=1)
        return np.maximum(lengths - np.square(self.components(scaled)).sum(axis=1, dtype=np.float64), 0)

    def scaled(self, x: Matrix, columns: Array | slice = slice(None), dtype: type = np.float64) -> Matrix:
        """Standardised features; a sparse matrix is divided by the sd and not centred, so that it stays sparse."""
        normalised = self.normaliser(x, columns)
        if self.kind == "accessibility" and self._is_part(columns):
            normalised *= np.sqrt(self._squared_length(columns), dtype=normalised.dtype)
        return _standardised(normalised, self.mean[columns], self.sd[columns], self.max_value, dtype)

    def loadings_of(self, columns: Array | slice = slice(None)) -> Array:
        """By which cells measured in the given `columns` of the features are multiplied, (d, k); centred features."""
        panel = self.panel(columns)
        return self.loadings[columns] if panel is None else panel.loadings

    def panel(self, columns: Array | slice = slice(None)) -> PartialPanel | None:
        """How components are found from a part of the features; `None` if it is all of them."""
        if not self._is_part(columns):
            return None
        noise = noise_of(self.loadings, self.variance, is_standardised=not np.all(self.sd == 1))
        return PartialPanel(self.loadings, self.variance, noise, np.arange(len(self.features))[columns])

    def _is_part(self, columns: Array | slice) -> bool:
        return len(np.ones(len(self.features))[columns]) < len(self.features)

    def _squared_length(self, columns: Array | slice) -> float:
        """Share of the squared length of a cell's TF-IDF that is in these regions, in the training cells."""
        square = np.square(self.mean, dtype=np.float64) + np.where(
            self.sd == 1, 0, np.square(self.sd, dtype=np.float64)
        )
        return float(square[columns].sum() / square.sum())

    def standardised(self, x: Matrix) -> Array:
        """Dense standardised features with missing values as NaN: the target of the loss where values are missing."""
        normalised = self.normaliser(x)
        dense = normalised.toarray() if sparse.issparse(normalised) else normalised
        return _clipped((dense - self.mean) / self.sd, self.max_value).astype(np.float32)

    def inverse(self, scores: Array, columns: Array | slice = slice(None)) -> Array:
        """Features in imputed units from components: (n, k) → (n, d), or the given `columns` of them.

        The probability of being open is linear in TF-IDF, which is its least-squares fit; on the logistic curve through
        the same slope rare peaks would be imputed as open two to four times too often.
        """
        matrix, offset = self.readout(columns)
        values = scores @ matrix.T + offset
        return values.clip(0, 1) if self.kind == "accessibility" else values

    def readout(self, columns: Array | slice = slice(None)) -> tuple[Array, Array]:
        """Matrix (d, k) and offset (d,) that take components to features, before a probability is cut to [0, 1]."""
        matrix = self.loadings[columns] * self.sd[columns, None]
        if self.kind != "accessibility":
            return matrix, self.mean[columns]
        rate, slope = self.openness[:, columns]
        return (rate * (1 - rate) * slope)[:, None] * matrix, rate

    def as_in_batch(self, values: Array, batch: str, columns: Array | slice = slice(None)) -> Array:
        """Values on the imputed scale, (n, d), as a cell of a batch of the training would have them."""
        if self.effects is None or not self.effects.batches:
            msg = (
                f"expected a model that knows batches to answer as in batch={batch!r}, found one without their effects "
                "on this modality; train with jm.tl.train(mdata, batch_key=...), or leave out `batch`"
            )
            raise InvalidValueError(msg)
        return self.effects.added(values, batch, self.kind, columns)

    def to_input_units(self, values: Array) -> Array:
        """All features from imputed to input units, (n, d): expected counts, at the depth of the training cells."""
        values = self.normaliser.to_input_units(values)
        if not len(self.recovery):
            return values
        values = values * self.recovery
        return values.clip(max=1) if self.kind == "accessibility" else values

    def measured(self, x: Matrix, columns: Array | slice = slice(None)) -> Matrix:
        """Measured values on the imputed scale, of cells measured in the given `columns` of the features."""
        is_open = self.kind == "accessibility"
        return measured(x, kind=self.kind, depth=1.0) if is_open else self.normaliser(x, columns)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the loadings, for `.uns`."""
        return {
            "schema": SCHEMA,
            "kind": self.kind,
            "scale": self.scale,
            "depth": self.normaliser.depth,
            "n_fitted": self.n_fitted,
            "max_value": self.max_value,
            "layer": self.layer,
            "is_whole": self.is_whole,
            "is_nonnegative": self.is_nonnegative,
            **self.arrays(),
            **({} if self.effects is None else {"effects": self.effects.to_dict()}),
        }

    def arrays(self) -> dict[str, Array]:
        """The learned arrays by name, without the loadings."""
        return {
            "idf": self.normaliser.idf,
            "levels": self.normaliser.levels,
            "mean": self.mean,
            "sd": self.sd,
            "variance": self.variance,
            "openness": self.openness,
            "totals": self.totals,
            "recovery": self.recovery,
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any], *, features: Array, loadings: Array) -> Preparation:
        """Read back what `to_dict` wrote."""
        return cls(
            normaliser=Normaliser(
                stored["kind"], float(stored["depth"]), np.asarray(stored["idf"]), np.asarray(stored["levels"])
            ),
            features=np.asarray(features, dtype=object).astype(str),
            loadings=np.asarray(loadings),
            n_fitted=int(stored["n_fitted"]),
            max_value=float(stored["max_value"]),
            layer=str(stored["layer"]),
            is_whole=bool(stored["is_whole"]),
            is_nonnegative=bool(stored["is_nonnegative"]),
            effects=Effects.from_dict(stored["effects"]) if "effects" in stored else None,
            **{name: np.asarray(stored[name]) for name in ("mean", "sd", "variance", "openness", "totals", "recovery")},
        )


def looks_prepared(cells: CellMatrix, preparation: Preparation, inputs: Array) -> bool:
    """Whether cells here and there have these components."""
    rows = spread(cells.shape[0], 50)
    return is_close(preparation.transform(cells[rows]), inputs[rows])


def is_close(inputs: Array, others: Array) -> bool:
    """Whether components are the same but for rounding."""
    return np.allclose(inputs, others, rtol=1e-2, atol=1e-2)


def empty_inputs(shape: tuple[int, int]) -> Array:
    """Room for components, float32: in memory, or on disk if they are large beside `settings.memory_gb`.

    The file has no name, and lives as long as the array does.
    """
    if 4 * shape[0] * shape[1] <= settings.memory_gb * 2**30 * IN_MEMORY:
        return np.empty(shape, np.float32)
    with TemporaryFile(prefix="jamie") as file:
        return np.memmap(file, np.float32, "w+", shape=shape)


def require_complete(n_missing: Array, where: str, kind: Kind) -> None:
    """Raise if regions are missing in a part of the cells: TF-IDF weighs a region beside all others of the cell."""
    if kind == "accessibility" and n_missing.any():
        msg = (
            f"expected no NaN in `{where}`, of kind 'accessibility', found it in {np.count_nonzero(n_missing)} of "
            f"{len(n_missing)} regions; keep the regions that all cells were measured in, "
            "adata[:, ~np.isnan(adata.X).any(axis=0)], or make a modality of each assay"
        )
        raise InvalidValueError(msg)


def _standardised(x: Matrix, mean: Array, sd: Array, max_value: float, dtype: type = np.float64) -> Matrix:
    """Dense, or clipped: centred and scaled, NaN → 0. Sparse: scaled only, NaN → mean; centring stays implicit.

    What is sparse gets the `dtype`, which is half the time where that is single precision.
    """
    if max_value or not sparse.issparse(x):
        dense = x.toarray() if sparse.issparse(x) else x
        scaled = (dense - mean.astype(dense.dtype)) / sd.astype(dense.dtype)
        return np.nan_to_num(_clipped(scaled, max_value), nan=0.0)
    scaled = sparse.csr_matrix((x.data.astype(dtype), x.indices, x.indptr), x.shape)
    scaled.data /= sd.astype(dtype)[scaled.indices]
    missing = np.isnan(scaled.data)
    if missing.any():
        scaled.data[missing] = (mean / sd)[scaled.indices[missing]]
    return scaled


def _clipped(standardised: Array, max_value: float) -> Array:
    return standardised.clip(-max_value, max_value) if max_value else standardised


def _openness(stats: ValueStats, mean: Array, sd: Array) -> Array:
    """Rate of being open, and the slope of its log-odds in TF-IDF: the regression of open on TF-IDF at the mean."""
    n = stats.n_train
    rate = stats.opened / n
    covariance = mean * (1 - rate)  # E[open · tfidf] = E[tfidf], for TF-IDF is 0 where closed
    rate = rate.clip(0.5 / n, 1 - 0.5 / n)
    return np.stack([rate, covariance / sd**2 / (rate * (1 - rate))]).astype(np.float32)


def _percentiles(kind: Kind, stats: ValueStats) -> Array:
    """Of the sums of the cells that have any, of regions of how many are open; 0 where sums say nothing."""
    totals = stats.n_open if kind == "accessibility" else stats.totals
    totals = totals[totals > 0]
    if not len(totals) or (kind == "continuous" and (stats.negative.any() or stats.n_missing)):
        return np.zeros(3, np.float32)
    return np.percentile(totals, [1, 50, 99]).astype(np.float32)
