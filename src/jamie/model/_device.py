"""Where and how torch runs: device, threads and seed, without a trace left in the caller's process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from scipy import sparse

from jamie._compat import cpu_has_bfloat16
from jamie._errors import InvalidValueError
from jamie._settings import settings
from jamie._types import Array

SMALL = 512
ROWS = 8_192


def resolve_device(device: str) -> torch.device:
    """Torch device by name; ``"auto"`` asks the settings, then takes CUDA where there is one, each process its own."""
    name = settings.device if device == "auto" else device
    if name == "auto":
        name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(name)
    except RuntimeError:
        msg = f"expected `device` to be 'auto', 'cpu', 'cuda' or another torch device, found {device!r}"
        raise InvalidValueError(msg) from None
    if found.type == "cuda" and not torch.cuda.is_available():
        msg = f"expected a CUDA device for device={device!r}, found none; pass device='cpu'"
        raise InvalidValueError(msg)
    return found


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the hardware multiplies matrices in bfloat16 faster than in single precision."""
    return torch.cuda.is_bf16_supported() if device.type == "cuda" else cpu_has_bfloat16()


@contextmanager
def seeded(rng: np.random.Generator, device: torch.device) -> Iterator[None]:
    """Draw torch's seed from `rng`, and give the caller's random state back afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(rng.integers(2**63 - 1)))
        yield


@contextmanager
def on_threads(widest: int) -> Iterator[None]:
    """Use as many threads as `settings.n_threads` says, and restore the caller's number afterwards.

    Unless it says, products of at most `SMALL` units or rows get one thread: they then last milliseconds, in which
    threads gain little where cores are free, and where those are shared cost ten times as much in waiting.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(settings.n_threads or (1 if widest <= SMALL else before))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.inference_mode()
def by_rows(
    given: Array,
    compute: Callable[[torch.Tensor], torch.Tensor],
    device: torch.device,
    *,
    then: Callable[[Array, slice], Array] = lambda found, _: found,
) -> Array:
    """Compute (n, p) → (n, q) on the device a block of rows at a time, and what comes `then` on each block."""

    def block(start: int) -> Array:
        rows = slice(start, start + ROWS)
        return then(compute(torch.from_numpy(given[rows]).to(device)).cpu().numpy(), rows)

    with on_threads(len(given)):
        first = block(0)
        if len(given) <= ROWS:
            return first
        out = np.empty((len(given), *first.shape[1:]), dtype=first.dtype)
        out[:ROWS] = first
        for start in range(ROWS, len(given), ROWS):
            out[start : start + ROWS] = block(start)
        return out


def to_torch(f: sparse.csr_matrix) -> torch.Tensor:
    """Turn a sparse matrix into a sparse tensor."""
    coo = f.tocoo()
    index = torch.from_numpy(np.stack([coo.row, coo.col]).astype(np.int64))
    return torch.sparse_coo_tensor(
        index, torch.from_numpy(coo.data.astype(np.float32)), coo.shape, check_invariants=False
    ).coalesce()
