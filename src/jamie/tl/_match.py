"""Likeliest partners of cells in another modality."""

from __future__ import annotations

import numpy as np
from mudata import MuData
from scipy import sparse

from jamie._checks import require_positive
from jamie._docs import document
from jamie._errors import InvalidValueError, MissingNameError
from jamie._keys import Keys
from jamie._slots import in_one_line, write
from jamie._types import Array
from jamie.correspondence import from_mask, nearest_partners
from jamie.data import Cells, open_cells, writable

LEARNED = ["train", "validation"]
FEWEST_UNSEEN = 30
"""Validation pairs that probabilities are calibrated on."""


@in_one_line
@document("mdata", "key_added", "copy")
def match(
    mdata: MuData,
    *,
    source: str,
    target: str,
    n_keep: int = 20,
    key_added: str = "jamie",
    copy: bool = False,
) -> MuData | None:
    """Find the likeliest partners of each cell in another modality, with probabilities, by the latents.

    The probability falls as exp(−‖μ_source − μ_target‖² / h), and is one over all cells of the target, of which the
    `n_keep` nearest are kept. What is left of 1 is the probability that the partner is another one. All this holds for
    cells whose partner is among those of the target.

    The bandwidth h is the one that makes the validation pairs of the training likeliest, which the latents were not
    fitted to: partners are then as probable as they say (:func:`jamie.get.reliability`). With fewer than 30 of them it
    is that of the known pairs of training cells, but at least the median squared distance of a source cell to its tenth
    nearest target cell: pairs that were trained on lie closer than others.

    Read them as a neighbourhood, not as an identification: on two public data sets of 1,200 cells the true partner is
    among 20 for a third of the held-out cells, and the nearest for one in fifty.
    ``jm.tl.check_correspondence(mdata, slot="match")`` scores them.

    Parameters
    ----------
    {shared}
    source
        Modality whose cells get partners; all of them do, paired or not.
    target
        Modality of the partners.
    n_keep
        Partners of each cell; all cells of the target where it has fewer.

    Returns
    -------
    `None`, or a changed copy if `copy=True`. Sets

    `mdata.obsp['jamie_match_<source>_<target>']` : :class:`~scipy.sparse.csr_matrix` (`n_obs × n_obs`, float32)
        Probability that the cell of the column, in the target, is the partner of that of the row, in the source. Rows
        of cells of the source sum to at most 1.

    Raises
    ------
    KeyError
        If a modality is not there, or has no latents.
    ValueError
        If the two modalities are one, their latents are not of the same model, or `n_keep` is below 1.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.tl.train(mdata, max_steps=5)
    >>> jm.tl.match(mdata, source="rna", target="protein", n_keep=5)
    >>> f = mdata.obsp["jamie_match_rna_protein"]
    >>> f.shape, f.nnz == 5 * mdata["rna"].n_obs
    ((60, 60), True)
    """
    mdata = writable(mdata, copy=copy)
    cells = open_cells(mdata, modalities=two_names(source, target), keys=Keys(key_added))
    x, y = latents(cells, source, target)
    require_positive(n_keep=n_keep)
    learned, unseen = (pairs_of_roles(cells, source, target, roles) for roles in (LEARNED, ["validation"]))
    unseen = unseen if unseen.nnz >= FEWEST_UNSEEN else None
    f = nearest_partners(x, y, n_keep=n_keep, pairs=learned, unseen=unseen)
    write(mdata, None, "obsp", cells.keys.match(source, target), cells.over_all_cells(f, source, target))
    return mdata if copy else None


def two_names(source: str, target: str) -> list[str]:
    """Both, if they are two."""
    if source == target:
        msg = f"expected at least two modalities, found {source!r} as source and target; pass another target"
        raise InvalidValueError(msg)
    return [source, target]


def pairs_of_roles(cells: Cells, source: str, target: str, roles: list[str]) -> sparse.csr_matrix:
    """Known pairs of cells that were this to the model, as it said when it placed them; else of those to train on."""
    role = cells.keys.role
    if any(role not in cells.mdata[name].obs for name in (source, target)):
        return cells.known_of_training(source, target) * (roles == LEARNED)
    of_role = (cells.mdata[name].obs[role].isin(roles).to_numpy() for name in (source, target))
    return from_mask(cells.known(source, target), *of_role)


def latents(cells: Cells, source: str, target: str) -> tuple[Array, Array]:
    """Latents of the cells of two modalities, checked to be there and comparable."""
    mdata, keys, sides = cells.mdata, cells.keys, []
    for name in (source, target):
        if keys.latent not in mdata[name].obsm:
            msg = (
                f"expected latents in `mdata[{name!r}].obsm[{keys.latent!r}]`, found {list(mdata[name].obsm)}; call "
                "jm.tl.train(mdata), or jm.tl.embed(mdata, model) on new cells"
            )
            raise MissingNameError(msg)
        sides.append(np.asarray(mdata[name].obsm[keys.latent]))
        if not np.isfinite(sides[-1]).all():
            msg = f"expected finite latents in `mdata[{name!r}].obsm[{keys.latent!r}]`, found NaN or infinite ones"
            raise InvalidValueError(msg + "; call jm.tl.embed(mdata, model)")
    x, y = sides
    models = {mdata[name].uns.get(keys.placed_by) for name in (source, target)} - {None}
    if len(models) > 1:
        msg = (
            f"expected latents of {source!r} and {target!r} from the same model, found them of two: one was placed by "
            "another since; call jm.tl.embed(mdata, model) for both"
        )
        raise InvalidValueError(msg)
    if x.shape[1] != y.shape[1]:
        msg = (
            f"expected latents of {source!r} and {target!r} from the same model, found {x.shape[1]} and {y.shape[1]} "
            "dimensions; call jm.tl.embed(mdata, model)"
        )
        raise InvalidValueError(msg)
    return x, y
