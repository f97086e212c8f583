from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace

import pytest

from jamie._errors import InvalidValueError
from jamie.train import RECIPES, Recipe, recipe_of


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
