"""Every check of another package's version, in one place."""

from __future__ import annotations

import atexit
import inspect
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any


@cache
def version(package: str) -> str:
    """Version of a distribution; looked up once, as reading its metadata takes 2 ms."""
    return metadata.version(package)


def seed_argument(function: Callable[..., Any], seed: int) -> dict[str, int]:
    """Name of the seed argument of a scanpy function: `rng` since 1.12, `random_state` before."""
    return {"rng" if "rng" in inspect.signature(function).parameters else "random_state": seed}


def cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies in bfloat16; torch names its tests for it with an underscore."""
    import torch

    tests = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(test() for test in tests if test is not None)


def let_numba_cache() -> None:
    """Give numba, which scanpy and UMAP need, a temporary folder where it could keep what it compiles nowhere.

    Without one their import fails: in a container whose installation is read-only, for a user without a home.
    """
    if os.environ.get("NUMBA_CACHE_DIR"):
        return
    spec = find_spec("scanpy")
    beside = [Path(folder, "__pycache__") for folder in (spec and spec.submodule_search_locations) or ()]
    of_user = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "numba")
    if not any(map(_takes_files, [*beside, of_user])):
        folder = tempfile.mkdtemp(prefix="jamie-numba-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["NUMBA_CACHE_DIR"] = folder


def _takes_files(folder: Path) -> bool:
    try:
        folder = folder.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except (OSError, RuntimeError):  # the latter where there is no home
        return False


@contextmanager
def quiet_mudata() -> Iterator[None]:
    """Keep to ourselves what mudata 0.3 announces of 0.4 and anndata of zarr, and whether mudata wrote a file."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Writing zarr v2 data", category=UserWarning)
        warnings.filterwarnings("ignore", message="Consolidated metadata is", category=UserWarning)
        warnings.filterwarnings("ignore", message="From 0.4 .update", category=FutureWarning)
        warnings.filterwarnings("ignore", message="The HDF5 file was not created by muon", category=UserWarning)
        yield
