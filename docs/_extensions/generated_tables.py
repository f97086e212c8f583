"""Tables of the documentation that are read from the package at each build, so that they cannot fall behind."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path

from jamie.datasets._catalogue import CATALOGUE
from jamie.train import RECIPES, Recipe


def write(app) -> None:
    folder = Path(app.srcdir) / "generated" / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in (("recipes", recipes()), ("datasets", datasets())):
        text = "\n".join(lines) + "\n"
        path = folder / f"{name}.md"
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)


def recipes() -> Iterator[str]:
    """One row a setting: its name, its value in each recipe, and what the docstring of `Recipe` says of it, once."""
    meaning, said = dict(described(Recipe)), set()
    yield from header(["setting", *(f'`"{name}"`' for name in RECIPES), "meaning"])
    for field in fields(Recipe):
        if field.name != "name":
            values = [shown(getattr(recipe, field.name)) for recipe in RECIPES.values()]
            text = meaning[field.name]
            yield row([f"`{field.name}`", *values, "" if text in said else text])
            said.add(text)


def datasets() -> Iterator[str]:
    yield from header(["name", "cells", "modalities", "what", "publication", "source", "licence", "MB", "extra"])
    for name, public in CATALOGUE.items():
        publication = f"[{public.publication}](https://doi.org/{public.doi})"
        modalities = ", ".join(f"`{modality}`" for modality in public.modalities)
        repositories = dict.fromkeys(file.repository for file in public.files)
        sources = ", ".join(f"[{repository}](https://github.com/{repository})" for repository in repositories)
        call, extra = f"{{func}}`~jamie.datasets.{name}`", "`data`" if public.needs else ""
        cells, size = f"{public.n_cells:,}", f"{public.size / 1e6:.1f}"
        yield row([call, cells, modalities, public.description, publication, sources, public.licence, size, extra])


def described(cls: type) -> Iterator[tuple[str, str]]:
    """Name and description of each attribute in a NumPy docstring; attributes described together share the text."""
    section = inspect.getdoc(cls).split("Attributes\n----------\n")[1]
    for names, text in re.findall(r"^(\S.*)\n((?:    .*\n?)+)", section, re.MULTILINE):
        for name in names.split(", "):
            yield name, " ".join(text.split()).replace("``", "`")


def shown(value: object) -> str:
    if value is None:
        return "2d, d"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else f'`"{value}"`'


def header(names: Iterable[str]) -> Iterator[str]:
    names = list(names)
    yield row(names)
    yield row(["---"] * len(names))


def row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def setup(app) -> dict[str, bool]:
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True}
