"""The last state of a training in a folder: the call that was killed goes on from it, and ends with the same bits.

A checkpoint is one file, arrays and JSON as a model is, replaced as a whole. It says what its training depends on, so
that no other one goes on from it. One process has a folder at a time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load as deserialised

from jamie._atomic import as_path, remove_leftover, whole, writing
from jamie._compat import version
from jamie._errors import InvalidValueError, JamieError, WriteError
from jamie._settings import logger, settings, world_size
from jamie._spread import spread
from jamie._types import Array, Seed
from jamie.data import Cells, Problem
from jamie.nn import n_ranks
from jamie.train import Losses, Recipe, TrainingState

from ._fields import (
    ArrayField,
    WrongFieldError,
    columns,
    flag,
    listed,
    named,
    number,
    or_none,
    record,
    shape_of,
    text,
    typed_name,
)
from ._fields import whole as whole_number
from ._sealed import BLANK, UNREADABLE, opened, require_unchanged, sealed

FILE = "training.checkpoint"
SCHEMA = 1
N_LOSSES = len(Losses._fields) + 1  # of a step, and the norm of its gradient
ROWS = 2**16
LEAST = 10.0
"""Seconds between two states that are kept, at least; what a kill costs at most."""
PATIENCE = 100
"""Times as long as it took to keep the last state: keeping them takes less than a hundredth of the time."""
SAMPLED = 64
"""Cells of a modality whose components are compared."""
CLOSE = 0.05
"""Standard deviations by which components may differ that another processor computed of the same values."""

STATE = record(
    {
        "step": whole_number(),
        "seconds": number(0),
        "is_over": flag,
        "history": columns(named(listed(number()))),
        "best_score": or_none(number()),
        "best_step": whole_number(),
        "stale": whole_number(),
        "totals": listed(number()),
        "last": named(number()),
        "rolled_back": listed(whole_number(1)),
    }
)
HEADER = record(
    {
        "sha256": text,
        "schema": whole_number(SCHEMA, SCHEMA),
        "settings": named(text),
        "data": named(text),
        "exact": text,
        "state": STATE,
    }
)


@dataclass(frozen=True)
class Origin:
    """What a training depends on.

    Attributes
    ----------
    settings
        Versions, recipe, seed and device, as text by name.
    data
        Digests of cells, values, features and pairs by name: the same on every machine.
    exact
        Digest of what the network reads, to the last bit.
    sample
        Some of it: what another processor computed of the same values is close to it.
    """

    settings: Mapping[str, str]
    data: Mapping[str, str]
    exact: str
    sample: Mapping[str, Array]

    @classmethod
    def of(cls, cells: Cells, problem: Problem, recipe: Recipe, device: torch.device, start: str) -> Origin:
        """What a training on these cells depends on, which begins at `start` of its random numbers."""
        versions = {name: version(name) for name in ("jamie-tools", "numpy", "scipy", "scikit-learn", "torch")}
        of_recipe = {f"recipe.{name}": json.dumps(value) for name, value in recipe.to_dict().items()}
        modalities = json.dumps(list(problem.modalities))
        here = {"rng": start, "device": device.type, "settings.compile": str(settings.compile)}
        data, sample, exact = {}, {}, sha256()
        effects = [view.preparation.effects for view in problem.modalities.values() if view.preparation.effects]
        here["batch_key"] = repr(effects[0].batch_key or None) if effects else "None"
        here["covariates"] = repr(list(effects[0].covariates)) if effects else "[]"
        for i, (name, view) in enumerate(problem.modalities.items()):
            about = (view.preparation.kind, view.preparation.layer, *view.cells, "", *view.preparation.features)
            data[f"cells of {name!r}"] = _digest("\n".join(about).encode(), view.train)
            data[f"values of {name!r}"] = _digest(cells.prepared(name).digests)
            if view.preparation.effects is not None:
                data[f"batches or covariates of {name!r}"] = _digest(cells.design(name, view.preparation))
            sample[f"sample/{i}"] = view.inputs[spread(len(view.inputs), SAMPLED)] / np.sqrt(view.preparation.variance)
            for array in (view.inputs, view.values):
                _add(exact, array)
        for (a, b), f in problem.known.items():
            data[f"pairs of {a!r} and {b!r}"] = _digest(*_parts(f))
        for i, f in enumerate(problem.inferred.values()):
            sample[f"sample/inferred {i}"] = f[spread(f.shape[0], SAMPLED)] @ np.linspace(
                0, 1, f.shape[1], dtype=np.float32
            )
            for array in _parts(f):
                _add(exact, array)
        return cls({**versions, **here, "modalities": modalities, **of_recipe}, data, exact.hexdigest(), sample)

    def is_close_to(self, sample: Mapping[str, Array]) -> bool:
        """Whether another sample is the same up to rounding."""
        return sample.keys() == self.sample.keys() and all(
            array.shape == sample[name].shape and np.allclose(array, sample[name], atol=CLOSE)
            for name, array in self.sample.items()
        )


class Checkpoint:
    """The file of one training, which this process alone has; made by `checkpoint_in`.

    Parameters
    ----------
    path
        Where it is, when links are followed.
    clock
        Gives seconds.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._origin: Origin | None = None
        self._kept, self._took, self._step = clock(), 0.0, 0

    def belongs_to(self, origin: Origin) -> None:
        """Say what the training depends on, before it begins."""
        self._origin = origin

    def begun(self, state: TrainingState) -> TrainingState | None:
        """The state that was kept, checked; nothing where there is none, or that of a finished other training."""
        self._kept = self._clock()
        if not self._path.exists():
            return None
        try:
            header, arrays = self._read(state)
        except UNREADABLE as error:
            if isinstance(error, JamieError):
                raise
            raise InvalidValueError(self._damaged(str(error))) from None
        except WrongFieldError as error:
            raise InvalidValueError(self._damaged(str(error))) from None
        if not self._is_ours(header, {name: array for name, array in arrays.items() if name.startswith("sample/")}):
            return None
        found = _state(header, arrays)
        self._step = found.step
        return found

    def is_due(self, *, at_end: bool) -> bool:
        """Whether so much time has passed that another state costs little; at the end of a cycle that is enough."""
        return self._clock() - self._kept >= max(0 if at_end else LEAST, PATIENCE * self._took)

    def keep(self, state: TrainingState) -> None:
        """Write a state in place of the last one, which stays if that fails."""
        assert self._origin is not None  # it belongs to a training
        began = self._clock()
        header = {
            "sha256": BLANK,
            "schema": SCHEMA,
            "settings": dict(self._origin.settings),
            "data": dict(self._origin.data),
            "exact": self._origin.exact,
            "state": {name: value for name, value in vars(state).items() if name != "arrays"},
        }
        arrays = {**{f"state/{name}": array for name, array in state.arrays.items()}, **self._origin.sample}
        raw = sealed(header, arrays)
        try:
            with whole(self._path) as temporary:
                temporary.write_bytes(raw)
        except WriteError as error:
            why = " ".join(str(error.__cause__ or error).split())[:200]
            last = f"that of step {self._step} is there as it was" if self._path.exists() else "none was kept before"
            msg = (
                f"could not keep the training after step {state.step} in `{self._path}`: {why}; {last}: make room, and "
                "make the same call again"
            )
            raise WriteError(msg) from error
        self._step, self._kept = state.step, self._clock()
        self._took = self._kept - began

    def forget(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)

    def _read(self, state: TrainingState) -> tuple[dict[str, Any], dict[str, Array]]:
        header, raw = opened(self._path)
        if header["schema"] != SCHEMA:
            msg = f"its schema is {header['schema']!r}, not {SCHEMA}: another version of jamie-tools wrote it"
            raise ValueError(msg)
        require_unchanged(header, raw)
        arrays = deserialised(raw)
        HEADER(header, "")
        if not self._differences(header):  # arrays of another training have other shapes
            _check_arrays(arrays, state, header["state"])
        return header, arrays

    def _damaged(self, why: str) -> str:
        return (
            f"expected the checkpoint of a training in `{self._path}`, found a file that is truncated, changed or "
            f"something else ({why}); delete it to train from the start, or pass another folder"
        )

    def _differences(self, header: dict[str, Any]) -> list[str]:
        """Settings and data that are other ones than those of this training, in words."""
        assert self._origin is not None
        settings, data = header["settings"], header["data"]
        return [
            *(
                f"{name} {_shown(self._origin.settings.get(name))} and not {_shown(settings.get(name))}"
                for name in _different(self._origin.settings, settings)
            ),
            *(f"other {name}" for name in _different(self._origin.data, data)),
        ]

    def _is_ours(self, header: dict[str, Any], sample: dict[str, Array]) -> bool:
        """Whether a checkpoint is of this training; one of another that is not finished is an error."""
        assert self._origin is not None
        differences = self._differences(header)
        if not differences and not self._origin.is_close_to(sample):
            differences = ["other components of the same values"]
        if not differences:
            if header["exact"] != self._origin.exact:
                logger.warning(
                    "what the network reads is not what it was to the last bit (another processor, another number of "
                    "threads, or values that changed a little): the training goes on, and ends with other last digits"
                )
            return True
        if header["state"]["is_over"]:
            return False
        msg = (
            f"expected the checkpoint of this training in `{self._path}`, found that of one after step "
            f"{header['state']['step']} which is not finished; this one has {'; '.join(differences[:4])}"
            f"{' and more' if len(differences) > 4 else ''}. Make the call with which it was begun, pass another "
            "folder, or delete the file"
        )
        raise InvalidValueError(msg)


