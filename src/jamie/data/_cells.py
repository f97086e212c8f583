"""The one door: a MuData as jamie reads it, checked once, everything taken from it computed once.

Every verb opens the MuData here, for a model or for a training, and touches the container no more until it writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property, reduce
from itertools import combinations
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from scipy import sparse

from jamie._checks import require_name, require_names
from jamie._errors import InvalidValueError, MissingNameError, WrongTypeError
from jamie._keys import Keys
from jamie._settings import logger
from jamie._types import Array, Matrix, Pair
from jamie.correspondence import from_mask, from_names, likeliest
from jamie.metrics import is_counts, max_correlation

from ._accept import BlockCheck, check_block, layers_of_counts, require_values
from ._cell_matrix import CellMatrix, missing
from ._container import ANEW, layer_names, require_distinct_slots, require_modality, require_model, require_mudata
from ._feature_names import FeatureNames, mend_names, names_by, positions, require_feature_names
from ._labels import labels as labels_of
from ._pca import values_per_cell
from ._prepare import Preparation, empty_inputs, looks_prepared, require_complete
from ._rounding import is_rounded, warn_rounded
from ._seen import (
    HELD_OUT,
    ROLES,
    TRAIN,
    SeenCells,
    feature_codes,
    role_codes,
    roles_of_pairs,
    unseen_cells,
    unseen_pairs,
    value_digests,
)

LEAST_SHARED = 0.1
"""Share of the model's features that a modality must have; what the rest is expected to be stands in."""
SINGLE = 1e8
"""Stored values beyond which what is sparse is standardised in single precision."""
MOST_SPLIT = 5_000
"""Cells whose counts are split: of more, ceilings of rare features hardly move."""
DEFAULT_KEYS = Keys()
Layers = str | Mapping[str, str | None] | None
_UPDATE = f"call mdata.update() after every change of a modality's cells, or where it fails {ANEW}"
_WHATEVER_THE_MODEL = ("cells", "features", "rows", "known", "matrix", "fitted")


class Learned(Protocol):
    """What the door asks of a model."""

    preparations_: dict[str, Preparation]
    seen_: dict[str, SeenCells]


class Matched(NamedTuple):
    """Values of the features that model and modality share."""

    cells: CellMatrix  # (n, matched)
    columns: Array | slice  # of the model's features, (matched,)
    position: Array  # of the modality's features, (matched,)
    is_complete: bool  # whether no feature of the model is missing
    values: CellMatrix  # (n, matched), without the effects of batches and covariates


class Prepared(NamedTuple):
    """Cells of one modality as the network reads them, from one pass over their values."""

    inputs: Array  # (n, k) float32 components
    digests: Array  # (n,) uint32 of the values of the model's features
    is_partial: Array  # (n,) bool, whether a value is missing


class CellPairs(NamedTuple):
    """Rows of paired cells in two modalities, to learn from and to score."""

    train: tuple[Array, Array]  # (p,) each: both cells were learned from
    test: tuple[Array, Array]  # (q,) each: neither was; all of them where there are none such
    cells: str  # what those to score are: held-out, new, held-out and new, in-sample, or unknown pairs

    def reversed(self) -> CellPairs:
        """The same pairs, the modalities exchanged."""
        return CellPairs(self.train[::-1], self.test[::-1], self.cells)


class JoinedCells(NamedTuple):
    """Cells measured in several sources, and their partners in a target: rows by modality, of both all modalities."""

    train: Mapping[str, Array]  # those that the model learned from in all of the modalities
    test: Mapping[str, Array]  # those that it did not see in any, else all
    cells: str  # what these are: held-out, new, or in-sample


