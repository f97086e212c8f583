"""What fields of a file may be: small checks that are put together into a schema.

A check takes a value and where it stands, and raises :class:`WrongFieldError` where the value is another.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from jamie._checks import is_number, is_whole, typed
from jamie._types import Array

Check: TypeAlias = Callable[[Any, str], None]


class WrongFieldError(Exception):
    """A field that is not what the schema says: where it stands, what was expected and what was found."""

    def __init__(self, where: str, expected: str, found: str) -> None:
        super().__init__(f"{where or 'the header'} is {found}, not {expected}")


def number(
    least: float = -math.inf, most: float = math.inf, *, above: float = -math.inf, may_be_nan: bool = False
) -> Check:
    """A finite number from `least` to `most`, and above `above`; NaN where it may be."""

    def check(value: Any, where: str) -> None:
        if may_be_nan and isinstance(value, float) and math.isnan(value):
            return
        if not is_number(value) or not (least <= value <= most and above < value and abs(value) <= sys.float_info.max):
            raise WrongFieldError(where, _range("a finite number", least, most, above), typed(value))

    return check


def whole(least: int = 0, most: float = 2**53) -> Check:
    """A whole number from `least` to `most`."""

    def check(value: Any, where: str) -> None:
        if not is_whole(value) or not least <= value <= most:
            raise WrongFieldError(where, _range("a whole number", least, most), typed(value))

    return check


def _range(what: str, least: float, most: float, above: float = -math.inf) -> str:
    bounds = [f"of at least {least}"] * (least > -math.inf) + [f"above {above}"] * (above > -math.inf)
    bounds += [f"of at most {most}"] * (most < math.inf)
    return f"{what} {' and '.join(bounds)}".rstrip()


def text(value: Any, where: str) -> None:
    """Text."""
    if not isinstance(value, str):
        raise WrongFieldError(where, "text", typed(value))


def flag(value: Any, where: str) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise WrongFieldError(where, "true or false", typed(value))


def option(options: Collection[str]) -> Check:
    """One of some words."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str) or value not in options:
            raise WrongFieldError(where, f"one of {list(options)}", typed(value))

    return check


def or_none(check: Check) -> Check:
    """What `check` takes, or nothing."""
    return lambda value, where: None if value is None else check(value, where)


def listed(check: Check, *, least: int = 0, length: int | None = None, unique: bool = False) -> Check:
    """A list of what `check` takes, of at least so many or of just as many, each once if `unique`."""

    def checked(value: Any, where: str) -> None:
        many = f"{least} or more" if length is None else str(length)
        if not isinstance(value, list) or len(value) < least or (length is not None and len(value) != length):
            found = f"a list of {len(value)}" if isinstance(value, list) else typed(value)
            raise WrongFieldError(where, f"a list of {many}", found)
        for i, item in enumerate(value):
            check(item, f"{where}[{i}]")
        if unique and len(set(value)) < len(value):
            raise WrongFieldError(where, "a list without repeats", "one with")

    return checked


def record(fields: Mapping[str, Check], *, optional: Collection[str] = ()) -> Check:
    """These fields, all that are not `optional`, and no other."""

    def check(value: Any, where: str) -> None:
        _require_mapping(value, where)
        missing = [name for name in fields if name not in value and name not in optional]
        unknown = [name for name in value if name not in fields]
        if missing or unknown:
            found = [f"without {', '.join(missing[:3])}"] * bool(missing) + ["with others"] * bool(unknown)
            raise WrongFieldError(where, f"fields {', '.join(fields)}", " and ".join(found))
        for name, item in value.items():
            fields[name](item, f"{where}.{name}" if where else name)

    return check


def named(check: Check, *, least: int = 0) -> Check:
    """At least so many of what `check` takes, by name."""

    def checked(value: Any, where: str) -> None:
        _require_mapping(value, where)
        if len(value) < least:
            raise WrongFieldError(where, f"{least} or more by name", str(len(value)))
        for name, item in value.items():
            check(item, f"{where}[{typed_name(name)}]")

    return checked


def columns(fields: Check) -> Check:
    """What `fields` takes, all of it lists of one length."""

    def check(value: Any, where: str) -> None:
        fields(value, where)
        if len({len(column) for column in value.values()}) > 1:
            raise WrongFieldError(where, "columns of one length", "columns of several")

    return check


def typed_name(name: str) -> str:
    """Show a name at a length for a message."""
    return repr(name) if len(name) <= 40 else f"{name[:40]!r} …"


def _require_mapping(value: Any, where: str) -> None:
    if not isinstance(value, dict):
        raise WrongFieldError(where, "a mapping", typed(value))


@dataclass(frozen=True)
class ArrayField:
    """An array of a file.

    Attributes
    ----------
    shape
        Names of its sizes and numbers, such as ``"2 d"``; a name has one meaning in all arrays that are checked with
        the same sizes. ``"d?"``: it may be empty.
    dtypes
        Those it may have.
    least, most, above
        Of its values, which are finite.
    """

    shape: str
    dtypes: tuple[str, ...] = ("float32", "float64")
    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf

    def check(self, array: Array, where: str, sizes: dict[str, int]) -> None:
        """Raise if an array is another; sizes that had no meaning get one."""
        names = self.shape.split()
        fits = array.ndim == len(names) and all(
            _fits(name, size, sizes) for name, size in zip(names, array.shape, strict=True)
        )
        if not fits or str(array.dtype) not in self.dtypes:
            known = " × ".join(str(sizes.get(name, name)) for name in names) or "a single number"
            expected = f"{known} of {' or '.join(self.dtypes)}"
            raise WrongFieldError(where, expected, f"{' × '.join(map(str, array.shape)) or 'one'} of {array.dtype}")
        if not array.size:
            return
        low, high = array.min(), array.max()  # NaN if any is
        if not (self.least <= low and self.above < low and high <= self.most and max(abs(low), abs(high)) < math.inf):
            expected = _range("finite numbers", self.least, self.most, self.above)
            raise WrongFieldError(where, expected, f"from {low} to {high}")


def _fits(name: str, size: int, sizes: dict[str, int]) -> bool:
    if name.isdigit():
        return size == int(name)
    if name.endswith("?"):
        return size in (0, sizes[name[:-1]])
    return size == sizes.setdefault(name, size)


def shape_of(array: Array) -> tuple[str, tuple[int, ...]]:
    """Type and shape, to compare."""
    return str(array.dtype), tuple(np.shape(array))
