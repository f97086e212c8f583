"""Predict a modality that was not measured."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
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
    is_whole,
    require_name,
    require_names,
    require_option,
    require_unique,
    typed,
)
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._keys import SCHEMA, Keys, is_beside
from jamie._keys import beside as slot_beside
from jamie._slots import in_one_line, safe_name, write
from jamie._types import Array, Matrix, Seed
from jamie.data import (
    Cells,
    FeatureNames,
    Layers,
    Rows,
    as_given,
    as_mudata,
    claimed,
    digest,
    open_for_model,
    stream,
    writable_one,
)
from jamie.model import JAMIE, Calibration, SeveralSources, require_level


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
    dtype: Literal["float32", "float16"] = "float32",
    threshold: float | None = None,
    layer: Layers = None,
    feature_names: FeatureNames = None,
    interval: float | None = None,
    n_samples: int = 0,
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
        Of what is written to `out`.
    threshold
        Write a sparse matrix to `out`, without values that are no further from 0; NaN stays.
    layer
        Layer that holds the values of the source, instead of that of the training; ``"X"`` for the matrix itself.
    interval
        Level of intervals to write beside the imputed values: 0.9 for bounds that nine in ten measurements lie within,
        on the imputed scale. They are calibrated in the training on at least 30 known pairs, each predicted from all
        others, per feature and imputed value. They hold for cells like those of the training.
    n_samples
        Draws from what may be measured to write beside the imputed values, which are expectations and vary less. The
        features of one cell are drawn together, so that they correlate as measured ones do. Intervals and draws are
        calibrated of one source.

    Returns
    -------
    `None`, or a changed copy if `copy=True`. Sets

    `mdata[source].obsm['jamie_imputed_<target>']` : :class:`~pandas.DataFrame` (`n_obs × n_features`, float32)
        Imputed features of every cell of the source. In names ``/`` becomes ``_``, as files hold no ``/`` in a key.
    `mdata[source].uns['jamie_imputed_<target>']` : :class:`dict`
        Names of the imputed features, and the kind, scale and depth of the target, and the levels of its features.
    `mdata[target].layers['jamie_imputed']` : :class:`~numpy.ndarray` (`n_obs × n_vars`, float32)
        The same for the cells that the target has too, NaN for its other cells. Only if `mdata` has the target, with
        the model's features, and all of them are imputed.
    `mdata[source].obsm['jamie_imputed_<target>_lower']`, `…_upper` : :class:`~pandas.DataFrame`, float32
        Bounds of the interval, of the same shape. Of counts and proteins they are not below 0. Accessibility is 0 or 1,
        so that an interval is 0 to 0, closed, 1 to 1, open, or 0 to 1. NaN where a feature was measured in fewer
        than 30 of the cells that were calibrated on. The imputed value is a mean, and may be outside where most values
        are 0.
    `mdata[source].obsm['jamie_imputed_<target>_sample_0']` and so on : :class:`~pandas.DataFrame`, float32
        Draws, of the same shape.
    `mdata[target].layers['jamie_imputed_lower']`, `…_upper`, `…_sample_0` and so on : :class:`~numpy.ndarray`, float32
        The same beside `jamie_imputed`. Bounds and draws of an earlier call go when the values they are of do.
    `mdata[source].obs['jamie_role']` : categorical (`n_obs`)
        What each cell is to the model, by name and values: ``"train"``, ``"validation"``, ``"held-out"`` or ``"new"``.

    From several sources the first two are of all cells of the MuData, NaN where a cell was measured in none of them.
    They are `mdata.obsm['jamie_imputed_<target>_<sources>']` and `mdata.uns` likewise, with the sources in the order
    of the model, joined by an underscore, and a name that holds an underscore in brackets.
    :func:`jamie.get.imputed` reads them.

    With `out` nothing is set. The file is an AnnData, cells of the source × features of the target, with bounds and
    draws in `.layers` under the names that they have in the target, `.obs` of the source, `.var` of the target where
    `mdata` has it, and `.uns['jamie_imputed_<target>']` as above. To read it lazily, take
    ``anndata.io.sparse_dataset`` or ``anndata.experimental.read_elem_lazy`` of its ``X``.

    Raises
    ------
    KeyError
        If a modality or feature is not there.
    ValueError
        If `out` ends otherwise or is something else, or `dtype` or `threshold` are given without it; if the imputation
        is not calibrated, or on too few pairs for this `interval`; if sources are named twice, or with the target.
    OSError
        If another process writes `out`, or it cannot be written; then nothing is left of it.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=20)
    >>> jm.tl.impute(mdata, model, source="rna", target="protein")
    >>> mdata["rna"].obsm["jamie_imputed_protein"].shape
    (54, 12)
    >>> jm.tl.impute(mdata, model, source="rna", target="protein", interval=0.9)
    >>> bounds = jm.get.imputed(mdata, source="rna", target="protein").layers
    >>> bool((bounds["jamie_imputed_lower"] <= bounds["jamie_imputed_upper"]).all())
    True
    """
    require_samples(n_samples)
    if not isinstance(source, str):
        listed = require_names(source, name="source")
        source = listed[0] if len(listed) == 1 else listed
    if out is not None:
        with claimed(out, (".h5ad", ".zarr")) as path:
            mdata = as_mudata(mdata, cast(str, source), argument="source")
            cells = open_for_model(mdata, model, layer=layer, feature_names=feature_names, key_added=key_added)
            beside = _Beside.of(cells, model, source, target, features, interval, n_samples, rng)
            _impute_to(path, cells, model, source, target, features, dtype, threshold, beside)
        return None
    if dtype != "float32" or threshold is not None:
        msg = f"expected `out` with dtype={dtype!r} and threshold={threshold}, found none; pass out='imputed.zarr'"
        raise InvalidValueError(msg)
    mdata = writable_one(mdata, cast(str, source), copy=copy, argument="source")
    cells = open_for_model(mdata, model, layer=layer, feature_names=feature_names, key_added=key_added)
    beside = _Beside.of(cells, model, source, target, features, interval, n_samples, rng)
    imputed = model.impute(cells, source=source, target=target, features=features)
    names = model.preparations_[target].features[model.columns(target, features)]
    if isinstance(source, str):
        _write(cells, model, source, target, names, imputed, beside)
    else:
        _write_joint(cells, model, SeveralSources.of(cells, source, target), target, names, imputed)
    return as_given(mdata) if copy else None


