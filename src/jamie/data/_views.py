"""From a MuData to frozen, prepared arrays: the only way in for training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
import pandas as pd
from scipy import sparse

from jamie._checks import require_option
from jamie._errors import InvalidValueError
from jamie._keys import SCHEMA
from jamie._settings import logger
from jamie._types import KINDS, Array, Kind, Pair
from jamie.correspondence import cap_rows, nothing_shared

from ._cell_matrix import CellMatrix
from ._cells import Cells, pairs_in_use, require_several
from ._detect_kind import detect_kind, not_read, noted_kind
from ._effects import NO_COLUMNS, EffectColumns, Effects
from ._fit_effects import fit_effects
from ._inferred import inferred_pairs
from ._prepare import (
    DEFAULT_COMPS,
    DEFAULT_MAX_VALUE,
    MAX_COMPS,
    Preparation,
    is_close,
    looks_prepared,
    require_complete,
)
from ._rounding import holds_more, is_rounded, may_be_rounded, warn_rounded
from ._value_stats import ValueStats, value_stats


@dataclass(frozen=True)
class ModalityView:
    """One modality, prepared: what training may see of it."""

    name: str
    cells: pd.Index
    inputs: Array  # (n, k) float32 components
    preparation: Preparation
    train: Array  # (n,) bool: may be learned from
    values: Array | None  # (n, d) standardised features with NaN, where any value is missing


@dataclass(frozen=True)
class Problem:
    """Prepared modalities by name, and by two of them the known pairs F, and F̃, either way, where it was inferred."""

    modalities: dict[str, ModalityView]
    known: dict[Pair, sparse.csr_matrix]
    inferred: dict[Pair, sparse.csr_matrix]

    def known_of(self, a: str, b: str) -> sparse.csr_matrix:
        """F with rows for the cells of `a`, whichever way it is kept."""
        return self.known[a, b] if (a, b) in self.known else self.known[b, a].T.tocsr()


def read(
    cells: Cells,
    *,
    n_comps: int | None = None,
    max_value: float = DEFAULT_MAX_VALUE,
    seed: int = 0,
    infer_below: float = 0.0,
    columns: EffectColumns = NO_COLUMNS,
) -> Problem:
    """Read opened cells for training; what `pp` has not prepared or inferred, but training needs, is made, unwritten.

    `infer_below` is the share of cells with a known partner below which F̃ is inferred; `columns` are those whose
    effects are taken off.
    """
    require_several(cells)
    known = {(a, b): cap_rows(cells.known(a, b)) for a, b in pairs_in_use(cells)}
    for name in cells.names:
        pairs = [pair for pair in known if name in pair]
        if not any(known[pair].nnz or cells.stored_pairs("inferred", *pair) is not None for pair in pairs):
            why = nothing_shared({other: cells.cells(other) for other in cells.names}, pairs)
            msg = f"expected cells of `mdata[{name!r}]` with a partner in another modality, found none: {why}"
            raise InvalidValueError(msg)
    views = {
        name: _view(cells, name, n_comps=n_comps, max_value=max_value, seed=seed, columns=columns)
        for name in cells.names
    }
    _require_batches(views, columns)
    inferred = inferred_pairs(
        cells,
        {name: view.inputs for name, view in views.items()},
        known,
        {name: view.train for name, view in views.items()},
        infer_below=infer_below,
        seed=seed,
    )
    return Problem(views, known, inferred)


def _view(
    cells: Cells, name: str, *, n_comps: int | None, max_value: float, seed: int, columns: EffectColumns
) -> ModalityView:
    """One modality, prepared as `pp.prepare` wrote it or by default; its digests are kept for the model."""
    train, stored = cells.train(name), read_preparation(cells, name)
    if stored is not None:
        _require_same_columns(stored, columns, name)
    preparation = stored or prepare(cells, name, n_comps=n_comps, max_value=max_value, seed=seed, columns=columns)
    if stored is not None and cells.layers.get(name) and (cells.layer(name) or "") != stored.layer:
        msg = (
            f"expected the layer that {name!r} was prepared from, {stored.layer or 'X'!r}, found "
            f"layer={cells.layers[name]!r}; call jm.pp.prepare(mdata, layer={{{name!r}: {cells.layers[name]!r}}}) again"
        )
        raise InvalidValueError(msg)
    x = cells.corrected(name, preparation)
    inputs, has_effects = None if stored is None else stored_inputs(cells, name), preparation.effects is not None
    prepared = None if inputs is not None and not has_effects else cells.prepare(name, preparation)
    if inputs is not None:
        same = looks_prepared(x, preparation, inputs) if prepared is None else is_close(prepared.inputs, inputs)
        if not same:
            what = "values, batches or covariates" if has_effects else "values"
            msg = f"expected `mdata[{name!r}]` as it was prepared, found other {what}; call jm.pp.prepare(mdata) again"
            raise InvalidValueError(msg)
    prepared = prepared or cells.prepare(name, preparation, inputs=inputs)
    values = preparation.standardised(x[:]) if prepared.is_partial[train].any() else None
    return ModalityView(name, cells.cells(name), prepared.inputs, preparation, train, values)


def stored_inputs(cells: Cells, name: str) -> Array:
    """Components that `pp.prepare` wrote, (n, k)."""
    keys = cells.prepared_under(name) or cells.keys
    return np.ascontiguousarray(cells.mdata[name].obsm[keys.input], dtype=np.float32)


def prepare(
    opened: Cells,
    name: str,
    *,
    kind: Kind | None = None,
    n_comps: int | None = None,
    max_value: float = DEFAULT_MAX_VALUE,
    seed: int = 0,
    columns: EffectColumns = NO_COLUMNS,
) -> Preparation:
    """Fit the preparation of one modality on its training cells, without the effects of the `columns`."""
    matrix, train = opened.matrix(name), opened.train(name)
    if not train.any():
        msg = (
            f"expected training cells of {name!r}, found all {len(train)} of them held out; leave it out, or call "
            "jm.pp.split(mdata) again with a smaller test_fraction"
        )
        raise InvalidValueError(msg)
    if n_comps is not None and not 1 <= n_comps <= MAX_COMPS:
        msg = f"expected 1 to {MAX_COMPS} components, found n_comps={n_comps}"
        raise InvalidValueError(msg)
    if not 0 <= max_value < np.inf:
        msg = f"expected max_value in standard deviations, or None for values as they are, found {max_value}"
        raise InvalidValueError(msg)
    cells, stats = _surveyed(matrix, train)
    taken, adata, layer = kind, opened.mdata[name], opened.layer(name)
    if taken is None:
        taken, reason = detect_kind(name, stats, noted_kind(adata, layer))
        reason += not_read(adata, taken, layer)
        logger.info("`mdata[%r]` is taken as %r: %s; say otherwise with kinds={%r: ...}", name, taken, reason, name)
    require_option(taken, KINDS, name=f"kinds[{name!r}]")
    _require_possible(cells, name, taken, stats)

    def fitted(cells: CellMatrix, stats: ValueStats) -> Preparation:
        effects = _effects(opened, name, cells, taken, stats, columns, seed)
        values, of_values = cells, stats
        if effects is not None:
            values = cells.changed(effects.removed, effects.design(opened.mdata, name))
            of_values = value_stats(values, train)._replace(is_whole=stats.is_whole)
        found = Preparation.fit(
            values,
            train,
            of_values,
            kind=taken,
            n_comps=DEFAULT_COMPS if n_comps is None else n_comps,
            seed=seed,
            max_value=max_value,
            layer=opened.layer(name) or "",
        )
        return replace(found, effects=effects)

    found, double = fitted(cells, stats), cells.in_double()
    is_lost = cells.is_double or is_rounded(stats.mean, stats.sd, np.float32).any()
    if is_rounded(found.mean, found.sd, np.float32).any() and not (is_lost or double.is_sparse):
        found = fitted(double, value_stats(double, train))  # logarithms may be closer to each other than values
    return found


def _surveyed(cells: CellMatrix, train: Array) -> tuple[CellMatrix, ValueStats]:
    """Cells as they are to be read, and what they hold; warn of features that the type rounds away that holds them."""
    stats, held = value_stats(cells, train), cells.dtype if cells.dtype.kind == "f" else np.dtype(np.float64)
    double = cells.in_double()
    if may_be_rounded(stats.mean, stats.sd).any() and holds_more(cells) and not double.is_sparse:
        more = value_stats(double, train)
        if is_rounded(more.mean, more.sd, np.float32).any():
            warn_rounded(double, is_rounded(more.mean, more.sd, held), held)
            return double, more
    held = min(held, np.dtype(np.float32), key=lambda dtype: dtype.itemsize)
    warn_rounded(cells, is_rounded(stats.mean, stats.sd, held), held)
    return cells, stats


def _effects(
    opened: Cells, name: str, cells: CellMatrix, kind: Kind, stats: ValueStats, columns: EffectColumns, seed: int
) -> Effects | None:
    """Learn the effects of batch and covariates on one modality."""
    if not columns:
        return None
    train = opened.train(name)
    design, unfitted = columns.read(opened.mdata, name, train)
    if kind == "accessibility":
        logger.warning(
            "effects of %s are not taken off %r: of accessibility they are not estimated; its cells are compared "
            "by TF-IDF, which takes their depth off",
            columns, name,
        )  # fmt: skip
        return None
    if not columns.covariates and len(unfitted.batches) < 2:
        logger.info("%r has cells of one batch only, %r: there is nothing to take off", name, unfitted.batches[0])
    return fit_effects(cells, train, stats, design, unfitted, kind=kind, seed=seed)


def _require_batches(views: Mapping[str, ModalityView], columns: EffectColumns) -> None:
    """Raise if a column of batches has one batch in each modality."""
    effects = [view.preparation.effects for view in views.values() if view.preparation.effects is not None]
    batches = {batch for of_modality in effects for batch in of_modality.batches}
    if columns.batch_key and effects and all(len(of_modality.batches) < 2 for of_modality in effects):
        msg = (
            f"expected two batches or more among the training cells of a modality, found {columns.batch_key!r} = "
            f"{sorted(batches)}; leave out `batch_key`"
        )
        raise InvalidValueError(msg)


def _require_same_columns(stored: Preparation, columns: EffectColumns, name: str) -> None:
    """Raise if effects of other columns are asked for than `pp.prepare` took off."""
    effects = stored.effects
    if stored.kind == "accessibility":
        return
    taken = NO_COLUMNS if effects is None else EffectColumns(effects.batch_key or None, effects.covariates)
    if taken and not columns:
        logger.info("effects of %s are taken off %r, as jm.pp.prepare was told", taken, name)
    if columns and columns != taken:
        msg = (
            f"expected a preparation of {name!r} without the effects of {columns}, found one "
            f"{f'without those of {taken}' if taken else 'with all of them'}; call jm.pp.prepare(mdata, "
            f"{columns.as_arguments()})"
        )
        raise InvalidValueError(msg)


def fingerprint(opened: Cells, name: str, preparation: Preparation) -> str:
    """What a preparation was fitted on: names of training cells and features, in order, batches and covariates."""
    train = opened.train(name)
    found = sha256("\n".join([*opened.cells(name)[train], "", *opened.features(name)]).encode())
    if preparation.effects is not None:
        found.update(np.ascontiguousarray(opened.design(name, preparation)[train]).data)
    return found.hexdigest()


def read_preparation(cells: Cells, name: str) -> Preparation | None:
    """What `pp.prepare` stored for this modality, checked against the data as it is now; `None` if nothing."""
    adata, train, remedy = cells.mdata[name], cells.train(name), "call jm.pp.prepare(mdata) again"
    keys = cells.prepared_under(name)
    if keys is None:
        return None
    stored = adata.uns[keys.preparation]
    where = f"mdata[{name!r}].uns[{keys.preparation!r}]"
    if not isinstance(stored, Mapping) or int(stored.get("schema", -1)) != SCHEMA:
        schema = stored.get("schema", "none") if isinstance(stored, Mapping) else "none"
        msg = f"expected schema {SCHEMA} in `{where}`, found {schema}: another version of jamie wrote it; {remedy}"
        raise InvalidValueError(msg)
    n_train = int(train.sum())
    needed = {
        "kind",
        "depth",
        "n_fitted",
        "max_value",
        "layer",
        "is_whole",
        "is_nonnegative",
        "totals",
        "idf",
        "levels",
        "recovery",
        "mean",
        "sd",
        "variance",
        "openness",
        "fitted_on",
    }
    if needed - set(stored):
        msg = f"expected a whole preparation in `{where}`, found none of {sorted(needed - set(stored))}; {remedy}"
        raise InvalidValueError(msg)
    if len(stored["mean"]) != adata.n_vars or keys.loadings not in adata.varm or keys.input not in adata.obsm:
        msg = f"expected `{where}` for {adata.n_vars} features, found {len(stored['mean'])}: the data changed; {remedy}"
        raise InvalidValueError(msg)
    if int(stored["n_fitted"]) != n_train:
        msg = (
            f"expected a preparation fitted on the {n_train} training cells of {name!r}, found one fitted on "
            f"{int(stored['n_fitted'])}: the split changed since; {remedy}"
        )
        raise InvalidValueError(msg)
    found = Preparation.from_dict(
        dict(stored), features=np.asarray(cells.features(name)), loadings=adata.varm[keys.loadings]
    )
    if stored["fitted_on"] != fingerprint(cells, name, found):
        effects = found.effects
        columns = EffectColumns() if effects is None else EffectColumns(effects.batch_key or None, effects.covariates)
        changed = f"names, the split or {columns}" if columns else "names or the split"
        msg = (
            f"expected a preparation fitted on the training cells and features of {name!r} as they are now, "
            f"found another in `{where}`: {changed} changed since; "
            f"call jm.pp.prepare(mdata{f', {columns.as_arguments()}' if columns else ''}) again"
        )
        raise InvalidValueError(msg)
    return found


def _require_possible(cells: CellMatrix, name: str, kind: Kind, stats: ValueStats) -> None:
    """Raise if there are values, or none, where the kind does not allow it."""
    empty = stats.missing == cells.shape[0]
    if empty.any():
        msg = (
            f"expected a measured value in every feature of `{cells.where}`, found {int(empty.sum())} with NaN only, "
            f"first {cells.features[empty][0]!r}; drop it: a feature that was not measured need not be there"
        )
        raise InvalidValueError(msg)
    if kind == "continuous":
        return
    if stats.negative.any():
        msg = (
            f"expected no negative value in `mdata[{name!r}]`, of kind {kind!r}, found {stats.negative.sum()}, first "
            f"in feature {cells.features[stats.negative > 0][0]!r}; pass raw counts by layer=, or "
            f"kinds={{{name!r}: 'continuous'}}"
        )
        raise InvalidValueError(msg)
    require_complete(stats.missing, cells.where, kind)
