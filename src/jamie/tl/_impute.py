"""Predict a modality that was not measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import anndata as ad
import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.utils import make_index_unique
from mudata import MuData
from scipy import sparse

from jamie._checks import (
    generator,
    is_number,
    require_name,
    require_names,
    require_not_negative,
    require_option,
    require_unique,
    typed,
)
from jamie._docs import document
from jamie._errors import InvalidValueError, JamieError
from jamie._keys import SCHEMA, Keys, is_beside
from jamie._keys import beside as slot_beside
from jamie._settings import logger
from jamie._slots import in_one_line, safe_name, write
from jamie._types import Array, Matrix, Seed
from jamie.data import (
    Cells,
    FeatureNames,
    Layers,
    Preparation,
    Rows,
    as_given,
    as_mudata,
    claimed,
    digest,
    name_digests,
    open_for_model,
    stream,
    writable_one,
)
from jamie.model import JAMIE, Calibration, CellConfidence, SeveralSources, require_level

MANY_NEW = 0.2
"""Share of new cells that is warned of: 0.05 of cells like those of the training are."""


@in_one_line
@document("mdata or adata", "model", "feature_names", "rng", "key_added", "copy")
def impute(
    mdata: MuData | AnnData,
    model: JAMIE,
    *,
    source: str | Sequence[str],
    target: str,
    features: Sequence[str] | None = None,
    out: str | Path | None = None,
    dtype: Literal["float64", "float32", "float16"] | None = None,
    threshold: float | None = None,
    layer: Layers = None,
    feature_names: FeatureNames = None,
    interval: float | None = None,
    n_samples: int = 0,
    min_confidence: float | None = None,
    batch: str | None = None,
    rng: Seed = 0,
    key_added: str = "jamie",
    copy: bool = False,
) -> MuData | AnnData | None:
    """Predict features of `target` for every cell measured in `source`, in the target's own units.

    The target's decoder reads the source's latent: decode_target(μ_source); the default recipe mixes in a kernel ridge
    regression fitted on the same pairs. The scale of each kind of target stands in
    :func:`jamie.pp.prepare` and in `mdata[target].uns['jamie_input']['scale']`.

    Parameters
    ----------
    {shared}
    source
        Modality that is measured; `mdata` must have it, or be it. Or several: each cell is imputed from those of them
        that it was measured in, weighted by how well each told the target in the training and how alike they err
        (`model.source_weights`). It is seldom worse than from the best of them, and better where each knows something
        else.
    target
        Modality to predict; `mdata` need not have it.
    features
        Features of the target to predict; all of them if `None`.
    out
        File ``….h5ad`` or folder ``….zarr`` to write to, a block of cells at a time, instead of to `mdata`: for more
        values than fit into memory. A call that was cut off goes on where it was when it is made again. What is there
        under that name is replaced at the end, if it was written by such a call; a link is followed.
    dtype
        Of what is written to `out`; if `None` that of the imputed values. Bounds are rounded outwards, so that what
        lies within them still does.
    threshold
        Write a sparse matrix to `out`, without values that are no further from 0; NaN stays, and so do bounds
        in place of which 0 would be narrower.
    layer
        Layer that holds the values of the source, instead of that of the training; ``"X"`` for the matrix itself.
    interval
        Level of intervals to write beside the imputed values: 0.9 for bounds that nine in ten measurements lie within,
        on the imputed scale. They are calibrated in the training on at least 30 known pairs, each predicted from all
        others, per feature and imputed value. They hold for cells like those of the training. What is imputed from
        several sources is calibrated on training cells that were measured in all of them; a cell that has only some of
        them has the intervals of those.
    n_samples
        Draws from what may be measured to write beside the imputed values, which are expectations and vary less. The
        features of one cell are drawn together, so that they correlate as measured ones do.
    min_confidence
        Leave NaN in place of everything that is imputed for cells of a lower confidence; 0 leaves all values and writes
        how sure they are. Half of the cells like those of the training have a confidence above 0.5.
    batch
        Batch of the training, where a model was trained with `batch_key`: values, bounds and draws are those that the
        cells would have in it. If `None` those of the average training cell. Averages over covariates stay.

    Returns
    -------
    `None`, or a changed copy if `copy=True`. Sets

    `mdata[source].obsm['jamie_imputed_<target>']` : :class:`~pandas.DataFrame` (`n_obs × n_features`, float32)
        Imputed features of every cell of the source. In names ``/`` becomes ``_``, as files hold no ``/`` in a key.
        This and what is beside it is float64 where float32 would round away what the values of a feature differ by.
    `mdata[source].uns['jamie_imputed_<target>']` : :class:`dict`
        Names of the imputed features, and the kind, scale and depth of the target, and the levels of its features.
    `mdata[target].layers['jamie_imputed']` : :class:`~numpy.ndarray` (`n_obs × n_vars`, float32)
        The same for the cells that the target has too, NaN for its other cells. Only if `mdata` has the target, with
        the model's features, and all of them are imputed; otherwise what an earlier call wrote goes.
    `mdata[source].obsm['jamie_imputed_<target>_lower']`, `…_upper` : :class:`~pandas.DataFrame`, float32
        Bounds of the interval, of the same shape. Of counts and proteins they are not below 0. Accessibility is 0 or 1,
        so that an interval is 0 to 0, closed, 1 to 1, open, or 0 to 1. NaN where a feature was measured in fewer
        than 30 of the cells that were calibrated on. The imputed value is a mean, and may be outside where most values
        are 0.
    `mdata[source].obsm['jamie_imputed_<target>_sample_0']` and so on : :class:`~pandas.DataFrame`, float32
        Draws, of the same shape.
    `mdata[target].layers['jamie_imputed_lower']`, `…_upper`, `…_sample_0` and so on : :class:`~numpy.ndarray`, float32
        The same beside `jamie_imputed`. Bounds and draws of an earlier call go when the values they are of do.
    `mdata[source].obs['jamie_role_<target>']` : categorical (`n_obs`)
        What each cell, with its partner in the target, is to this model, by name and values: ``"train"``,
        ``"validation"``, ``"held-out"`` or ``"new"``; ``"train"`` if the model learned from either.
    `mdata[source].obs['jamie_imputation_confidence_<target>']` : float32 (`n_obs`), from 0 to 1
        How sure it is what is imputed for a cell: the share of the cells that were calibrated on whose expected error
        is larger. What to expect is learned of how their errors go with what is imputed for them. With `interval` or
        `min_confidence`; else what an earlier call wrote goes.
    `mdata[source].obs['jamie_novelty_<target>']` : float32 (`n_obs`)
        How unlike the training cells a cell is: its mean distance to the 10 nearest of them, along what tells the
        target, in units of what one in twenty known cells exceeds. Above 1 the cell is of a type that was not there, or
        rare, and its intervals and confidence are guesses.

    From several sources all but the layers are of all cells of the MuData, NaN where a cell was measured in none of
    them: `mdata.obsm['jamie_imputed_<target>_<sources>']`, and `mdata.uns` and `mdata.obs` likewise, with the sources
    in the order of the model, joined by an underscore, and a name that holds an underscore in brackets. Novelty is the
    mean of that by each source, weighted as they are. :func:`jamie.get.imputed` reads them.

    With `out` nothing is set. The file is an AnnData, cells of the source × features of the target, with bounds and
    draws in `.layers` under the names that they have in the target, `.obs` of the source with confidence and novelty,
    `.var` of the target where `mdata` has it, and `.uns['jamie_imputed_<target>']` as above. To read it lazily, take
    ``anndata.io.sparse_dataset`` or ``anndata.experimental.read_elem_lazy`` of its ``X``.

    Raises
    ------
    KeyError
        If a modality, feature or `batch` is not there.
    ValueError
        If `out` ends otherwise or is something else, or `dtype` or `threshold` are given without it; if `dtype` does
        not hold a value; if the imputation
        is not calibrated, or on too few pairs for this `interval`; if `min_confidence` is not from 0 to 1; if sources
        are named twice, or with the target; if `batch` is given and the model knows none of the target.
    OSError
        If another process writes `out`, or it cannot be written; then nothing is left of it.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> jm.tl.impute(mdata, model, source="rna", target="protein")
    >>> mdata["rna"].obsm["jamie_imputed_protein"].shape
    (54, 12)
    >>> jm.tl.impute(mdata, model, source="rna", target="protein", interval=0.9)
    >>> bounds = jm.get.imputed(mdata, source="rna", target="protein").layers
    >>> bool((bounds["jamie_imputed_lower"] <= bounds["jamie_imputed_upper"]).all())
    True
    """
    require_not_negative(n_samples=n_samples)
    _require_confidence(min_confidence)
    if not isinstance(source, str):
        listed = require_names(source, name="source")
        source = listed[0] if len(listed) == 1 else listed
    asked = _Asked(source, target, features, interval, n_samples, min_confidence, batch, rng)
    if out is not None:
        with claimed(out, (".h5ad", ".zarr")) as path:
            mdata = as_mudata(mdata, cast(str, source), argument="source")
            cells = open_for_model(mdata, model, layer=layer, feature_names=feature_names, key_added=key_added)
            _impute_to(path, cells, model, _Beside.of(cells, model, asked), dtype, threshold)
        return None
    if dtype is not None or threshold is not None:
        msg = f"expected `out` with dtype={dtype!r} and threshold={threshold}, found none; pass out='imputed.zarr'"
        raise InvalidValueError(msg)
    mdata = writable_one(mdata, cast(str, source), copy=copy, argument="source")
    cells = open_for_model(mdata, model, layer=layer, feature_names=feature_names, key_added=key_added)
    beside = _Beside.of(cells, model, asked)
    if beside.sources is None:
        _write(cells, model, beside, model.impute(cells, source=source, target=target, features=features))
    else:
        _write_joint(cells, model, beside.sources, beside)
    return as_given(mdata) if copy else None


class _Asked(NamedTuple):
    """What is to be imputed, and what beside it."""

    source: str | Sequence[str]
    target: str
    features: Sequence[str] | None
    interval: float | None
    n_samples: int
    min_confidence: float | None
    batch: str | None
    rng: Seed

    @property
    def tells_confidence(self) -> bool:
        """Whether it is to be said how sure cells are."""
        return self.interval is not None or self.min_confidence is not None

    @property
    def is_calibrated(self) -> bool:
        """Whether anything is asked for that was learned of left-out pairs."""
        return self.tells_confidence or self.n_samples > 0


class _Beside(NamedTuple):
    """What is written beside imputed values: bounds, draws, and how sure they are; and which are left out."""

    asked: _Asked
    sources: SeveralSources | None  # where there are several
    calibrations: list[tuple[Array | slice, Calibration]]  # by the cells that have it, which are all for one source
    columns: Array | slice  # of the target's features
    seed: int
    preparation: Preparation  # of the target
    cells: CellConfidence | None
    left_out: Array | None  # (n,) bool, of the cells of the source, or of any of the sources

    @classmethod
    def of(cls, cells: Cells, model: JAMIE, asked: _Asked) -> _Beside:
        """What was asked for, if the model can give it."""
        source, target, level = asked.source, asked.target, asked.interval
        require_name(target, list(model.preparations_), name="target")
        if isinstance(source, str):
            require_name(
                source, list(cells.names), name="source", hint="it names a modality of the MuData and the model"
            )
        several = None if isinstance(source, str) else SeveralSources.of(cells, source, target)
        columns, preparation = model.columns(target, asked.features), model.preparations_[target]
        named = [] if asked.features is None else asked.features
        require_unique(named, where="features", remedy="impute with each of them once")
        if asked.batch is not None:
            preparation.as_in_batch(np.empty((0, len(preparation.features[columns]))), asked.batch, columns)
        if not asked.is_calibrated:
            return cls(asked, several, [], columns, 0, preparation, None, None)
        groups: list[tuple[Array | slice, Mapping[str, Array]]]
        if several is None:
            groups, n = [(slice(None), {(one := cast(str, source)): cells.inputs(one)})], len(cells.inputs(one))
        else:
            groups, n = list(several.by_presence()), len(several.rows)
        calibrations = [(members, model.calibration(tuple(inputs), target)) for members, inputs in groups]
        if level is not None:
            require_level(level, min((each.highest for _, each in calibrations), default=1))
        seed = int(generator(asked.rng).integers(2**63)) if asked.n_samples else 0
        sure, left_out = None, None
        if asked.tells_confidence:
            sure = CellConfidence(*np.empty((2, n), dtype=np.float32))
            for members, inputs in groups:
                found = model.confidence_jointly(inputs, target)
                sure.confidence[members], sure.novelty[members] = found
        if sure is not None and asked.min_confidence is not None:
            left_out = sure.confidence < asked.min_confidence
        return cls(asked, several, calibrations, columns, seed, preparation, sure, left_out)

    @property
    def source_names(self) -> tuple[str, ...]:
        """Ends of slots of several sources; none for one."""
        return () if self.sources is None else self.sources.names

    @property
    def shown(self) -> str:
        """The sources, for a message."""
        return repr(self.asked.source) if self.sources is None else " and ".join(map(repr, self.sources.names))

    @property
    def names(self) -> list[str]:
        """Ends of the slots."""
        bounds = ["lower", "upper"] if self.asked.interval is not None else []
        return [*bounds, *(f"sample_{i}" for i in range(self.asked.n_samples))]

    @property
    def changes(self) -> bool:
        """Whether what is written is more than the imputed values, or not they."""
        return bool(self.names) or self.left_out is not None or self.asked.batch is not None

    def about(self) -> dict[str, Any]:
        """What was asked for, for the record of the imputed values."""
        level, n_samples, least = self.asked.interval, self.asked.n_samples, self.asked.min_confidence
        found: dict[str, Any] = {} if level is None else {"interval": float(level)}
        found |= {"n_samples": int(n_samples)} if n_samples else {}
        found |= {} if self.asked.batch is None else {"batch": self.asked.batch}
        return found | ({} if least is None else {"min_confidence": float(least)})

    def _in_batch(self, values: Array) -> Array:
        """Values as in the batch that was asked for, if one was."""
        if self.asked.batch is None:
            return values
        return self.preparation.as_in_batch(values, self.asked.batch, self.columns).astype(values.dtype, copy=False)

    def block(self, imputed: Array, start: int) -> dict[str, Array]:
        """Imputed values, bounds and draws of the cells from `start` on; the same whatever else was asked for."""
        found = {"": imputed} | {name: np.empty_like(imputed) for name in self.names}
        draws = [np.random.default_rng([self.seed, i, start]) for i in range(self.asked.n_samples)]
        for members, calibration in self._calibrations(start, start + len(imputed)):
            values = imputed[members]
            if self.asked.interval is not None:
                bounds = calibration.interval(values, self.asked.interval, self.columns)
                found["lower"][members], found["upper"][members] = bounds
            for i, rng in enumerate(draws):
                found[f"sample_{i}"][members] = calibration.draw(values, rng, self.columns)
        if self.left_out is not None:
            out = self.left_out[start : start + len(imputed), None]
            found = {what: np.where(out, np.float32(np.nan), values) for what, values in found.items()}
        return {what: self._in_batch(values) for what, values in found.items()}

    def _calibrations(self, start: int, end: int) -> Iterator[tuple[Array | slice, Calibration]]:
        """Of the cells from `start` to `end`, counted from `start`."""
        for members, calibration in self.calibrations:
            if isinstance(members, slice):
                yield members, calibration
            else:
                inside = members[(members >= start) & (members < end)]
                yield inside - start, calibration

    def whole(self, imputed: Array) -> dict[str, Array]:
        """The same of all cells, a block at a time; `imputed` is changed."""
        found = {"": imputed} | {name: np.empty_like(imputed) for name in self.names}
        step = Rows(imputed.shape, imputed.dtype, is_sparse=False, read=imputed.__getitem__).step
        for start in range(0, len(imputed), step) if self.changes else ():
            rows = slice(start, start + step)
            for name, values in self.block(imputed[rows], start).items():
                found[name][rows] = values
        return found

    def of_cells(self, keys: Keys) -> dict[str, Array | None]:
        """Columns of `.obs` of the source; `None` for those that are not of these values."""
        (confidence, novelty), at = (None, None) if self.cells is None else self.cells, self.source_names
        target = self.asked.target
        return {keys.imputation_confidence(target, *at): confidence, keys.novelty(target, *at): novelty}

    def tell(self) -> None:
        """Log how many cells are left out, and whether many are of a sort for which confidence was not learned."""
        if self.cells is not None and (share := (self.cells.novelty > 1).mean()) > MANY_NEW:
            logger.warning(
                "%.0f %% of the cells of %s are unlike those of the training (novelty above 1): neither intervals nor "
                "confidence hold for them",
                100 * share, self.shown,
            )  # fmt: skip
        if self.left_out is not None:
            logger.info(
                "%d of %d cells of %s have a confidence below %g: NaN is imputed for them",
                self.left_out.sum(), len(self.left_out), self.shown, self.asked.min_confidence,
            )  # fmt: skip


def _require_confidence(least: float | None) -> None:
    if least is not None and not (is_number(least) and 0 <= least <= 1):
        msg = f"expected `min_confidence` as a number from 0 to 1, found {typed(least)}; pass e.g. min_confidence=0.5"
        raise InvalidValueError(msg)


def _write(cells: Cells, model: JAMIE, beside: _Beside, imputed: Array) -> None:
    """Write imputed values, and what is beside them in place of what was there of earlier ones."""
    mdata, keys, target = cells.mdata, cells.keys, beside.asked.target
    source = cast(str, beside.asked.source)
    names = model.preparations_[target].features[beside.columns]
    slot, columns = keys.imputed_from_source(target), _columns(names)
    values = {slot_beside(slot, what) if what else slot: found for what, found in beside.whole(imputed).items()}
    _forget(mdata[source].obsm, keys, slot)
    for key, found in values.items():
        frame = pd.DataFrame(found, index=mdata[source].obs_names, columns=columns, copy=False)
        write(mdata, source, "obsm", key, frame)
    write(mdata, source, "uns", slot, _about(cells, model, target, names, beside))
    write(mdata, source, "obs", keys.role_for(target), _roles(cells, source, target))
    for key, column in beside.of_cells(keys).items():
        if column is not None:
            write(mdata, source, "obs", key, column)
        elif key == keys.imputation_confidence(target) and key in mdata[source].obs:
            del mdata[source].obs[key]
    beside.tell()
    if target not in mdata.mod:
        return
    _forget_layers(cells, target)
    if not pd.Index(names).equals(cells.features(target)):
        return
    position = cells.cells(source).get_indexer(cells.cells(target))
    same = len(position) == len(imputed) and bool((position == np.arange(len(imputed))).all())
    for key, found in values.items():
        layer = keys.imputed + key.removeprefix(slot)
        aligned = found if same else np.where((position >= 0)[:, None], found[position], np.float32(np.nan))
        write(mdata, target, "layers", layer, aligned)


def _write_joint(cells: Cells, model: JAMIE, sources: SeveralSources, beside: _Beside) -> None:
    """Write what is imputed from several sources, and what is beside it, for all cells of the MuData."""
    mdata, keys, target = cells.mdata, cells.keys, beside.asked.target
    names = model.preparations_[target].features[beside.columns]
    slot, columns = keys.imputed_from_sources(target, *sources.names), _columns(names)
    found = beside.whole(model.impute_jointly(sources, target, beside.columns))
    values = {slot_beside(slot, what) if what else slot: _of_all(each, sources) for what, each in found.items()}
    _forget(mdata.obsm, keys, slot)
    for key, each in values.items():
        write(mdata, None, "obsm", key, pd.DataFrame(each, index=mdata.obs_names, columns=columns, copy=False))
    weights = model.source_weights(sources.names, target)
    about = {**_about(cells, model, target, names, beside), "sources": list(weights), "weights": list(weights.values())}
    write(mdata, None, "uns", slot, about)
    write(mdata, None, "obs", keys.role_for(target, *sources.names), _roles(cells, sources.names, target))
    for key, column in beside.of_cells(keys).items():
        if column is not None:
            write(mdata, None, "obs", key, _of_all(column, sources))
        elif key in mdata.obs:
            del mdata.obs[key]
    beside.tell()
    if target in mdata.mod:
        _forget_layers(cells, target)
    if target in mdata.mod and pd.Index(names).equals(cells.features(target)):
        rows = mdata.obs_names.get_indexer(mdata[target].obs_names)
        for key, each in values.items():
            write(mdata, target, "layers", keys.imputed + key.removeprefix(slot), each[rows])


def _of_all(values: Array, sources: SeveralSources) -> Array:
    """Values of the cells that have any of the sources for all cells of the MuData, NaN for the others."""
    found = np.full((sources.n_obs, *values.shape[1:]), np.nan, dtype=values.dtype)
    found[sources.rows] = values
    return found


def _roles(cells: Cells, source: str | tuple[str, ...], target: str) -> pd.Categorical:
    """What cells and their partners are to the model; cells alone where the target's values are none for it."""
    try:
        return cells.role_names(source, target)
    except JamieError as error:
        logger.info("what partners in %r are to the model is not known: %s", target, error)
        return cells.role_names(source)


