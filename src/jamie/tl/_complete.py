"""A MuData without holes."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import anndata as ad
import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from scipy import sparse

from jamie._compat import quiet_mudata
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._keys import Keys
from jamie._settings import logger
from jamie._types import Array, Matrix
from jamie.data import (
    CellMatrix,
    Cells,
    FeatureNames,
    Layers,
    Rows,
    as_mudata,
    claimed,
    digest,
    note_kind,
    open_for_model,
    stream,
)
from jamie.model import JAMIE, SeveralSources

from ._embed import joint_latents


@document("mdata or adata", "model", "modality", "feature_names", "key_added")
def complete(
    mdata: MuData | AnnData,
    model: JAMIE,
    *,
    modality: str | None = None,
    out: str | Path | None = None,
    layer: Layers = None,
    feature_names: FeatureNames = None,
    key_added: str = "jamie",
) -> MuData | None:
    """Fill in the modalities that cells were not measured in; measured values are left as they are.

    A cell is imputed from all modalities that it was measured in, as :func:`jamie.tl.impute` does from one or several
    sources; a cell of one modality with a known partner of another name, from the joint latent of both. Imputed rows
    are in the units of the input, so that a matrix never mixes two scales: counts of genes and proteins are what is
    expected of such a cell, at the depth of the training cells, whose mean they have; accessibility is the probability
    of being open. They are expectations, and so fractions. Of a model with `batch_key` they are without the effect of a
    batch, which measured rows keep; the log says so.

    What was measured, or a whole modality if no row of it is imputed, keeps its exact numbers. A matrix with imputed
    rows is float32, or float64 if float32 cannot hold a measured value. NaN in a measured row stays.

    Parameters
    ----------
    {shared}
    out
        File ``….h5mu`` or folder ``….zarr`` to write to, a block of cells at a time, instead of returning what may not
        fit into memory. A call that was cut off goes on where it was when it is made again. What is there under that
        name is replaced at the end, if it was written by such a call; a link is followed.
    layer
        Layer that holds the values, for all modalities or by modality, instead of that of the training; ``"X"`` for
        the matrix itself.

    Returns
    -------
    A new MuData, or `None` if it is written to `out`, in which every cell that has a modality of the model has all of
    them, with

    `.mod[m].obs['jamie_imputed']` : bool
        Whether the row was imputed.
    `.mod[m].obs['jamie_imputation_confidence']`, `['jamie_novelty']` : float32
        Of imputed rows how sure they are and how new their cell is, as :func:`jamie.tl.impute` says it of all
        modalities that the cell was measured in. NaN in measured rows, and where no such imputation is calibrated.
    `.mod[m].uns['jamie_kind']` : :class:`dict`
        Of a modality with imputed rows the kind, so that :func:`jamie.tl.train` takes fractions for the counts that
        they are.
    `.obsm['X_jamie']` : :class:`~numpy.ndarray` (`n_obs × n_latent`)
        Joint latents.

    Where the model reads a layer, its completed values are in `.X` and in that layer.

    Notes
    -----
    `.obs`, `.var`, `.varm`, `.varp` and `.uns` are kept; `.obsm`, and `.layers` and `.raw` that are dense, are NaN in
    imputed rows. Imputed rows have no place in sparse ones, nor in the `.obsp` of a modality: these are left out, as
    are modalities that the model does not know and what :func:`jamie.pp.prepare` wrote. The log names what is left out.
    A modality without imputed rows keeps everything.

    Raises
    ------
    KeyError
        If `mdata` has no modality of the model.
    ValueError
        If the features of a modality in which rows are imputed are not those of the model, or `out` ends otherwise or
        is something else.
    OSError
        If another process writes `out`, or it cannot be written; then nothing is left of it.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> whole = jm.tl.complete(mdata, model)
    >>> whole["rna"].n_obs, whole["protein"].n_obs, int(whole["rna"].obs["jamie_imputed"].sum())
    (60, 60, 6)
    """
    mdata = as_mudata(mdata, modality)
    if out is None:
        completed, matrices, _ = _completed(mdata, model, layer, feature_names, key_added)
        for name, slot, values in matrices:
            _set(completed[name], slot, values.whole())
        return completed
    with claimed(out, (".h5mu", ".zarr")) as path:
        completed, matrices, identity = _completed(mdata, model, layer, feature_names, key_added)
        write = completed.write_zarr if path.suffix == ".zarr" else completed.write_h5mu
        stream(path, write, {f"mod/{name}/{slot}": values for name, slot, values in matrices}, identity)
    return None


def _completed(
    mdata: MuData, model: JAMIE, layer: Layers, feature_names: FeatureNames, key_added: str
) -> tuple[MuData, list[tuple[str, str, Rows]], str]:
    """All but the matrices; the matrices by modality and slot; and by what another call is known to be the same."""
    opened = open_for_model(mdata, model, layer=layer, feature_names=feature_names, key_added=key_added)
    keys, names = opened.keys, opened.names
    rows = np.unique(np.concatenate([opened.rows(name) for name in names]))
    cells = mdata.obs_names[rows]
    places = {name: _Place.of(mdata, name, cells) for name in model.preparations_}
    _require_same_features(opened, model, [name for name in names if places[name].imputed.any()])
    inputs = {name: opened.inputs(name) for name in names}
    joint = joint_latents(opened, model, {name: model.encode(x, name) for name, x in inputs.items()})
    known = _Known(inputs, joint[rows], places)
    modalities = {name: _modality(opened, model, name, known) for name in places}
    with quiet_mudata():
        completed = MuData({name: modality.frame for name, modality in modalities.items()})
    lost = [f"mdata.mod[{name!r}]" for name in mdata.mod if name not in names]
    lost += _keep_common(completed, mdata, rows) + [slot for modality in modalities.values() for slot in modality.lost]
    completed.obsm[keys.latent] = known.joint
    _report(mdata, places, lost, _without_batches(model, places))
    matrices = [(name, slot, x) for name, modality in modalities.items() for slot, x in modality.matrices.items()]
    kinds_of_values = [f"mod/{name}/{slot} {values.dtype}" for name, slot, values in matrices]
    identity = digest(*model.arrays(), joint, list(mdata.obs_names), kinds_of_values, *inputs.values())
    return completed, matrices, identity


class _Place(NamedTuple):
    """Where the cells of the completed MuData are in one modality."""

    cells: pd.Index  # (n,)
    position: Array  # (n,) row in the modality; -1 if it was not measured there

    @classmethod
    def of(cls, mdata: MuData, name: str, cells: pd.Index) -> _Place:
        """Look them up by name."""
        measured = mdata[name].obs_names if name in mdata.mod else pd.Index([], dtype=object)
        return cls(cells, measured.get_indexer(cells))

    @property
    def imputed(self) -> Array:
        """Mask of the rows to impute, (n,)."""
        return self.position < 0


class _Known(NamedTuple):
    """All that rows are imputed from."""

    inputs: Mapping[str, Array]  # by modality, components of its cells
    joint: Array  # (n, g) joint latents
    places: Mapping[str, _Place]

    def sources(self, rows: Array) -> SeveralSources:
        """What some of the cells were measured in."""
        position = np.column_stack([self.places[source].position[rows] for source in self.inputs])
        return SeveralSources(tuple(self.inputs), len(self.joint), rows, position, self.inputs)


class _Modality(NamedTuple):
    """A completed modality."""

    frame: ad.AnnData  # all but the matrices
    matrices: dict[str, Rows]  # by slot: X, layers/<name>
    lost: list[str]  # what is left out


def _require_same_features(opened: Cells, model: JAMIE, names: list[str]) -> None:
    """Raise if a modality in which rows are imputed has not the features of the model, as those rows have."""
    for name in names:
        if not pd.Index(model.preparations_[name].features).equals(opened.features(name)):
            msg = (
                f"expected the features of `mdata[{name!r}]` to be those of the model, in its order, for some of its "
                f"rows are imputed; take them with mdata[{name!r}][:, model.preparations_[{name!r}].features]"
            )
            raise InvalidValueError(msg)


def _modality(opened: Cells, model: JAMIE, name: str, known: _Known) -> _Modality:
    """One modality with all cells, and its matrices as they are to be computed."""
    place, preparation, mdata, keys = known.places[name], model.preparations_[name], opened.mdata, opened.keys
    layer = opened.layer(name) or "" if name in mdata.mod else preparation.layer
    if name not in mdata.mod:
        obs, var = pd.DataFrame({keys.imputed: True}, index=place.cells), pd.DataFrame(index=preparation.features)
        frame, lost = ad.AnnData(obs=obs, var=var), list[str]()
    else:
        frame, lost = _kept(mdata[name], name, place, layer, keys)
    if not place.imputed.any():
        x = mdata[name].X
        return _Modality(frame, {} if x is None else {"X": _as_stored(x, place.position)}, lost)
    values = _completed_rows(opened, model, name, known)
    confidence, novelty = _confidence(model, name, known)
    frame.obs[keys.completed_confidence], frame.obs[keys.completed_novelty] = confidence, novelty
    note_kind(frame, preparation.kind, layer)
    matrices = {"X": values} | ({f"layers/{layer}": values} if layer else {})
    return _Modality(frame, matrices, lost)


def _completed_rows(opened: Cells, model: JAMIE, name: str, known: _Known) -> Rows:
    """Rows of all cells, measured ones as they are stored."""
    preparation, position = model.preparations_[name], known.places[name].position
    cells = opened.matrix(name) if name in opened.names else None
    dtype = np.promote_types(preparation.dtype, np.float32 if cells is None else _holding(cells))

    def read(rows: slice) -> Matrix:
        at = position[rows]
        missing = np.arange(rows.start, rows.stop)[at < 0]
        parts = [] if cells is None else [cells.stored(at[at >= 0]).astype(dtype)]
        parts += [_imputed(model, name, known, missing).astype(dtype)] if len(missing) else []
        order = np.argsort(np.argsort(at < 0, kind="stable"), kind="stable")
        if cells is not None and cells.is_sparse:
            return sparse.csr_matrix(sparse.vstack(parts))[order]
        return np.vstack(parts)[order]

    return Rows((len(position), len(preparation.features)), dtype, cells is not None and cells.is_sparse, read)


def _confidence(model: JAMIE, name: str, known: _Known) -> tuple[Array, Array]:
    """How sure each imputed row is, and how new its cell, by all that it is imputed from, (n,) each."""
    confidence, novelty = np.full((2, len(known.joint)), np.nan, dtype=np.float32)
    (rows,) = np.nonzero(known.places[name].imputed)
    for members, inputs in known.sources(rows).by_presence():
        if inputs and model.direction(tuple(inputs), name) in model.confidences_:
            confidence[rows[members]], novelty[rows[members]] = model.confidence_jointly(inputs, name)
    return confidence, novelty


def _imputed(model: JAMIE, name: str, known: _Known, rows: Array) -> Array:
    """Some of the cells as the model imputes them, in the units of the input."""
    preparation = model.preparations_[name]
    latent, correction = known.joint[rows], np.zeros((len(rows), preparation.loadings.shape[1]), dtype=np.float32)
    for members, inputs in known.sources(rows).by_presence():
        if len(inputs) == 1:  # the joint latent has that of a partner of another name, too
            ((source, x),) = inputs.items()
            correction[members] = model.correction(x, source, name)
        elif inputs:
            latent[members], correction[members] = model.joint(inputs, name)
    return preparation.to_input_units(model.decode(latent, name, correction=correction))


def _holding(cells: CellMatrix) -> np.dtype:
    """float32 if it holds all the stored values exactly, else float64."""
    single = np.dtype(np.float32)
    if np.can_cast(cells.dtype, single):
        return single
    dtypes = (_exact(x.data if sparse.issparse(x) else np.asarray(x)) for x in map(cells.stored, cells.blocks()))
    return next((dtype for dtype in dtypes if dtype != single), single)


def _exact(values: Array) -> np.dtype:
    """float32 if it holds these values exactly, else float64."""
    single = np.dtype(np.float32)
    with np.errstate(over="ignore"):
        is_same = np.array_equal(values.astype(single), values, equal_nan=values.dtype.kind == "f")
    return single if is_same else np.dtype(np.float64)


def _as_stored(x: Any, position: Array) -> Rows:
    """Rows as they are stored, in memory or on disk, in another order."""
    if isinstance(x, np.ndarray) or sparse.issparse(x):
        x = x.tocsr() if sparse.issparse(x) else x
        return Rows(
            (len(position), x.shape[1]), x.dtype, sparse.issparse(x), lambda rows: x[position[rows]], is_stored=True
        )
    cells = CellMatrix(x)
    shape = len(position), cells.shape[1]
    return Rows(shape, cells.dtype, cells.is_sparse, lambda rows: cells.stored(position[rows]), is_stored=True)


def _kept(adata: ad.AnnData, name: str, place: _Place, layer: str, keys: Keys) -> tuple[ad.AnnData, list[str]]:
    """All but the values that the model reads, where imputed rows have a place in it; and what is left out."""
    any_imputed = bool(place.imputed.any())
    left_out = _prepared_slots(adata) if any_imputed else set()
    frame = ad.AnnData(obs=_obs(adata, place, keys), var=adata.var.copy())
    for slot in ("uns", "varm", "varp"):
        for key, value in getattr(adata, slot).items():
            if (slot, key) not in left_out:
                getattr(frame, slot)[key] = deepcopy(value)
    for slot in ("obsm", "layers", "obsp"):
        for key in [key for key in getattr(adata, slot) if key is not None]:  # None stands for .X in anndata ≥ 0.13
            if (slot, key) in left_out or (any_imputed and (slot, key) == ("layers", layer)):
                continue
            value = _of_all_cells(getattr(adata, slot)[key], place, is_square=slot == "obsp")
            if value is None:
                left_out.add((slot, key))
            else:
                getattr(frame, slot)[key] = value
    if adata.raw is not None:
        value = _of_all_cells(adata.raw.X, place)
        if value is None:
            left_out.add(("raw", ""))
        else:
            frame.raw = ad.AnnData(value, obs=frame.obs, var=adata.raw.var)
    if any_imputed and layer and adata.X is not None:
        left_out.add(("X", ""))
    return frame, [f"mdata[{name!r}].{slot}" + (f"[{key!r}]" if key else "") for slot, key in sorted(left_out)]


def _of_all_cells(values: Any, place: _Place, *, is_square: bool = False) -> Any:
    """Values of measured cells for all cells, NaN for imputed ones; `None` where those have no place."""
    if not place.imputed.any():
        rows = values.iloc[place.position] if isinstance(values, pd.DataFrame) else values[place.position]
        return rows[:, place.position] if is_square else rows
    if isinstance(values, pd.DataFrame):
        return values.reindex(place.cells)
    if is_square or not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
        return None
    padded = np.full((len(place.cells), *values.shape[1:]), np.nan, _exact(values))
    padded[~place.imputed] = values[place.position[~place.imputed]]
    return padded


def _prepared_slots(adata: ad.AnnData) -> set[tuple[str, str]]:
    """What `pp.prepare` wrote, under any prefix: it is of the cells as they were."""
    slots: set[tuple[str, str]] = set()
    for key, value in adata.uns.items():
        if isinstance(value, Mapping) and "fitted_on" in value:
            keys = Keys(key.removesuffix("_input"))
            slots |= {("uns", key), ("obsm", keys.input), ("varm", keys.loadings)}
    return {(slot, key) for slot, key in slots if key in getattr(adata, slot)}


def _obs(adata: ad.AnnData, place: _Place, keys: Keys) -> pd.DataFrame:
    """Columns of all cells, and which are imputed, now or when the MuData was completed before."""
    obs = pd.DataFrame({column: _nullable(adata.obs[column]) for column in adata.obs}, index=adata.obs_names)
    obs = obs.reindex(place.cells) if place.imputed.any() else adata.obs.reindex(place.cells)
    before = adata.obs[keys.imputed].reindex(place.cells) if keys.imputed in adata.obs else None
    obs[keys.imputed] = place.imputed if before is None else place.imputed | (before == True).to_numpy()  # noqa: E712
    return obs


def _keep_common(completed: MuData, mdata: MuData, rows: Array) -> list[str]:
    """Give the completed MuData what stands beside the modalities, and return what it cannot have."""
    for column in mdata.obs:
        completed.obs[column] = mdata.obs[column].iloc[rows].reindex(completed.obs_names)
    order = rows[mdata.obs_names[rows].get_indexer(completed.obs_names)]
    for key, value in mdata.obsm.items():
        if key not in mdata.mod:  # those say which cells a modality has
            completed.obsm[key] = value.iloc[order] if isinstance(value, pd.DataFrame) else value[order]
    for key, value in mdata.obsp.items():
        completed.obsp[key] = value[order][:, order]
    for key, value in mdata.uns.items():
        completed.uns[key] = deepcopy(value)
    return [
        f"mdata.{slot}[{key!r}]" for slot in ("varm", "varp") for key in getattr(mdata, slot) if key not in mdata.mod
    ]


def _without_batches(model: JAMIE, places: Mapping[str, _Place]) -> list[str]:
    """Modalities with imputed rows, whose measured ones keep effects that the model takes off."""
    return [name for name, place in places.items() if place.imputed.any() and model.preparations_[name].effects]


def _report(mdata: MuData, places: Mapping[str, _Place], lost: list[str], of_batches: list[str]) -> None:
    """One line: what is imputed, and what is not in the completed MuData."""
    n = len(next(iter(places.values())).cells)
    line = ", ".join(f"{int(place.imputed.sum())} of {n} cells of {name!r}" for name, place in places.items())
    line += " are imputed"
    if n < mdata.n_obs:
        line += f"; {mdata.n_obs - n} cells are left out, for they have no modality of the model"
    if of_batches:
        line += f"; imputed rows of {of_batches} are without the effect of a batch, as of the average training cell"
    if lost:
        line += f"; left out, for imputed rows have no place in it: {', '.join(lost)}"
    logger.info("%s", line)


def _set(frame: ad.AnnData, slot: str, values: Matrix) -> None:
    """Set `X` or ``layers/<name>``."""
    if slot == "X":
        frame.X = values
    else:
        frame.layers[slot.removeprefix("layers/")] = values


def _nullable(column: pd.Series) -> pd.Series:
    """The column in a type that holds missing values and can be written."""
    return column.astype("boolean") if column.dtype == bool else column
