"""Where and how torch runs: device, threads and seed, without a trace left in the caller's process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from scipy import sparse

from jamie._compat import cpu_has_bfloat16
from jamie._errors import InvalidValueError
from jamie._settings import require_device, settings, world_size
from jamie._types import Array
from jamie.nn import drawing_from

SMALL = 512
LARGE = 4_096  # cells of a batch
ROWS = 8_192


def resolve_device(device: str | torch.device) -> torch.device:
    """Device of this machine; ``"auto"`` asks the settings, then takes CUDA, each process its own, or the CPU."""
    name = require_device(device, name="device")
    name = settings.device if name == "auto" else name
    if name != "auto":
        return torch.device(name)
    if not torch.cuda.is_available():
        return torch.device("cpu")
    rank = int(os.environ.get("LOCAL_RANK", "0")) if world_size() > 1 else 0
    count = torch.cuda.device_count()
    if rank >= count:
        msg = (
            f"expected a GPU for each process of torchrun on this machine, found {count} and process {rank}, counted "
            f"from 0; start {count} processes or fewer, or pass device='cpu'"
        )
        raise InvalidValueError(msg)
    return torch.device("cuda", rank)


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the hardware multiplies matrices in bfloat16 faster than in single precision."""
    return torch.cuda.is_bf16_supported() if device.type == "cuda" else cpu_has_bfloat16()


def is_low_precision(width: int, batch_size: int, device: torch.device) -> bool:
    """Whether a training multiplies matrices in bfloat16: wide layers, and on a GPU large batches.

    Below, casting takes longer than it saves: on a CPU at 256 units twice the time of single precision, on a GPU at
    256 cells a tenth more, and at 16,384 cells it is faster by a half.
    """
    is_large = width > SMALL or (device.type == "cuda" and batch_size >= LARGE)
    return is_large and has_fast_bfloat16(device)


@contextmanager
def isolated() -> Iterator[None]:
    """Let torch compute as in a fresh process, whatever the caller has switched on, and leave that as it was.

    Everything that trains, loads, saves or infers runs in it; as ``@isolated()`` it wraps a function. Gradients are on,
    and inference mode, autocast, anomaly detection, another default device or dtype and a lower precision of products
    are off; so is the cache of autocast, which only the caller would clear. Deterministic algorithms stay as the caller
    asked: they change no bit on the CPU. Nothing in it draws from torch's generator, but for trainings that are not on
    the CPU or are compiled, see `seeded`.
    """
    with ExitStack() as stack:
        stack.enter_context(_of_the_process)
        stack.enter_context(torch.inference_mode(mode=False))  # which turns gradients on, too
        for kind in ("cpu", "cuda", "mps", "xpu"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False, cache_enabled=False))
        if torch.get_default_device().type != "cpu":  # a mode that slows each call of torch: only where it is needed
            stack.enter_context(torch.device("cpu"))
        yield


class _Shared:
    """What all threads of a process share: the first one that comes sets it, the last one that leaves gives it back."""

    def __init__(self, enter: Callable[[ExitStack], None]) -> None:
        self._enter, self._lock, self._n, self._stack = enter, threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._n:
                self._enter(self._stack)
            self._n += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._n -= 1
            if not self._n:
                self._stack.close()


def _usual(stack: ExitStack) -> None:
    """Set what torch has in a fresh process, and have the stack give back what there was."""
    stack.enter_context(torch.autograd.set_detect_anomaly(False))
    if (dtype := torch.get_default_dtype()) != torch.float32:
        torch.set_default_dtype(torch.float32)
        stack.callback(torch.set_default_dtype, dtype)
    for products in (torch.backends.mkldnn.matmul, torch.backends.cuda.matmul):  # type: ignore[attr-defined]
        if (precision := products.fp32_precision) != "ieee":
            products.fp32_precision = "ieee"
            stack.callback(setattr, products, "fp32_precision", precision)


_of_the_process = _Shared(_usual)
_turn = threading.RLock()


@contextmanager
def in_turn() -> Iterator[None]:
    """Let one thread after the other train.

    Each draws from a generator of its own, but they share the threads of the process: how many of them sum up a product
    changes its last bits.
    """
    with _turn:
        yield


@contextmanager
def seeded(rng: np.random.Generator, device: torch.device) -> Iterator[torch.Generator]:
    """Draw torch's seed from `rng`; a generator on the CPU that starts there, for the first weights and what follows.

    On the CPU all that is drawn comes from it. Kernels of a GPU, and compiled ones, draw from torch's generator, which
    gets the same seed; the caller's random state is given back afterwards.
    """
    seed = int(rng.integers(2**63 - 1))
    generator = torch.Generator().manual_seed(seed)
    if device.type == "cpu" and not settings.compile:
        with drawing_from(generator):
            yield generator
        return
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield generator


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


@isolated()
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
