"""Recipes, objective and the loop."""

from __future__ import annotations

from ._history import History
from ._objective import Losses, Target, objective
from ._recipe import RECIPES, Recipe, recipe_of
from ._schedule import kl_weight, one_cycle
from ._state import Keeps, TrainingState
from ._trainer import Fitted, fit

__all__ = [
    "RECIPES",
    "Fitted",
    "History",
    "Keeps",
    "Losses",
    "Recipe",
    "Target",
    "TrainingState",
    "fit",
    "kl_weight",
    "objective",
    "one_cycle",
    "recipe_of",
]
