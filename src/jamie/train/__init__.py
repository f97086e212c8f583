"""Recipes, objective and the loop."""

from __future__ import annotations

from ._history import History
from ._objective import Losses, Target, objective
from ._recipe import RECIPES, Recipe, recipe_of
from ._schedule import kl_weight, one_cycle
from ._trainer import Fitted, fit

__all__ = [
    "RECIPES",
    "Fitted",
    "History",
    "Losses",
    "Recipe",
    "Target",
    "fit",
    "kl_weight",
    "objective",
    "one_cycle",
    "recipe_of",
]
