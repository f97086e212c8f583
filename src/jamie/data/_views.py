"""From a MuData to frozen, prepared arrays: the only way in for training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import combinations

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from jamie._checks import require_choice
from jamie._errors import InvalidValueError
from jamie._keys import SCHEMA, Keys
from jamie._settings import logger
from jamie._types import KINDS, Array, Kind, Pair
from jamie.correspondence import cap_rows

from ._cell_matrix import CellMatrix, missing
from ._container import known_pairs, matrix, modality_names, training_cells
from ._detect_kind import detect_kind, not_read, noted_kind
from ._inferred import inferred_pairs
from ._prepare import DEFAULT_COMPS, DEFAULT_MAX_VALUE, MAX_COMPS, Preparation, require_complete
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
    mdata: MuData,
    *,
    modalities: Sequence[str] | None = None,
    n_comps: int | None = None,
    max_value: float = DEFAULT_MAX_VALUE,
    key_added: str = "jamie",
    seed: int = 0,
    infer_below: float = 0.0,
) -> Problem:
    """Read a MuData for training; what `pp` has not prepared or inferred, but training needs, is made here, unwritten.

    `infer_below` is the share of cells with a known partner below which F̃ is inferred.
    """
    keys = Keys(key_added)
    names = modality_names(mdata, modalities)
    known = {(a, b): cap_rows(known_pairs(mdata, a, b, keys)) for a, b in combinations(names, 2)}
    for name in names:
        if not any(f.nnz or _has_inferred(mdata, pair, keys) for pair, f in known.items() if name in pair):
            msg = (
                f"expected cells of `mdata[{name!r}]` with a partner in another modality, found none: no cell name is "
                "shared; call jm.pp.correspondence(mdata, pairs=...) if you know which cells are the same, or "
                "jm.pp.infer_correspondence(mdata) if you do not"
            )
            raise InvalidValueError(msg)
    views = {}
    for name in names:
        train = training_cells(mdata, name, keys)
        stored = read_preparation(mdata, name, keys, train=train)
        preparation = stored or prepare(
            mdata, name, n_comps=n_comps, max_value=max_value, key_added=key_added, seed=seed
        )
        x = matrix(mdata, name, layer=preparation.layer or None)
        inputs = mdata[name].obsm[keys.input] if stored else preparation.inputs(x)
        if stored and not looks_prepared(x, preparation, inputs):
            msg = f"expected `mdata[{name!r}]` as it was prepared, found other values; call jm.pp.prepare(mdata) again"
            raise InvalidValueError(msg)
        views[name] = ModalityView(
            name=name,
            cells=mdata[name].obs_names,
            inputs=np.asarray(inputs, dtype=np.float32),
            preparation=preparation,
            train=train,
            values=preparation.standardised(x[:]) if _has_missing(x, train) else None,
        )
    inferred = inferred_pairs(
        mdata,
        {name: view.inputs for name, view in views.items()},
        known,
        {name: view.train for name, view in views.items()},
        keys=keys,
        infer_below=infer_below,
        seed=seed,
    )
    return Problem(views, known, inferred)


def prepare(
    mdata: MuData,
    name: str,
    *,
    kind: Kind | None = None,
    n_comps: int | None = None,
    max_value: float = DEFAULT_MAX_VALUE,
    layer: str | None = None,
    key_added: str = "jamie",
    seed: int = 0,
) -> Preparation:
    """Fit the preparation of one modality on its training cells."""
    cells, train = matrix(mdata, name, layer=layer), training_cells(mdata, name, Keys(key_added))
    if n_comps is not None and not 1 <= n_comps <= MAX_COMPS:
        msg = f"expected 1 to {MAX_COMPS} components, found n_comps={n_comps}"
        raise InvalidValueError(msg)
    if not 0 <= max_value < np.inf:
        msg = f"expected max_value in standard deviations, or None for values as they are, found {max_value}"
        raise InvalidValueError(msg)
    found = value_stats(cells, train)
    taken = kind
    if taken is None:
        taken, reason = detect_kind(name, found, noted_kind(mdata[name], layer))
        reason += not_read(mdata[name], taken, layer)
        logger.info("`mdata[%r]` is taken as %r: %s; say otherwise with kinds={%r: ...}", name, taken, reason, name)
    require_choice(taken, KINDS, name=f"kinds[{name!r}]")
    _require_possible(cells, name, taken, found)
    return Preparation.fit(
        cells,
        train,
        found,
        kind=taken,
        n_comps=DEFAULT_COMPS if n_comps is None else n_comps,
        seed=seed,
        max_value=max_value,
        layer=layer or "",
    )


def fingerprint(cells: pd.Index, features: pd.Index) -> str:
    """What a preparation was fitted on: names of training cells and features, in order."""
    return sha256("\n".join([*cells, "", *features]).encode()).hexdigest()


def read_preparation(mdata: MuData, name: str, keys: Keys, *, train: Array) -> Preparation | None:
    """What `pp.prepare` stored for this modality, checked against the data as it is now; `None` if nothing."""
    adata, remedy = mdata[name], "call jm.pp.prepare(mdata) again"
    if keys.preparation not in adata.uns:
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
    if stored["fitted_on"] != fingerprint(adata.obs_names[train], adata.var_names):
        msg = (
            f"expected a preparation fitted on the training cells and features of {name!r} as they are now, "
            "found another "
            f"in `{where}`: names or the split changed since; {remedy}"
        )
        raise InvalidValueError(msg)
    return Preparation.from_dict(dict(stored), features=np.asarray(adata.var_names), loadings=adata.varm[keys.loadings])


def looks_prepared(cells: CellMatrix, preparation: Preparation, inputs: Array) -> bool:
    """Whether the first cells have these components."""
    return np.allclose(preparation.transform(cells[:50]), inputs[:50], rtol=1e-2, atol=1e-2)


def _has_inferred(mdata: MuData, pair: Pair, keys: Keys) -> bool:
    return keys.inferred(*pair) in mdata.obsp or keys.inferred(*pair[::-1]) in mdata.obsp


def _has_missing(cells: CellMatrix, train: Array) -> bool:
    """Whether a training cell misses a value."""
    return any(cells.map(lambda x, of_train: bool(missing(x[of_train], axis=1).any()), train))


def _require_possible(cells: CellMatrix, name: str, kind: Kind, found: ValueStats) -> None:
    """Raise if there are values, or none, where the kind does not allow it."""
    empty = found.missing == cells.shape[0]
    if empty.any():
        msg = (
            f"expected a measured value in every feature of `{cells.where}`, found {int(empty.sum())} with NaN only, "
            f"first {cells.features[empty][0]!r}; drop it: a feature that was not measured need not be there"
        )
        raise InvalidValueError(msg)
    if kind == "continuous":
        return
    if found.negative.any():
        msg = (
            f"expected no negative value in `mdata[{name!r}]`, of kind {kind!r}, found {found.negative.sum()}, first "
            f"in feature {cells.features[found.negative > 0][0]!r}; pass raw counts by layer=, or "
            f"kinds={{{name!r}: 'continuous'}}"
        )
        raise InvalidValueError(msg)
    require_complete(found.missing, cells.where, kind)