@dataclass(frozen=True)
class Cells:
    """A MuData that was checked, for one model or, without one, for a training.

    Attributes
    ----------
    mdata
        The container; only `tl` and `pp` write to it.
    names
        Modalities to use: those asked for, or those that the model and the MuData share.
    keys
        Slot names.
    model
        What was learned, or `None`.
    layers
        By modality, the layer that was asked for; ``"X"`` for the matrix itself.
    feature_names
        Column of `.var`, or mapping, that gives features the names that the model has for them.
    """

    mdata: MuData
    names: tuple[str, ...]
    keys: Keys
    model: Learned | None
    layers: Mapping[str, str]
    feature_names: FeatureNames = None

    @cached_property
    def _kept(self) -> dict[tuple[str, ...], Any]:
        return {}

    @property
    def prefixes(self) -> tuple[Keys, ...]:
        """Where to look for what `pp` wrote: split, pairs and preparation of the default prefix serve every model."""
        return tuple(dict.fromkeys((self.keys, DEFAULT_KEYS)))

    @property
    def n_obs(self) -> int:
        """Cells of the whole MuData."""
        return self.mdata.n_obs

    @cached_property
    def obs_names(self) -> pd.Index:
        """Names of all cells, as text, (n,)."""
        return _as_text(self.mdata.obs_names)

    def prepared_under(self, name: str) -> Keys | None:
        """Prefix under which `pp.prepare` prepared a modality; `None` if it did not."""
        return next((keys for keys in self.prefixes if keys.preparation in self.mdata[name].uns), None)

    def cells(self, name: str) -> pd.Index:
        """Names of the cells of a modality, as text, (n_m,)."""
        return self._once("cells", name, lambda: _as_text(self.mdata[name].obs_names))

    def features(self, name: str) -> pd.Index:
        """Names of the features of a modality, as text, (d,), as the model has them."""
        return self._once("features", name, lambda: self._features(name))

    def var(self, name: str) -> pd.DataFrame:
        """What is known of the features of a modality, `.var`, by the names that the model has for them."""
        return self.mdata[name].var.set_axis(self.features(name))

    def own_names(self, name: str) -> pd.DataFrame:
        """Names that the model has for the features that go by another here, (d', 1), by the one that they have here.

        A result that is written keeps them, so that who reads it finds the features without being told again.
        """
        own, known = _as_text(self.mdata[name].var_names), self.features(name)
        renamed = np.asarray(own != known) & np.asarray(known != "")
        return pd.DataFrame({"name": known[renamed]}, index=own[renamed])

    def rows(self, name: str) -> Array:
        """Rows of the cells of a modality in the MuData, (n_m,)."""
        return self._once("rows", name, lambda: self.obs_names.get_indexer(self.cells(name)))

    def layer(self, name: str) -> str | None:
        """Layer that values are read from; `None` for the matrix itself."""
        asked = self.layers.get(name)
        if asked is not None:
            return None if asked == "X" else asked
        return self._preparation(name).layer or None if self.model is not None else None

    def matrix(self, name: str, layer: str | None = None) -> CellMatrix:
        """Values of a modality, (n_m, d), in memory, backed or dask, none of them read yet; of `.X` or a layer.

        ``"X"`` is the matrix itself; `None`: what was asked for, or what the model was trained on.
        """
        layer = layer or self.layer(name) or "X"
        return self._once("matrix", name, layer, lambda: self._matrix(name, layer))

    def matched(self, name: str) -> Matched:
        """Values of a modality as the model knows its features, by name.

        Features that the model does not know are ignored; a share of `LEAST_SHARED` must be there, and the others stand
        at what these lead one to expect.
        """
        return self._once("matched", name, lambda: self._matched(name))

    def prepared(self, name: str) -> Prepared:
        """Components and digests of the cells of a modality of the model, in one pass that also checks the values."""
        return self._once("prepared", name, lambda: self._prepared(name))

    def inputs(self, name: str) -> Array:
        """Components of the cells of a modality of the model, (n_m, k)."""
        return self.prepared(name).inputs

    def prepare(self, name: str, preparation: Preparation, *, inputs: Array | None = None) -> Prepared:
        """Components, unless `inputs` are they, and digests by what a training has fitted; kept for its model."""
        x = preparation.read(self.matrix(name, preparation.layer or "X"))
        values = self.corrected(name, preparation)
        matched = Matched(x, slice(None), np.arange(x.shape[1]), is_complete=True, values=values)
        prepared = self._read(name, preparation, matched, inputs)
        self._kept["fitted", name] = preparation, prepared
        return prepared

    def corrected(self, name: str, preparation: Preparation) -> CellMatrix:
        """Values of all features of the training, without the effects that a preparation takes off."""
        x = preparation.read(self.matrix(name, preparation.layer or "X"))
        return preparation.without_effects(x, self.design(name, preparation))

    def design(self, name: str, preparation: Preparation) -> Array:
        """Batch and covariates of the cells of a modality as a preparation reads them, (n_m, 1 + c)."""
        effects = preparation.effects
        return np.zeros((len(self.cells(name)), 1)) if effects is None else effects.design(self.mdata, name)

    def measured(self, name: str, rows: Array, columns: Array) -> Array:
        """Measured values of some cells and features of the model on the imputed scale, dense; NaN where not there.

        Without the effects of batches and covariates, as imputed values are.
        """
        x = self.on_imputed_scale(name, self.matched(name).values[rows], columns)
        x = x.toarray() if sparse.issparse(x) else x
        return np.where(self._is_there(name)[columns], x, np.nan)

    def on_imputed_scale(self, name: str, matched: Matrix, columns: Array) -> Matrix:
        """Values such as `matched` has on the imputed scale, of some features of the model.

        In place of a feature that is not there stand the values of another.
        """
        x = self._preparation(name).measured(matched, self.matched(name).columns)
        return x[:, np.maximum(np.cumsum(self._is_there(name))[columns] - 1, 0)]

    def max_correlation(self, name: str, columns: Array, rng: np.random.Generator) -> Array:
        """Correlation that a perfect predictor of some features of the model would have; NaN where they are no counts.

        Of all cells of the modality, or `MOST_SPLIT` of them: it is a property of the measurement.
        """
        limits = np.full(len(columns), np.nan)
        if self._preparation(name).kind not in ("counts", "protein"):
            return limits
        n = len(self.cells(name))
        rows = np.arange(n) if n <= MOST_SPLIT else np.sort(rng.choice(n, MOST_SPLIT, replace=False))
        counts, there = self.matched(name).cells[rows], self._is_there(name)[columns]
        if is_counts(counts):
            limits[there] = max_correlation(
                counts, normalise=lambda x: self.on_imputed_scale(name, x, columns[there]), rng=rng
            )
        return limits

    def _is_there(self, name: str) -> Array:
        """Which features of the model a modality has, (d,) bool."""
        there = np.zeros(len(self._preparation(name).features), dtype=bool)
        there[self.matched(name).columns] = True
        return there

    def labels(self, column: str, name: str, *, argument: str = "labels") -> pd.Series:
        """Labels of the cells of a modality, (n_m,): of its own `.obs`, else of `mdata.obs`, else of the others'."""
        return labels_of(self.mdata, column, name, argument=argument)

    def role(self, name: str) -> Array:
        """What each cell of a modality is to the model, or to a training now, (n_m,) positions in `ROLES`."""
        return self._once("role", name, lambda: self._role(name))

    def role_with_partner(self, source: str, target: str) -> Array:
        """What each cell of the source is to the model together with its partner in the target, (n_m,).

        The more that was seen of the two: a pair is held out or new only if both are. A cell without a partner is what
        it is by itself.
        """
        role = self.role(source).copy()
        if target in self.names and target != source:
            rows, columns = self.likeliest(source, target)
            role[rows] = roles_of_pairs(role[rows], self._role_said(source, target)[columns])
        return role

    def role_with_partners(self, sources: Sequence[str], target: str) -> Array:
        """What each cell of the MuData is to the model in all of the sources, with its partners, (n,); −1 if in none.

        The more that was seen of any of them.
        """
        role = np.full(self.n_obs, -1)
        for source in sources:
            rows, own = self.rows(source), self.role_with_partner(source, target).astype(int)
            before = role[rows]
            role[rows] = np.where(before < 0, own, roles_of_pairs(before, own))
        return role

    def _role_said(self, source: str, target: str) -> Array:
        """What the cells of the target are to the model, (n_m,): as said when it placed them, else by their values.

        The slot is of this model if it has the source's cells right. To read the values costs as much as to impute.
        """
        said = [self.mdata[name].obs.get(self.keys.role) for name in (source, target)]
        if any(column is None for column in said):
            return self.role(target)
        own, of_target = map(role_codes, said)
        is_of_this_model = np.array_equal(own, self.role(source)) and (of_target >= 0).all()
        return of_target if is_of_this_model else self.role(target)

    def train(self, name: str) -> Array:
        """Which cells of a modality were, or may be, learned from, (n_m,) bool."""
        return self.role(name) < HELD_OUT

    def compared_with(self, name: str) -> Array:
        """Cells that others are explained beside, (n_m,) bool: those of the training; where there are none, all."""
        train = self.train(name)
        if train.any():
            return train
        logger.warning("the model was trained on no cell of `mdata[%r]`: all of its cells are the background", name)
        return np.ones(len(train), dtype=bool)

    def known(self, a: str, b: str) -> sparse.csr_matrix:
        """Known pairs F, (n_a, n_b): as `pp.correspondence` wrote them, else cells of the same name."""
        return self._once("known", a, b, lambda: self._known(a, b))

    def stored_pairs(self, slot: str, a: str, b: str) -> sparse.csr_matrix | None:
        """Correspondence (n_a, n_b) in ``"known"``, ``"inferred"`` or ``"match"`` of `mdata.obsp`; `None` if none."""
        written = self.written(slot, a, b)
        if written is not None:
            return written
        transposed = self.written(slot, b, a)
        return None if transposed is None else transposed.T.tocsr()

    def written(self, slot: str, a: str, b: str) -> sparse.csr_matrix | None:
        """The same, only if it is there with rows for the cells of `a`."""
        prefixes = (self.keys,) if slot == "match" else self.prefixes
        key = next((k for k in (getattr(keys, slot)(a, b) for keys in prefixes) if k in self.mdata.obsp), None)
        if key is None:
            return None
        return sparse.csr_matrix(self.mdata.obsp[key])[self.rows(a)][:, self.rows(b)].astype(np.float32)

    def over_all_cells(self, f: sparse.csr_matrix, a: str, b: str) -> sparse.csr_matrix:
        """The same correspondence over the cells of the MuData, (n, n), where `.obsp` keeps it in step with subsets."""
        coo = f.tocoo()
        index = self.rows(a)[coo.row], self.rows(b)[coo.col]
        return sparse.csr_matrix((coo.data.astype(np.float32), index), shape=(self.n_obs, self.n_obs))

    def pairs(self, a: str, b: str) -> CellPairs:
        """Cells of `a` with their likeliest known partners in `b`: those to learn from, and those to score.

        A pair is learned from if the model saw both cells, and scored if it saw neither.
        """
        return self._once("pairs", a, b, lambda: self._pairs(a, b))

    def joined(self, sources: Sequence[str], target: str) -> JoinedCells:
        """Cells of the MuData that were measured in all of the sources and have a partner in the target."""
        return self._once("joined", *sources, target, lambda: self._joined(sources, target))

    def for_model(self, model: Learned) -> Cells:
        """The same cells for a model, with what was computed of them."""
        names = tuple(name for name in model.preparations_ if name in self.mdata.mod)
        cells = Cells(self.mdata, names, self.keys, model, self.layers, self.feature_names)
        cells._kept.update({key: value for key, value in self._kept.items() if key[0] in _WHATEVER_THE_MODEL})
        return cells

    def _once(self, what: str, *names_and_make: Any) -> Any:
        *names, make = names_and_make
        key = (what, *names)
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def _preparation(self, name: str) -> Preparation:
        assert self.model is not None  # asked of a model only
        return self.model.preparations_[name]

    def _features(self, name: str) -> pd.Index:
        adata = self.mdata[name]
        return names_by(self.feature_names, adata, _as_text(adata.var_names))

    def _matrix(self, name: str, layer: str) -> CellMatrix:
        adata = self.mdata[name]
        where = f"mdata[{name!r}].X" if layer == "X" else f"mdata[{name!r}].layers[{layer!r}]"
        if layer != "X" and layer not in adata.layers:
            raise MissingNameError(self._no_layer(name, layer))
        x = adata.X if layer == "X" else adata.layers[layer]
        if x is None or not x.shape[1]:
            raise InvalidValueError(_no_values(name, where, adata, self))
        if not x.shape[0]:
            msg = f"expected cells in `mdata[{name!r}]`, found none; leave it out: {_without(self.mdata, name)}"
            raise InvalidValueError(msg)
        return CellMatrix(x, where=where, cells=self.cells(name), features=self.features(name))

    def _no_layer(self, name: str, layer: str) -> str:
        adata = self.mdata[name]
        asked = self.layers.get(name) == layer or self.model is None
        others = [other for other in self.names if other != name and layer in self.mdata[other].layers]
        close, counts = get_close_matches(layer, layer_names(adata), n=1), layers_of_counts(adata)
        if close:
            mend = f"did you mean {close[0]!r}?"
        elif others and asked:
            mend = f"pass layer={{{others[0]!r}: {layer!r}}}, for the modalities that have it"
        elif counts:
            mend = f"pass layer={{{name!r}: {counts[0]!r}}}, which holds whole numbers"
        else:
            mend = f"store it, or pass layer={{{name!r}: 'X'}} if `.X` holds these values"
        why = "" if asked else ", which the model was trained on"
        return f"expected the layer {layer!r} in `mdata[{name!r}].layers`{why}, found {layer_names(adata)}; {mend}"

    def _matched(self, name: str) -> Matched:
        preparation, features = self._preparation(name), self.features(name)
        wanted, cells = pd.Index(preparation.features), preparation.read(self.matrix(name))
        if wanted.equals(features):
            return self._match(name, cells, slice(None), np.arange(len(wanted)))
        position = positions(wanted, features, where=f"the names of `mdata[{name!r}].var`")
        (columns,) = np.nonzero(position >= 0)
        n_missing = len(wanted) - len(columns)
        if len(columns) < LEAST_SHARED * len(wanted):
            msg = (
                f"expected at least {LEAST_SHARED:.0%} of the {len(wanted)} features of {name!r} that the model was "
                f"trained on, found {len(columns)} in `mdata[{name!r}].var_names`, missing first "
                f"{wanted[position < 0][0]!r}, there is {features[0]!r}; {mend_names(name, self.mdata[name], wanted)}"
            )
            raise InvalidValueError(msg)
        if n_missing:
            panel = preparation.panel(columns)
            logger.warning(
                "%d of %d features of %r are missing, first %r: the others tell %.0f %% of what the model reads, and "
                "stand in for them; cells that the model has seen are known by name only",
                n_missing, len(wanted), name, wanted[position < 0][0], 100 if panel is None else 100 * panel.share,
            )  # fmt: skip
        return self._match(name, cells.select(position[columns]), columns, position[columns])

    def _match(self, name: str, cells: CellMatrix, columns: Array | slice, position: Array) -> Matched:
        preparation = self._preparation(name)
        values = preparation.without_effects(cells, self.design(name, preparation), columns)
        is_complete = len(position) == len(preparation.features)
        return Matched(cells, columns, position, is_complete, values)

    def _prepared(self, name: str) -> Prepared:
        fitted, prepared = self._kept.get(("fitted", name), (None, None))
        if fitted is not None and (self.model is None or fitted.loadings is self._preparation(name).loadings):
            return prepared  # by the training, a moment ago
        preparation, matched = self._preparation(name), self.matched(name)
        return self._read(name, preparation, matched, self._stored_inputs(name, preparation, matched))

    def _read(self, name: str, preparation: Preparation, matched: Matched, inputs: Array | None) -> Prepared:
        """Read the values of a modality once, and check them."""
        if preparation.dtype == np.float64 and preparation.kind == "continuous" and matched.cells.dtype.kind == "f":
            held, at = matched.cells.dtype, matched.columns
            warn_rounded(matched.cells, is_rounded(preparation.mean[at], preparation.sd[at], held), held)
        design = self.design(name, preparation)
        prepared, checks = prepare_cells(matched.cells, preparation, matched.columns, design=design, inputs=inputs)
        require_values(
            checks,
            preparation.expected(matched.columns),
            name=name,
            where=matched.cells.where,
            adata=self.mdata[name],
            cells=self.cells(name),
            is_centred=bool(preparation.max_value) or not matched.cells.is_sparse,
            is_complete=matched.is_complete,
        )
        return prepared

    def _stored_inputs(self, name: str, preparation: Preparation, matched: Matched) -> Array | None:
        """Components that `pp.prepare` wrote, of a modality that is not in memory, if they are those of the model."""
        if matched.cells.in_memory or preparation.effects is not None:  # of batches that may be others by now
            return None
        adata, keys = self.mdata[name], self.prepared_under(name) or self.keys
        written, loadings = adata.obsm.get(keys.input), adata.varm.get(keys.loadings)
        is_same = loadings is not None and np.array_equal(loadings[matched.position], preparation.loadings)
        if not (is_same and written is not None and looks_prepared(matched.values, preparation, written)):
            return None
        return np.ascontiguousarray(written, dtype=np.float32)

    def _role(self, name: str) -> Array:
        if self.model is not None:
            return self.model.seen_[name].roles_at(self._places(name))
        column = self.split
        if column is None:
            return np.full(len(self.cells(name)), TRAIN, dtype=np.uint8)
        labels = self.mdata.obs[column].astype(object).to_numpy()[self.rows(name)]
        is_test = labels == "test"
        unknown = ~(is_test | (labels == "train"))
        if unknown.any():
            msg = (
                f"expected 'train' or 'test' in `mdata.obs[{column!r}]` for every cell of {name!r}, found "
                f"{int(unknown.sum())} others, first {labels[unknown][0]!r} of {self.cells(name)[unknown][0]!r}: cells "
                "came or were renamed since; call jm.pp.split(mdata) again"
            )
            raise InvalidValueError(msg)
        return np.where(is_test, HELD_OUT, TRAIN).astype(np.uint8)

    @cached_property
    def split(self) -> str | None:
        """Column of `mdata.obs` that says which cells are held out: that of the prefix, else the default one."""
        obs = self.mdata.obs
        column = next((keys.split for keys in self.prefixes if keys.split in obs), None)
        others = [key for key in obs if key != column and str(key).endswith("_split") and _is_split(obs[key])]
        if column is None and others:
            logger.warning(
                "`mdata.obs[%r]` holds out cells, but %r reads `mdata.obs[%r]`, which is not there: no cell is held "
                "out; "
                "call jm.pp.split(mdata), which serves every model",
                others[0], self.keys.prefix, self.keys.split,
            )  # fmt: skip
        return column

    def _known(self, a: str, b: str) -> sparse.csr_matrix:
        written = self.stored_pairs("known", a, b)
        return from_names(self.cells(a), self.cells(b)) if written is None else written

    def _pairs(self, a: str, b: str) -> CellPairs:
        rows, columns = self.likeliest(a, b)
        role_a, role_b = self.role(a)[rows], self.role(b)[columns]
        learned = (role_a < HELD_OUT) & (role_b < HELD_OUT)
        judged, kind = unseen_pairs(role_a, role_b)
        return CellPairs((rows[learned], columns[learned]), (rows[judged], columns[judged]), kind)

    def _joined(self, sources: Sequence[str], target: str) -> JoinedCells:
        at = np.column_stack([self.positions(sources), self.partners(sources, target)])
        at = at[(at >= 0).all(axis=1)]
        names = [*sources, target]
        roles = [self.role(name)[of] for name, of in zip(names, at.T, strict=True)]
        learned = np.all([role < HELD_OUT for role in roles], axis=0)
        judged, kind = unseen_cells(reduce(roles_of_pairs, roles))
        train, test = ({name: at[of, i] for i, name in enumerate(names)} for of in (learned, judged))
        return JoinedCells(train, test, kind)

    def positions(self, names: Sequence[str]) -> Array:
        """Row of each cell of the MuData in each of these modalities, (n, m); −1 where it was not measured in it."""
        position = np.full((self.n_obs, len(names)), -1)
        for i, name in enumerate(names):
            position[self.rows(name), i] = np.arange(len(self.rows(name)))
        return position

    def partners(self, sources: Sequence[str], target: str) -> Array:
        """Row in the target of the likeliest known partner of each cell of the MuData, (n,); −1 where there is none.

        The partner by the first of the sources that has one.
        """
        partner = np.full(self.n_obs, -1)
        for name in sources:
            own, of_target = self.likeliest(name, target)
            rows = self.rows(name)[own]
            partner[rows] = np.where(partner[rows] < 0, of_target, partner[rows])
        return partner

    def likeliest(self, a: str, b: str) -> tuple[Array, Array]:
        """Cells of `a` with a known partner, and the likeliest of their partners in `b`, rows of either modality."""
        return likeliest(self.known(a, b))

    def knew_partner(self, a: str, b: str) -> Array:
        """Whether the model was told a partner in `b` of each cell of `a`, (n_a,) bool; now others may be known."""
        assert self.model is not None  # asked of a model only
        return self.model.seen_[a].had_partner(self._places(a), list(self.model.preparations_).index(b))

    def _places(self, name: str) -> Array:
        """Which cell of the training each cell is, (n,); −1 for none."""
        assert self.model is not None  # asked of a model only
        seen, complete = self.model.seen_[name], self.matched(name).is_complete
        digests = self.prepared(name).digests
        return self._once("places", name, lambda: seen.places(self.cells(name), digests, comparable=complete))

    def known_of_training(self, a: str, b: str) -> sparse.csr_matrix:
        """Known pairs of cells that were, or may be, learned from, (n_a, n_b)."""
        return from_mask(self.known(a, b), self.train(a), self.train(b))

    def role_names(self, name: str | Sequence[str], target: str | None = None) -> pd.Categorical:
        """What each cell of a modality, with its partner in the target if one is named, is to the model, in words.

        Of several modalities what each cell of the MuData is, missing where it has none of them.
        """
        if not isinstance(name, str):
            role = self.role_with_partners(name, name[0] if target is None else target)
        else:
            role = self.role(name) if target is None else self.role_with_partner(name, target)
        return pd.Categorical.from_codes(role, categories=list(ROLES))


