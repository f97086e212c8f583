"""What was learned, in one file: tensors by safetensors, the rest as JSON in its header; no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised

from jamie._atomic import whole
from jamie._errors import InvalidValueError, MissingFileError
from jamie._settings import is_first
from jamie.data import Preparation, SeenCells
from jamie.nn import Ensemble
from jamie.train import Recipe

from ._plan import ensemble_of
from ._summary import Summary

SCHEMA = 4
PREPARATION = ("kind", "depth", "n_fitted", "max_value", "layer", "is_whole", "is_nonnegative")
"""Plain values of a preparation that the header has."""


@dataclass(frozen=True)
class LearnedState:
    """All that a training leaves behind.

    Attributes
    ----------
    parameters
        What the model was made with, by name; a recipe by its name, or `None` where it was none of ours.
    recipe
        The recipe as it was used.
    preparations, divisors, seen
        By modality: from features to components and back, what components are divided by, the cells that were there.
    network
        The trained networks.
    history
        Losses by step.
    summary
        What it came to.
    """

    parameters: Mapping[str, Any]
    recipe: Recipe
    preparations: Mapping[str, Preparation]
    divisors: Mapping[str, float]
    seen: Mapping[str, SeenCells]
    network: Ensemble
    history: pd.DataFrame
    summary: Summary


def save(state: LearnedState, path: Path) -> None:
    """Write through a temporary file, so that `path` is never half a model."""
    if not path.parent.is_dir():
        msg = f"expected a folder to write the model to, found none at `{path.parent}`; make it first"
        raise MissingFileError(msg)
    tensors = {f"network/{name}": value.cpu().contiguous() for name, value in state.network.state_dict().items()}
    described = {}
    for i, (name, preparation) in enumerate(state.preparations.items()):
        seen = state.seen[name]
        arrays = {
            **preparation.arrays(),
            "loadings": preparation.loadings,
            "seen_names": seen.names.view(np.int32),
            "seen_values": seen.values.view(np.int32),
        }
        tensors |= {f"preparation/{i}/{key}": torch.from_numpy(np.ascontiguousarray(a)) for key, a in arrays.items()}
        about = preparation.to_dict()
        described[name] = {
            **{key: about[key] for key in PREPARATION},
            "features": preparation.features.tolist(),
            "divisor": state.divisors[name],
            "seen": list(seen.counts),
        }
    header = {
        "schema": SCHEMA,
        "version": version("jamie-tools"),
        "parameters": dict(state.parameters),
        "recipe": state.recipe.to_dict(),
        "modalities": described,
        "history": state.history.to_dict(orient="list"),
        "summary": state.summary.to_dict(),
    }
    if not is_first():
        return
    with whole(path) as temporary:
        temporary.write_bytes(serialised(tensors, metadata={"jamie": json.dumps(header)}))


def load(path: Path) -> LearnedState:
    """Read what `save` wrote, on the CPU.

    Raises
    ------
    MissingFileError
        If there is no such file.
    InvalidValueError
        If the file is truncated, no model, or of another schema.
    """
    if not path.is_file():
        msg = f"expected a model file at `{path}`, found none; write one with model.save(path)"
        raise MissingFileError(msg)
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["jamie"])
            schema = int(header["schema"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        msg = (
            f"expected a model written by model.save in `{path}`, found a file that is truncated or "
            f"something else: {error}"
        )
        raise InvalidValueError(msg) from None
    if schema != SCHEMA:
        remedy = "upgrade jamie-tools" if schema > SCHEMA else "train again with jm.tl.train(mdata)"
        msg = (
            f"expected a model of schema {SCHEMA} in `{path}`, found schema {schema}, written by jamie-tools "
            f"{header['version']}; {remedy}"
        )
        raise InvalidValueError(msg)
    recipe = Recipe.from_dict(header["recipe"])
    preparations, divisors, seen = {}, {}, {}
    for i, (name, stored) in enumerate(header["modalities"].items()):
        prefix = f"preparation/{i}/"
        arrays = {key.removeprefix(prefix): t.numpy() for key, t in tensors.items() if key.startswith(prefix)}
        loadings, names, values = (arrays.pop(key) for key in ("loadings", "seen_names", "seen_values"))
        preparations[name] = Preparation.from_dict({**stored, **arrays}, features=stored["features"], loadings=loadings)
        divisors[name] = stored["divisor"]
        seen[name] = SeenCells.from_counts(names.view(np.uint32), values.view(np.uint32), stored["seen"])
    return LearnedState(
        parameters=header["parameters"],
        recipe=recipe,
        preparations=preparations,
        divisors=divisors,
        seen=seen,
        network=_network(preparations, recipe, tensors),
        history=pd.DataFrame(header["history"]),
        summary=Summary.from_dict(header["summary"]),
    )


def _network(preparations: dict[str, Preparation], recipe: Recipe, tensors: dict[str, torch.Tensor]) -> Ensemble:
    """The networks of the recipe with the stored weights, ready to predict."""
    network = ensemble_of(preparations, recipe)
    weights = {name.removeprefix("network/"): t for name, t in tensors.items() if name.startswith("network/")}
    network.add_kernel_mixes_of(weights)
    network.load_state_dict(weights)
    return network.eval()