def _columns(names: Array) -> pd.Index:
    return make_index_unique(pd.Index([safe_name(name) for name in names]))


def _forget(slots: MutableMapping[str, Any], keys: Keys, imputed: str) -> None:
    """Drop bounds and draws of values that are replaced."""
    for key in [key for key in slots if key is not None and is_beside(key, imputed)]:
        del slots[key]


def _forget_layers(cells: Cells, target: str) -> None:
    """Drop imputed values of an earlier call that the target has, and what is beside them: they are of other values."""
    layers, keys = cells.mdata[target].layers, cells.keys
    _forget(layers, keys, keys.imputed)
    if keys.imputed in layers:
        del layers[keys.imputed]


def _about(cells: Cells, model: JAMIE, target: str, names: Array, beside: _Beside) -> dict[str, Any]:
    preparation = model.preparations_[target]
    levels = preparation.normaliser.levels
    own = cells.own_names(target) if target in cells.mdata.mod else pd.DataFrame({"name": []})
    return {
        "schema": SCHEMA,
        "model": model.fingerprint,
        "features": list(names),
        "kind": preparation.kind,
        "scale": preparation.scale,
        "depth": preparation.normaliser.depth,
        "layer": preparation.layer,
        "is_whole": preparation.is_whole,
        "levels": pd.DataFrame({"level": levels}, index=preparation.features[: len(levels)]),
        **({} if preparation.effects is None else {"effects": _effects_of(cells, target, preparation)}),
        **beside.about(),
        **({"own_names": own} if len(own) else {}),
    }


