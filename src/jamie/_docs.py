"""Descriptions of parameters that many functions share, written once."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import indent
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., object])

SHARED = {
    "mdata": "Annotated modalities; rows are cells, cells of the same name are the same cell.",
    "mdata or adata": (
        "Annotated modalities; rows are cells, cells of the same name are the same cell. Or an AnnData of one of them."
    ),
    "modality": "Which modality an AnnData is. Of a MuData it is left out.",
    "feature_names": (
        "Names that the model has for the features, where `.var_names` are others: a column of `.var`, such as\n"
        '``"gene_symbols"``, or a mapping from the names here. What it leaves out keeps its name. Features that are\n'
        "passed, and those of tables, go by the names of the model; slots of `.var` and `.varm` by those here."
    ),
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
    """Fill ``{shared}`` in a docstring with the descriptions of the parameters, whose names are the first words."""

    def fill(function: F) -> F:
        lines = "\n".join(f"{name.split()[0]}\n{indent(SHARED[name], '    ')}" for name in names)
        doc = function.__doc__ or ""
        margin = doc.partition("{shared}")[0].rpartition("\n")[2]  # none from Python 3.13 on, which strips docstrings
        function.__doc__ = doc.replace("{shared}", lines.replace("\n", f"\n{margin}"))
        return function

    return fill
