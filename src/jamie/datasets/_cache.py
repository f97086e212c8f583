"""Finished data sets in a folder: read if they are there, else fetched, built and kept."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import warnings
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import mudata

from jamie._atomic import whole, writing
from jamie._checks import typed
from jamie._compat import quiet_mudata
from jamie._errors import FetchError, InvalidValueError, MissingPackageError, WrongTypeError
from jamie._settings import logger

from ._digest import digest
from ._source import HOST, MIRROR, fetch, source_host

if TYPE_CHECKING:
    from mudata import MuData

    from ._public import PublicSet

VARIABLE = "JAMIE_DATA_DIR"
DIGEST = "sha256"
"""Slot of `mdata.uns` by which a file that was written here is known again."""
ROOM = 8
"""Times its published files that a finished set may take: at most 4, and something for the file system. A full disk is
to be seen before it is written to, for HDF5 may end the process there."""


def obtain(public: PublicSet, folder: str | Path | None = None) -> MuData:
    """Return the data set from `folder`; if it is not there, or is no longer what was written, make it first."""
    path = data_folder(folder) / f"{public.name}.h5mu"
    mdata, fault = _read(path, public)
    if mdata is None:
        _require_packages(public)
        _require_room(public, path)
        with writing(path, waits=True):  # another may be making it
            mdata, fault = _read(path, public)
            if mdata is None:
                _make(public, path, fault)
                mdata, fault = _read(path, public)
    if mdata is None:
        msg = f"expected {str(path)!r} as it was just written, found it {fault}; the disk fails: pass another `folder=`"
        raise FetchError(msg)
    return mdata


def data_folder(folder: str | Path | None = None) -> Path:
    """Folder that was given, that the environment names, or the user's cache."""
    if folder is None:
        folder = os.environ.get(VARIABLE, "").strip() or None
    if folder is None:
        import pooch  # here, as in `fetch`

        folder = pooch.os_cache("jamie")
    if not isinstance(folder, str | os.PathLike) or not isinstance(os.fspath(folder), str):
        msg = f"expected `folder` to be text or a Path, found {typed(folder)}; pass e.g. folder='data'"
        raise WrongTypeError(msg)
    is_other = False
    try:
        path = Path(folder).expanduser()
        is_other = not stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:  # it will be made
        pass
    except (OSError, RuntimeError, ValueError) as error:
        msg = f"expected `folder`, or {VARIABLE}, to name a folder, found {os.fspath(folder)!r} ({error}); pass another"
        raise InvalidValueError(msg) from error
    if not os.fspath(folder) or is_other:
        what = "a file at" if is_other else "none in"
        msg = f"expected `folder`, or {VARIABLE}, to name a folder, found {what} {os.fspath(folder)!r}; pass another"
        raise InvalidValueError(msg)
    return path


def _read(path: Path, public: PublicSet) -> tuple[MuData | None, str]:
    """Return what the file has, or nothing and what is wrong with it; nothing is wrong with a file that is not there.

    What was made by somebody else is read as it is.
    """
    if path.is_dir():
        msg = f"expected no folder at {str(path)!r}, where the data set is kept; move it, or pass another `folder=`"
        raise InvalidValueError(msg)
    if not path.is_file():
        return None, ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of mudata, of its next version or of features with one name
            mdata = mudata.read_h5mu(path)
        _require_cells(mdata)
    except MemoryError:
        raise
    except Exception as error:  # a damaged file may fail anywhere in HDF5 and anndata, in any way
        if getattr(error, "errno", None):  # of the system, and says nothing of the file
            msg = f"could not read {str(path)!r}: {error}; pass another `folder=`"
            raise FetchError(msg) from error
        if _is_whole_file_of_somebody(path):
            msg = (
                f"expected {str(path)!r} to be {public.name} as a MuData, found another file ({type(error).__name__}: "
                f"{error}); move it, or pass another `folder=`"
            )
            raise InvalidValueError(msg) from error
        return None, f"damaged ({type(error).__name__})"
    written = mdata.uns.get(DIGEST)
    if written is None or (isinstance(written, str) and written == digest(mdata, public.name)):
        return mdata, ""
    return None, "changed"


def _require_cells(mdata: MuData) -> None:
    """Raise, as mudata before 0.4 does, if this is no MuData or its cells cannot be told apart."""
    if not mdata.mod or not all(adata.obs_names.is_unique for adata in mdata.mod.values()):
        msg = f"{len(mdata.mod)} modalities, or cells of one name"
        raise ValueError(msg)


def _is_whole_file_of_somebody(path: Path) -> bool:
    """Whether HDF5 can open it and it was not written here."""
    try:
        with h5py.File(path) as file:
            return f"uns/{DIGEST}" not in file
    except (OSError, RuntimeError):
        return False


def _make(public: PublicSet, path: Path, fault: str) -> None:
    is_public = source_host() == HOST
    remedy = (
        f"check the network, set {MIRROR} to an address or folder that has the files"
        if is_public
        else f"correct {MIRROR} or unset it"
    )
    remedy += f", or put a finished {path.name} into {str(path.parent)!r}"
    if fault == "changed":
        remedy += f", or read the changed one that is there, mudata.read_h5mu({str(path)!r})"
    with tempfile.TemporaryDirectory(prefix="jamie-") as temporary:
        mdata = public.build(fetch(public.files, Path(temporary), remedy=remedy))
    mdata.uns |= public.about()
    mdata.uns[DIGEST] = digest(mdata, public.name)
    try:
        with whole(path) as unfinished:
            with quiet_mudata():
                mdata.write(unfinished, compression="gzip")
            _tell(path, fault)
    except (OSError, RuntimeError) as error:  # HDF5 has either for a disk that fails or is full
        short = " ".join(str(error).split())[:200]
        msg = f"could not write {str(path)!r}: {short}. Nothing was kept; make room, or pass another `folder=`"
        raise FetchError(msg) from error
    logger.info("fetched %s (%.1f MB) and kept it as %s", public.name, public.size / 1e6, path)


def _tell(path: Path, fault: str) -> None:
    """Say what the new file takes the place of; what somebody changed is kept beside it."""
    if fault == "changed":
        names = (f"{path.stem}.changed{'' if n == 1 else f'-{n}'}{path.suffix}" for n in count(1))
        aside = next(other for other in map(path.with_name, names) if not other.exists())
        path.replace(aside)
        logger.warning("%s was not as it was written: it is kept as %s, and made again", path, aside.name)
    elif fault:
        logger.warning("%s was %s, and is made again", path, fault)


def _require_packages(public: PublicSet) -> None:
    missing = [package for package in public.needs if find_spec(package) is None]
    if missing:
        msg = (
            f"expected {' and '.join(missing)} to read the files of {public.name}, found none installed; "
            "run: pip install 'jamie-tools[data]'"
        )
        raise MissingPackageError(msg)


def _require_room(public: PublicSet, path: Path) -> None:
    """Make the folder and try a file in it, before anything is fetched."""
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        msg = (
            f"expected {path.name!r} in {str(folder)!r}, or a folder that it can be written to, found neither "
            f"({error.strerror}); pass another `folder=`, or name one in the environment variable {VARIABLE}"
        )
        raise FetchError(msg) from error
    needed, free = ROOM * public.size, shutil.disk_usage(folder).free
    if free < needed:
        msg = (
            f"expected {needed / 1e6:.0f} MB of room for {public.name} in {str(folder)!r}, found {free / 1e6:.1f}; "
            "make room, or pass another `folder=`"
        )
        raise FetchError(msg)
