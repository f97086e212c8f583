"""What is explained, in which cells, against which others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mudata import MuData
from sklearn.linear_model import LogisticRegression

from jamie._checks import require_name, require_names
from jamie._errors import InvalidValueError
from jamie._types import Array
from jamie.attribution import Readout, feature_readout
from jamie.model import JAMIE


def explained_outputs(
    mdata: MuData,
    model: JAMIE,
    inputs: Array,
    train: Array,
    source: str,
    target: str | None,
    features: Sequence[str] | None,
    labels: str | None,
) -> tuple[str, list[str], Readout]:
    """What is explained: its name in slots, the names of its parts, and their function of the network's outputs."""
    if target is not None:
        require_name(target, list(model.preparations_), name="target")
        columns = model.columns(target, features)
        return target, list(model.preparations_[target].features[columns]), feature_readout(model, target, columns)
    latents = model.encode(inputs, source)
    n_latent = latents.shape[1]
    if labels is None:
        known = [f"latent{i}" for i in range(n_latent)]
        chosen = _positions(features, known)
        return "latent", [known[i] for i in chosen], Readout(None, np.eye(n_latent)[chosen], np.zeros(len(chosen)))
    require_name(labels, list(mdata.obs), name="labels")
    of = mdata.obs[labels].astype(object).reindex(mdata[source].obs_names)
    use = train & of.notna().to_numpy()
    if of[use].nunique() < 2:
        msg = f"expected two labels or more among the training cells of {source!r}, found {of[use].nunique()}"
        raise InvalidValueError(msg)
    fitted = LogisticRegression(max_iter=1000).fit(latents[use], of[use].astype(str))
    matrix, offset = fitted.coef_, fitted.intercept_
    if len(matrix) == 1:
        matrix, offset = np.vstack([-matrix, matrix]), np.concatenate([-offset, offset])
    known = list(fitted.classes_)
    chosen = _positions(features, known)
    return labels, [known[i] for i in chosen], Readout(None, matrix[chosen], offset[chosen])


def _positions(features: Sequence[str] | None, known: list[str]) -> list[int]:
    """Positions of those named, of all if there are none."""
    wanted = [] if features is None else require_names(features, name="features")
    return [known.index(require_name(f, known, name="features")) for f in wanted or known]


def explained_cells(
    mdata: MuData, source: str, train: Array, groupby: str | None, group: str | None, reference: str | None
) -> tuple[Array, Array]:
    """Rows to explain, and rows that may be background."""
    if groupby is None:
        if group is not None or reference is not None:
            msg = "expected `groupby`, a column of mdata.obs, beside `group` and `reference`, found none"
            raise InvalidValueError(msg)
        return np.arange(len(train)), np.flatnonzero(train)
    require_name(groupby, list(mdata.obs), name="groupby")
    of = mdata.obs[groupby].astype(object).reindex(mdata[source].obs_names)
    groups = [str(name) for name in of.dropna().unique()]
    is_in = {
        name: (of.astype(str) == require_name(name, groups, name="group or reference")).to_numpy()
        for name in (group, reference)
        if name is not None
    }
    explained = is_in[group] if group is not None else np.ones(len(train), dtype=bool)
    return np.flatnonzero(explained), np.flatnonzero(is_in[reference] if reference is not None else train)
