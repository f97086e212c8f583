"""Steps that are replayed, with the replay played by a function; `make test-gpu` has the real one."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from jamie._settings import settings
from jamie.data import LinkedCells, Loader, ModalityView, Problem, stratified
from jamie.nn import JointVAE, SideBySide
from jamie.train import RECIPES, Target
from jamie.train._graphs import MOST, WARM_UP, Graphs
from jamie.train._step import Moment, TrainingStep

CPU = torch.device("cpu")


class Played:
    """Plays a capture: the function is called again, and its result is always the same tensor."""

    def __init__(self):
        self.captured, self.replayed = 0, 0

    def __call__(self, compute):
        self.captured += 1
        values = torch.zeros(8)

        def replay():
            self.replayed += 1
            return values.copy_(compute())

        return replay


@pytest.fixture
def training():
    """Makes the same training anew: the step, and its batches."""
    rng = np.random.default_rng(0)
    sizes = {"a": 50, "b": 70}
    views = {
        name: ModalityView(
            name, pd.RangeIndex(n), rng.normal(size=(n, 4)).astype(np.float32), None, np.ones(n, dtype=bool), None
        )
        for name, n in sizes.items()
    }
    problem = Problem(views, {("a", "b"): sparse.eye(50, 70, format="csr", dtype=np.float32)}, {})
    linked = LinkedCells.of(problem)

    def make(n_networks=1):
        torch.manual_seed(0)
        networks = [
            JointVAE(dict.fromkeys(sizes, 4), n_latent=2, hidden=dict.fromkeys(sizes, (8,)), norm="layer", dropout=0.2)
            for _ in range(n_networks)
        ]
        network = networks[0] if n_networks == 1 else SideBySide(networks)
        load = Loader(problem, dict.fromkeys(sizes, 1.3), CPU)
        step = TrainingStep(network, load.gather, dict.fromkeys(sizes, Target(1.0, None)), RECIPES["default"])
        everyone = np.arange(len(linked))
        draws = [
            stratified(linked, everyone, size=20, least_paired=0.5, rng=np.random.default_rng(i))
            for i in range(n_networks)
        ]
        indices = [load.index(batch) for batch in islice(zip(*draws, strict=True), 12)]
        return network, step, indices

    return make


def moments(step):
    return [step.schedule(Moment(i + 1, rate=0.01 * (i + 1), kappa=0.1 * i, averaging=0.5)) for i in range(12)]


@pytest.mark.parametrize("n_networks", [1, 3])
def test_a_replayed_training_is_the_training(training, n_networks):
    network, step, indices = training(n_networks)
    expected = [step.compute(index, moment) for index, moment in zip(indices, moments(step), strict=True)]
    again, step, indices = training(n_networks)
    played = Played()
    graphs = Graphs(step.compute, CPU, capture=played)
    found = [graphs(index, moment) for index, moment in zip(indices, moments(step), strict=True)]
    assert torch.equal(torch.stack(found), torch.stack(expected))
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert played.captured == 1
    assert played.replayed == 12 - WARM_UP


def test_there_is_a_graph_for_each_layout_and_not_too_many(training):
    _, _, (index, *_) = training()
    played = Played()
    graphs = Graphs(lambda *_: torch.zeros(8), CPU, capture=played)
    layouts = [index.layout._replace(n_blocks=i + 1) for i in range(MOST + 3)]
    for _ in range(2 + WARM_UP):
        for layout in layouts:
            graphs(index.__class__(layout, index.positions, index.numbers), torch.zeros(5))
    assert played.captured == MOST


def test_where_nothing_can_be_captured_steps_are_computed_and_one_line_says_so(training, capsys):
    _, step, indices = training()
    expected = [step.compute(index, moment) for index, moment in zip(indices, moments(step), strict=True)]
    _, step, indices = training()

    def refused(_):
        msg = "operation not permitted when stream is capturing"
        raise RuntimeError(msg)

    graphs = Graphs(step.compute, CPU, capture=refused)
    found = [graphs(index, moment) for index, moment in zip(indices, moments(step), strict=True)]
    assert torch.equal(torch.stack(found), torch.stack(expected))
    said = capsys.readouterr().err
    assert said.count("goes on without a CUDA graph") == 1
    assert "not permitted when stream is capturing" in said


@pytest.mark.parametrize("compiled", [False, True])
def test_losses_are_compiled_where_that_is_asked(training, compiled, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda function, **options: (asked.append(options), function)[1])
    monkeypatch.setattr(settings, "compile", compiled)
    _, step, (index, *_) = training()
    values = step.compute(index, moments(step)[0])
    assert asked == ([{"dynamic": False}] if compiled else [])
    assert torch.isfinite(values).all()


def test_a_batch_is_sent_to_the_device_before_it_is_computed(training):
    """The device of torch that holds shapes alone stands for another than the host; call by call and captured."""
    _, step, (index, *_) = training()
    seen = []

    def compute(index, schedule):
        seen.append({tensor.device.type for tensor in (*index.tensors(), schedule)})
        return torch.zeros(8)

    graphs = Graphs(compute, torch.device("meta"), capture=Played())
    for _ in range(WARM_UP + 2):
        graphs(index, moments(step)[0])
    assert seen == [{"meta"}] * (WARM_UP + 2)
    assert {tensor.device.type for tensor in index.tensors()} == {"cpu"}


class Cuda:
    """Plays what torch has for graphs, and notes what it is asked for; kernels run once, when they are captured."""

    def __init__(self, monkeypatch):
        self.pools, self.streams, self.waited, self.held, self.replayed = [], [], [], [], []
        for name, stands_in in (
            ("graph_pool_handle", lambda: (self.pools.append(object()), self.pools[-1])[1]),
            ("Stream", self._stream),
            ("synchronize", self.waited.append),
            ("CUDAGraph", lambda: SimpleNamespace(replay=lambda: self.replayed.append(len(self.held)))),
            ("graph", self._graph),
        ):
            monkeypatch.setattr(torch.cuda, name, stands_in)

    def _stream(self, device):
        self.streams.append(SimpleNamespace(device=device))
        return self.streams[-1]

    @contextmanager
    def _graph(self, graph, *, pool, stream):
        assert self.waited, "work of other streams may still go on"
        self.held.append((graph, pool, stream))
        yield


def test_all_graphs_share_memory_and_a_stream_of_their_own(training, monkeypatch):
    _, step, (index, *_) = training()
    cuda, values = Cuda(monkeypatch), torch.arange(8.0)
    graphs = Graphs(lambda *_: values, CPU)
    layouts = [index.layout._replace(n_blocks=n) for n in (1, 2)]
    for layout in layouts:
        for _ in range(WARM_UP + 2):
            found = graphs(index.__class__(layout, index.positions, index.numbers), moments(step)[0])
            assert torch.equal(found, values)
    (pool,), (stream,) = cuda.pools, cuda.streams
    assert cuda.waited == [CPU, CPU]
    assert stream.device == CPU
    assert [(p, s) for _, p, s in cuda.held] == [(pool, stream)] * 2
    assert cuda.replayed == [1, 1, 2, 2]


def test_nobody_waits_for_a_copy_to_the_device(training, monkeypatch):
    _, step, (index, *_) = training()
    copies, copy = [], torch.Tensor.copy_

    def watch(self, source, non_blocking=False):
        copies.append(non_blocking)
        return copy(self, source, non_blocking)

    graphs = Graphs(lambda *_: torch.zeros(8), CPU, capture=Played())
    moment = moments(step)[0]
    for _ in range(WARM_UP + 2):
        with monkeypatch.context() as patched:
            patched.setattr(torch.Tensor, "copy_", watch)
            patched.setattr(Played, "__call__", lambda *_: lambda: torch.zeros(8))
            graphs(index, moment)
    assert len(copies) > WARM_UP + 2
    assert all(copies)
