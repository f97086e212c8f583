"""A model in one file: tensors by safetensors, the rest as JSON in its header; no pickle."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised

from jamie._errors import InvalidValueError, MissingFileError
from jamie._settings import is_first
from jamie.data import Preparation
from jamie.train import Recipe

from ._device import resolve_device
from ._plan import network_of
from ._summary import Summary

if TYPE_CHECKING:
    from ._jamie import JAMIE

SCHEMA = 3


def save(model: JAMIE, path: Path) -> None:
    """Write through a temporary file, so that `path` is never half a model."""
    if not hasattr(model, "network_"):
        msg = "expected a trained model, found one that was not fitted; call jm.tl.train(mdata) or model.fit(mdata)"
        raise InvalidValueError(msg)
    if not path.parent.is_dir():
        msg = f"expected a folder to write the model to, found none at `{path.parent}`; make it first"
        raise MissingFileError(msg)
    tensors = {f"network/{name}": value.cpu().contiguous() for name, value in model.network_.state_dict().items()}
    described = {}
    for i, (name, preparation) in enumerate(model.preparations_.items()):
        arrays = {**preparation.arrays(), "loadings": preparation.loadings}
        tensors |= {f"preparation/{i}/{key}": torch.from_numpy(np.ascontiguousarray(a)) for key, a in arrays.items()}
        described[name] = {
            "kind": preparation.kind,
            "depth": preparation.normaliser.depth,
            "n_fitted": preparation.n_fitted,
            "max_value": preparation.max_value,
            "layer": preparation.layer,
            "features": preparation.features.tolist(),
            "scale": model.divisors_[name],
        }
    header = {
        "schema": SCHEMA,
        "version": version("jamie-tools"),
        "recipe": model.recipe_.to_dict(),
        "modalities": described,
        "history": model.history_.to_dict(orient="list"),
        "summary": model.summary_.to_dict(),
    }
    if not is_first():
        return
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(serialised(tensors, metadata={"jamie": json.dumps(header)}))
    temporary.replace(path)


def load(cls: type[JAMIE], path: Path, *, device: str) -> JAMIE:
    """Read what `save` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
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
    model = cls(recipe, device=device)
    model.recipe_ = recipe
    model.preparations_, model.divisors_ = {}, {}
    for i, (name, stored) in enumerate(header["modalities"].items()):
        prefix = f"preparation/{i}/"
        arrays = {key.removeprefix(prefix): t.numpy() for key, t in tensors.items() if key.startswith(prefix)}
        loadings = arrays.pop("loadings")
        model.preparations_[name] = Preparation.from_dict(
            {"max_value": 0.0, **stored, **arrays}, features=stored["features"], loadings=loadings
        )
        model.divisors_[name] = stored["scale"]
    model.network_ = network_of(model.preparations_, recipe)
    state = {name.removeprefix("network/"): t for name, t in tensors.items() if name.startswith("network/")}
    model.network_.add_kernel_mixes_of(state)
    model.network_.load_state_dict(state)
    model.network_.to(resolve_device(device)).eval()
    model.history_, model.summary_ = pd.DataFrame(header["history"]), Summary.from_dict(header["summary"])
    return model