class _Beside(NamedTuple):
    """What is written beside imputed values: bounds and draws."""

    calibration: Calibration | None
    columns: Array | slice  # of the target's features
    level: float | None
    n_samples: int
    seed: int

    @classmethod
    def of(
        cls,
        cells: Cells,
        model: JAMIE,
        source: str | Sequence[str],
        target: str,
        features: Sequence[str] | None,
        level: float | None,
        n_samples: int,
        rng: Seed,
    ) -> _Beside:
        """What was asked for, if the model can give it."""
        require_name(target, list(model.preparations_), name="target")
        if isinstance(source, str):
            require_name(
                source, list(cells.names), name="source", hint="it names a modality of the MuData and the model"
            )
        elif level is not None or n_samples:
            msg = (
                f"expected one source with `interval` or `n_samples`, found {list(source)}: what is imputed from "
                f"several is not calibrated; pass source={source[0]!r}, or leave them out"
            )
            raise InvalidValueError(msg)
        columns = model.columns(target, features)
        if not isinstance(source, str) or (level is None and not n_samples):
            return cls(None, columns, None, 0, 0)
        calibration = model.calibration(source, target)
        if level is not None:
            require_level(level, calibration.highest)
        seed = int(generator(rng).integers(2**63)) if n_samples else 0
        return cls(calibration, columns, level, n_samples, seed)

    @property
    def names(self) -> list[str]:
        """Ends of the slots."""
        bounds = ["lower", "upper"] if self.level is not None else []
        return [*bounds, *(f"sample_{i}" for i in range(self.n_samples))]

    def about(self) -> dict[str, Any]:
        """What was asked for, for the record of the imputed values."""
        level = {} if self.level is None else {"interval": float(self.level)}
        return level | ({"n_samples": int(self.n_samples)} if self.n_samples else {})

    def block(self, imputed: Array, start: int) -> dict[str, Array]:
        """Bounds and draws of the cells from `start` on; the same whatever else was asked for."""
        found: dict[str, Array] = {}
        if self.calibration is not None and self.level is not None:
            found["lower"], found["upper"] = self.calibration.interval(imputed, self.level, self.columns)
        for i in range(self.n_samples):
            assert self.calibration is not None  # there is one where anything is asked for
            rng = np.random.default_rng([self.seed, i, start])
            found[f"sample_{i}"] = self.calibration.draw(imputed, rng, self.columns)
        return found

    def whole(self, imputed: Array) -> dict[str, Array]:
        """The same of all cells, a block at a time."""
        found = {name: np.empty_like(imputed) for name in self.names}
        step = Rows(imputed.shape, imputed.dtype, is_sparse=False, read=imputed.__getitem__).step
        for start in range(0, len(imputed), step) if found else ():
            rows = slice(start, start + step)
            for name, values in self.block(imputed[rows], start).items():
                found[name][rows] = values
        return found


