"""Carry labels from one modality to another, or from a reference to new cells."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData
from scipy import sparse

from jamie._checks import require_name, require_option, require_positive
from jamie._docs import document
from jamie._errors import InvalidValueError, WrongTypeError
from jamie._keys import Keys
from jamie._slots import in_one_line, write
from jamie._types import Array
from jamie.correspondence import nearest
from jamie.data import (
    Cells,
    FeatureNames,
    Layers,
    as_given,
    as_mudata,
    correspondences,
    open_cells,
    require_model,
    writable_one,
)
from jamie.model import JAMIE

from ._match import latents, two_names

MOST_CLASSES = 50


@in_one_line
@document("mdata or adata", "feature_names", "key_added", "copy")
def transfer_labels(
    mdata: MuData | AnnData,
    model: JAMIE | None = None,
    *,
    labels: str,
    source: str,
    target: str,
    reference: MuData | AnnData | None = None,
    through: Literal["latent", "inferred"] = "latent",
    n_neighbors: int = 15,
    layer: Layers = None,
    feature_names: FeatureNames = None,
    key_added: str = "jamie",
    copy: bool = False,
) -> MuData | AnnData | None:
    """Carry labels of the cells of one modality to those of another, by a vote of their neighbours or partners.

    With a `reference` they are carried from its cells to those of `mdata`, new ones or any others, within one modality
    or from one to another: the `model` places both. The reference is only read.

    Every labelled cell of the source may vote, so also the target cell's own other half. Cells without a label do not.
    The confidence is a share of votes, not a probability: where labels are hard to tell it is a little too high.

    Parameters
    ----------
    {shared}
    model
        A trained model, which places the cells. Without it the latents that they have are taken.
    labels
        Column of `mdata[source].obs`, or else of `mdata.obs`, of categories such as the cell type; of the reference
        where there is one.
    source
        Modality that is labelled; what a `reference` that is an AnnData is.
    target
        Modality that gets the labels; what `mdata` is if it is an AnnData.
    reference
        Labelled cells, such as those of the training; those of `mdata` itself if `None`.
    through
        ``"latent"``: the nearest labelled cells of the source vote, one vote each. ``"inferred"``: the partners by
        :func:`jamie.pp.infer_correspondence` vote, each with its probability; no model is needed.
    n_neighbors
        How many cells vote through the latent; all labelled ones where there are fewer.
    layer
        Layer of `mdata` that holds the values, for all modalities or by modality, instead of that of the training;
        ``"X"`` for the matrix itself. With a model only, as `feature_names`.

    Returns
    -------
    `None`, or a changed copy if `copy=True`. Sets

    `mdata[target].obs['jamie_label_<labels>']` : categorical (`n_obs`)
        The label with the most votes, the first in order of the categories on a tie; categories are the source's. NaN
        where no labelled cell votes: through an inferred correspondence a cell may have no partner.
    `mdata[target].obs['jamie_confidence_<labels>']` : float32 (`n_obs`)
        Share of the votes for that label, from 0 to 1; NaN where no labelled cell votes.

    Raises
    ------
    KeyError
        If a modality, the labels, the latents or the inferred correspondence is not there.
    ValueError
        If `through` is neither of the two, the labels are numbers rather than categories, no cell has one, the two
        modalities are one and there is no reference, their latents are not of the same model, `n_neighbors` is below 1,
        or there is a reference and no model.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=20)
    >>> jm.tl.transfer_labels(mdata, labels="cell_type", source="rna", target="protein")
    >>> mdata["protein"].obs[["jamie_label_cell_type", "jamie_confidence_cell_type"]].shape
    (54, 2)

    Labels of a reference, for the genes of other cells:

    >>> query = mdata["rna"][:20].copy()
    >>> jm.tl.transfer_labels(query, model, reference=mdata, labels="cell_type", source="protein", target="rna")
    >>> query.obs[["jamie_label_cell_type", "jamie_confidence_cell_type"]].shape
    (20, 2)
    """
    if isinstance(mdata, AnnData) and reference is None:
        msg = (
            "expected a MuData, found AnnData, which has no labelled modality beside it; pass the labelled cells, "
            "reference=mdata, and the model"
        )
        raise WrongTypeError(msg)
    mdata, keys = writable_one(mdata, target, copy=copy, argument="target"), Keys(key_added)
    require_option(through, ["latent", "inferred"], name="through")
    if model is None and reference is None:
        cells, query = open_cells(mdata, modalities=two_names(source, target), keys=keys), None
    else:
        placing = _placing(model, through)
        query = open_cells(mdata, model=placing, keys=keys, layer=layer, feature_names=feature_names)
        cells = query if reference is None else _labelled(reference, placing, source)
        require_name(target, list(query.names), name="target")
        require_name(source, two_names(source, target) if reference is None else list(cells.names), name="source")
    classes = _classes(cells, labels, source)
    slots = keys.label(labels), keys.confidence(labels)
    labelled = np.flatnonzero(classes.codes >= 0)
    if through == "latent":
        require_positive(n_neighbors=n_neighbors)
        x, y = latents(cells, source, target) if query is None else _latents_by(cells, source, query, target)
        neighbors = nearest(y, x[labelled], n_neighbors)[1]
        voters, weights = labelled[neighbors], np.ones(neighbors.shape)
        first = np.arange(len(y) + 1) * neighbors.shape[1]
        partners = sparse.csr_matrix((weights.ravel(), voters.ravel(), first), shape=(len(y), len(x)))
    else:
        cells = open_cells(mdata, modalities=[target, source], keys=keys)
        partners = correspondences(cells, "inferred")[target, source]
    winner, share = _vote(partners, classes.codes, len(classes.categories))
    write(mdata, target, "obs", slots[0], pd.Categorical.from_codes(winner, dtype=classes.dtype))
    write(mdata, target, "obs", slots[1], share)
    return as_given(mdata) if copy else None


def _placing(model: JAMIE | None, through: str) -> JAMIE:
    """The model, if it is one and the latent is what labels are carried through."""
    if model is None or through != "latent":
        msg = (
            f"expected a model, and through='latent', with a reference, found model={model!r} and through={through!r}; "
            "call jm.tl.transfer_labels(query, model, reference=mdata, ...)"
        )
        raise InvalidValueError(msg)
    require_model(model)
    return model


def _labelled(reference: MuData | AnnData, model: JAMIE, source: str) -> Cells:
    """The cells of the reference."""
    return open_cells(as_mudata(reference, source, argument="source"), model=model)


def _latents_by(cells: Cells, source: str, query: Cells, target: str) -> tuple[Array, Array]:
    """Latents of the labelled cells and of those to label."""
    model = query.model
    assert isinstance(model, JAMIE)  # they were opened for it
    return model.encode(cells.inputs(source), source), model.encode(query.inputs(target), target)


def _classes(cells: Cells, labels: str, source: str) -> pd.Categorical:
    """Labels of the cells of the source, checked to be categories."""
    column = cells.labels(labels, source)
    own = labels in cells.mdata[source].obs
    where = f"mdata[{source!r}].obs[{labels!r}]" if own else f"mdata.obs[{labels!r}]"
    values = column.dropna()
    if not len(values):
        msg = f"expected labels of cells of {source!r} in `{where}`, found none; all {len(column)} are missing"
        raise InvalidValueError(msg)
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        n = values.nunique()
        if n > MOST_CLASSES or (values != values.round()).any():
            msg = (
                f"expected categories in `{where}`, found {column.dtype} with {n} values; cut it into classes with "
                "pd.cut, or make it .astype('category') if the numbers name classes"
            )
            raise InvalidValueError(msg)
    return pd.Categorical(column)


def _vote(partners: sparse.csr_matrix, codes: Array, n_classes: int) -> tuple[Array, Array]:
    """Class with the most votes, −1 for none, and its share; the weights of cells of code −1 are left out."""
    (labelled,) = np.nonzero(codes >= 0)
    one_hot = sparse.csr_matrix((np.ones(len(labelled)), (labelled, codes[labelled])), shape=(len(codes), n_classes))
    votes = sparse.csr_matrix(partners.astype(np.float64) @ one_hot)
    total = np.asarray(votes.sum(axis=1)).ravel()
    most = votes.max(axis=1).toarray().ravel()
    share = np.divide(most, total, out=np.full(len(total), np.nan), where=total > 0)
    return np.where(total > 0, np.asarray(votes.argmax(axis=1)).ravel(), -1), share.astype(np.float32)
