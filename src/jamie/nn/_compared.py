"""Which cells of a batch are decoded."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from torch import Tensor


class Compared(NamedTuple):
    """Cells whose reconstruction the loss compares with what was measured; the others are not decoded.

    A modality, or a source and target, that is not named has all of its cells decoded. Positions count on from one of
    several networks to the next, each of which has as many. Batch norm sees the cells that are decoded.
    """

    own: Mapping[str, Tensor] = MappingProxyType({})  # (r,) cells of m, decoded from their aggregate
    crossed: Mapping[tuple[str, str], Tensor] = MappingProxyType({})  # (r,) cells of b, decoded from a


ALL_CELLS = Compared()


def picked(x: Tensor, cells: Tensor | None) -> Tensor:
    """Rows of the cells, (..., n, p) → (..., r, p)."""
    return x if cells is None else x.flatten(0, -2).index_select(0, cells).view(*x.shape[:-2], -1, x.shape[-1])