def require_samples(n_samples: int) -> None:
    """Raise if this is no number of draws."""
    if not is_whole(n_samples) or n_samples < 0:
        msg = f"expected `n_samples` as a whole number of at least 0, found {typed(n_samples)}; pass n_samples=1"
        raise InvalidValueError(msg)


def _write(cells: Cells, model: JAMIE, source: str, target: str, names: Array, imputed: Array, beside: _Beside) -> None:
    """Write imputed values, and what is beside them in place of what was there of earlier ones."""
    mdata, keys = cells.mdata, cells.keys
    slot, columns = keys.imputed_from_source(target), _columns(names)
    values = {slot: imputed}
    values |= {slot_beside(slot, what): found for what, found in beside.whole(imputed).items()}
    _forget(mdata[source].obsm, keys, slot)
    for key, found in values.items():
        frame = pd.DataFrame(found, index=mdata[source].obs_names, columns=columns, copy=False)
        write(mdata, source, "obsm", key, frame)
    write(mdata, source, "uns", slot, _about(model, target, names, beside))
    write(mdata, source, "obs", keys.role, cells.role_names(source))
    if target not in mdata.mod or not pd.Index(names).equals(cells.features(target)):
        return
    position = cells.cells(source).get_indexer(cells.cells(target))
    same = len(position) == len(imputed) and bool((position == np.arange(len(imputed))).all())
    _forget(mdata[target].layers, keys, keys.imputed)
    for key, found in values.items():
        layer = keys.imputed + key.removeprefix(slot)
        aligned = found if same else np.where((position >= 0)[:, None], found[position], np.float32(np.nan))
        write(mdata, target, "layers", layer, aligned)


def _write_joint(
    cells: Cells, model: JAMIE, sources: SeveralSources, target: str, names: Array, imputed: Array
) -> None:
    """Write what was imputed from several sources, for all cells of the MuData."""
    mdata, keys = cells.mdata, cells.keys
    slot, columns = keys.imputed_from_sources(target, *sources.names), _columns(names)
    nothing = _Beside(None, slice(None), None, 0, 0)
    write(mdata, None, "obsm", slot, pd.DataFrame(imputed, index=mdata.obs_names, columns=columns, copy=False))
    weights = model.source_weights(sources.names, target)
    about = {**_about(model, target, names, nothing), "sources": list(weights), "weights": list(weights.values())}
    write(mdata, None, "uns", slot, about)
    for name in sources.names:
        write(mdata, name, "obs", keys.role, cells.role_names(name))
    if target in mdata.mod and pd.Index(names).equals(cells.features(target)):
        _forget(mdata[target].layers, keys, keys.imputed)
        rows = mdata.obs_names.get_indexer(mdata[target].obs_names)
        write(mdata, target, "layers", keys.imputed, imputed[rows])


