"""Every check of another package's version, in one place."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def seed_argument(function: Callable[..., Any], seed: int) -> dict[str, int]:
    """Name of the seed argument of a scanpy function: `rng` since 1.12, `random_state` before."""
    return {"rng" if "rng" in inspect.signature(function).parameters else "random_state": seed}


def cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies in bfloat16; torch names its tests for it with an underscore."""
    import torch

    tests = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(test() for test in tests if test is not None)


@contextmanager
def quiet_mudata() -> Iterator[None]:
    """Keep to ourselves what mudata 0.3 announces of 0.4 and anndata 0.12 of zarr, and whether mudata wrote a file."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Writing zarr v2 data", category=UserWarning)
        warnings.filterwarnings("ignore", message="From 0.4 .update", category=FutureWarning)
        warnings.filterwarnings("ignore", message="The HDF5 file was not created by muon", category=UserWarning)
        yield