def open_cells(
    mdata: MuData | Cells,
    *,
    model: Learned | None = None,
    modalities: Sequence[str] | None = None,
    keys: Keys = DEFAULT_KEYS,
    layer: Layers = None,
    feature_names: FeatureNames = None,
) -> Cells:
    """Check a MuData and give what is read from it.

    Parameters
    ----------
    mdata
        Annotated modalities; what was opened before is returned as it is.
    model
        What was learned; without it the cells are those of a training.
    modalities
        Modalities to use; if `None` those that `mdata`, and the model if there is one, have.
    keys
        Slot names.
    layer
        Layer to read instead of the model's, for all or by modality; ``"X"`` is the matrix itself.
    feature_names
        Column of `.var`, or mapping, that gives features the names that the model has for them.

    Raises
    ------
    WrongTypeError
        If `mdata` is no MuData, or no model was given where one is wanted.
    InvalidValueError
        If the cells of the MuData are not those of its modalities, names are repeated, or no file could hold a name.
    MissingNameError
        If a modality or layer is not there.
    """
    if isinstance(mdata, Cells):
        return mdata if model is None or mdata.model is model else mdata.for_model(model)
    require_mudata(mdata)
    if model is not None:
        require_model(model)
    names = _names_to_use(mdata, model, modalities)
    for name in mdata.mod:
        require_modality(mdata, name, is_used=name in names)
    require_feature_names(feature_names, {name: mdata[name] for name in names})
    cells = Cells(mdata, tuple(names), keys, model, _by_modality(layer, names), feature_names)
    _require_up_to_date(cells)
    require_distinct_slots(keys, names)
    return cells


