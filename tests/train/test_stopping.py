"""When losses are read, weights judged and training ended, by recipe."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from jamie.train import RECIPES, one_cycle
from jamie.train._schedule import cycle_ends
from jamie.train._stopping import CHECK_EVERY, ConstantRate, Cycles, stopping_of

CONSTANT = replace(RECIPES["default"], cycles=0, max_steps=100, min_steps=50, patience=3)


def read(stopping):
    return [step for step in range(1, stopping.max_steps + 1) if stopping.reads(step)]


def judged(stopping):
    return [step for step in read(stopping) if stopping.judges(step)]


def test_each_recipe_has_its_way():
    ways = {
        (name, held_out): stopping_of(recipe, steps_per_epoch=3, held_out=held_out)
        for name, recipe in RECIPES.items()
        for held_out in (True, False)
    }
    assert ways["paper", False] == ConstantRate(30_000, 7_500, 500, 3)
    assert ways["paper", True] == ConstantRate(30_000, 7_500, 500, CHECK_EVERY)
    assert ways["default", True] == Cycles((100, 300, 700), 1, CHECK_EVERY, held_out=True)
    assert ways["default", False] == Cycles((100, 300, 700), 1, 3, held_out=False)
    assert ways["integrate", False] == Cycles((3_000,), 1, 3, held_out=False)
    with pytest.raises(FrozenInstanceError):
        ways["paper", False].patience = 1


@pytest.mark.parametrize(("held_out", "every"), [(True, CHECK_EVERY), (False, 7)])
def test_at_a_constant_rate_losses_are_read_every_few_steps_and_judged_from_the_least_on(held_out, every):
    stopping = stopping_of(CONSTANT, steps_per_epoch=7, held_out=held_out)
    expected = sorted({*range(every, 101, every), 100})
    assert read(stopping) == expected
    assert judged(stopping) == [step for step in expected if step >= 50]
    assert {stopping.rate(step) for step in range(1, 101)} == {1.0}
    assert [stopping.is_over(stale) for stale in range(5)] == [False, False, False, True, True]
    assert not stopping.compares_cells


@pytest.mark.parametrize(("held_out", "every"), [(True, CHECK_EVERY), (False, 7)])
def test_in_cycles_weights_are_judged_where_one_ends(held_out, every):
    stopping = stopping_of(replace(CONSTANT, cycles=3), steps_per_epoch=7, held_out=held_out)
    assert judged(stopping) == cycle_ends(100, 3)
    assert read(stopping) == sorted({*range(every, 101, every), *cycle_ends(100, 3)})
    assert [stopping.rate(step) for step in range(1, 101)] == [
        one_cycle(step, cycle_ends(100, 3)) for step in range(1, 101)
    ]
    assert stopping.compares_cells == held_out
    assert [stopping.is_over(stale) for stale in range(5)] == ([False] * 3 + [True] * 2 if held_out else [True] * 5)


@pytest.mark.parametrize("cycles", [0, 1, 3])
@pytest.mark.parametrize("max_steps", [1, 2, 3, 19, 20, 21])
@pytest.mark.parametrize("held_out", [True, False])
def test_the_last_step_is_always_read(cycles, max_steps, held_out):
    recipe = replace(CONSTANT, cycles=cycles, max_steps=max_steps)
    assert read(stopping_of(recipe, steps_per_epoch=4, held_out=held_out))[-1] == max_steps


def test_epochs_are_counted_in_steps():
    recipe = replace(CONSTANT, step_unit="epoch")
    stopping = stopping_of(recipe, steps_per_epoch=5, held_out=False)
    assert (stopping.max_steps, stopping.min_steps, stopping.read_every) == (500, 250, 5)
    assert stopping_of(replace(recipe, cycles=2), steps_per_epoch=5, held_out=True).ends == tuple(cycle_ends(500, 2))
