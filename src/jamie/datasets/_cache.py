"""Finished data sets in a folder: read if they are there, else fetched, built and kept."""

from __future__ import annotations

import os
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import mudata

from jamie._atomic import whole
from jamie._compat import quiet_mudata
from jamie._errors import FetchError, MissingPackageError
from jamie._settings import logger

from ._digest import digest
from ._source import fetch

if TYPE_CHECKING:
    from mudata import MuData

    from ._public import PublicSet

VARIABLE = "JAMIE_DATA_DIR"
DIGEST = "sha256"
"""Slot of `mdata.uns` by which a file that was written here is known again."""


def obtain(public: PublicSet, folder: str | Path | None = None) -> MuData:
    """Return the data set from `folder`; if it is not there, or is no longer what was written, make it first."""
    path = data_folder(folder) / f"{public.name}.h5mu"
    mdata = _read(path)
    if mdata is None:
        _make(public, path)
        mdata = _read(path)
    if mdata is None:
        msg = f"{str(path)!r} was written and could not be read again: the disk is failing; pass another `folder=`"
        raise FetchError(msg)
    return mdata


def data_folder(folder: str | Path | None = None) -> Path:
    """Folder that was given, that the environment names, or the user's cache."""
    given = folder or os.environ.get(VARIABLE)
    if given:
        return Path(given).expanduser()
    import pooch  # here, as in `fetch`

    return Path(pooch.os_cache("jamie"))


def _read(path: Path) -> MuData | None:
    """Return what the file has. A file that is damaged or is not what was written makes place for a new one."""
    if not path.is_file():
        return None
    try:
        with quiet_mudata():
            mdata = mudata.read_h5mu(path)
    except (PermissionError, BlockingIOError, MemoryError):  # says nothing of the file
        raise
    except Exception as error:  # noqa: BLE001, a damaged file may fail anywhere in HDF5 and anndata, in any way
        logger.warning("%s is damaged (%s) and is made again", path, type(error).__name__)
        _require_writable(path.parent)
        path.unlink(missing_ok=True)
        return None
    if mdata.uns.get(DIGEST, "") in ("", digest(mdata)):  # none: the file was made by somebody else
        return mdata
    aside = path.with_suffix(".changed.h5mu")
    logger.warning("%s is not as it was written: it is kept as %s and made again", path, aside.name)
    _require_writable(path.parent)
    path.replace(aside)
    return None


def _make(public: PublicSet, path: Path) -> None:
    _require_packages(public)
    _require_writable(path.parent)
    remedy = (
        f"check the network, set JAMIE_MIRROR to an address or folder that has the files, or put a finished "
        f"{path.name} into {str(path.parent)!r}"
    )
    with tempfile.TemporaryDirectory(prefix="jamie-") as temporary:
        mdata = public.build(fetch(public.files, Path(temporary), remedy=remedy))
    mdata.uns |= public.about()
    mdata.uns[DIGEST] = digest(mdata)
    try:
        with whole(path) as unfinished, quiet_mudata():
            mdata.write(unfinished, compression="gzip")
    except OSError as error:
        msg = f"could not write {str(path)!r}: {error}. Nothing was kept; make room, or pass another `folder=`"
        raise FetchError(msg) from error
    logger.info("fetched %s (%.1f MB) and kept it as %s", public.name, public.size / 1e6, path)


def _require_packages(public: PublicSet) -> None:
    missing = [package for package in public.needs if find_spec(package) is None]
    if missing:
        msg = (
            f"expected {' and '.join(missing)} to read the files of {public.name}, found none installed; "
            "run: pip install 'jamie-tools[data]'"
        )
        raise MissingPackageError(msg)


def _require_writable(folder: Path) -> None:
    """Make the folder and try a file in it, before anything is fetched."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        msg = (
            f"expected a folder that can be written to, found {str(folder)!r} ({error.strerror}); "
            f"pass another `folder=`, or name one in the environment variable {VARIABLE}"
        )
        raise FetchError(msg) from error
