"""Recipes are values: everything that a training depends on, besides data and seed."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from jamie._checks import require_option


@dataclass(frozen=True)
class Recipe:
    """One way to build and train the joint VAE.

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
        Latent dimensions g.
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
        ρ: in the aggregation F + (1 − ρ) F̃ stands for F, with F̃ for cells without a known partner. Eq. 9 is
        unbiased in batches at ρ = 1.
    infer_below
        Share of cells with a known partner below which F̃ is inferred from the pairs, where
        `pp.infer_correspondence` was not called.
    temperature
        τ of the contrastive term.
    learning_rate, weight_decay
        Of AdamW.
    cycles
        Rounds of a learning rate that rises and falls, each twice as long as the one before; weights are kept at the
        end of a round. 0: the rate is constant.
    averaging
        Decay of the running average of the weights, which is what is scored and kept; 0 for the weights themselves.
    clip
        Largest norm of the gradient.
    batch_size
        Linked cells (pairs, or cells without one) a step.
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
    """

    name: str
    n_comps: int
    max_value: float
    input_scale: Literal["first", "all"]
    n_latent: int
    hidden: tuple[int, ...] | None
    norm: Literal["batch", "layer"]
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
    step_unit: Literal["step", "epoch"]
    validation: float
    patience: int
    kernel_mix: bool

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
        hidden = stored.get("hidden")
        return cls(**{**stored, "hidden": None if hidden is None else tuple(int(width) for width in hidden)})


PAPER = Recipe(
    name="paper",
    n_comps=512,
    max_value=0.0,
    input_scale="all",
    n_latent=32,
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

RECIPES = {recipe.name: recipe for recipe in (DEFAULT, INTEGRATE, PAPER)}


def recipe_of(recipe: str | Recipe, **changes: Any) -> Recipe:
    """Recipe by name, with the settings that are not `None` replaced."""
    if isinstance(recipe, str):
        recipe = RECIPES[require_option(recipe, RECIPES, name="recipe")]
    return replace(recipe, **{key: value for key, value in changes.items() if value is not None})
