"""Lists of links, against the matrices that they stand for."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from jamie.nn import Links


@pytest.fixture
def dense():
    rng = torch.Generator().manual_seed(0)
    values, has = (torch.rand(5, 4, generator=rng, dtype=torch.float64) for _ in range(2))
    return values * (has < 0.5)


def test_the_links_are_the_entries_that_are_not_zero(dense):
    links = Links.of(dense)
    assert links.shape == (5, 4)
    assert len(links.rows) == len(links.columns) == len(links.confidence) == int((dense != 0).sum())
    assert_close(links.to_dense(), dense)


def test_exchanged_sides_are_the_transpose(dense):
    assert Links.of(dense).T.shape == (4, 5)
    assert_close(Links.of(dense).T.to_dense(), dense.T)
    assert_close(Links.of(dense).T.T.to_dense(), dense)


def test_scaled_rows_are_those_of_a_diagonal_product(dense):
    factors = torch.arange(1.0, 6, dtype=dense.dtype)
    scaled = Links.of(dense).scaled(factors)
    assert scaled.shape == (5, 4)
    assert_close(scaled.to_dense(), torch.diag(factors) @ dense)


def test_a_share_of_other_links_is_added(dense):
    others = torch.rand(5, 4, generator=torch.Generator().manual_seed(1), dtype=dense.dtype)
    both = Links.of(dense).and_also(Links.of(others), 0.25)
    assert both.shape == (5, 4)
    assert_close(both.to_dense(), dense + 0.25 * others)


def test_links_given_twice_add_up():
    twice = Links(torch.tensor([1, 1]), torch.tensor([0, 0]), torch.tensor([0.25, 0.5]), (2, 3))
    assert_close(twice.to_dense(), torch.tensor([[0.0, 0, 0], [0.75, 0, 0]]))
    assert_close(twice @ torch.ones(3, 1), torch.tensor([[0.0], [0.75]]))


def test_cells_of_several_networks_count_on_from_one_to_the_next(dense):
    x = torch.rand(3, 4, 2, generator=torch.Generator().manual_seed(2), dtype=dense.dtype)
    several = Links.of(torch.block_diag(*(i * dense for i in (1, 2, 3))))
    assert_close(several @ x, torch.stack([i * dense @ own for i, own in enumerate(x, start=1)]))
