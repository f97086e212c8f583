"""Public data sets by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jamie._checks import require_option
from jamie._docs import document

from ._cache import obtain
from ._catalogue import CATALOGUE

if TYPE_CHECKING:
    from mudata import MuData


@document("folder")
def load(name: str, *, folder: str | Path | None = None) -> MuData:
    """Fetch a public data set by its name, once, and read it: as published, nothing is normalised or filtered.

    Each set has a function of its name too, such as :func:`jamie.datasets.patchseq_motor_cortex`, whose page says
    what is in it. Its files come from the public repository of its authors at a fixed commit, and are taken only if
    their SHA-256 is the known one. The finished ``<name>.h5mu`` is kept, and read from then on; no network is needed
    any more.

    Parameters
    ----------
    name
        One of the functions of :mod:`jamie.datasets` that fetch, such as `"patchseq_motor_cortex"`.
    {shared}

    Returns
    -------
    The data set. Cells measured in several modalities share their `obs_names`; labels, if there are any, are in
    `.obs["cell_type"]` of the whole and of each modality. `mdata.uns` has `source`, `publication`, `doi`, `licence`,
    what is to be minded as `note`, and `sha256`, by which a changed file is known.

    Raises
    ------
    ValueError
        If no data set has this name, in which case the closest are named.
    ImportError
        If a package that reads its files is missing: ``pip install 'jamie-tools[data]'``.
    OSError
        If a file cannot be fetched, is not the one that was published, or the result cannot be kept. Nothing is left
        of it.

    Notes
    -----
    A finished file that was put into the folder by hand is read as it is. One that was written here and
    has changed since is kept under another name and made again.

    The environment variable `JAMIE_MIRROR` names another address, ``http://``, ``https://`` or ``file://``, in place of
    ``https://raw.githubusercontent.com``: the files are expected there at ``OWNER/REPOSITORY/COMMIT/PATH``.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.load("scgem")  # doctest: +SKIP
    >>> jm.datasets.load("pbmc10k")
    Traceback (most recent call last):
        ...
    jamie._errors.InvalidValueError: ... did you mean 'citeseq_pbmc10k'?
    """
    require_option(name, CATALOGUE, name="name")
    return obtain(CATALOGUE[name], folder)
