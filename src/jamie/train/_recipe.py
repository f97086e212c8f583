"""Recipes are values: everything that a training depends on, besides data and seed. They are checked when made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from jamie._checks import is_number, is_whole, require_option, typed
from jamie._errors import InvalidValueError, WrongTypeError

InputScale = Literal["first", "all"]
Norm = Literal["batch", "layer"]
StepUnit = Literal["step", "epoch"]


class Range(NamedTuple):
    """Numbers that a setting of a recipe may have."""

    says: str
    least: float
    most: float = math.inf
    is_whole: bool = False
    open_at: tuple[float, ...] = ()  # ends that are not in it

    def __contains__(self, value: object) -> bool:
        """Whether a number is in the range; NaN is in none."""
        return isinstance(value, int | float) and self.least <= value <= self.most and value not in self.open_at


_COUNT = Range("a whole number of at least 1", 1, is_whole=True)
_COUNT_OR_NONE = Range("a whole number of at least 0", 0, is_whole=True)
_WEIGHT = Range("a finite number of at least 0", 0, open_at=(math.inf,))
_ABOVE_0 = Range("a finite number above 0", 0, open_at=(0, math.inf))
_SHARE = Range("a number from 0 to 1", 0, 1)
_SHARE_BELOW_1 = Range("a number of at least 0 and below 1", 0, 1, open_at=(1,))

RANGES = {
    **dict.fromkeys(("n_comps", "n_latent", "n_networks", "batch_size", "max_steps", "patience"), _COUNT),
    **dict.fromkeys(("cycles", "min_steps"), _COUNT_OR_NONE),
    **dict.fromkeys(("kl", "combination", "reconstruction", "cross", "contrastive", "alignment", "inferred"), _WEIGHT),
    **dict.fromkeys(("max_value", "weight_decay"), _WEIGHT),
    **dict.fromkeys(("temperature", "learning_rate"), _ABOVE_0),
    **dict.fromkeys(("rho", "infer_below", "least_paired"), _SHARE),
    **dict.fromkeys(("dropout", "averaging", "validation"), _SHARE_BELOW_1),
    "clip": Range("a number above 0", 0, open_at=(0,)),
}
OPTIONS = {"input_scale": get_args(InputScale), "norm": get_args(Norm), "step_unit": get_args(StepUnit)}


@dataclass(frozen=True)
class Recipe:
    """One way to build and train the joint VAE.

    A changed copy is made by :func:`dataclasses.replace`. Each setting is checked when a recipe is made.

    Attributes
    ----------
    name
        Name of the recipe this one started from.
    n_comps
        Principal components a modality, where `pp.prepare` was not called before.
    max_value
        Standard deviations at which continuous values are clipped, where `pp.prepare` was not called before; 0: none.
    input_scale
        What the components of a modality are divided by: sd of the first (``"first"``) or of all (``"all"``).
    n_latent
        Latent dimensions g of a network.
    n_networks
        Networks that are trained side by side, each from its own start and with batches of its own; what is imputed is
        their mean, and a cell has the latents of all.
    hidden
        Widths of the hidden layers; `None` for the paper's d → 2d → d.
    norm
        ``"batch"``: BatchNorm, LeakyReLU; ``"layer"``: LayerNorm, GELU.
    dropout
        Share of hidden units dropped in training.
    kl, combination, reconstruction, cross, contrastive, alignment
        Weights of the loss terms (eq. 1); the paper's α, β and γ, times 0.032, are `combination`, `reconstruction` and
        `alignment` of its recipe.
    inferred
        Weight of inferred partners in the contrastive term, as a share of that of known ones.
    rho
        ρ: in the aggregation ρF + (1 − ρ) F̃ stands for F in rows of F̃; F stays in rows where nothing was
        inferred. At ρ = 1 partners are drawn for cells without a known one alone, and eq. 9 is unbiased in batches.
    infer_below
        Share of cells with a known partner below which F̃ is inferred from the pairs, where
        `pp.infer_correspondence` was not called.
    temperature
        τ of the contrastive term.
    learning_rate, weight_decay
        Of AdamW.
    cycles
        Cycles of a learning rate that rises and falls, each twice as long as the one before; weights are kept at the
        end of a cycle. 0: the rate is constant.
    averaging
        Decay of the running average of the weights, which is what is scored and kept; 0 for the weights themselves.
    clip
        Largest norm of the gradient.
    batch_size
        Linked cells (pairs, or cells without one) per step of a network. Where they are measured in more than two
        modalities on average, ``"default"`` and ``"integrate"`` take as many fewer, if named and not given as values.
    least_paired
        Share of a batch that pairs have at least, where there are fewer; 0: batches are drawn from all alike.
    max_steps, min_steps
        Last step, and step until which κ of the KL term rises; at a constant rate no weights are kept before it.
    step_unit
        What these two count: ``"step"`` (batches), or ``"epoch"`` as the published code does, floor(n / batch size)
        batches each.
    validation
        Share of the training pairs held out to choose the weights; 0 keeps those of the lowest training loss.
    kernel_mix
        Whether a kernel regression is fitted beside the networks and mixed into what they impute.
    patience
        Epochs, or cycles, without improvement after which training stops.

    Examples
    --------
    >>> from dataclasses import replace
    >>> import jamie as jm
    >>> recipe = replace(jm.recipes["default"], hidden=(64, 64), dropout=0.3, max_steps=5)
    >>> model = jm.tl.train(jm.datasets.toy(), recipe=recipe)
    >>> replace(recipe, dropout=30)
    Traceback (most recent call last):
        ...
    jamie._errors.InvalidValueError: expected `dropout` of a recipe to be ... at least 0 and below 1, found 30; ...
    """

    name: str
    n_comps: int
    max_value: float
    input_scale: InputScale
    n_latent: int
    n_networks: int
    hidden: tuple[int, ...] | None
    norm: Norm
    dropout: float
    kl: float
    combination: float
    reconstruction: float
    cross: float
    contrastive: float
    alignment: float
    inferred: float
    rho: float
    infer_below: float
    temperature: float
    learning_rate: float
    weight_decay: float
    cycles: int
    averaging: float
    clip: float
    batch_size: int
    least_paired: float
    max_steps: int
    min_steps: int
    step_unit: StepUnit
    validation: float
    patience: int
    kernel_mix: bool

    def __post_init__(self) -> None:
        """Check each setting, and keep plain numbers of Python, which JSON and `.uns` hold."""
        for field in fields(self):
            object.__setattr__(self, field.name, _checked(field.name, getattr(self, field.name)))

    def hidden_for(self, n_input: int) -> list[int]:
        """Widths of the hidden layers of a modality with `n_input` components."""
        return [2 * n_input, n_input] if self.hidden is None else list(self.hidden)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for `.uns` and JSON; tuples become lists."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in given.items() if value is not None
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Recipe:
        """Read back what `to_dict` wrote."""
        return cls(**{"hidden": None, **stored})


def _checked(name: str, value: Any) -> Any:
    """Return a setting as a plain value of Python, or say what it may be."""
    if name in RANGES:
        return _number(name, value, RANGES[name])
    if name in OPTIONS:
        return str(require_option(value, OPTIONS[name], name=name))
    if name == "hidden":
        return _widths(value)
    if name == "kernel_mix":
        return _switch(name, value)
    return _text(name, value)


def _number(name: str, value: Any, allowed: Range) -> int | float:
    if not (is_whole if allowed.is_whole else is_number)(value):
        msg = f"expected `{name}` of a recipe to be {allowed.says}, found {typed(value)}; {_usual(name)}"
        raise WrongTypeError(msg)
    plain = int(value) if allowed.is_whole else float(value)
    if plain not in allowed:
        msg = f"expected `{name}` of a recipe to be {allowed.says}, found {value}; {_usual(name)}"
        raise InvalidValueError(msg)
    return plain


def _widths(value: Any) -> tuple[int, ...] | None:
    if value is None:
        return None
    expected = "expected `hidden` of a recipe to be widths of layers such as (256, 256), or None for the paper's"
    if isinstance(value, str) or not isinstance(value, Iterable):
        msg = f"{expected}, found {typed(value)}" + (f"; pass hidden=({value},)" if is_whole(value) else "")
        raise WrongTypeError(msg)
    widths = list(value)
    if not widths or not all(is_whole(width) and width >= 1 for width in widths):
        msg = f"{expected}, found {widths}; pass whole numbers of at least 1, one for each layer"
        raise InvalidValueError(msg)
    return tuple(map(int, widths))


def _switch(name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        msg = f"expected `{name}` of a recipe to be True or False, found {typed(value)}; {_usual(name)}"
        raise WrongTypeError(msg)
    return bool(value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        msg = f"expected `{name}` of a recipe to be text, found {typed(value)}; pass e.g. {name}='mine'"
        raise WrongTypeError(msg)
    return str(value)


def _usual(name: str) -> str:
    """Name a value that works; recipes are all there by the time that one can be wrong."""
    return f"recipe 'default' has {name}={getattr(RECIPES['default'], name)!r}"


PAPER = Recipe(
    name="paper",
    n_comps=512,
    max_value=0.0,
    input_scale="all",
    n_latent=32,
    n_networks=1,
    hidden=None,
    norm="batch",
    dropout=0.6,
    kl=0.032,
    combination=32.0,
    reconstruction=1.0,
    cross=0.0,
    contrastive=0.0,
    alignment=1.0,
    inferred=0.0,
    rho=1.0,
    infer_below=0.0,
    temperature=1.0,
    learning_rate=1e-3,
    weight_decay=0.0,
    cycles=0,
    averaging=0.0,
    clip=1.0,
    batch_size=512,
    least_paired=0.0,
    max_steps=10_000,
    min_steps=2_500,
    step_unit="epoch",
    validation=0.0,
    patience=500,
    kernel_mix=False,
)

DEFAULT = replace(
    PAPER,
    name="default",
    n_comps=50,
    max_value=3.0,
    input_scale="first",
    hidden=(256, 256),
    norm="layer",
    dropout=0.5,
    kl=0.01,
    combination=0.1,
    cross=1.0,
    contrastive=1.0,
    alignment=0.1,
    inferred=0.6,
    infer_below=0.75,
    temperature=0.3,
    learning_rate=2e-3,
    weight_decay=0.1,
    cycles=3,
    averaging=0.98,
    batch_size=256,
    least_paired=0.1,
    max_steps=700,
    min_steps=100,
    step_unit="step",
    validation=0.1,
    patience=1,
    kernel_mix=True,
)

INTEGRATE = replace(
    DEFAULT, name="integrate", dropout=0.0, cycles=1, max_steps=3_000, min_steps=500, validation=0.0, kernel_mix=False
)

RECIPES: Mapping[str, Recipe] = MappingProxyType({recipe.name: recipe for recipe in (DEFAULT, INTEGRATE, PAPER)})


def recipe_of(recipe: str | Recipe, **changes: Any) -> Recipe:
    """Recipe by name, with the settings that are not `None` replaced."""
    if isinstance(recipe, str):
        recipe = RECIPES[require_option(recipe, RECIPES, name="recipe")]
    if not isinstance(recipe, Recipe):
        msg = f"expected `recipe` to be one of {list(RECIPES)} or a jm.Recipe, found {typed(recipe)}"
        raise WrongTypeError(msg)
    return replace(recipe, **{key: value for key, value in changes.items() if value is not None})
