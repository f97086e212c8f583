"""Public data sets by name, from a folder that the user has: nothing is bundled, nothing is downloaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import mudata

from jamie._checks import require_option
from jamie._compat import quiet_mudata
from jamie._errors import InvalidValueError, MissingFileError

from ._catalogue import CATALOGUE

if TYPE_CHECKING:
    from mudata import MuData

VARIABLE = "JAMIE_DATA_DIR"


def load(name: str, *, folder: str | Path | None = None) -> MuData:
    """Read a public data set by its name, as published: nothing is normalised or filtered.

    Cells measured in several modalities share their `obs_names`; labels are in `.obs["cell_type"]` of the whole and of
    each modality. Source and publication are in `mdata.uns`.

    Parameters
    ----------
    name
        One of `"citeseq_pbmc10k"`, `"citeseq_pbmc_mosaic"`, `"patchseq_fuzik2016"`, `"patchseq_motor_cortex"`,
        `"scgem"`, `"sim_dyngen_rna_protein"`, `"sim_rna_atac_5types"`, `"snareseq_cellline"` and
        `"snareseq_mouse_cortex"`.
    folder
        Where `<name>.h5mu` lies. If not given, the environment variable `JAMIE_DATA_DIR` says it.

    Returns
    -------
    The data set, as its file has it.

    Raises
    ------
    ValueError
        If no data set has this name, in which case the closest are named, or neither `folder` nor `JAMIE_DATA_DIR` is
        given.
    FileNotFoundError
        If the folder or the file in it is missing; what the folder has is named.

    Examples
    --------
    >>> import jamie.datasets
    >>> mdata = jamie.datasets.load("scgem", folder="data")  # doctest: +SKIP
    >>> jamie.datasets.load("pbmc10k")
    Traceback (most recent call last):
        ...
    jamie._errors.InvalidValueError: ... did you mean 'citeseq_pbmc10k'?
    """
    require_option(name, CATALOGUE, name="name")
    folder = _folder(folder)
    path = folder / f"{name}.h5mu"
    if not path.is_file():
        entry = CATALOGUE[name]
        msg = (
            f"expected {path.name!r} in {str(folder)!r}, found {', '.join(present(folder)) or 'no known data set'}; "
            f"put the file there, made from {entry.publication} (doi:{entry.doi}), or pass another `folder=`"
        )
        raise MissingFileError(msg)
    with quiet_mudata():
        return mudata.read_h5mu(path)


def present(folder: str | Path) -> list[str]:
    """Names of the catalogue whose file is in `folder`."""
    return [name for name in CATALOGUE if (Path(folder) / f"{name}.h5mu").is_file()]


def _folder(folder: str | Path | None) -> Path:
    """Return the folder that was given or that the environment names."""
    given = folder or os.environ.get(VARIABLE)
    if not given:
        msg = f"expected a folder of `.h5mu` files, found none; set the variable {VARIABLE} or pass `folder=`"
        raise InvalidValueError(msg)
    path = Path(given).expanduser()
    if not path.is_dir():
        msg = f"expected a folder, found nothing of that kind at {str(path)!r}; correct `folder=` or {VARIABLE}"
        raise MissingFileError(msg)
    return path