def _columns(names: Array) -> pd.Index:
    return make_index_unique(pd.Index([safe_name(name) for name in names]))


def _forget(slots: MutableMapping[str, Any], keys: Keys, imputed: str) -> None:
    """Drop bounds and draws of values that are replaced."""
    for key in [key for key in slots if key is not None and is_beside(key, imputed)]:
        del slots[key]


def _about(model: JAMIE, target: str, names: Array, beside: _Beside) -> dict[str, Any]:
    preparation = model.preparations_[target]
    levels = preparation.normaliser.levels
    return {
        "schema": SCHEMA,
        "features": list(names),
        "kind": preparation.kind,
        "scale": preparation.scale,
        "depth": preparation.normaliser.depth,
        "layer": preparation.layer,
        "is_whole": preparation.is_whole,
        "levels": pd.DataFrame({"level": levels}, index=preparation.features[: len(levels)]),
        **beside.about(),
    }


def _impute_to(
    out: Path,
    cells: Cells,
    model: JAMIE,
    source: str | Sequence[str],
    target: str,
    features: Sequence[str] | None,
    dtype: str,
    threshold: float | None,
    beside: _Beside,
) -> None:
    """Write an AnnData of the source's cells × the target's features, a block of cells at a time."""
    require_option(dtype, ["float32", "float16"], name="dtype")
    if threshold is not None and not (is_number(threshold) and threshold >= 0):
        msg = f"expected `threshold` as a number of at least 0, found {typed(threshold)}; pass e.g. threshold=0.01"
        raise InvalidValueError(msg)
    mdata, columns = cells.mdata, model.columns(target, features)
    if isinstance(source, str):
        inputs, obs, slot = [cells.inputs(source)], mdata[source].obs, cells.keys.imputed_from_source(target)
        translate = lambda rows: model.translate(inputs[0][rows], source, target, columns)  # noqa: E731
    else:
        sources = SeveralSources.of(cells, source, target)
        inputs, obs = [*sources.inputs.values(), sources.position], mdata.obs.iloc[sources.rows]
        slot = cells.keys.imputed_from_sources(target, *sources.names)
        translate = lambda rows: model.impute_jointly(sources, target, columns, rows)  # noqa: E731
    names = pd.Index(model.preparations_[target].features[columns])
    require_unique(names, where="features", remedy="name each once")

    kept: dict[int, dict[str, Array]] = {}

    def block(what: str, rows: slice) -> Matrix:
        if rows.start not in kept:  # what is beside the imputed values is written right after them
            kept.clear()
            imputed = translate(rows)
            kept[rows.start] = {"": imputed, **beside.block(imputed, rows.start)}
        values = kept[rows.start][what]
        return values if threshold is None else sparse.csr_matrix(np.where(np.abs(values) <= threshold, 0, values))

    keys, shape, is_sparse = cells.keys, (len(obs), len(names)), threshold is not None
    paths = {"": "X"} | {what: f"layers/{slot_beside(keys.imputed, what)}" for what in beside.names}
    matrices = {path: Rows(shape, np.dtype(dtype), is_sparse, partial(block, what)) for what, path in paths.items()}
    has_var = target in mdata.mod and names.isin(cells.features(target)).all()
    var = mdata[target].var.loc[names].copy() if has_var else pd.DataFrame(index=names)
    frame = ad.AnnData(obs=obs.copy(), var=var)
    frame.uns[slot] = _about(model, target, names.to_numpy(), beside)
    about = [list(frame.obs_names), list(names), dtype, threshold, beside.level, beside.n_samples, beside.seed]
    identity = digest(*model.arrays(), *inputs, *about)
    stream(out, frame.write_zarr if out.suffix == ".zarr" else frame.write_h5ad, matrices, identity)