def prepare_cells(
    cells: CellMatrix,
    preparation: Preparation,
    columns: Array | slice = slice(None),
    *,
    design: Array | None = None,
    inputs: Array | None = None,
) -> tuple[Prepared, list[BlockCheck]]:
    """Read all values once: components, unless `inputs` are they, digests, and what blocks show of the values.

    `design` has batch and covariates of the cells, whose effects are taken off before, where the preparation has any.
    """
    n, k = cells.shape[0], preparation.loadings.shape[1]
    made = empty_inputs((n, k)) if inputs is None else inputs
    digests, codes, checks = np.empty(n, np.uint32), feature_codes(preparation.features[columns]), []
    is_partial, of_all = np.zeros(n, dtype=bool), np.zeros((n, 1)) if design is None else design
    dtype = np.float32 if n * values_per_cell(cells) > SINGLE else np.float64

    def read(x: Matrix, of_cells: Array) -> tuple[Array | None, Array, Array, BlockCheck]:
        require_complete(missing(x, axis=0), cells.where, preparation.kind)
        with np.errstate(invalid="ignore", divide="ignore"):  # values below 0 are refused when all are counted
            values = x if preparation.effects is None else preparation.effects.removed(x, of_cells, columns)
            scaled = preparation.scaled(values, columns, dtype) if inputs is None else None
        scores = None if scaled is None else preparation.components(scaled, columns)
        return scores, value_digests(x, codes), missing(x, axis=1) > 0, check_block(x, scaled, preparation.kind)

    start = 0
    for scores, of_block, partial, check in cells.map(read, of_all, description="preparing"):
        stop = start + len(of_block)
        if scores is not None:
            made[start:stop] = scores
        digests[start:stop], is_partial[start:stop] = of_block, partial
        checks.append(check)
        start = stop
    return Prepared(made, digests, is_partial), checks


