"""Save plots as PNG without a screen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jamie._settings import logger

DPI = 160


@contextmanager
def headless() -> Iterator[None]:
    """Draw without a screen, and close the figures afterwards."""
    backend = mpl.get_backend()
    mpl.use("agg")
    try:
        yield
    finally:
        plt.close("all")
        mpl.use(backend)


def save(drawn: Axes | Figure, path: Path) -> None:
    """Write one plot."""
    figure = drawn if isinstance(drawn, Figure) else drawn.get_figure(root=True)
    assert figure is not None  # plots draw on axes of a figure
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, bbox_inches="tight")
    logger.info("wrote %s", path)
