"""Simulated and public data sets, each a `MuData`."""

from __future__ import annotations

from ._branching import branching_manifold
from ._load import load
from ._multiome import multiome
from ._toy import toy

__all__ = ["branching_manifold", "load", "multiome", "toy"]
