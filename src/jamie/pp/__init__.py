"""Preprocessing: held-out cells, known pairs, prepared inputs."""

from __future__ import annotations

from ._correspondence import correspondence
from ._infer_correspondence import infer_correspondence
from ._prepare import prepare
from ._split import split

__all__ = ["correspondence", "infer_correspondence", "prepare", "split"]
