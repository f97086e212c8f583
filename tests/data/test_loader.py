from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from jamie.data import Draw, Loader, ModalityView, Problem
from jamie.data._batches import Partners


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
    return Problem({"a": view("a", 6, 3), "b": view("b", 5, 2, values), "c": view("c", 4, 2)}, known, {})


def load(problem, *, least=1, weights=None, partners=None, **cells):
    draw = Draw({name: np.array(index, dtype=int) for name, index in cells.items()}, weights, partners or {})
    return Loader(problem, {"a": 2.0, "b": 0.5, "c": 1.0}, torch.device("cpu"), least=least)([draw])


def named(problem):
    """The same with names of features, and loadings of which the last feature is most of each component."""

    def preparation(k, d=7):
        loadings = np.zeros((d, k), np.float32)
        loadings[np.arange(k), np.arange(k)] = 0.1
        loadings[-1] = 1
        return SimpleNamespace(loadings=loadings, features=np.array([f"f{i}" for i in range(d)]))

    modalities = {
        name: replace(view, preparation=preparation(view.inputs.shape[1])) for name, view in problem.modalities.items()
    }
    return replace(problem, modalities=modalities)


@pytest.mark.parametrize("value", [1e9, -1e9, np.inf])
@pytest.mark.parametrize("where", ["inputs", "values"])
def test_what_is_largest_is_named_wherever_it_is(problem, where, value):
    """Both what is read, and what outputs are compared with where values are missing."""
    problem = named(problem)
    view = problem.modalities["b"]
    getattr(view, where)[3, 1] = value
    load = Loader(problem, {"a": 1.0, "b": 2.0, "c": 1.0}, torch.device("cpu"))
    draws = [Draw({"a": np.arange(6), "b": np.arange(5), "c": np.arange(4)}, None, {})]
    said = load.extremes(draws)
    assert ("feature 'f1' of 'b'" if where == "values" else "component 1 of 'b', most of which is 'f6', 'f1'") in said
    assert f"{abs(value) / (2 if where == 'inputs' else 1):.3g}" in said
    others = [Draw({"a": np.arange(6), "b": np.arange(3), "c": np.arange(4)}, None, {})]
    assert "of 'b'" not in load.extremes(others) or f"{abs(value):.3g}" not in load.extremes(others)


def test_what_is_no_number_is_the_largest_and_what_is_missing_is_not(problem):
    problem = named(problem)
    problem.modalities["c"].inputs[1, 0] = np.nan
    draws = [Draw({"a": np.arange(6), "b": np.arange(5), "c": np.arange(4)}, None, {})]
    assert "component 0 of 'c'" in Loader(problem, dict.fromkeys("abc", 1.0), torch.device("cpu")).extremes(draws)


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
    assert_array_equal(batch.known["a", "b"].to_dense(), problem.known["a", "b"].toarray()[[4, 0, 2]][:, [1, 3]])
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


def test_without_weights_and_partners_a_batch_has_none(problem):
    batch = load(problem, a=[0, 1], b=[1], c=[2])
    assert batch.weights is None
    assert not batch.inferred


def test_weights_go_with_their_cells(problem):
    weights = {"a": np.array([0.5, 2.0]), "b": np.array([3.0]), "c": np.array([0.0, 1.0, 4.0])}
    batch = load(problem, least=2, weights=weights, a=[4, 0], b=[1], c=[1, 0, 2])
    assert set(batch.weights) == set(batch.inputs) == {"a", "c"}
    for name, found in batch.weights.items():
        assert found.dtype == torch.float32
        assert_array_equal(found, weights[name])


def invited(*positions):
    return Partners(*(np.array(some) for some in positions))


def test_partners_are_positions_and_half_a_partner_each(problem):
    partners = {("a", "b"): invited([2, 0], [1, 2], [0, 2])}
    batch = load(problem, partners=partners, a=[4, 0, 2], b=[1, 3, 4], c=[0])
    assert list(batch.inferred) == [("a", "b")]
    found = batch.inferred["a", "b"]
    assert [part.tolist() for part in found[:3]] == [[2, 0], [1, 2], [0, 2]]
    assert_array_equal(found.links.to_dense(), [[0, 0, 1], [0, 0, 0], [0.5, 0.5, 0]])


def test_partners_of_a_modality_that_is_left_out_are_too(problem):
    partners = {("a", "b"): invited([0], [0], [0]), ("a", "c"): invited([1], [1], [0])}
    batch = load(problem, least=2, partners=partners, a=[4, 0], b=[1], c=[1, 2])
    assert list(batch.inferred) == [("a", "c")]


def test_partners_asked_for_by_the_second_modality_are_mixed_the_other_way_round(problem):
    f = sparse.csr_matrix(problem.known["a", "b"].shape, dtype=np.float32)
    problem = replace(problem, known={**problem.known, ("a", "b"): f})
    batch = load(problem, partners={("b", "a"): invited([1], [2], [0])}, a=[4, 0, 2], b=[1, 3, 4], c=[0])
    assert_allclose(batch.correspondence(0.5)["a", "b"].to_dense(), [[0, 0.25, 0], [0, 0, 0], [0, 0.25, 0]])


