"""Where and how torch runs: device, threads and seed, without a trace left in the caller's process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from jamie._settings import settings

SMALL = 512


def resolve_device(device: str) -> torch.device:
    """Torch device by name; ``"auto"`` asks the settings, then takes CUDA where there is one."""
    name = settings.device if device == "auto" else device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        found = torch.device(name)
    except RuntimeError:
        msg = f"expected `device` to be 'auto', 'cpu', 'cuda' or another torch device, found {device!r}"
        raise ValueError(msg) from None
    if found.type == "cuda" and not torch.cuda.is_available():
        msg = f"expected a CUDA device for device={device!r}, found none; pass device='cpu'"
        raise ValueError(msg)
    return found


@contextmanager
def seeded(rng: np.random.Generator, device: torch.device) -> Iterator[None]:
    """Draw torch's seed from `rng`, and give the caller's random state back afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(rng.integers(2**63 - 1)))
        yield


@contextmanager
def on_threads(widest: int) -> Iterator[None]:
    """Use as many threads as `settings.n_threads` says, and restore the caller's number afterwards.

    Unless it says, layers of at most `SMALL` units get one thread: a step then lasts milliseconds, in which threads
    gain little where cores are free, and where they are shared cost ten times as much in waiting for each other.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(settings.n_threads or (1 if widest <= SMALL else before))
    try:
        yield
    finally:
        torch.set_num_threads(before)
