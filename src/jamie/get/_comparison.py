"""Measured beside imputed values, on one scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from jamie._checks import require_name, require_names, require_unique
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._keys import Keys
from jamie._types import Array, Matrix
from jamie.data import (
    Cells,
    Effects,
    FeatureNames,
    Layers,
    measured,
    name_digests,
    open_cells,
    require_kind,
    require_mudata,
    role_codes,
    unseen_cells,
)

from ._stored import stored
from ._stored_imputation import StoredImputation, stored_imputation

LEAST_MEASURED = 0.8
"""Share of the model's features by which measured counts or proteins must be normalised."""


class Comparison(NamedTuple):
    """The same cells and features, measured and imputed."""

    measured: pd.DataFrame
    imputed: pd.DataFrame
    scale: str
    cells: str  # held-out, new, or in-sample
    beside: dict[str, pd.DataFrame]  # "lower", "upper", "sample_0", … where they were imputed
    interval: float | None  # level of the bounds


@document("mdata", "key_added")
def comparison(
    mdata: MuData,
    *,
    source: str | Sequence[str],
    target: str,
    features: Sequence[str] | None = None,
    layer: Layers = None,
    feature_names: FeatureNames = None,
    key_added: str = "jamie",
) -> Comparison:
    """Measured and imputed features of the same cells that the model has not seen, on the scale of the imputed ones.

    Parameters
    ----------
    {shared}
    source, target
        Modalities, as given to :func:`jamie.tl.impute`; a list of sources in any order.
    features
        Features of `target`; if `None`, all that were imputed and measured.
    layer
        Layer that holds the measured values, instead of that of the training; ``"X"`` for the matrix itself.
    feature_names
        Names that the model has for the features of `target`, as given to :func:`jamie.tl.impute`; if `None` those
        that it was given then.

    Returns
    -------
    A named tuple of data frames, `measured` and `imputed`, with the same cells and features, their `scale`, and
    `cells`: ``"held-out"``, ``"new"``, or ``"in-sample"`` where the model has seen every cell that both modalities
    have; then these are all such cells. What it has seen it said when it imputed, in the slot
    ``jamie_role_<target>``. `beside`
    has data frames ``"lower"``, ``"upper"``, ``"sample_0"`` and so on where these were imputed, and `interval` is the
    level of the bounds. Cells that ``min_confidence=`` left out are not among them.

    Raises
    ------
    KeyError
        If this was not imputed, or not with these features.
    ValueError
        If no cell has both modalities, or what was imputed.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> jm.pp.split(mdata)
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> jm.tl.impute(mdata, model, source="rna", target="protein")
    >>> pair = jm.get.comparison(mdata, source="rna", target="protein")
    >>> pair.measured.corrwith(pair.imputed).shape, pair.cells
    ((12,), 'held-out')
    """
    require_mudata(mdata)
    require_name(target, list(mdata.mod), name="target")
    keys = Keys(key_added)
    found = stored_imputation(mdata, source, target, keys)
    frame, about, names, remedy = found.frame, found.about, found.features, found.remedy
    if feature_names is None and "own_names" in about:
        feature_names = about["own_names"]["name"]
    read = [*found.sources, target]
    cells = open_cells(mdata, modalities=read, keys=keys, layer=layer, feature_names=feature_names)
    wanted = _wanted(features, names, cells.features(target), target)
    at, rows, which = _compared(cells, found, target)
    if not len(rows):
        sources = " or ".join(map(repr, found.sources))
        msg = f"expected cells measured in both {sources} and {target!r}, found none; there is nothing to compare"
        raise InvalidValueError(msg)
    given = ~np.isnan(frame.iloc[:, :1].to_numpy()[at]).any(axis=1)  # a cell is left out as a whole
    if not given.any():
        msg = (
            f"expected values imputed for cells that were measured in {target!r}, found that `min_confidence` left all "
            f"{len(at)} out; call {remedy[:-1]}, min_confidence=...) with a lower one"
        )
        raise InvalidValueError(msg)
    at, rows = at[given], rows[given]
    index = frame.index[at]
    matrix = cells.matrix(target, cells.layer(target) or about["layer"] or "X")
    x = (matrix.in_double() if (frame.dtypes == np.float64).any() else matrix)[rows]
    require_kind(
        x,
        about["kind"],
        is_whole=bool(about["is_whole"]),
        name=target,
        where=matrix.where,
        adata=mdata[target],
    )
    taken_off = _Effects.of(about)
    x, known = taken_off.removed(x, mdata, target, rows, cells.features(target))
    x = taken_off.added(_on_imputed_scale(x, known, about, wanted), about, wanted)
    columns = names.get_indexer(wanted)

    def chosen(frame: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame(frame.to_numpy()[at][:, columns], index=index, columns=wanted)

    return Comparison(
        measured=pd.DataFrame(x.toarray() if sparse.issparse(x) else x, index=index, columns=wanted),
        imputed=chosen(frame),
        scale=about["scale"],
        cells=which,
        beside={what: chosen(of_bounds) for what, of_bounds in found.beside.items()},
        interval=float(about["interval"]) if "interval" in about else None,
    )


class _Effects(NamedTuple):
    """Effects of batches and covariates, which imputed values are without, or have those of one batch."""

    effects: Effects | None
    features: pd.Index  # of the model
    cells: pd.Index  # digests of the names of cells of the target, as it was imputed
    design: Array  # batch and covariates of these

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> _Effects:
        if "effects" not in about:
            return cls(None, pd.Index([]), pd.Index([]), np.empty((0, 1)))
        stored = about["effects"]
        features = pd.Index(np.asarray(stored["features"], dtype=object))
        cells, design = pd.Index(np.asarray(stored.get("cells", ()), np.uint32)), np.asarray(stored.get("design", ()))
        single = ~cells.duplicated(keep=False)  # of a million names some have one digest
        return cls(Effects.from_dict(stored), features, cells[single], design[single])

    def removed(
        self, x: Matrix, mdata: MuData, target: str, rows: Array, features: pd.Index
    ) -> tuple[Matrix, pd.Index]:
        """Values of cells, (n, d), without the effects, and the features that these are of."""
        if self.effects is None:
            return x, features
        known = features[features.isin(self.features)]
        design = self.effects.design(mdata, target)[rows]
        self._require_same(design, mdata[target].obs_names[rows], target)
        x = x[:, features.get_indexer(known)]
        return self.effects.removed(x, design, self.features.get_indexer(known)), known

    def _require_same(self, design: Array, names: pd.Index, target: str) -> None:
        """Raise if cells are of other batches than when it was imputed."""
        at = self.cells.get_indexer(name_digests(names))
        changed = at >= 0
        changed[changed] = ~np.isclose(design[changed], self.design[at[changed]]).all(axis=1)
        if self.effects is not None and changed.any():
            columns = ", ".join(map(repr, filter(None, (self.effects.batch_key, *self.effects.covariates))))
            msg = (
                f"expected {columns} of the cells of {target!r} as they were when it was imputed, found others in "
                f"{int(changed.sum())}, first {str(names[changed][0])!r}; call jm.tl.impute again"
            )
            raise InvalidValueError(msg)

    def added(self, x: Matrix, about: Mapping[str, Any], wanted: pd.Index) -> Matrix:
        """Values on the imputed scale as in the batch that was imputed, if one was asked for."""
        if self.effects is None or "batch" not in about:
            return x
        values = x.toarray() if sparse.issparse(x) else np.asarray(x)
        return self.effects.added(values, str(about["batch"]), about["kind"], self.features.get_indexer(wanted))


def _wanted(features: Sequence[str] | None, imputed: pd.Index, measured: pd.Index, target: str) -> pd.Index:
    """Features to compare: those asked for, else all that were imputed and measured."""
    asked = imputed[imputed.isin(measured)] if features is None else require_names(features, name="features")
    for feature in asked:
        require_name(feature, imputed, name="features")
        require_name(feature, measured, name="features", hint=f"it was imputed, but mdata[{target!r}] lacks it")
    require_unique(asked, where="features", remedy="jm.get.comparison with each of them once")
    if not len(asked):
        msg = (
            f"expected features of {target!r} that were imputed, such as {str(imputed[0])!r}, found none of them"
            + (f" in `mdata[{target!r}].var_names`, which has {list(measured[:3])}" if features is None else "")
            + "; rename them back, say by which names the model knows them, feature_names=..., or pass features=[...]"
        )
        raise InvalidValueError(msg)
    return pd.Index(asked)


def _compared(cells: Cells, found: StoredImputation, target: str) -> tuple[Array, Array, str]:
    """Rows of the imputed values and of the target to compare, and what the pairs are to the model that imputed."""
    said = stored(found.obs, found.role, where=found.where, remedy=found.remedy)
    if found.is_joint:
        partner = cells.partners(found.sources, target)
        rows = np.flatnonzero((partner >= 0) & said.notna().to_numpy())
        columns = partner[rows]
    else:
        rows, columns = cells.likeliest(found.sources[0], target)
    compared, which = unseen_cells(role_codes(said)[rows])
    return rows[compared], columns[compared], which


def _on_imputed_scale(x: Matrix, features: pd.Index, about: Mapping[str, Any], wanted: pd.Index) -> Matrix:
    """Cells × `wanted`, of cells × `features` normalised by those that the model knows."""
    levels = about["levels"]["level"]
    known = features[features.isin(levels.index)] if len(levels) else features
    if len(known) < LEAST_MEASURED * len(levels):
        msg = (
            f"expected at least {LEAST_MEASURED:.0%} of the {len(levels)} features that the model knows, as measured "
            f"values are normalised by all of them, found {len(known)}; take features with `features=`, and leave the "
            "others in the MuData"
        )
        raise InvalidValueError(msg)
    scaled = measured(
        x[:, features.get_indexer(known)],
        kind=about["kind"],
        depth=float(about["depth"]),
        levels=levels.to_numpy(),
        columns=levels.index.get_indexer(known) if len(levels) else slice(None),
    )
    return scaled[:, known.get_indexer(wanted)]