def _effects_of(cells: Cells, target: str, preparation: Preparation) -> dict[str, Any]:
    """What was taken off, and of which batch cells were, by which measured values can be compared with imputed ones."""
    assert preparation.effects is not None  # there are some
    found = {**preparation.effects.to_dict(), "features": list(preparation.features)}
    if target in cells.names:
        with suppress(JamieError):  # of columns that only who compares needs
            design = cells.design(target, preparation)
            found |= {"cells": name_digests(cells.cells(target)), "design": design}
    return found


def _held(values: Array, what: str, dtype: str) -> Array:
    """Values as `dtype` holds them: bounds at least as far out, so that what lies within them still does."""
    with np.errstate(over="ignore"):
        held = values.astype(dtype)
    if np.isinf(held).any():
        most, found = np.finfo(dtype).max, np.nanmax(np.abs(values))
        msg = f"expected values that {dtype} holds, up to {most:g}, found {found:g}; leave `dtype` out"
        raise InvalidValueError(msg)
    if what == "lower":
        held = np.where(held > values, np.nextafter(held, held.dtype.type(-np.inf)), held)
    if what == "upper":
        held = np.where(held < values, np.nextafter(held, held.dtype.type(np.inf)), held)
    return held.astype(values.dtype)


def _small(values: Array, what: str, threshold: float) -> Array:
    """Which values are stored as 0: those that are no further from it; of bounds those that 0 is no narrower than."""
    small = np.abs(values) <= threshold
    return small & (values >= 0) if what == "lower" else small & (values <= 0) if what == "upper" else small


