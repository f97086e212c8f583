from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path

import numpy as np
import pytest

import jamie as jm
from jamie._errors import InvalidValueError, WrongTypeError
from jamie.train import RECIPES, Recipe, recipe_of
from jamie.train._recipe import OPTIONS, RANGES


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_values(name):
    recipe = RECIPES[name]
    assert recipe.name == name
    with pytest.raises(FrozenInstanceError):
        recipe.dropout = 0
    assert recipe == replace(recipe)
    assert hash(recipe) == hash(replace(recipe))


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_json(name):
    recipe = replace(RECIPES[name], n_latent=7)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_paper_recipe_holds_the_published_numbers():
    paper = RECIPES["paper"]
    scale = 0.032  # of the whole loss, in the published code
    assert paper.kl == pytest.approx(scale)
    assert paper.combination == pytest.approx(1000 * scale)
    assert paper.reconstruction == pytest.approx(31.25 * scale)
    assert paper.alignment == pytest.approx(31.25 * scale)
    assert (paper.cross, paper.contrastive, paper.inferred, paper.weight_decay) == (0, 0, 0, 0)
    assert (paper.rho, paper.infer_below, paper.least_paired) == (1, 0, 0)
    assert (paper.n_comps, paper.n_latent, paper.batch_size) == (512, 32, 512)
    assert (paper.min_steps, paper.max_steps, paper.patience) == (2_500, 10_000, 500)
    assert (paper.learning_rate, paper.clip, paper.dropout) == (1e-3, 1, 0.6)
    assert (paper.cycles, paper.validation, paper.averaging, paper.kernel_mix) == (0, 0, 0, False)
    assert paper.hidden_for(10) == [20, 10]
    assert RECIPES["default"].hidden_for(10) == [256, 256]


def test_settings_that_are_not_none_replace_those_of_the_recipe():
    changed = recipe_of("default", n_latent=8, dropout=0.0, batch_size=None)
    assert changed == replace(RECIPES["default"], n_latent=8, dropout=0.0)
    assert recipe_of(changed) is not RECIPES["default"]
    assert recipe_of(changed, max_steps=5).n_latent == 8


def test_unknown_recipe_names_the_choices():
    with pytest.raises(InvalidValueError) as caught:
        recipe_of("papr")
    expected = f"expected `recipe` to be one of {list(RECIPES)}, found 'papr'; did you mean 'paper'?"
    assert caught.value.args[0] == expected


@pytest.mark.parametrize("value", [3, None, {"n_latent": 8}, RECIPES, b"default"])
def test_what_is_no_recipe_is_refused(value):
    with pytest.raises(WrongTypeError, match=r"one of \['default', 'integrate', 'paper'\] or a jm\.Recipe, found"):
        recipe_of(value)


def test_recipes_are_public_and_read_only():
    assert jm.Recipe is Recipe
    assert list(jm.recipes) == ["default", "integrate", "paper"]
    assert all(isinstance(recipe, jm.Recipe) for recipe in jm.recipes.values())
    with pytest.raises(TypeError):
        jm.recipes["mine"] = jm.recipes["default"]
    with pytest.raises(TypeError):
        del jm.recipes["paper"]


NAN, INF = float("nan"), float("inf")
WRONG = {
    "a whole number of at least 1": [0, -1, np.int64(0)],
    "a whole number of at least 0": [-1, np.int32(-5)],
    "a finite number of at least 0": [-0.1, -1, NAN, INF, -INF, np.float32("nan")],
    "a finite number above 0": [0, 0.0, -1e-3, NAN, INF],
    "a number above 0": [0, -1, NAN],
    "a number from 0 to 1": [-0.1, 1.1, 80, NAN, INF],
    "a number of at least 0 and below 1": [-0.1, 1, 1.0, 30, NAN, np.float64(1)],
}
RIGHT = {
    "a whole number of at least 1": [1, np.int64(7), np.uint8(7), 10**9],
    "a whole number of at least 0": [0, np.int8(3)],
    "a finite number of at least 0": [0, 2, 1.5, np.float32(0.5), np.int64(2)],
    "a finite number above 0": [1e-9, 1, np.float64(3)],
    "a number above 0": [0.1, 5, INF],
    "a number from 0 to 1": [0, 1, 0.5, np.float32(1)],
    "a number of at least 0 and below 1": [0, 0.999, np.float32(0.25)],
}


