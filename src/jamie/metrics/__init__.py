"""Measures of integration and imputation: arrays in, numbers out."""

from ._alignment import alignment_scores as alignment_scores
from ._alignment import foscttm, foscttm_error, label_transfer_accuracy
from ._calibration_error import Strategy as Strategy
from ._calibration_error import calibration_error
from ._calibration_error import calibration_floor as calibration_floor
from ._calibration_error import reliability_bins as reliability_bins
from ._columns import known_mean as known_mean
from ._comparison import binomial_test, js_distance
from ._coverage import is_within as is_within
from ._imputation import feature_auroc, feature_correlation, sd_ratio
from ._influence import MeanCorrelation as MeanCorrelation
from ._js_floor import js_floor
from ._max_correlation import is_counts as is_counts
from ._max_correlation import max_correlation
from ._resampled import MethodComparison as MethodComparison
from ._resampled import compare_methods, correlation_error
from ._scores import FLOOR as FLOOR
from ._scores import LIMITS as LIMITS
from ._scores import MEASURES as MEASURES
from ._scores import FeatureScores as FeatureScores

__all__ = [
    "binomial_test",
    "calibration_error",
    "compare_methods",
    "correlation_error",
    "feature_auroc",
    "feature_correlation",
    "foscttm",
    "foscttm_error",
    "js_distance",
    "js_floor",
    "label_transfer_accuracy",
    "max_correlation",
    "sd_ratio",
]