def _impute_to(
    out: Path, cells: Cells, model: JAMIE, beside: _Beside, dtype: str | None, threshold: float | None
) -> None:
    """Write an AnnData of the source's cells × the target's features, a block of cells at a time."""
    dtype = str(beside.preparation.dtype) if dtype is None else dtype
    require_option(dtype, ["float64", "float32", "float16"], name="dtype")
    if threshold is not None and not (is_number(threshold) and threshold >= 0):
        msg = f"expected `threshold` as a number of at least 0, found {typed(threshold)}; pass e.g. threshold=0.01"
        raise InvalidValueError(msg)
    if threshold is not None and dtype == "float16":
        msg = (
            "expected dtype='float32' with `threshold`, found 'float16': nothing reads a sparse matrix of it; leave "
            "one of them out"
        )
        raise InvalidValueError(msg)
    mdata, (source, target), columns = cells.mdata, beside.asked[:2], beside.columns
    if isinstance(source, str):
        inputs, obs, slot = [cells.inputs(source)], mdata[source].obs, cells.keys.imputed_from_source(target)
        translate = lambda rows: model.translate(inputs[0][rows], source, target, columns)  # noqa: E731
    else:
        assert beside.sources is not None  # there are several
        sources = beside.sources
        inputs, obs = [*sources.inputs.values(), sources.position], mdata.obs.iloc[sources.rows]
        slot = cells.keys.imputed_from_sources(target, *sources.names)
        translate = lambda rows: model.impute_jointly(sources, target, columns, rows)  # noqa: E731
    names = pd.Index(model.preparations_[target].features[columns])

    kept: dict[int, dict[str, Array]] = {}

    def block(what: str, rows: slice) -> Matrix:
        if rows.start not in kept:  # what is beside the imputed values is written right after them
            kept.clear()
            kept[rows.start] = beside.block(translate(rows), rows.start)
        values = _held(kept[rows.start][what], what, dtype)
        return values if threshold is None else sparse.csr_matrix(np.where(_small(values, what, threshold), 0, values))

    keys, shape, is_sparse = cells.keys, (len(obs), len(names)), threshold is not None
    paths = {"": "X"} | {what: f"layers/{slot_beside(keys.imputed, what)}" for what in beside.names}
    matrices = {path: Rows(shape, np.dtype(dtype), is_sparse, partial(block, what)) for what, path in paths.items()}
    has_var = target in mdata.mod and names.isin(cells.features(target)).all()
    var = pd.DataFrame(index=names)
    if has_var:  # by the names that the model has for them
        var = mdata[target].var.iloc[cells.features(target).get_indexer(names)].set_axis(names)
    of_cells: dict[str, Any] = dict(beside.of_cells(keys))
    roles = _roles(cells, beside.source_names or cast(str, source), target)
    of_cells[keys.role_for(target, *beside.source_names)] = roles if beside.sources is None else roles[sources.rows]
    obs = obs.drop(columns=list(of_cells), errors="ignore")  # of a model that imputed before
    texts = [column for column in obs if isinstance(obs[column].dtype, pd.StringDtype)]  # not every anndata writes them
    obs = obs.assign(**{column: obs[column].astype(object).where(obs[column].notna(), np.nan) for column in texts})
    frame = ad.AnnData(obs=obs.assign(**{key: of for key, of in of_cells.items() if of is not None}), var=var)
    frame.uns[slot] = _about(cells, model, target, names.to_numpy(), beside)
    about = [list(frame.obs_names), list(names), dtype, threshold, beside.about(), beside.seed]
    identity = digest(*model.arrays(), *inputs, *about)
    beside.tell()
    stream(out, frame.write_zarr if out.suffix == ".zarr" else frame.write_h5ad, matrices, identity)