def test_each_setting_of_a_recipe_is_checked():
    assert {*RANGES, *OPTIONS, "name", "hidden", "kernel_mix"} == {field.name for field in fields(Recipe)}
    assert {allowed.says for allowed in RANGES.values()} == set(WRONG) == set(RIGHT)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, allowed in RANGES.items() for value in WRONG[allowed.says]]
)
def test_numbers_out_of_range_are_refused_with_the_field_the_range_and_a_value_that_works(name, value):
    with pytest.raises(InvalidValueError) as caught:
        replace(RECIPES["paper"], **{name: value})
    usual = getattr(RECIPES["default"], name)
    assert str(caught.value) == (
        f"expected `{name}` of a recipe to be {RANGES[name].says}, found {value}; recipe 'default' has {name}={usual!r}"
    )


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, allowed in RANGES.items() for value in RIGHT[allowed.says]]
)
def test_numbers_in_range_are_kept_as_plain_ones(name, value):
    kept = getattr(replace(RECIPES["paper"], **{name: value}), name)
    assert kept == value
    assert type(kept) is (int if RANGES[name].is_whole else float)


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("value", [True, np.bool_(1), "3", None, [1], 1j, np.array([1, 2])])
def test_what_is_no_number_is_refused(name, value):
    with pytest.raises(WrongTypeError, match=rf"`{name}` of a recipe to be a .*, found .*; recipe 'default' has"):
        replace(RECIPES["default"], **{name: value})


@pytest.mark.parametrize("name", [name for name, allowed in RANGES.items() if allowed.is_whole])
@pytest.mark.parametrize("value", [2.0, 2.5, np.float32(2), NAN])
def test_fractions_are_no_whole_numbers(name, value):
    with pytest.raises(WrongTypeError, match=rf"`{name}` of a recipe to be a whole number of .*, found {value}"):
        replace(RECIPES["default"], **{name: value})


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("value", ["layers", "Batch", "", None, 1])
def test_another_option_is_refused(name, value):
    with pytest.raises(InvalidValueError, match=rf"`{name}` to be one of .*, found {value!r}"):
        replace(RECIPES["default"], **{name: value})


@pytest.mark.parametrize("value", [(64,), [64, 32], np.array([64, 32]), (np.int64(8),), None, {3: 0, 4: 0}.keys()])
def test_hidden_widths_come_as_any_list(value):
    kept = replace(RECIPES["default"], hidden=value).hidden
    assert kept is None or (type(kept) is tuple and {type(width) for width in kept} == {int})
    assert hash(replace(RECIPES["default"], hidden=kept)) == hash(replace(RECIPES["default"], hidden=kept))


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (256, WrongTypeError, r"found 256 of type int; pass hidden=\(256,\)"),
        ("256", WrongTypeError, "found '256' of type str"),
        ((), InvalidValueError, r"found \[\]; pass whole numbers"),
        ((64, 0), InvalidValueError, r"found \[64, 0\]"),
        ((64, -1), InvalidValueError, r"found \[64, -1\]"),
        ((64.0,), InvalidValueError, r"found \[64\.0\]"),
        ((True,), InvalidValueError, r"found \[True\]"),
        (("64",), InvalidValueError, r"found \['64'\]"),
    ],
)
def test_widths_that_no_layer_has_are_refused(value, error, message):
    with pytest.raises(
        error,
        match=r"^expected `hidden` of a recipe to be widths of layers such as \(256, 256\), or None for the paper's, .*"
        + message,
    ):
        replace(RECIPES["default"], hidden=value)


@pytest.mark.parametrize("value", [0, 1, "True", None])
def test_a_switch_is_true_or_false(value):
    assert replace(RECIPES["default"], kernel_mix=np.bool_(0)).kernel_mix is False
    with pytest.raises(WrongTypeError, match=r"`kernel_mix` of a recipe to be True or False, found"):
        replace(RECIPES["default"], kernel_mix=value)


@pytest.mark.parametrize("value", ["", 3, None])
def test_a_recipe_has_a_name(value):
    with pytest.raises(WrongTypeError, match=r"`name` of a recipe to be text, found"):
        replace(RECIPES["default"], name=value)


@pytest.mark.parametrize(
    ("name", "value"), [("max_steps", 0), ("batch_size", 0), ("n_latent", 0), ("dropout", 1.5), ("dropout", -0.1)]
)
def test_training_refuses_such_settings_before_it_reads_the_data(toy, monkeypatch, name, value):
    monkeypatch.setattr("jamie.model._jamie.read", None)
    with pytest.raises(InvalidValueError, match=f"`{name}` of a recipe to be .*, found {value}"):
        jm.tl.train(toy, **{name: value})
    assert "jamie" not in toy.uns


def test_a_recipe_survives_a_file(toy, tmp_path: Path):
    import mudata

    model = jm.tl.train(toy, recipe=replace(jm.recipes["default"], hidden=(8, 4), n_latent=3), max_steps=1)
    toy.write(tmp_path / "toy.h5mu")
    assert Recipe.from_dict(mudata.read_h5mu(tmp_path / "toy.h5mu").uns["jamie"]["recipe"]) == model.recipe_
