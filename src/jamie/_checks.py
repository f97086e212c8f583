"""Checks of what users pass, with messages that name the fix. Array-level only: containers are read in `data`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import Any

import numpy as np

from jamie._errors import InvalidValueError, MissingNameError, WrongTypeError
from jamie._types import Seed


def require_choice(value: Any, choices: Collection[str], *, name: str, hint: str = "") -> str:
    """Return `value` if it is one of `choices`, else raise with the choices and the closest of them."""
    if isinstance(value, str) and value in choices:
        return value
    shown = str(value) if isinstance(value, str) else value  # np.str_ is shown as text
    close = get_close_matches(str(value), [str(choice) for choice in choices], n=3)
    msg = f"expected `{name}` to be one of {_shown(choices)}, found {shown!r}"
    msg += f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
    raise MissingNameError(msg + (f"; {hint}" if hint else ""))


def require_names(value: Any, *, name: str, example: str) -> None:
    """Raise if text stands where a list of names is wanted."""
    if isinstance(value, str):
        msg = f"expected `{name}` as a list of names, found the text {value!r}; pass {name}=[{value or example!r}]"
        raise WrongTypeError(msg)


def require_unique(names: Iterable[str], *, where: str, remedy: str) -> None:
    """Raise if `names` repeats any, naming how many and the first."""
    values, counts = np.unique(np.asarray(list(names), dtype=object).astype(str), return_counts=True)
    repeated = values[counts > 1]
    if len(repeated):
        msg = (
            f"expected unique names in `{where}`, found {len(repeated)} repeated, first "
            f"{str(repeated[0])!r}; call {remedy}"
        )
        raise InvalidValueError(msg)


def require_fraction(value: float, *, name: str) -> float:
    """Return `value` if 0 < value < 1."""
    if not 0 < value < 1:
        msg = f"expected 0 < `{name}` < 1, found {value!r}"
        raise InvalidValueError(msg)
    return float(value)


def require_positive(**numbers: int) -> None:
    """Raise if one of the named numbers is not at least 1."""
    for name, value in numbers.items():
        if value < 1:
            msg = f"expected `{name}` of at least 1, found {value!r}"
            raise InvalidValueError(msg)


def require_same_shape(a: Any, b: Any, *, names: tuple[str, str]) -> None:
    """Refuse silent broadcasting between two arrays."""
    if np.shape(a) != np.shape(b):
        msg = f"expected `{names[0]}` and `{names[1]}` of the same shape, found {np.shape(a)} and {np.shape(b)}"
        raise InvalidValueError(msg)


def generator(rng: Seed) -> np.random.Generator:
    """Make one generator at the door; a `Generator` is used, and advanced, as it is."""
    return np.random.default_rng(rng)


def _shown(choices: Collection[str], limit: int = 10) -> str:
    names = [repr(str(choice)) for choice in choices]
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"[{', '.join(names[:limit])}{more}]"