@pytest.mark.parametrize("rho", [1, 0.75, 0])
def test_what_is_mixed_by_is_both_in_rows_of_partners_and_else_f(problem, rho):
    f = problem.known["a", "b"].tolil()
    f[0] = 0
    f[2, 3] = 0.4
    problem = replace(problem, known={**problem.known, ("a", "b"): f.tocsr()})
    partners = {("a", "b"): invited([2, 1], [1, 2], [0, 2])}
    batch = load(problem, partners=partners, a=[4, 0, 2], b=[1, 3, 4], c=[0])
    found = batch.correspondence(rho)
    assert list(found) == list(batch.known)
    expected = f.toarray()[[4, 0, 2]][:, [1, 3, 4]]
    assert expected[0].any()
    assert expected[2].any()
    expected[1] = [0, 0, 1 - rho]
    expected[2] = rho * expected[2] + [(1 - rho) / 2, (1 - rho) / 2, 0]
    assert_allclose(found["a", "b"].to_dense(), expected)
    for pair in (("a", "c"), ("b", "c")):
        assert found[pair] is batch.known[pair]
    assert batch.known["a", "b"].to_dense()[1].sum() == 0


def test_what_is_largest_in_a_batch_is_named(problem):
    """Component 1 of b, in the third cell of the second network, is the largest once it was divided by its number."""
    features, loadings = np.array([f"f{i}" for i in range(7)]), np.zeros((7, 2))
    loadings[:, 1] = [0.1, -0.9, 0.3, 0.0, 0.8, -0.5, 0.2]
    views = dict(problem.modalities)
    inputs = np.full((5, 2), 0.5, np.float32)
    inputs[2, 1] = -3.0
    preparation = SimpleNamespace(features=features, loadings=loadings)
    views["b"] = replace(views["b"], inputs=inputs, preparation=preparation, values=None)
    views["a"] = replace(views["a"], inputs=np.full((6, 3), 4.0, np.float32))  # larger, before it is divided
    load = Loader(replace(problem, modalities=views), {"a": 2.0, "b": 0.5, "c": 1.0}, torch.device("cpu"))
    draws = [Draw({"a": np.array([0]), "b": np.array(rows)}, None, {}) for rows in ([0, 1, 3], [4, 3, 2])]
    assert load.extremes(draws) == (
        "the largest value of its batch is 6, in component 1 of 'b', most of which is 'f1', 'f4', 'f5'"
    )


@pytest.mark.parametrize(
    ("read", "compared", "said"),
    [
        (3.0, -9.0, "9, in feature 'f4' of 'b', in standard deviations"),
        (3.0, np.inf, "inf, in feature 'f4' of 'b', in standard deviations"),
        (12.0, np.nan, "12, in component 1 of 'b', most of which is 'f1', 'f4', 'f5'"),  # NaN is missing there
        (np.nan, 9.0, "inf, in component 1 of 'b', most of which is 'f1', 'f4', 'f5'"),
        (-np.inf, 9.0, "inf, in component 1 of 'b', most of which is 'f1', 'f4', 'f5'"),
        (-1.0, 0.1, "4, in component 0 of 'a', most of which is 'g0'"),
    ],
)
def test_what_is_largest_may_be_what_outputs_are_compared_with(problem, read, compared, said):
    loadings = np.zeros((7, 2))
    loadings[:, 1] = [0.1, -0.9, 0.3, 0.0, 0.8, -0.5, 0.2]
    inputs, values = np.full((5, 2), 0.5, np.float32), np.zeros((5, 7), np.float32)
    inputs[2, 1], values[2, 4] = read, compared
    views = dict(problem.modalities)
    preparation = SimpleNamespace(features=np.array([f"f{i}" for i in range(7)]), loadings=loadings)
    views["b"] = replace(views["b"], inputs=inputs, preparation=preparation, values=values)
    one = SimpleNamespace(features=np.array(["g0"]), loadings=np.ones((1, 3)))
    views["a"] = replace(views["a"], inputs=np.full((6, 3), 4.0, np.float32), preparation=one, values=None)
    load = Loader(replace(problem, modalities=views), dict.fromkeys("abc", 1.0), torch.device("cpu"))
    draw = Draw({"a": np.array([0]), "b": np.array([4, 2]), "c": np.array([], dtype=int)}, None, {})
    assert load.extremes([draw]) == f"the largest value of its batch is {said}"


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_a_device_does_not_hold_is_gathered_where_it_is(problem, device):
    """The device of torch that holds shapes alone stands for one with too little memory."""
    load = Loader(problem, dict.fromkeys("abc", 1.0), torch.device(device))
    rows = {"a": [4, 0, 2], "b": [1, 0], "c": []}
    draw = Draw({name: np.array(of, dtype=int) for name, of in rows.items()}, None, {})
    index = load.index([draw])
    assert {tensor.device.type for tensor in index.tensors()} == {"cpu"}
    if device == "cpu":
        assert not index.inputs
        assert not index.values
        return
    assert list(index.inputs) == ["a", "b"]
    assert list(index.values) == ["b"]
    for name, found in index.inputs.items():
        assert_array_equal(found, problem.modalities[name].inputs[rows[name]])
    assert_array_equal(index.values["b"], problem.modalities["b"].values[rows["b"]])
    plain = Loader(problem, dict.fromkeys("abc", 1.0), torch.device("cpu")).index([draw])
    assert index.layout == plain.layout
    assert torch.equal(index.positions, plain.positions)
    assert torch.equal(index.numbers, plain.numbers)
    batch = load([draw])
    assert {x.device.type for x in (*batch.inputs.values(), *batch.values.values())} == {device}
