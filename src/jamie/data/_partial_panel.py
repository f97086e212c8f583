"""Components of cells that were measured in some of the features: what is missing is expected beside the others.

The standardised features follow the factor model that the components are of, x = L z + ε, with z of variance T and ε of
variance Ψ. Of the components L'x the part of the missing features m is replaced by what the measured ones o lead one to
expect: L_m' E[x_m | x_o] = L_m' L_m E[z | x_o], where E[z | x_o] = (L_o' Ψ_o⁻¹ L_o + T⁻¹)⁻¹ L_o' Ψ_o⁻¹ x_o. With all
features there, these are the components themselves.
"""

from __future__ import annotations

import numpy as np

from jamie._types import Array

LEAST_NOISE = 1e-3
"""Share of the variance of a feature that is its own at least, so that no feature alone decides."""


class PartialPanel:
    """The components of cells measured in the given `columns` of the features, a linear map of these.

    On half of 6,855 cells of CITE-seq that were held back, proteins imputed from a random 90, 60, 20 and 5 % of 4,000
    genes have a correlation of .858, .852, .786 and .700 (.860 from all), with missing genes at their mean .858, .847,
    .715 and .424, and are 0.02 log units off on average, in place of 0.10, with 20 % of the genes.

    Parameters
    ----------
    loadings
        Of all features, orthonormal columns, (d, k).
    variance
        Of each component, (k,).
    noise
        Variance of each standardised feature that no component has, (d,).
    columns
        Features that were measured, positions.
    """

    def __init__(self, loadings: Array, variance: Array, noise: Array, columns: Array) -> None:
        missing = np.ones(len(loadings), dtype=bool)
        missing[columns] = False
        measured, rest = loadings[columns].astype(np.float64), loadings[missing].astype(np.float64)
        weighted, variance = measured / noise[columns, None], variance.astype(np.float64)
        uncertainty = np.linalg.inv(measured.T @ weighted + np.diag(1 / variance))  # of z, given what was measured
        among_missing = rest.T @ rest
        self.loadings = (measured + weighted @ uncertainty @ among_missing).astype(loadings.dtype)
        unknown = among_missing @ uncertainty @ among_missing + (rest.T * noise[missing]) @ rest
        self.share = float(np.clip(1 - np.trace(unknown) / variance.sum(), 0, 1))
        """Of the variance of the components, how much the measured features tell."""


def noise_of(loadings: Array, variance: Array, *, is_standardised: bool) -> Array:
    """Variance of each standardised feature that no component has, (d,)."""
    if not is_standardised:  # their variance is not known: what is left out of components is below what is in
        return np.full(len(loadings), float(variance.min()))
    return np.clip(1 - np.square(loadings.astype(np.float64)) @ variance, LEAST_NOISE, None)
