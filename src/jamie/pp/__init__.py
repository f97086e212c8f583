"""Preprocessing: held-out cells, known pairs, prepared inputs."""

from __future__ import annotations

from ._correspondence import correspondence
from ._prepare import prepare
from ._split import split

__all__ = ["correspondence", "prepare", "split"]
