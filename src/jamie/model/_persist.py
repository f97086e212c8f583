"""What was learned, in one file: tensors by safetensors, the rest as JSON in its header; no pickle.

A file is data: it is compared with the digest of its bytes that it has, and with the schema of a model, before anything
is built of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import load as deserialised

from jamie._atomic import require_ours, require_place, whole
from jamie._checks import is_whole, typed
from jamie._compat import version
from jamie._errors import InvalidValueError, JamieError, MissingFileError
from jamie._settings import is_first
from jamie._types import Array, Direction
from jamie.data import Effects, Preparation, SeenCells
from jamie.nn import Ensemble
from jamie.train import Recipe

from ._confidence import ConfidenceModel
from ._fields import WrongFieldError
from ._intervals import Calibration, calibration_type
from ._plan import empty_ensemble, widths_of
from ._schema import SCHEMA, check, directions_of
from ._sealed import BLANK, UNREADABLE, is_sealed, opened, require_unchanged, sealed
from ._sources import SourceErrors
from ._summary import Summary

REMEDY = "take a copy of the file that is whole, or train again with jm.tl.train(mdata)"
PREPARATION = ("kind", "depth", "n_fitted", "max_value", "layer", "is_whole", "is_nonnegative")
"""Plain values of a preparation that the header has."""
SEEN = ("seen_names", "seen_values", "seen_partners")


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
        By source or sources and target, how far off what is imputed may be.
    confidences
        By the same, for which cells it is how sure.
    source_errors
        By target, how its sources err.
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
    calibrations: Mapping[Direction, Calibration]
    confidences: Mapping[Direction, ConfidenceModel]
    source_errors: Mapping[str, SourceErrors]
    network: Ensemble
    history: pd.DataFrame
    summary: Summary


def save(state: LearnedState, path: Path) -> None:
    """Write through a temporary file, so that `path` is never half a model."""
    require_ours(require_place(path), path, is_sealed, argument="path")
    header, arrays = _described(state)
    _require(header, arrays, "expected a model that can be read again")
    if not is_first():
        return
    with whole(path, is_ours=is_sealed) as temporary:
        temporary.write_bytes(sealed(header, arrays))


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
        header, raw = opened(path)
        _require_this_schema(header, path)
        require_unchanged(header, raw)
        arrays = deserialised(raw)
    except UNREADABLE as error:
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
            "seen_partners": seen.partners,
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
    for group, learned in (("calibrations", state.calibrations), ("confidences", state.confidences)):
        for (sources, target), of_pair in learned.items():
            places = [names.index(name) for name in ([sources] if isinstance(sources, str) else sources)]
            prefix = f"{group}/{'+'.join(map(str, places))}-{names.index(target)}"
            arrays |= {f"{prefix}/{key}": array for key, array in of_pair.arrays().items()}
    for target, errors in state.source_errors.items():
        prefix = f"source_errors/{names.index(target)}"
        arrays |= {f"{prefix}/{key}": array for key, array in errors._asdict().items()}
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
        loadings, names, values, partners = (own.pop(key) for key in ("loadings", *SEEN))
        about = {key: value for key, value in stored.items() if key != "effects"}
        if stored["effects"] is not None:
            prefix = f"effects/{i}/"
            of = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
            about["effects"] = stored["effects"] | of
        preparations[name] = Preparation.from_dict({**about, **own}, features=stored["features"], loadings=loadings)
        divisors[name] = float(stored["divisor"])
        seen[name] = SeenCells.from_counts(names.view(np.uint32), values.view(np.uint32), stored["seen"], partners)
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
        calibrations={
            (sources, target): calibration_type(preparations[target].kind).of(own, preparations[target])
            for (sources, target), own in _by_direction("calibrations", arrays, preparations)
        },
        confidences={at: ConfidenceModel(**own) for at, own in _by_direction("confidences", arrays, preparations)},
        source_errors={
            name: SourceErrors(*(arrays[f"source_errors/{i}/{key}"] for key in SourceErrors._fields))
            for i, name in enumerate(preparations)
            if f"source_errors/{i}/error" in arrays
        },
        network=network.eval(),
        history=pd.DataFrame(header["history"]),
        summary=Summary.from_dict(header["summary"]),
    )


def _plain(effects: Effects | None) -> dict[str, Any] | None:
    """What the header has of the effects of batch and covariates."""
    if effects is None:
        return None
    return {key: value for key, value in effects.to_dict().items() if key not in effects.arrays()}


def _by_direction(
    group: str, arrays: dict[str, Array], names: Iterable[str]
) -> Iterator[tuple[Direction, dict[str, Array]]]:
    """Arrays of sources and a target, in the order in which they are learned, whatever that of the file."""
    names = list(names)
    for sources, target in directions_of(group, arrays):
        prefix = f"{group}/{'+'.join(map(str, sources))}-{target}/"
        own = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
        named = tuple(names[i] for i in sources)
        yield (named[0] if len(named) == 1 else named, names[target]), own


def _require(header: dict[str, Any], arrays: dict[str, Array], expected: str) -> None:
    try:
        check(header, arrays)
    except WrongFieldError as error:
        msg = f"{expected}, found one in which {error}; {REMEDY}"
        raise InvalidValueError(msg) from None


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
