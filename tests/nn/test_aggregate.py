from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from jamie.nn import Links, _links, cross, meet
from jamie.nn import aggregate as aggregate_partners


def tensors(*arrays):
    return [torch.from_numpy(np.asarray(array, dtype=np.float64)) for array in arrays]


def aggregate(latents, correspondence, weights):
    return aggregate_partners(latents, meet(latents, correspondence), weights)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("w", [(1.0, 1.0), (0.5, 3.0)])
def test_two_modalities_follow_equation_3(rng, w):
    l_x, l_y, f = rng.normal(size=(7, 3)), rng.normal(size=(5, 3)), rng.random((7, 5))
    delta = w[1] / w[0]
    m_x = (l_x + delta * f @ l_y) / (1 + delta * f.sum(1, keepdims=True))
    m_y = (l_y + f.T @ l_x / delta) / (1 + f.sum(0)[:, None] / delta)

    x, y, known = tensors(l_x, l_y, f)
    w_x, w_y = tensors(*w)
    found = aggregate({"x": x, "y": y}, {("x", "y"): known}, {"x": w_x, "y": w_y})
    assert_allclose(found["x"], m_x)
    assert_allclose(found["y"], m_y)


def test_three_modalities_follow_the_general_formula(rng):
    sizes, w = {"a": 6, "b": 4, "c": 5}, {"a": 0.7, "b": 1.9, "c": 1.1}
    l = {name: rng.normal(size=(n, 2)) for name, n in sizes.items()}
    f = {pair: rng.random((sizes[pair[0]], sizes[pair[1]])) for pair in (("a", "b"), ("a", "c"), ("b", "c"))}
    both_ways = f | {(b, a): block.T for (a, b), block in f.items()}
    expected = {}
    for a in sizes:
        total, mass = w[a] * l[a], np.full((sizes[a], 1), w[a])
        for b in sizes.keys() - {a}:
            total = total + w[b] * both_ways[a, b] @ l[b]
            mass = mass + w[b] * both_ways[a, b].sum(1, keepdims=True)
        expected[a] = total / mass

    found = aggregate(
        {name: torch.from_numpy(latent) for name, latent in l.items()},
        {pair: torch.from_numpy(block) for pair, block in f.items()},
        {name: torch.tensor(weight, dtype=torch.float64) for name, weight in w.items()},
    )
    for name in sizes:
        assert_allclose(found[name], expected[name])


def test_cells_without_a_partner_keep_their_latent(rng):
    x, y, f = tensors(rng.normal(size=(4, 3)), rng.normal(size=(4, 3)), np.diag([1, 1, 0, 0]))
    w_x, w_y = tensors(1.0, 2.0)
    found = aggregate({"x": x, "y": y}, {("x", "y"): f}, {"x": w_x, "y": w_y})
    assert_allclose(found["x"][2:], x[2:])
    assert_allclose(found["y"][2:], y[2:])
    assert (found["x"][:2] != x[:2]).all()
    assert_array_equal(aggregate({"x": x}, {}, {"x": w_x})["x"], x)


def test_every_pair_meets_at_the_same_point_not_only_the_first_two(rng):
    x, y, w_x, w_y = tensors(rng.normal(size=(9, 3)), rng.normal(size=(9, 3)), 1.0, 3.0)
    found = aggregate({"x": x, "y": y}, {("x", "y"): torch.eye(9, dtype=x.dtype)}, {"x": w_x, "y": w_y})
    assert_allclose(found["x"], (x + 3 * y) / 4)
    assert_allclose(found["y"], found["x"])


@pytest.mark.parametrize("confidence", [0.1, 0.5, 1.0])
def test_confidence_sets_how_far_a_cell_is_pulled(confidence):
    x, y, f, w_a, w_b = tensors([[0.0]], [[1.0]], [[confidence]], 2.0, 3.0)
    found = aggregate({"a": x, "b": y}, {("a", "b"): f}, {"a": w_a, "b": w_b})
    assert found["a"].item() == pytest.approx(3 * confidence / (2 + 3 * confidence))


