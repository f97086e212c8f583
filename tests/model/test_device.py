"""Where torch runs, and that the caller finds it as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy import sparse

import jamie as jm
from jamie.model import _device
from jamie.model._device import on_threads, resolve_device, seeded


def test_auto_asks_the_settings_then_the_machine(monkeypatch):
    assert resolve_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(jm.settings, "device", "cpu")
    assert resolve_device("auto") == torch.device("cpu")
    monkeypatch.setattr(jm.settings, "device", "auto")
    for there, expected in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert resolve_device("auto").type == expected


def test_what_is_not_there_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="CUDA device for device='cuda:1', found none; pass device='cpu'"):
        resolve_device("cuda:1")
    with pytest.raises(ValueError, match="found 'gpu0'"):
        resolve_device("gpu0")


def test_the_seed_comes_from_the_generator_and_the_state_is_given_back():
    before, drawn = torch.get_rng_state(), []
    for seed in (0, 0, 1):
        with seeded(np.random.default_rng(seed), torch.device("cpu")):
            drawn.append(torch.rand(3))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("n", [0, 1, 7, 8, 17])
def test_rows_come_back_as_if_computed_at_once(monkeypatch, n):
    monkeypatch.setattr(_device, "ROWS", 7)
    given, weights = np.arange(3 * n, dtype=np.float32).reshape(n, 3), torch.tensor([[1.0], [2], [3]])
    blocks = []

    def then(found, rows):
        blocks.append(len(found))
        return found + given[rows, :1]

    found = _device.by_rows(given, lambda x: x @ weights, torch.device("cpu"), then=then)
    assert_array_equal(found, given @ weights.numpy() + given[:, :1])
    assert max(blocks) <= 7
    assert sum(blocks) == n


def test_a_sparse_tensor_is_the_same_matrix():
    f = sparse.random(5, 4, density=0.4, format="csr", rng=np.random.default_rng(0))
    assert_array_equal(_device.to_torch(f).to_dense().numpy(), f.toarray().astype(np.float32))


def test_threads_are_as_set_and_given_back_after_an_error(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(jm.settings, "n_threads", before + 1)
    with pytest.raises(RuntimeError, match=f"on {before + 1} threads"), on_threads(64):
        raise RuntimeError(f"on {torch.get_num_threads()} threads")
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("widest", "n_threads"), [(256, 1), (512, 1), (1024, 3)])
def test_small_networks_get_one_thread_unless_the_settings_say_otherwise(widest, n_threads):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with on_threads(widest):
            assert torch.get_num_threads() == n_threads
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
