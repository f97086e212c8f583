"""Processes that train together: as one, to the bit between them."""

from __future__ import annotations

import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed as dist

import jamie as jm
from jamie import _settings
from jamie.nn import _ranks, joined

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


@pytest.fixture
def group(monkeypatch):
    """What is done to a group of two processes, without the other."""
    done = []
    state = {"up": False}

    def switch(name, *, up):
        def call(*_, **options):
            done.append((name, options))
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
