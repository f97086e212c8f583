"""Measures of integration and imputation: arrays in, numbers out."""

from ._alignment import foscttm, label_transfer_accuracy
from ._comparison import binomial_test, js_distance
from ._imputation import feature_auroc, feature_correlation, sd_ratio
from ._resampled import MethodComparison as MethodComparison
from ._resampled import compare_methods, correlation_error
from ._scores import MEASURES as MEASURES
from ._scores import FeatureScores as FeatureScores

__all__ = [
    "binomial_test",
    "compare_methods",
    "correlation_error",
    "feature_auroc",
    "feature_correlation",
    "foscttm",
    "js_distance",
    "label_transfer_accuracy",
    "sd_ratio",
]
