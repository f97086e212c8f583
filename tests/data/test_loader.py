from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from jamie.data import Loader, ModalityView, Problem


@pytest.fixture
def problem(rng):
    def view(name, n, k, values=None):
        inputs = rng.normal(size=(n, k)).astype(np.float32)
        return ModalityView(name, pd.RangeIndex(n), inputs, None, np.ones(n, dtype=bool), values)

    values = rng.normal(size=(5, 7)).astype(np.float32)
    values[0, 0] = np.nan
    known = {
        ("a", "b"): sparse.random(6, 5, density=0.5, format="csr", dtype=np.float32, rng=rng),
        ("a", "c"): sparse.csr_matrix((6, 4), dtype=np.float32),
        ("b", "c"): sparse.csr_matrix((5, 4), dtype=np.float32),
    }
    return Problem({"a": view("a", 6, 3), "b": view("b", 5, 2, values), "c": view("c", 4, 2)}, known)


def load(problem, *, least=1, **cells):
    rows = {name: np.array(index, dtype=int) for name, index in cells.items()}
    return Loader(problem, {"a": 2.0, "b": 0.5, "c": 1.0}, torch.device("cpu"), least=least)(rows)


def test_rows_are_gathered_and_divided_by_one_number(problem):
    batch = load(problem, a=[4, 0], b=[1, 2, 0], c=[3])
    assert {name: tuple(x.shape) for name, x in batch.inputs.items()} == {"a": (2, 3), "b": (3, 2), "c": (1, 2)}
    assert_allclose(batch.inputs["a"], problem.modalities["a"].inputs[[4, 0]] / 2)
    assert_allclose(batch.inputs["b"], problem.modalities["b"].inputs[[1, 2, 0]] * 2)
    assert {x.dtype for x in batch.inputs.values()} == {torch.float32}


def test_values_come_only_of_modalities_that_miss_any(problem):
    batch = load(problem, a=[0], b=[1, 0], c=[])
    assert list(batch.values) == ["b"]
    assert_array_equal(batch.values["b"], problem.modalities["b"].values[[1, 0]])


def test_known_pairs_are_those_of_the_rows(problem):
    batch = load(problem, a=[4, 0, 2], b=[1, 3], c=[0])
    assert_array_equal(batch.known["a", "b"], problem.known["a", "b"].toarray()[[4, 0, 2]][:, [1, 3]])
    assert batch.known["b", "c"].shape == (2, 1)


def test_a_modality_without_cells_is_left_out(problem):
    batch = load(problem, a=[4, 0], b=[], c=[1])
    assert set(batch.inputs) == {"a", "c"}
    assert set(batch.known) == {("a", "c")}


def test_a_modality_with_too_few_cells_for_batch_norm_is_left_out(problem):
    batch = load(problem, least=2, a=[4, 0], b=[1], c=[1, 2])
    assert set(batch.inputs) == {"a", "c"}
    assert set(batch.known) == {("a", "c")}
    assert not batch.values


def test_inputs_of_the_problem_are_not_changed(problem):
    view = problem.modalities["a"]
    before = replace(view, inputs=view.inputs.copy())
    batch = load(problem, a=[0], b=[0], c=[0])
    batch.inputs["a"].zero_()
    assert_array_equal(view.inputs, before.inputs)