def test_each_of_many_partners_weighs_its_confidence_and_a_cell_itself_one():
    l_x, l_y = np.eye(2, 6), np.eye(6)[2:]  # every latent a dimension: the aggregate reads off who weighs how much
    f = np.array([[0.1, 0.3, 0, 0.4], [0, 0.5, 0, 0]])
    x, y, known, w_x, w_y = tensors(l_x, l_y, f, 1.0, 1.0)
    found = aggregate({"x": x, "y": y}, {("x", "y"): known}, {"x": w_x, "y": w_y})
    assert_allclose(found["x"] / found["x"].diagonal()[:, None], np.hstack([np.eye(2), f]))
    assert_allclose(found["y"] / found["y"][:, 2:].diagonal()[:, None], np.hstack([f.T, np.eye(4)]))


def test_sparse_and_dense_correspondence_agree(rng):
    x, y, f = tensors(rng.normal(size=(6, 2)), rng.normal(size=(8, 2)), rng.random((6, 8)) * (rng.random((6, 8)) < 0.3))
    w_x, w_y = tensors(1.0, 2.0)
    latents, weights = {"x": x, "y": y}, {"x": w_x, "y": w_y}
    dense, thin = ({("x", "y"): matrix} for matrix in (f, f.to_sparse()))
    for name in latents:
        assert_allclose(aggregate(latents, thin, weights)[name], aggregate(latents, dense, weights)[name])
    for pair in (("x", "y"), ("y", "x")):
        for one, other in zip(cross(meet(latents, thin))[pair], cross(meet(latents, dense))[pair], strict=True):
            assert_allclose(one, other)


def test_cross_averages_the_partners_and_says_how_sure_they_are():
    f = [[0.5, 0, 1], [0.25, 0, 1]]
    l_x, l_y = np.array([[1.0, 2.0], [3.0, 6.0]]), np.array([[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]])
    x, y, known = tensors(l_x, l_y, f)
    found = cross(meet({"x": x, "y": y}, {("x", "y"): known}))
    assert set(found) == {("x", "y"), ("y", "x")}
    to_y, sure = found["x", "y"]
    assert_allclose(to_y, [(2 * l_x[0] + l_x[1]) / 3, [0, 0], l_x.mean(0)])
    assert_allclose(sure, [0.75, 0, 1])
    few = cross(meet({"x": x, "y": y}, {("x", "y"): known}), {("x", "y"): torch.tensor([2, 0])})
    assert_allclose(few["x", "y"][0], to_y[[2, 0]])
    assert_allclose(few["x", "y"][1], [1, 0.75])
    assert_array_equal(few["y", "x"][0], found["y", "x"][0])
    to_x, sure = found["y", "x"]
    assert_allclose(to_x, [(0.5 * l_y[0] + l_y[2]) / 1.5, (0.25 * l_y[0] + l_y[2]) / 1.25])
    assert_allclose(sure, [1, 1])


@pytest.mark.parametrize("many", [0, 1e9])
def test_lists_of_many_links_and_of_few_give_what_the_matrix_gives(many, monkeypatch):
    monkeypatch.setattr(_links, "MANY", many)
    rng = np.random.default_rng(0)
    dense = torch.from_numpy(rng.random((5, 4)) * (rng.random((5, 4)) < 0.6))
    x, y = (torch.from_numpy(rng.normal(size=shape)).requires_grad_() for shape in ((4, 3), (5, 3)))
    links = Links.of(dense)
    torch.testing.assert_close(links @ x, dense @ x)
    torch.testing.assert_close(links.T @ y, dense.T @ y)
    torch.testing.assert_close(*(torch.autograd.grad((f @ x).square().sum(), x)[0] for f in (links, dense)))
    doubled = links.and_also(links, 0.5)
    torch.testing.assert_close(doubled @ x, 1.5 * dense @ x)
    torch.testing.assert_close(doubled.to_dense(), 1.5 * dense)
