"""What was learned, in one file: tensors by safetensors, the rest as JSON in its header; no pickle.

A file is data: it is compared with the digest of its bytes that it has, and with the schema of a model, before anything
is built of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.numpy import load as deserialised
from safetensors.numpy import save as serialised

from jamie._atomic import require_place, whole
from jamie._checks import is_whole, typed
from jamie._errors import InvalidValueError, JamieError, MissingFileError
from jamie._settings import is_first
from jamie._types import Array, Pair
from jamie.data import Effects, Preparation, SeenCells
from jamie.nn import Ensemble
from jamie.train import Recipe

from ._fields import WrongFieldError
from ._intervals import Calibration, calibration_type
from ._plan import empty_ensemble, widths_of
from ._schema import SCHEMA, check
from ._summary import Summary

REMEDY = "take a copy of the file that is whole, or train again with jm.tl.train(mdata)"
BLANK = "0" * 64
"""Stands for the digest while the digest is computed."""
LARGEST_HEADER = 2**25
"""Bytes: names of a million features. What Python makes of JSON may take twenty times its bytes."""
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
    calibrations
        By source and target, how far off what is imputed may be.
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
    calibrations: Mapping[Pair, Calibration]
    network: Ensemble
    history: pd.DataFrame
    summary: Summary


def save(state: LearnedState, path: Path) -> None:
    """Write through a temporary file, so that `path` is never half a model."""
    require_place(path)
    header, arrays = _described(state)
    _require(header, arrays, "expected a model that can be read again")
    if not is_first():
        return
    with whole(path) as temporary:
        temporary.write_bytes(_sealed(header, arrays))


def load(path: Path) -> LearnedState:
    """Read what `save` wrote, on the CPU.

    All of the file is read before anything is made of it: a file that is replaced or cut short meanwhile harms nobody.

    Raises
    ------
    MissingFileError
        If there is no such file.
    InvalidValueError
        If the file is truncated, changed, no model, or of another schema.
    """
    if not path.is_file():
        msg = f"expected a model file at `{path}`, found none; write one with model.save(path)"
        raise MissingFileError(msg)
    expected = f"expected a model written by model.save in `{path}`"
    try:
        header, raw = _read(path)
        _require_this_schema(header, path)
        _require_unchanged(header, raw)
        arrays = deserialised(raw)
    except (SafetensorError, OSError, RecursionError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, JamieError):
            raise
        msg = f"{expected}, found a file that is truncated, changed or something else ({error}); {REMEDY}"
        raise InvalidValueError(msg) from None
    del raw
    _require(header, arrays, expected)
    return _built(header, arrays)


def _described(state: LearnedState) -> tuple[dict[str, Any], dict[str, Array]]:
    """Header and arrays of the file."""
    arrays = {f"network/{name}": value.numpy(force=True) for name, value in state.network.state_dict().items()}
    modalities = {}
    for i, (name, preparation) in enumerate(state.preparations.items()):
        seen, about = state.seen[name], preparation.to_dict()
        of_modality = {
            **preparation.arrays(),
            "loadings": preparation.loadings,
            "seen_names": seen.names.view(np.int32),
            "seen_values": seen.values.view(np.int32),
        }
        arrays |= {f"preparation/{i}/{key}": array for key, array in of_modality.items()}
        modalities[name] = {
            **{key: about[key] for key in PREPARATION},
            "features": preparation.features.tolist(),
            "divisor": state.divisors[name],
            "seen": list(seen.counts),
            "effects": _plain(preparation.effects),
        }
        if preparation.effects is not None:
            arrays |= {f"effects/{i}/{key}": array for key, array in preparation.effects.arrays().items()}
    names = list(state.preparations)
    for (source, target), calibration in state.calibrations.items():
        prefix = f"calibrations/{names.index(source)}-{names.index(target)}"
        arrays |= {f"{prefix}/{key}": array for key, array in calibration.arrays().items()}
    header = {
        "sha256": BLANK,
        "schema": SCHEMA,
        "version": version("jamie-tools"),
        "parameters": dict(state.parameters),
        "recipe": state.recipe.to_dict(),
        "modalities": modalities,
        "history": state.history.to_dict(orient="list"),
        "summary": state.summary.to_dict(),
    }
    return header, arrays


def _built(header: dict[str, Any], arrays: dict[str, Array]) -> LearnedState:
    """What a checked header and arrays describe."""
    recipe = Recipe.from_dict(header["recipe"])
    preparations, divisors, seen = {}, {}, {}
    for i, (name, stored) in enumerate(header["modalities"].items()):
        prefix = f"preparation/{i}/"
        own = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
        loadings, names, values = (own.pop(key) for key in ("loadings", "seen_names", "seen_values"))
        about = {key: value for key, value in stored.items() if key != "effects"}
        if stored["effects"] is not None:
            prefix = f"effects/{i}/"
            of = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
            about["effects"] = stored["effects"] | of
        preparations[name] = Preparation.from_dict({**about, **own}, features=stored["features"], loadings=loadings)
        divisors[name] = float(stored["divisor"])
        seen[name] = SeenCells.from_counts(names.view(np.uint32), values.view(np.uint32), stored["seen"])
    prefix = "network/"
    weights = {key.removeprefix(prefix): torch.from_numpy(a) for key, a in arrays.items() if key.startswith(prefix)}
    network = empty_ensemble(widths_of(preparations), recipe)
    network.add_kernel_mixes_of(weights)
    network.load_state_dict(weights, assign=True)
    return LearnedState(
        parameters=header["parameters"],
        recipe=recipe,
        preparations=preparations,
        divisors=divisors,
        seen=seen,
        calibrations=_calibrations(arrays, preparations),
        network=network.eval(),
        history=pd.DataFrame(header["history"]),
        summary=Summary.from_dict(header["summary"]),
    )


def _plain(effects: Effects | None) -> dict[str, Any] | None:
    """What the header has of the effects of batch and covariates."""
    if effects is None:
        return None
    return {key: value for key, value in effects.to_dict().items() if key not in effects.arrays()}


def _calibrations(arrays: dict[str, Array], preparations: Mapping[str, Preparation]) -> dict[Pair, Calibration]:
    """Calibrations in the order in which they are learned, whatever that of the file."""
    found: dict[Pair, Calibration] = {}
    for (i, source), (j, target) in permutations(enumerate(preparations), 2):
        prefix = f"calibrations/{i}-{j}/"
        if own := {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}:
            found[source, target] = calibration_type(preparations[target].kind).of(own, preparations[target])
    return found


def _require(header: dict[str, Any], arrays: dict[str, Array], expected: str) -> None:
    try:
        check(header, arrays)
    except WrongFieldError as error:
        msg = f"{expected}, found one in which {error}; {REMEDY}"
        raise InvalidValueError(msg) from None


def _sealed(header: dict[str, Any], arrays: dict[str, Array]) -> bytes:
    """The file, with the digest of all of it in the place that was blank."""
    in_order = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    raw = bytearray(serialised(in_order, metadata={"jamie": json.dumps(header)}))
    if (length := int.from_bytes(raw[:8], "little")) > LARGEST_HEADER:
        msg = f"expected names of features that take less than {LARGEST_HEADER >> 20} MB, found {length >> 20}"
        raise InvalidValueError(msg)
    place = raw.index(BLANK.encode())
    raw[place : place + len(BLANK)] = sha256(raw).hexdigest().encode()
    return bytes(raw)


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    """The header, and the whole file; not more than its first bytes if it is no model."""
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or not 2 <= length <= LARGEST_HEADER:
            msg = "it begins with no header"
            raise ValueError(msg)
        head = file.read(length)
        header = json.loads(json.loads(head)["__metadata__"]["jamie"])
        return header, start + head + file.read()


def _require_this_schema(header: Any, path: Path) -> None:
    if (schema := header["schema"]) == SCHEMA:
        return
    if not is_whole(schema):
        msg = f"its schema is {typed(schema)}"
        raise ValueError(msg)
    remedy = "upgrade jamie-tools" if schema > SCHEMA else "train again with jm.tl.train(mdata)"
    msg = (
        f"expected a model of schema {SCHEMA} in `{path}`, found schema {schema}, written by jamie-tools "
        f"{header['version']}; {remedy}"
    )
    raise InvalidValueError(msg)


def _require_unchanged(header: dict[str, Any], raw: bytes) -> None:
    """Raise unless the file has the digest that was noted in it."""
    noted = header["sha256"]
    place = raw.find(noted.encode(), 8) if isinstance(noted, str) and len(noted) == len(BLANK) else -1
    digest = sha256(raw[:place] + BLANK.encode() + raw[place + len(BLANK) :]).hexdigest()
    if place < 0 or digest != noted:
        msg = "its bytes are not those that were written"
        raise ValueError(msg)
