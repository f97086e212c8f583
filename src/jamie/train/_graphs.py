"""A step of training as one CUDA graph for each layout of its batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from jamie._settings import logger
from jamie.data import BatchIndex, Layout

Compute: TypeAlias = Callable[[BatchIndex, Tensor], Tensor]
Replay: TypeAlias = Callable[[], Tensor]

WARM_UP = 3  # steps of a layout before its graph, in which libraries choose their kernels and take their memory
MOST = 16  # graphs; batches of more layouts than that are computed call by call


@dataclass(frozen=True)
class _Captured:
    """A graph, and the tensors that it reads."""

    index: BatchIndex
    schedule: Tensor
    replay: Replay


class Graphs:
    """Computes steps on a GPU: the first ones call by call, the others as a graph that is replayed.

    At the default batch of 256 cells some thousand calls per step keep a GPU waiting nine tenths of the time; a graph
    takes one. A graph has the shapes that it was captured with, so that there is one for each layout of a batch. Where
    a step cannot be captured, it is computed call by call, and one line says so.

    Parameters
    ----------
    compute
        A step, as a function of tensors.
    device
        Where it is computed.
    capture
        Takes a function of nothing, that computes a step, and gives one that does it again.
    """

    def __init__(
        self, compute: Compute, device: torch.device, *, capture: Callable[[Replay], Replay] | None = None
    ) -> None:
        self._compute, self._device = compute, device
        self._capture = capture or _CudaCapture(device)
        self._captured: dict[Layout, _Captured] = {}
        self._n_done: Counter[Layout] = Counter()
        self._may = True

    def __call__(self, index: BatchIndex, schedule: Tensor) -> Tensor:
        """Compute the step of a batch that is on the host."""
        captured = self._captured.get(index.layout)
        if captured is None:
            captured = self._captured_for(index, schedule)
        if captured is None:
            self._n_done[index.layout] += 1
            return self._compute(*self._moved(index, schedule))
        for there, here in zip(captured.index.tensors(), index.tensors(), strict=True):
            _send(here, there)
        _send(schedule, captured.schedule)
        return captured.replay().clone()

    def _captured_for(self, index: BatchIndex, schedule: Tensor) -> _Captured | None:
        if not self._may or self._n_done[index.layout] < WARM_UP:
            return None
        if len(self._captured) == MOST:
            self._may = False
            logger.warning("batches have more than %d compositions: the others are computed without a CUDA graph", MOST)
            return None
        held, numbers = self._moved(index, schedule)
        try:
            replay = self._capture(lambda: self._compute(held, numbers))
        except RuntimeError as error:
            self._may = False
            logger.warning("training goes on without a CUDA graph, which can take ten times as long: %s", error)
            return None
        self._captured[index.layout] = captured = _Captured(held, numbers, replay)
        return captured

    def _moved(self, index: BatchIndex, schedule: Tensor) -> tuple[BatchIndex, Tensor]:
        there = [torch.empty_like(tensor, device=self._device) for tensor in (*index.tensors(), schedule)]
        for here, target in zip((*index.tensors(), schedule), there, strict=True):
            _send(here, target)
        return index.with_tensors(there[:-1]), there[-1]


def _send(here: Tensor, there: Tensor) -> None:
    """Copy from the host without waiting for it."""
    there.copy_(here.pin_memory() if there.device.type == "cuda" else here, non_blocking=True)


class _CudaCapture:
    """Captures on a stream of its own; all graphs share their memory, as only one runs at a time."""

    def __init__(self, device: torch.device) -> None:
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)

    def __call__(self, compute: Replay) -> Replay:
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize(self._stream.device)
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            values = compute()

        def replay() -> Tensor:
            graph.replay()
            return values

        return replay