def open_for_model(
    mdata: MuData | Cells,
    model: Any,
    *,
    layer: Layers = None,
    feature_names: FeatureNames = None,
    key_added: str = "jamie",
) -> Cells:
    """Check a model and a MuData, and give what the model reads of it, as `open_cells` does."""
    require_model(model)
    return open_cells(mdata, model=model, keys=Keys(key_added), layer=layer, feature_names=feature_names)


def two_modalities(cells: Cells) -> Pair:
    """The two modalities in use."""
    require_several(cells)
    if len(cells.names) > 2:
        names = list(cells.names)
        msg = f"expected two modalities, found {len(names)}: {names}; pass modalities=[{names[0]!r}, {names[1]!r}]"
        raise InvalidValueError(msg)
    return cells.names[0], cells.names[1]


def require_several(cells: Cells) -> None:
    """Raise if there are fewer than two modalities to use."""
    if len(cells.names) < 2:
        msg = (
            f"expected at least two modalities, found {len(cells.names)}: {list(cells.names)}; the MuData has "
            f"{list(cells.mdata.mod)}"
        )
        raise InvalidValueError(msg)


def pairs_in_use(cells: Cells) -> list[Pair]:
    """All pairs of the modalities in use."""
    return list(combinations(cells.names, 2))


def _names_to_use(mdata: MuData, model: Learned | None, modalities: Sequence[str] | None) -> list[str]:
    known = list(mdata.mod) if model is None else [name for name in model.preparations_ if name in mdata.mod]
    if modalities is None:
        if not known:
            trained = list(model.preparations_) if model is not None else []
            msg = (
                f"expected a modality of the model, {trained}, in the MuData, found {list(mdata.mod)}; name it as in "
                f"the "
                f"training: mudata.MuData({{{(trained or ['rna'])[0]!r}: adata}})"
            )
            raise MissingNameError(msg)
        return known
    names = [
        str(require_name(name, known, name="modality"))
        for name in require_names(modalities, name="modalities", example=mdata.mod)
    ]
    if isinstance(modalities, Set):  # the order of a set changes from session to session
        names.sort(key=known.index)
    if len(set(names)) < len(names):
        msg = f"expected each modality once, found {names}"
        raise InvalidValueError(msg)
    return names


