"""Carry labels from one modality to another."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from mudata import MuData
from scipy import sparse

from jamie._checks import is_number, require_option, typed
from jamie._docs import document
from jamie._errors import InvalidValueError, MissingNameError
from jamie._keys import Keys
from jamie._settings import logger
from jamie._slots import in_one_line, write
from jamie._types import Array
from jamie.correspondence import nearest, probability_of_first, temperature
from jamie.data import Cells, correspondences, open_cells, writable

from ._match import FEWEST_UNSEEN, latents, pairs_of_roles, require_count, two_names

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
    max_novelty: float | None = None,
    key_added: str = "jamie",
    copy: bool = False,
) -> MuData | None:
    """Carry labels of the cells of one modality to those of another, by a vote of their neighbours or partners.

    Every labelled cell of the source may vote, so also the target cell's own other half. Cells without a label do not.

    Shares of votes through the latent are surer than they are right, for neighbours are like each other. A temperature
    makes them probabilities, the one under which the labels of the validation cells of the training are likeliest,
    without the vote of their own other half. It takes 30 of them whose other half has a label; with fewer, and through
    an inferred correspondence, the confidence is the share of votes. :func:`jamie.get.reliability` compares it with
    how many labels are right.

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
    max_novelty
        Leave cells without a label that are unlike anything that the model was trained on: those of a larger
        `jamie_novelty_<source>`, which :func:`jamie.tl.train` and :func:`jamie.tl.embed` write. One in twenty cells
        like those of the training is above 1. If `None`, all cells get a label.

    Returns
    -------
    `None`, or a changed copy if `copy=True`. Sets

    `mdata[target].obs['jamie_label_<labels>']` : categorical (`n_obs`)
        The label with the most votes, the first in order of the categories on a tie; categories are the source's. NaN
        where no labelled cell votes, as through an inferred correspondence a cell may have no partner, and for cells
        beyond `max_novelty`.
    `mdata[target].obs['jamie_confidence_<labels>']` : float32 (`n_obs`)
        Probability of that label, from 0 to 1; NaN where there is none.

    Raises
    ------
    KeyError
        If a modality, the labels, the latents, the inferred correspondence, or the novelty of the cells is not there.
    ValueError
        If `through` is neither of the two, the labels are numbers rather than categories, no cell has one, the two
        modalities are one, their latents are not of the same model, `n_neighbors` is below 1, or `max_novelty` is not
        above 0.

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
    labelled, is_new = np.flatnonzero(classes.codes >= 0), _is_new(cells, source, target, max_novelty)
    tau = None
    if through == "latent":
        require_count(n_neighbors, name="n_neighbors")
        x, y = latents(cells, source, target)
        voters = labelled[nearest(y, x[labelled], n_neighbors)[1]]
        tau = _temperature(cells, classes, source, target, n_neighbors)
        partners = _one_vote_each(voters, len(x))
    else:
        cells = open_cells(mdata, modalities=[target, source], keys=keys)
        partners = correspondences(cells, "inferred")[target, source]
    winner, confidence = _decided(_votes(partners, classes), tau, _n_labels(classes))
    if is_new is not None:
        winner, confidence = np.where(is_new, -1, winner), np.where(is_new, np.float32(np.nan), confidence)
        logger.info("%d of %d cells of %r are unlike anything trained on: no label", is_new.sum(), len(is_new), target)
    write(mdata, target, "obs", slots[0], pd.Categorical.from_codes(winner, dtype=classes.dtype))
    write(mdata, target, "obs", slots[1], confidence)
    return mdata if copy else None


def _is_new(cells: Cells, source: str, target: str, most: float | None) -> Array | None:
    """Which cells of the target are unlike those of the training, in what tells the source; `None` if not asked for."""
    if most is None:
        return None
    if not is_number(most) or not most > 0:
        msg = f"expected `max_novelty` as a number above 0, found {typed(most)}; pass max_novelty=1"
        raise InvalidValueError(msg)
    key, obs = cells.keys.novelty(source), cells.mdata[target].obs
    if key not in obs:
        msg = (
            f"expected the novelty of the cells in `mdata[{target!r}].obs[{key!r}]`, found none; call "
            "jm.tl.embed(mdata, model) with a model whose imputation is calibrated, or leave out `max_novelty`"
        )
        raise MissingNameError(msg)
    return ~(obs[key].to_numpy(dtype=float) <= most)  # also where nothing is known, of cells that came later


def _temperature(cells: Cells, classes: pd.Categorical, source: str, target: str, n_neighbors: int) -> float | None:
    """Temperature of the votes, by validation cells whose other half has a label but no vote; `None` if few do."""
    pairs = pairs_of_roles(cells, target, source, ["validation"])
    (rows,) = np.nonzero(np.asarray(pairs.sum(axis=1)).ravel() > 0)
    own = np.asarray(pairs.argmax(axis=1)).ravel()[rows]
    known = classes.codes[own] >= 0
    rows, own = rows[known], own[known]
    if len(rows) < FEWEST_UNSEEN:
        return None
    x, y = latents(cells, source, target)
    labelled = np.flatnonzero(classes.codes >= 0)
    voters = labelled[nearest(y[rows], x[labelled], n_neighbors + 1)[1]]
    others = np.argsort(voters == own[:, None], axis=1, kind="stable")[:, : max(voters.shape[1] - 1, 1)]
    votes = _votes(_one_vote_each(np.take_along_axis(voters, others, 1), len(x)), classes)
    return temperature(votes, classes.codes[own], _n_labels(classes))


def _one_vote_each(voters: Array, n_source: int) -> sparse.csr_matrix:
    first = np.arange(len(voters) + 1) * voters.shape[1]
    return sparse.csr_matrix((np.ones(voters.size), voters.ravel(), first), shape=(len(voters), n_source))


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


def _n_labels(classes: pd.Categorical) -> int:
    """Classes that cells have."""
    return len(np.unique(classes.codes[classes.codes >= 0]))


def _votes(partners: sparse.csr_matrix, classes: pd.Categorical) -> sparse.csr_matrix:
    """Votes for each class, (n, classes); the weights of cells without a label are left out."""
    codes = classes.codes
    (labelled,) = np.nonzero(codes >= 0)
    shape = len(codes), len(classes.categories)
    one_hot = sparse.csr_matrix((np.ones(len(labelled)), (labelled, codes[labelled])), shape=shape)
    return sparse.csr_matrix(partners.astype(np.float64) @ one_hot)


def _decided(votes: sparse.csr_matrix, tau: float | None, n_labels: int) -> tuple[Array, Array]:
    """Class with the most votes, −1 for none, and its probability; without a temperature its share of the votes."""
    total = np.asarray(votes.sum(axis=1)).ravel()
    if tau is None:
        most = votes.max(axis=1).toarray().ravel()
        confidence = np.divide(most, total, out=np.full(len(total), np.nan), where=total > 0)
    else:
        confidence = np.where(total > 0, probability_of_first(votes, tau, n_labels), np.nan)
    return np.where(total > 0, np.asarray(votes.argmax(axis=1)).ravel(), -1), confidence.astype(np.float32)
