"""Descriptions of parameters that many functions share, written once."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import indent
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., object])

SHARED = {
    "mdata": "Annotated modalities; rows are cells, cells of the same name are the same cell.",
    "model": "A trained model, from :func:`jamie.tl.train` or :meth:`jamie.JAMIE.load`.",
    "modalities": "Modalities to use; all of them if `None`.",
    "key_added": "Prefix of every slot that is read or written.",
    "copy": "Return a changed copy instead of changing `mdata`.",
    "rng": "Seed or generator; a generator is advanced, global random state is left alone.",
    "folder": (
        "Where the finished file is kept, and looked for first. If not given, the folder that the environment\n"
        "variable `JAMIE_DATA_DIR` names, else the cache of this user."
    ),
    "ax": "Axes to draw on; new ones if `None`.",
}


def document(*names: str) -> Callable[[F], F]:
    """Fill ``{shared}`` in a docstring with the descriptions of the named parameters."""

    def fill(function: F) -> F:
        lines = "\n".join(f"{name}\n{indent(SHARED[name], '    ')}" for name in names)
        doc = function.__doc__ or ""
        function.__doc__ = doc.replace("{shared}", lines.replace("\n", "\n    "))
        return function

    return fill
