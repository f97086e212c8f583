"""Checks of what users pass, with messages that name the fix. Array-level only: containers are read in `data`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from itertools import islice
from typing import Any

import numpy as np

from jamie._errors import InvalidValueError, MissingNameError, WrongTypeError
from jamie._types import Seed


def require_option(value: Any, options: Collection[str], *, name: str, hint: str = "") -> str:
    """Return `value` if it is one of the options that jamie has, else raise with these and the closest of them."""
    if isinstance(value, str) and value in options:
        return value
    raise InvalidValueError(_one_of(value, options, name, hint))


def require_name(value: Any, names: Collection[str], *, name: str, hint: str = "") -> str:
    """Return `value` if it is one of the names that the data has, else raise with these and the closest of them."""
    if not isinstance(value, str):
        msg = f"expected `{name}` to be text, one of {_shown(names)}, found {typed(value)}"
        raise WrongTypeError(msg + (f"; {hint}" if hint else ""))
    if value in names:
        return value
    raise MissingNameError(_one_of(value, names, name, hint))


def require_names(values: Any, *, name: str, example: Iterable[str] = ()) -> list[str]:
    """Return names as a list; text in its place would be read letter by letter, and is refused with the right call.

    `example` shows names that could be passed, where the text alone would be too few.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        shown = [str(item) for item in islice(example, 2)] or ([str(values)] if isinstance(values, str) else "[...]")
        given = f"the text {str(values)!r}" if isinstance(values, str) else typed(values)
        msg = f"expected `{name}` to be a list of names, found {given}; pass {name}={shown}"
        raise WrongTypeError(msg)
    return list(values)


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
    """Raise if one of the named numbers is not whole, or not at least 1."""
    _require_whole(numbers, least=1)


def require_not_negative(**numbers: int) -> None:
    """Raise if one of the named numbers is not whole, or below 0."""
    _require_whole(numbers, least=0)


def require_same_shape(a: Any, b: Any, *, names: tuple[str, str]) -> None:
    """Refuse silent broadcasting between two arrays."""
    if np.shape(a) != np.shape(b):
        msg = f"expected `{names[0]}` and `{names[1]}` of the same shape, found {np.shape(a)} and {np.shape(b)}"
        raise InvalidValueError(msg)


def is_whole(value: Any) -> bool:
    """Whether `value` is a whole number of Python or NumPy; a bool is none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether `value` is a real number of Python or NumPy; a bool is none."""
    return is_whole(value) or isinstance(value, float | np.floating)


def typed(value: Any) -> str:
    """Show a value of a wrong type, with the type, at a length for a message."""
    shown = repr(value.item() if isinstance(value, np.generic) else value)
    shown = shown if len(shown) <= 60 else f"{shown[:60]} …"
    return shown if value is None else f"{shown} of type {type(value).__name__}"


def generator(rng: Seed) -> np.random.Generator:
    """Make one generator at the door; a `Generator` is used, and advanced, as it is."""
    if rng is None or isinstance(rng, np.random.Generator):
        return np.random.default_rng(rng)
    takes = "expected `rng` to be a whole number of at least 0, a numpy.random.Generator or None, found"
    if not is_whole(rng):
        remedy = "numpy.random.default_rng(0)" if isinstance(rng, np.random.RandomState) else "rng=0"
        msg = f"{takes} {typed(rng)}; pass {remedy}"
        raise WrongTypeError(msg)
    if rng < 0:
        msg = f"{takes} {int(rng)}; pass rng={-int(rng)}"
        raise InvalidValueError(msg)
    return np.random.default_rng(int(rng))


def _require_whole(numbers: Mapping[str, int], *, least: int) -> None:
    for name, value in numbers.items():
        if not is_whole(value):
            msg = f"expected `{name}` as a whole number of at least {least}, found {typed(value)}"
            raise InvalidValueError(msg)
        if value < least:
            msg = f"expected `{name}` of at least {least}, found {value!r}"
            raise InvalidValueError(msg)


def _one_of(value: Any, choices: Collection[str], name: str, hint: str) -> str:
    shown = str(value) if isinstance(value, str) else value  # np.str_ is shown as text
    close = get_close_matches(value, [str(choice) for choice in choices], n=3) if isinstance(value, str) else []
    msg = f"expected `{name}` to be one of {_shown(choices)}, found {shown!r}"
    msg += f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
    return msg + (f"; {hint}" if hint else "")


def _shown(choices: Collection[str], limit: int = 12) -> str:
    names = [repr(str(choice)) for choice in choices]
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"[{', '.join(names[:limit])}{more}]"
