"""One self-contained page: figures within it, tables, and notes on what is not there."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from io import BytesIO
from typing import TypeAlias

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

DPI = 130
SIGNATURE = '<meta name="generator" content="jamie-tools">'
"""In the head of each page: nothing else is ever replaced by one."""
LARGEST_SVG = 150_000
"""Bytes beyond which a drawing is kept as pixels: many points are larger than their picture."""


@dataclass(frozen=True)
class Picture:
    """A figure as a ``data:`` address, what it shows in words, and its caption."""

    source: str
    alt: str
    caption: str
    kind: str = "picture"


@dataclass(frozen=True)
class Table:
    """Text by row; the first cell of each names it. `verdicts` are the classes of the rows, where they have one."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    verdicts: tuple[str, ...] = ()
    kind: str = "table"


@dataclass(frozen=True)
class Note:
    """A sentence, and the call that goes with it."""

    text: str
    code: str = ""
    kind: str = "note"


@dataclass(frozen=True)
class Part:
    """A heading below that of its section, and what stands under it."""

    title: str
    blocks: tuple[Block, ...]
    kind: str = "part"


Block: TypeAlias = "Picture | Table | Note | Part"


@dataclass(frozen=True)
class Section:
    """One section of the page."""

    title: str
    blocks: tuple[Block, ...] = field(default=())

    @property
    def anchor(self) -> str:
        """Name that the list of contents goes to."""
        return self.title.lower().replace(" ", "-")


def picture(drawn: Axes | Figure, *, alt: str, caption: str) -> Picture:
    """Keep a figure as SVG, or as PNG where that is smaller, and close it."""
    figure = drawn if isinstance(drawn, Figure) else drawn.get_figure(root=True)
    assert figure is not None  # plots draw on axes of a figure
    with BytesIO() as vector, mpl.rc_context({"svg.hashsalt": "jamie"}):
        figure.savefig(vector, format="svg", bbox_inches="tight", dpi=DPI, metadata={"Date": None, "Creator": None})
        data, mime = vector.getvalue(), "image/svg+xml"
    if len(data) > LARGEST_SVG:
        with BytesIO() as pixels:
            figure.savefig(pixels, format="png", bbox_inches="tight", dpi=DPI, metadata={"Software": None})
            data, mime = pixels.getvalue(), "image/png"
    plt.close(figure)
    return Picture(f"data:{mime};base64,{b64encode(data).decode()}", alt, caption)


def page(title: str, about: str, sections: list[Section]) -> str:
    """Render the page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("jamie.pl", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(
        title=title, about=about, sections=sections, signature=SIGNATURE
    )
