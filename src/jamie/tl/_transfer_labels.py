"""Carry labels from one modality to another."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from jamie._checks import require_option, require_positive
from jamie._docs import document
from jamie._errors import InvalidValueError
from jamie._keys import Keys
from jamie._slots import in_one_line, write
from jamie._types import Array
from jamie.correspondence import nearest
from jamie.data import Cells, correspondences, open_cells, writable

from ._match import latents, two_names

MOST_CLASSES = 50


@in_one_line
@document("mdata", "key_added", "copy")
def transfer_labels(
    mdata: MuData,
    *,
    labels: str,
    source: str,
    target: str,
    through: Literal["latent", "inferred"] = "latent",
    n_neighbors: int = 15,
    key_added: str = "jamie",
    copy: bool = False,
) -> MuData | None:
    """Carry labels of the cells of one modality to those of another, by a vote of their neighbours or partners.

    Every labelled cell of the source may vote, so also the target cell's own other half. Cells without a label do not.
    The confidence is a share of votes, not a probability: where labels are hard to tell it is a little too high.

    Parameters
    ----------
    {shared}
    labels
        Column of `mdata[source].obs`, or else of `mdata.obs`, of categories such as the cell type.
    source
        Modality that is labelled.
    target
        Modality that gets the labels.
    through
        ``"latent"``: the nearest labelled cells of the source vote, one vote each. ``"inferred"``: the partners by
        :func:`jamie.pp.infer_correspondence` vote, each with its probability; no model is needed.
    n_neighbors
        How many cells vote through the latent; all labelled ones where there are fewer.

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
        modalities are one, their latents are not of the same model, or `n_neighbors` is below 1.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=20)
    >>> jm.tl.transfer_labels(mdata, labels="cell_type", source="rna", target="protein")
    >>> mdata["protein"].obs[["jamie_label_cell_type", "jamie_confidence_cell_type"]].shape
    (54, 2)
    """
    mdata, keys = writable(mdata, copy=copy), Keys(key_added)
    cells = open_cells(mdata, modalities=two_names(source, target), keys=keys)
    require_option(through, ["latent", "inferred"], name="through")
    classes = _classes(cells, labels, source)
    slots = keys.label(labels), keys.confidence(labels)
    labelled = np.flatnonzero(classes.codes >= 0)
    if through == "latent":
        require_positive(n_neighbors=n_neighbors)
        x, y = latents(cells, source, target)
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
    return mdata if copy else None


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
