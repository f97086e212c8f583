"""Simple regressors and aligners, which a model must beat: arrays in, arrays out."""

from __future__ import annotations

from ._aligners import ALIGNERS, align
from ._directions import Directions, Supervised, one_left_out, supervised
from ._kernel_ridge import (
    LANDMARKS,
    LAST_LANDMARKS,
    KernelRidge,
    LeftOut,
    Partial,
    Setting,
    best_mix_weight,
    regress,
    tune,
)
from ._predict import METHODS, Components, predict, predict_each

__all__ = [
    "ALIGNERS",
    "LANDMARKS",
    "LAST_LANDMARKS",
    "METHODS",
    "Components",
    "Directions",
    "KernelRidge",
    "LeftOut",
    "Partial",
    "Setting",
    "Supervised",
    "align",
    "best_mix_weight",
    "one_left_out",
    "predict",
    "predict_each",
    "regress",
    "supervised",
    "tune",
]
