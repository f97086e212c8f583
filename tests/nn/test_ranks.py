"""Processes that train together: as one, to the bit between them."""

from __future__ import annotations

import os
import runpy
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed as dist

import jamie as jm
from jamie import _settings
from jamie.nn import _ranks, average_over_ranks, copy_from_first, drawing_from, joined, n_ranks, own_noise

TOGETHER = Path(__file__).with_name("together.py")


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Folder of two processes that did what `together.py` does, and what they said."""
    folder = tmp_path_factory.mktemp("ranks") / "written"
    folder.mkdir()
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")  # on a port that is free
    done = subprocess.run(
        [sys.executable, *torchrun, TOGETHER, folder],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    return folder, done.stderr


def test_two_processes_are_one(together):
    with torch.random.fork_rng():
        one = runpy.run_path(str(TOGETHER))["compute"](1)
    first, second = (np.load(together[0].with_name(f"found_{rank}.npz")) for rank in (0, 1))
    assert np.abs(one["gradient"]).max() > 1e-2
    np.testing.assert_allclose(first["gradient"], one["gradient"], atol=1e-6)
    np.testing.assert_array_equal(first["gradient"], second["gradient"])
    np.testing.assert_array_equal(first["weights"], second["weights"])
    assert not np.array_equal(first["noise"], second["noise"])  # each drops out units of its own cells


def test_one_of_the_processes_speaks_and_writes(together):
    folder, said = together
    lines = [line for line in said.splitlines() if line.startswith("jamie:")]
    assert len([line for line in lines if "trained in" in line]) == 1
    assert "expected one process for recipe 'paper', whose batch norm needs all cells of a batch, found 2" in said
    assert {path.name for path in folder.iterdir()} == {"model.jamie", "model.jamie.zarr"}


class Threads:
    """Threads that stand for processes, and what they tell each other."""

    def __init__(self, n):
        self.n, self._own = n, threading.local()
        self._meet, self._told = threading.Barrier(n, timeout=30), [None] * n

    def run(self, of):
        """What a function of the rank gives in each."""

        def one(rank):
            self._own.rank = rank
            return of(rank)

        with ThreadPoolExecutor(self.n) as pool:
            return list(pool.map(one, range(self.n)))

    def rank(self):
        return self._own.rank

    def told(self, x):
        """What each of them passes here, in the order of the ranks."""
        self._told[self.rank()] = x.clone()
        self._meet.wait()
        told = list(self._told)
        self._meet.wait()
        return told

    def all_gather(self, parts, x):
        assert all(part.shape == x.shape for part in parts)
        for part, told in zip(parts, self.told(x), strict=True):
            part.copy_(told)

    def all_reduce(self, x):
        x.copy_(sum(self.told(x)))

    def broadcast(self, x, source):
        x.copy_(self.told(x)[source])


@pytest.fixture
def threads(monkeypatch):
    """Three threads, which `torch.distributed` is made to take for processes."""
    made = Threads(3)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: made.n)
    monkeypatch.setattr(dist, "get_rank", made.rank)
    for name in ("all_gather", "all_reduce", "broadcast"):
        monkeypatch.setattr(dist, name, getattr(made, name))
    return made


@pytest.mark.parametrize("shape", [(7, 4), (3, 4), (2, 4), (2, 5, 4)])
def test_rows_that_are_computed_by_each_a_share_are_those_of_one(threads, shape):
    rng = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(size, generator=rng, dtype=torch.float64) for size in (shape, (4, 3)))
    computed = []

    def outcome(over):
        own_x, own_weight = x.clone().requires_grad_(), weight.clone().requires_grad_()

        def compute(rows):
            computed.append(rows.shape[-2])
            return (rows @ own_weight).tanh()

        y = over(compute, own_x)
        (y * y.cumsum(-2)).sum().backward()  # a loss in which rows meet, as pairs do
        average_over_ranks(own_weight.grad)
        return y.detach(), own_x.grad, own_weight.grad

    several = threads.run(lambda _: outcome(_ranks.over_ranks))
    assert sorted(computed) == sorted(len(part) for part in np.array_split(np.arange(shape[-2]), 3))
    threads.n = 1
    for found in several:
        torch.testing.assert_close(found, outcome(lambda compute, rows: compute(rows)))


def test_one_process_computes_all_rows_and_keeps_its_gradient():
    assert n_ranks() == 1
    x, gradient = torch.arange(6.0).reshape(3, 2), torch.ones(3)
    assert torch.equal(_ranks.over_ranks(lambda rows: rows + 1, x), x + 1)
    average_over_ranks(gradient)
    assert torch.equal(gradient, torch.ones(3))


def test_all_get_the_mean_of_the_gradients(threads):
    gradients = [torch.full((2,), value) for value in (1.0, 2.0, 6.0)]
    threads.run(lambda rank: average_over_ranks(gradients[rank]))
    assert all(torch.equal(gradient, torch.full((2,), 3.0)) for gradient in gradients)


def test_all_get_the_weights_and_statistics_of_the_first(threads):
    networks = [torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)) for _ in range(3)]
    for i, network in enumerate(networks):
        for value in network.state_dict().values():
            value.fill_(5 + i)
    threads.run(lambda rank: copy_from_first(networks[rank]))
    for network in networks:
        assert all((value == 5).all() for value in network.state_dict().values())


def test_each_draws_noise_of_its_own(threads):
    def drawn(rank):
        own = torch.Generator().manual_seed(7)
        with drawing_from(own):
            own_noise()
        return torch.rand(3, generator=own)

    for rank, found in enumerate(threads.run(drawn)):
        assert torch.equal(found, torch.rand(3, generator=torch.Generator().manual_seed(7 + rank)))


@pytest.mark.parametrize("n", [1, 3])
def test_without_a_generator_of_its_own_the_noise_is_torchs(threads, monkeypatch, n):
    threads.n = n
    monkeypatch.setattr(dist, "get_rank", lambda: 2)
    torch.manual_seed(7)
    own_noise()
    assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(7 if n == 1 else 9)))


@pytest.fixture
def group(monkeypatch):
    """What is done to a group of two processes, without the other."""
    done = []
    state = {"up": False}

    def switch(name, *, up):
        def call(*backend, **options):
            done.append((name, {"backend": backend, **options}))
            state["up"] = up

        monkeypatch.setattr(dist, name, call)

    switch("init_process_group", up=True)
    switch("destroy_process_group", up=False)
    monkeypatch.setattr(dist, "is_initialized", lambda: state["up"])
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(dist, "all_reduce", lambda _: done.append(("all_reduce", {})))
    monkeypatch.setattr(dist, "PrefixStore", lambda prefix, _: prefix)
    monkeypatch.setattr(_ranks, "_addresses", object)
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    yield done, state
    _settings.note_rank(0)


def test_who_joins_the_group_leaves_it_when_all_are_done(group):
    done, state = group
    with joined(torch.device("cpu")) as n:
        assert n == 2
        assert state["up"]
    assert [name for name, _ in done] == ["init_process_group", "all_reduce", "destroy_process_group"]
    assert done[0][1]["rank"] == 1
    assert done[0][1]["world_size"] == 2
    assert done[0][1]["backend"] == ("gloo",)


def test_each_time_has_addresses_of_its_own(group):
    done, _ = group
    for _ in range(3):
        with joined(torch.device("cpu")):
            pass
    assert len({options["store"] for name, options in done if name == "init_process_group"}) == 3


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_the_group_is_left_after_an_error_too_without_waiting_for_the_others(group, error):
    done, state = group
    with pytest.raises(error), joined(torch.device("cpu")):
        raise error
    assert [name for name, _ in done] == ["init_process_group", "destroy_process_group"]
    assert not state["up"]


def test_processes_on_gpus_meet_by_nccl(group):
    with pytest.raises(KeyError), joined(torch.device("cuda")):
        raise KeyError
    assert group[0][0][1]["backend"] == ("nccl",)


@pytest.mark.parametrize("error", [None, ValueError])
def test_a_group_of_the_caller_is_used_and_left_as_it_is(group, error):
    done, state = group
    state["up"] = True
    try:
        with joined(torch.device("cpu")) as n:
            assert n == 2
            if error:
                raise error
    except ValueError:
        pass
    assert not done
    assert state["up"]


def test_one_process_joins_nothing(group, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    with joined(torch.device("cpu")) as n:
        assert n == 1
    monkeypatch.delenv("WORLD_SIZE")
    with joined(torch.device("cpu")) as n:
        assert n == 1
    assert not group[0]


def test_training_leaves_the_group_when_it_fails(group, toy, monkeypatch):
    monkeypatch.setattr("jamie.model._jamie.fit", {}.pop)
    with pytest.raises(TypeError):
        jm.tl.train(toy, max_steps=1)
    assert [name for name, _ in group[0]] == ["init_process_group", "destroy_process_group"]


def test_a_process_stays_the_one_it_was_in_the_group(group):
    assert _settings.is_first()
    with joined(torch.device("cpu")):
        assert not _settings.is_first()
    assert not _settings.is_first()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RANK": None}, "expected RANK in the environment beside WORLD_SIZE=2, found none; start them with torchrun"),
        ({"MASTER_ADDR": None, "MASTER_PORT": None}, "expected MASTER_ADDR, MASTER_PORT in the environment beside"),
        ({"RANK": "2"}, "expected RANK from 0 to 1 beside WORLD_SIZE=2, found '2'"),
        ({"WORLD_SIZE": "many"}, "expected the environment variable WORLD_SIZE to be a whole number"),
    ],
)
def test_a_world_that_is_not_there_is_said(group, toy, monkeypatch, variables, message):
    for name, value in variables.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        jm.tl.train(toy, max_steps=1)
    assert not group[0]


@pytest.mark.parametrize("rank", ["0", "1"])
def test_who_finds_no_others_gives_up(toy, monkeypatch, rank):
    monkeypatch.setattr(_ranks, "MEETING", 1)
    _ranks._addresses.cache_clear()
    with socket.socket() as taken:  # by nobody who answers
        taken.bind(("127.0.0.1", 0))
        port = "0" if rank == "0" else str(taken.getsockname()[1])
        for name, value in {"WORLD_SIZE": "2", "RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(ValueError, match="expected 2 processes that train together in 1 s, as WORLD_SIZE says"):
            jm.tl.train(toy, max_steps=1)
    assert not dist.is_initialized()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, and -m gpu")
def test_a_gpu_and_the_cpu_agree():
    found = {}
    for device in ("cpu", "cuda"):
        mdata = jm.datasets.toy()
        found[device] = jm.tl.train(mdata, max_steps=200, device=device).summary_
    for score in found["cpu"].scores:
        if score.method == "jamie":
            assert abs(found["cuda"].value(score.measure, score.source, score.target) - score.value) < 0.05
