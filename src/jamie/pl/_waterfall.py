"""The way of one cell from the mean of the background to its value."""

from __future__ import annotations

from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from scipy import sparse

from jamie._types import Array, Matrix

from ._style import PALETTE

UP, DOWN = PALETTE[5], PALETTE[0]
MOST_REST = 1.5  # of what is not shown, as a multiple of the width of what is, without a cut through its bar
STUB = 0.3  # of a bar that is cut, as a share of the width of the others
PER_CHARACTER = 0.06  # room for a number beside a bar, as a share of the width of all bars
LINE, MOST_CHARACTERS = 26, 40  # of the name of a feature


def draw_waterfall(
    ax: Axes, shap: Array, measured: Matrix, base: float, names: list[str], n_top: int, cell: int | None
) -> int:
    """Bars from the base, at the bottom, to the value of the cell: what is not shown first, the largest last.

    `shap` and `measured` are cells × features. Returns the row of the cell: that furthest from the base if `None`.
    """
    total = shap.sum(axis=1, dtype=np.float64)
    i = int(np.abs(total).argmax()) if cell is None else cell
    values = shap[i].astype(np.float64)
    data = measured[[i]]
    data = (data.toarray() if sparse.issparse(data) else data)[0]
    top = np.argsort(-np.abs(values), kind="stable")[:n_top][::-1]
    steps, labels = values[top], [tick(names[j], number(data[j])) for j in top]
    places = _decimals(steps)
    if n_rest := len(values) - n_top:
        steps = np.concatenate([[total[i] - steps.sum()], steps])
        labels = [f"{n_rest:,} other feature{'s' if n_rest > 1 else ''}", *labels]
    _draw(ax, steps, base, [f"{step:+.{places}f}".replace("-", "−") for step in steps], may_cut=n_rest > 0)
    ax.set_yticks(np.arange(len(steps)), labels)
    ax.set_title(f"{ax.get_title()}\nf(x) = {number(base + total[i])}, E[f] = {number(base)}")
    return i


def _draw(ax: Axes, steps: Array, base: float, numbers: list[str], *, may_cut: bool) -> None:
    """Draw the bars; with `may_cut` the first runs out of the axes where it would leave no room for the others."""
    rows, ends = np.arange(len(steps)), base + np.cumsum(steps)
    colors = [UP if step >= 0 else DOWN for step in steps]
    ax.hlines(rows, 0, 1, transform=ax.get_yaxis_transform(), color="0.9", lw=0.5, zorder=0)
    ax.barh(rows, steps, left=ends - steps, height=0.7, color=colors)
    ax.vlines(ends[:-1], rows[:-1], rows[1:], color="0.5", lw=0.8, zorder=0.5)
    ax.vlines(ends[-1], rows[-1] + 0.35, rows[-1] + 0.7, color="0.5", lw=0.8)
    ax.text(ends[-1], rows[-1] + 0.75, "f(x)", ha="center", va="bottom", fontsize=7)
    for row, end, text, color in zip(rows, ends, numbers, colors, strict=True):
        side, align = (2, "left") if color == UP else (-2, "right")
        ax.annotate(
            text, (end, row), xytext=(side, 0), textcoords="offset points", ha=align, va="center_baseline", fontsize=7,
            color=color,
        )  # fmt: skip
    is_cut = may_cut and len(steps) > 1 and abs(steps[0]) > MOST_REST * np.ptp(ends)
    toward = np.sign(base - ends[0])
    shown = np.append(ends, ends[0] + toward * STUB * np.ptp(ends) if is_cut else base)
    span = np.ptp(shown) or 1.0
    room = PER_CHARACTER * span * max(map(len, numbers))
    low = min(shown.min() - (0 if is_cut else 0.05 * span), *(ends[steps < 0] - room), np.inf)
    high = max(shown.max() + (0 if is_cut else 0.05 * span), *(ends[steps >= 0] + room), -np.inf)
    if is_cut:
        edge, text, align = (low, "← E[f]", "left") if toward < 0 else (high, "E[f] →", "right")
        ax.text(edge, -0.75, text, ha=align, va="top", fontsize=7)
        for x in edge - toward * span * np.array([0.09, 0.13]):
            ax.plot([x - 0.015 * span, x + 0.015 * span], [-0.45, 0.45], color="white", lw=1.5)
    else:
        ax.text(base, -0.75, "E[f]", ha="center", va="top", fontsize=7)
        ax.vlines(base, -0.7, -0.35, color="0.5", lw=0.8)
    ax.set(xlim=(low, high), ylim=(-1.6, len(steps) + 0.6))
    ax.spines["left"].set_visible(False)


def _decimals(values: Array) -> int:
    """Places that show the middle one of the values by two digits."""
    middle = np.median(np.abs(values)) or np.abs(values).max()
    return int(np.clip(1 - np.floor(np.log10(middle)), 0, 9)) if middle > 0 else 0


def number(value: float) -> str:
    """Three digits or the whole ones, without an exponent unless the number is far from one."""
    if not np.isfinite(value):
        return "missing"
    if value and not 1e-4 <= abs(value) < 1e6:
        text = f"{value:.2e}"
    elif abs(value) >= 100:
        text = f"{value:,.0f}"
    else:
        text = np.format_float_positional(value, precision=3, fractional=False, trim="-")
    return text.replace("-", "−")


def tick(name: str, value: str = "") -> str:
    """Name of a feature, and its value, on as many lines as it needs; without its middle where it is very long."""
    half = MOST_CHARACTERS // 2 - 1
    lines = wrap(name if len(name) <= MOST_CHARACTERS else f"{name[:half]}…{name[-half:]}", LINE)
    if value:
        apart = "\n" if len(lines[-1]) + len(value) > LINE else " "
        lines[-1] += f"{apart}= {value}"
    return "\n".join(lines)
