"""What a model file holds: each field of its header and each of its arrays, and what each may be.

This is the one place that lists them. A new field of the header gets a line in `HEADER` or `MODALITY`; a new array of a
modality one in `ARRAYS`; a new group of arrays its own prefix, and a function beside `_check_preparation` that takes
what it knows out of `left`, for an array that nobody took is an error. What is written is checked as well as what is
read, so that a field that is missing here is found by the first model that is saved.

Everything is checked against the arrays that are there, before anything is built of it: a header cannot ask for more
memory or time than the file is large.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import fields
from itertools import permutations
from typing import Any

from jamie._errors import JamieError
from jamie._types import KINDS, Array
from jamie.train import RECIPES, Recipe

from ._confidence import PERCENTILES
from ._fields import (
    ArrayField,
    WrongFieldError,
    columns,
    flag,
    listed,
    named,
    number,
    option,
    or_none,
    record,
    shape_of,
    text,
    typed_name,
    whole,
)
from ._intervals import LEVELS
from ._plan import empty_ensemble

SCHEMA = 8

_COUNTS = or_none(whole(1))

PARAMETERS = {
    "recipe": or_none(option(RECIPES)),
    "n_latent": _COUNTS,
    "n_networks": _COUNTS,
    "dropout": or_none(number(0, 1)),
    "batch_size": _COUNTS,
    "max_steps": _COUNTS,
    "batch_key": or_none(text),
    "covariates": listed(text),
    "rng": or_none(whole(most=float("inf"))),
}
"""Those the model was made with."""

MODALITY = {
    "kind": option(KINDS),
    "depth": number(above=0),
    "n_fitted": whole(1),
    "max_value": number(0),
    "layer": text,
    "is_whole": flag,
    "is_nonnegative": flag,
    "features": listed(text, least=1, unique=True),
    "divisor": number(above=0),
    "seen": listed(whole(), length=3),
    "effects": or_none(
        record(
            {
                "batch_key": text,
                "batches": listed(text, unique=True),
                "covariates": listed(text, unique=True),
                "is_factor": flag,
            }
        )
    ),
}
"""A preparation, what components are divided by, and how many cells were trained on, chosen by and held out."""

SUMMARY = {
    "cells": option(["validation", "training"]),
    "best_step": whole(),
    "seconds": number(0),
    "n_steps": whole(),
    "interrupted": option(["", "SIGINT", "SIGTERM"]),
    "rolled_back": whole(),
    "diverged": whole(),
    "scores": columns(
        record(
            {
                "source": listed(text),
                "target": listed(text),
                "measure": listed(text),
                "value": listed(number(may_be_nan=True)),
                "standard_error": listed(number(may_be_nan=True)),
                "method": listed(text),
            }
        )
    ),
}


def _recipe(value: Any, where: str) -> None:
    """The settings of a recipe, which checks them itself."""
    record(dict.fromkeys((field.name for field in fields(Recipe)), _anything), optional=["hidden"])(value, where)
    try:
        Recipe.from_dict(value)
    except (JamieError, OverflowError) as error:
        raise WrongFieldError(where, "a recipe", f"one where jamie {error}") from None


def _anything(value: Any, where: str) -> None:
    """To be checked by somebody else."""


HEADER = record(
    {
        "sha256": text,
        "schema": whole(SCHEMA, SCHEMA),
        "version": text,
        "parameters": record(PARAMETERS, optional=["rng"]),
        "recipe": _recipe,
        "modalities": named(record(MODALITY), least=2),
        "history": columns(named(listed(number(may_be_nan=True)))),
        "summary": record(SUMMARY),
    }
)

_DIGEST = ("int32",)

ARRAYS = {
    "loadings": ArrayField("d k", ("float32",)),
    "mean": ArrayField("d"),
    "sd": ArrayField("d", above=0),
    "variance": ArrayField("k", least=0),
    "idf": ArrayField("regions", least=0),
    "openness": ArrayField("2 regions"),
    "levels": ArrayField("d?"),
    "recovery": ArrayField("d?", least=0),
    "totals": ArrayField("3", least=0),
    "seen_names": ArrayField("seen", _DIGEST),
    "seen_values": ArrayField("seen", _DIGEST),
    "seen_partners": ArrayField("seen m", ("uint8",), least=0, most=1),
}
"""Of a preparation and of the cells it has seen; d features, k components, regions: d of accessibility, else 0; m
modalities."""

EFFECTS = {
    "center": ArrayField("covariates", ("float64",)),
    "spread": ArrayField("covariates", ("float64",), above=0),
    "of_batch": ArrayField("batches d", ("float32",)),
    "of_covariate": ArrayField("covariates d", ("float32",)),
}
"""Of batches and covariates on a modality."""

KERNEL_MIX = {
    "landmarks": ArrayField("m r", ("float32",)),
    "coefficients": ArrayField("m k_target", ("float32",)),
    "origin": ArrayField("k_source", ("float32",)),
    "directions": ArrayField("k_source r", ("float32",)),
    "offset": ArrayField("k_target", ("float32",)),
    "rate": ArrayField("", ("float32",), least=0),
    "mix_weight": ArrayField("", ("float32",), least=0, most=1),
}
"""Of a kernel regression from a source to a target; m landmarks, r coordinates."""


CONDITIONAL_QUANTILES = {
    "knots": ArrayField("knots d_target"),
    "quantiles": ArrayField(f"knots {len(LEVELS)} d_target", ("float32",)),
    "ranks": ArrayField("ranked d_target", ("uint8",)),
    "n_cells": ArrayField("d_target", ("int32",), least=0),
}
"""Of what was measured of a target, given what is imputed of it from a source."""

RELIABILITY = {
    "imputed": ArrayField("knots", ("float64",), least=0, most=1),
    "open": ArrayField("knots", ("float64",), least=0, most=1),
}
"""The same where the target is of accessibility."""

CONFIDENCE = {
    "centre": ArrayField("p", ("float64",)),
    "spread": ArrayField("p", ("float64",), above=0),
    "weights": ArrayField("p", ("float64",)),
    "errors": ArrayField(f"{len(PERCENTILES)}", ("float64",)),
    "threshold": ArrayField("1", ("float64",), above=0),
}
"""Which cells of a source are imputed better than others; p covariates: one, and two of each leading component."""


SOURCE_ERRORS = {
    "error": ArrayField("m", ("float64",), least=0),
    "correlation": ArrayField("m m", ("float64",), least=-1, most=1),
}
"""Of a target with several sources; m modalities."""


_DIRECTION = re.compile(r"(\d{1,9}(?:\+\d{1,9})*)-(\d{1,9})")


def directions_of(group: str, names: Iterable[str]) -> list[tuple[tuple[int, ...], int]]:
    """Places of sources and target that arrays of a group, such as ``"calibrations/0+1-2/knots"``, are of.

    In the order in which they are learned: fewer sources first.
    """
    found = {name.split("/")[1] for name in names if name.startswith(f"{group}/") and name.count("/") == 2}
    matches = [match for match in map(_DIRECTION.fullmatch, found) if match]
    directions = [
        (tuple(map(int, sources.split("+"))), int(target)) for sources, target in (m.groups() for m in matches)
    ]
    return sorted(directions, key=lambda at: (len(at[0]), *at))


def check(header: Any, arrays: dict[str, Array]) -> None:
    """Raise if a header or an array is not one of a model, or both do not fit each other."""
    HEADER(header, "")
    try:
        json.dumps(header, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        where = "a name"
        raise WrongFieldError(where, "text that can be written", "half a character") from None
    left = dict(arrays)
    modalities = header["modalities"]
    widths = [
        _check_preparation(stored, f"preparation/{i}", left, n=len(modalities))
        for i, stored in enumerate(modalities.values())
    ]
    for i, stored in enumerate(modalities.values()):
        _check_effects(stored, f"effects/{i}", left)
    _check_kernel_mixes(widths, left)
    _check_calibrations(list(modalities.values()), widths, left)
    _check_source_errors(len(modalities), left)
    _check_networks(Recipe.from_dict(header["recipe"]), dict(zip(modalities, widths, strict=True)), left)
    if left:
        where = f"the array {typed_name(min(left))}"
        raise WrongFieldError(where, "one of a model", "there")


def _check_preparation(stored: dict[str, Any], prefix: str, left: dict[str, Array], *, n: int) -> int:
    """Take the arrays of a modality; its number of components."""
    d = len(stored["features"])
    sizes = {"d": d, "regions": d if stored["kind"] == "accessibility" else 0, "seen": sum(stored["seen"]), "m": n}
    for name, field in ARRAYS.items():
        field.check(_taken(left, f"{prefix}/{name}"), f"{prefix}/{name}", sizes)
    if not sizes["k"]:
        where = f"{prefix}/loadings"
        raise WrongFieldError(where, "one component or more", "none")
    return sizes["k"]


def _check_effects(stored: dict[str, Any], prefix: str, left: dict[str, Array]) -> None:
    effects = stored["effects"]
    if effects is None:
        return
    n_batches = max(len(effects["batches"]), 1)
    sizes = {"d": len(stored["features"]), "batches": n_batches, "covariates": len(effects["covariates"])}
    if bool(effects["batch_key"]) != bool(effects["batches"]):
        raise WrongFieldError(prefix, "batches where there is a column of them", "one without the other")
    for name, field in EFFECTS.items():
        field.check(_taken(left, f"{prefix}/{name}"), f"{prefix}/{name}", sizes)


def _check_kernel_mixes(widths: list[int], left: dict[str, Array]) -> None:
    for a, b in permutations(range(len(widths)), 2):
        prefix, sizes = f"network/kernel_mixes.{a}-{b}", {"k_source": widths[a], "k_target": widths[b]}
        if any(name.startswith(f"{prefix}.") for name in left):
            for name, field in KERNEL_MIX.items():
                field.check(_taken(left, f"{prefix}.{name}"), f"{prefix}.{name}", sizes)


def _check_calibrations(modalities: list[dict[str, Any]], widths: list[int], left: dict[str, Array]) -> None:
    for sources, target in directions_of("calibrations", left):
        direction = f"{'+'.join(map(str, sources))}-{target}"
        prefix = f"calibrations/{direction}"
        if max(*sources, target) >= len(modalities) or target in sources or len(set(sources)) < len(sources):
            raise WrongFieldError(prefix, "of modalities of the model, each once", "of others")
        sizes = {"d_target": len(modalities[target]["features"])}
        fields = RELIABILITY if modalities[target]["kind"] == "accessibility" else CONDITIONAL_QUANTILES
        for name, field in fields.items():
            field.check(_taken(left, f"{prefix}/{name}"), f"{prefix}/{name}", sizes)
        if not sizes["knots"] or not sizes.get("ranked", 1):
            raise WrongFieldError(prefix, "a knot and a ranked cell or more", "without")
        _check_confidence(f"confidences/{direction}", widths[target], left)


def _check_confidence(prefix: str, width: int, left: dict[str, Array]) -> None:
    """Of a direction that is calibrated, and of no other."""
    sizes: dict[str, int] = {}
    for name, field in CONFIDENCE.items():
        field.check(_taken(left, f"{prefix}/{name}"), f"{prefix}/{name}", sizes)
    if sizes["p"] % 2 == 0 or not 3 <= sizes["p"] <= 1 + 2 * width:
        raise WrongFieldError(prefix, f"an odd number of covariates from 3 to {1 + 2 * width}", str(sizes["p"]))


def _check_source_errors(n: int, left: dict[str, Array]) -> None:
    for target in range(n):
        prefix = f"source_errors/{target}"
        if any(name.startswith(f"{prefix}/") for name in left):
            for name, field in SOURCE_ERRORS.items():
                field.check(_taken(left, f"{prefix}/{name}"), f"{prefix}/{name}", {"m": n})


def _check_networks(recipe: Recipe, widths: dict[str, int], left: dict[str, Array]) -> None:
    """Compare the weights with those of networks of the recipe's shape, which are laid out without memory."""
    weights = {name: left.pop(name) for name in list(left) if name.startswith("network/networks.")}
    largest = max((array.size for array in weights.values()), default=0)
    asked = [recipe.n_latent, *(width for k in widths.values() for width in recipe.hidden_for(k))]
    n_layers = 2 * recipe.n_networks * sum(len(recipe.hidden_for(k)) for k in widths.values())
    if n_layers > len(weights) or max(asked) > largest:
        where = "the recipe"
        raise WrongFieldError(where, "one of these weights", f"one of {n_layers} layers of up to {max(asked)} units")
    for weight, expected in empty_ensemble(widths, recipe).state_dict().items():
        name = f"network/{weight}"
        found = _taken(weights, name)
        dtype = str(expected.dtype).removeprefix("torch.")
        if shape_of(found) != (dtype, tuple(expected.shape)):
            shown = f"{tuple(found.shape)} of {found.dtype}"
            raise WrongFieldError(name, f"{tuple(expected.shape)} of {dtype}", shown)
        least = 0 if name.endswith(("running_var", "num_batches_tracked")) else -float("inf")
        ArrayField("all", (dtype,), least=least).check(found.reshape(-1), name, {})
    left |= weights  # those that nobody asked for


def _taken(left: dict[str, Array], name: str) -> Array:
    if name not in left:
        where = f"the array {name!r}"
        raise WrongFieldError(where, "there", "missing")
    return left.pop(name)