@contextmanager
def checkpoint_in(folder: str | Path | None, *, rng: Seed) -> Iterator[Checkpoint | None]:
    """The checkpoint of a folder, which is made if it is missing, and had for as long as the training takes.

    Raises
    ------
    WriteError
        If another process trains with it, or the folder does not take files.
    InvalidValueError
        If `rng` is `None`, of which no training could begin again, or several processes train together.
    """
    if folder is None:
        yield None
        return
    if rng is None:
        msg = "expected a seed beside `checkpoint`, found rng=None, which no other call can begin with; pass rng=0"
        raise InvalidValueError(msg)
    if (n := max(world_size(), n_ranks())) > 1:
        msg = (
            f"expected one process beside `checkpoint`, found {n}: the random numbers of the others are not kept; "
            "train without torchrun, or without a checkpoint"
        )
        raise InvalidValueError(msg)
    folder = as_path(folder, name="checkpoint")
    made = [above for above in (folder, *folder.parents) if not above.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"expected a folder for checkpoints, found that `{folder}` can be none ({error.strerror}); pass another"
        raise WriteError(msg) from error
    try:
        with writing(folder / FILE) as path:
            remove_leftover(path)
            yield Checkpoint(path)
    finally:
        for empty in made:
            with suppress(OSError):  # which says that something is in it
                empty.rmdir()


def start_of(given: Seed, rng: np.random.Generator) -> str:
    """Where a training's random numbers begin: its seed, or a digest of its generator's state."""
    if given is not None and not isinstance(given, np.random.Generator):
        return str(int(given))
    state = json.dumps(rng.bit_generator.state, default=np.ndarray.tolist, sort_keys=True)
    return f"a generator in state {sha256(state.encode()).hexdigest()[:16]}"


def _state(header: dict[str, Any], arrays: dict[str, Array]) -> TrainingState:
    own = {name.removeprefix("state/"): array for name, array in arrays.items() if name.startswith("state/")}
    return TrainingState(**header["state"], arrays=own)


def _check_arrays(arrays: dict[str, Array], begun: TrainingState, state: dict[str, Any]) -> None:
    """Compare arrays with those that the training begins with: it may have best weights and unread losses as well."""
    left = {name.removeprefix("state/"): array for name, array in arrays.items() if not name.startswith("sample/")}
    for name, expected in begun.arrays.items():
        _check_array(left, name, expected)
    scored = "average/" if any(name.startswith("average/") for name in begun.arrays) else "network/"
    if state["best_step"]:
        for name, expected in begun.arrays.items():
            if name.startswith(scored):
                _check_array(left, f"best/{name.removeprefix(scored)}", expected)
    for i in range(len(left)):
        if f"cells/{i}" in left:
            ArrayField("cells", ("float32",)).check(left.pop(f"cells/{i}"), f"cells/{i}", {})
    unread = left.pop("unread", np.zeros((0, N_LOSSES), np.float32))
    if unread.dtype != np.float32 or unread.shape[1:] != (N_LOSSES,) or len(unread) > state["step"]:
        where = "the array 'unread'"
        raise WrongFieldError(where, "losses of steps", f"{unread.shape} of {unread.dtype}")
    if left:
        where = f"the array {typed_name(min(left))}"
        raise WrongFieldError(where, "one of a training", "there")


def _check_array(left: dict[str, Array], name: str, expected: Array) -> None:
    if name not in left:
        where = f"the array {name!r}"
        raise WrongFieldError(where, "there", "missing")
    found = left.pop(name)
    if shape_of(found) != shape_of(expected):
        raise WrongFieldError(name, f"{expected.shape} of {expected.dtype}", f"{found.shape} of {found.dtype}")
    ArrayField("all", (str(expected.dtype),)).check(found.reshape(-1), name, {})


def _different(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    return [name for name in dict.fromkeys((*ours, *theirs)) if ours.get(name) != theirs.get(name)]


def _shown(value: str | None) -> str:
    return "nothing" if value is None else value if len(value) <= 40 else f"{value[:40]} …"


def _parts(f: Any) -> tuple[Array, Array, Array]:
    return f.indptr.astype(np.int64), f.indices.astype(np.int64), f.data


def _digest(*parts: Any) -> str:
    sha = sha256()
    for part in parts:
        _add(sha, part)
    return sha.hexdigest()


def _add(sha: Any, part: Any) -> None:
    """Add bytes or an array, of which a part is in memory at a time."""
    if isinstance(part, np.ndarray):
        for start in range(0, len(part), ROWS):
            sha.update(np.ascontiguousarray(part[start : start + ROWS]).data)
    elif part is not None:
        sha.update(part)