def _require_up_to_date(cells: Cells) -> None:
    """Raise if the cells of the MuData are not those of its modalities: it was not updated since they changed."""
    mdata, covered = cells.mdata, np.zeros(cells.n_obs, dtype=bool)
    for name in mdata.mod:
        rows = cells.rows(name)
        if (rows < 0).any():
            strange = cells.cells(name)[rows < 0]
            msg = (
                f"expected the cells of `mdata` to be those of its modalities, found {len(strange)} of "
                f"`mdata[{name!r}]` that `mdata.obs_names` lacks, first {strange[0]!r}: they changed since; {_UPDATE}"
            )
            raise InvalidValueError(msg)
        covered[rows] = True
    if not covered.all():
        msg = (
            f"expected the cells of `mdata` to be those of its modalities, found {int((~covered).sum())} in "
            f"`mdata.obs_names` that no modality has, first {cells.obs_names[~covered][0]!r}: cells went since; "
            f"{_UPDATE}"
        )
        raise InvalidValueError(msg)


def _by_modality(layer: Layers, names: Sequence[str]) -> dict[str, str]:
    if layer is None:
        return {}
    if isinstance(layer, str):
        return dict.fromkeys(names, layer or "X")
    if not isinstance(layer, Mapping):
        msg = f"expected `layer` as a name or a mapping by modality, found {layer!r}; pass layer={{'rna': 'counts'}}"
        raise WrongTypeError(msg)
    for name, value in layer.items():
        require_name(name, list(names), name="layer", hint="it maps modalities to layers")
        if not isinstance(value, str | None):
            msg = f"expected the layer of {name!r} as text, found {value!r}; pass layer={{{name!r}: 'counts'}}"
            raise WrongTypeError(msg)
    return {name: value or "X" for name, value in layer.items()}


def _no_values(name: str, where: str, adata: AnnData, cells: Cells) -> str:
    layers = layer_names(adata)
    has = f"pass layer={{{name!r}: {layers[0]!r}}}, or " if layers and adata.n_vars else ""
    others = [other for other in cells.mdata.mod if other != name]
    return (
        f"expected values in `{where}`, found none ({adata.n_vars} features); {has}leave {name!r} out: "
        f"modalities={others}, or {_without(cells.mdata, name)}"
    )


def _without(mdata: MuData, name: str) -> str:
    others = ", ".join(f"{other!r}: mdata.mod[{other!r}]" for other in mdata.mod if other != name)
    return f"mudata.MuData({{{others}}})"


def _as_text(names: pd.Index) -> pd.Index:
    """Names as plain text: files may give them as nullable strings."""
    return names if names.dtype == object else pd.Index(np.asarray(names, dtype=object))


def _is_split(column: pd.Series) -> bool:
    return set(column.dropna().astype(str).unique()) == {"train", "test"}
