from __future__ import annotations

import numpy as np
import pytest
import torch

from jamie._checks import (
    generator,
    require_choice,
    require_fraction,
    require_positive,
    require_same_shape,
    require_unique,
)


def message_of(value, choices, **options):
    with pytest.raises(KeyError) as caught:
        require_choice(value, choices, **options)
    return caught.value.args[0]


def test_choice_is_returned():
    assert require_choice("rna", ["rna", "atac"], name="source") == "rna"


def test_wrong_choice_shows_the_choices_the_closest_and_the_hint():
    shown = message_of("protien", ["rna", "protein"], name="source", hint="see mdata.mod")
    assert shown == (
        "expected `source` to be one of ['rna', 'protein'], found 'protien'; did you mean 'protein'?; see mdata.mod"
    )


@pytest.mark.parametrize("value", [3, None, ["rna"], np.nan])
def test_choice_of_another_type_is_wrong_too(value):
    assert message_of(value, {"rna": 0}, name="x").startswith(f"expected `x` to be one of ['rna'], found {value!r}")


def test_long_lists_of_choices_are_cut():
    shown = message_of("?", [f"gene{i}" for i in range(25)], name="features")
    assert "'gene9' and 15 more]" in shown
    assert "gene10" not in shown


def test_repeated_names_are_counted_and_the_first_is_named():
    require_unique(["a", "b"], where="w", remedy="r")
    require_unique([], where="w", remedy="r")
    with pytest.raises(ValueError, match=r"unique names in `obs`, found 2 repeated, first 'a'; call fix\(\)"):
        require_unique(["b", "a", "b", "a", "c", "a"], where="obs", remedy="fix()")


@pytest.mark.parametrize("value", [0, 1, -0.1, 80, float("nan")])
def test_fraction_is_open_at_both_ends(value):
    with pytest.raises(ValueError, match=rf"0 < `test_fraction` < 1, found {value}"):
        require_fraction(value, name="test_fraction")


def test_fraction_is_returned():
    assert require_fraction(0.25, name="f") == 0.25


def test_numbers_below_one_are_refused_by_name():
    require_positive(a=1, b=7)
    with pytest.raises(ValueError, match="expected `b` of at least 1, found 0"):
        require_positive(a=1, b=0)


@pytest.mark.parametrize("make", [np.zeros, torch.zeros])
def test_shapes_that_would_broadcast_are_refused(make):
    require_same_shape(make((3, 2)), make((3, 2)), names=("a", "b"))
    with pytest.raises(ValueError, match=r"expected `a` and `b` of the same shape, found .*3, 2.* and .*1, 2"):
        require_same_shape(make((3, 2)), make((1, 2)), names=("a", "b"))


def test_a_generator_is_advanced_and_a_seed_is_not():
    rng = np.random.default_rng(0)
    assert generator(rng) is rng
    assert generator(3).random() == generator(3).random()
    assert generator(None).random() != generator(None).random()
