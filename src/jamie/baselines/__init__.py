"""Simple regressors and aligners, which a model must beat: arrays in, arrays out."""

from __future__ import annotations

from ._aligners import ALIGNERS, align
from ._predict import METHODS, predict

__all__ = ["ALIGNERS", "METHODS", "align", "predict"]
