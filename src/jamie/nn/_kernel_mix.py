"""A path from one modality's input to another's that goes around the latent."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class KernelMix(nn.Module):
    """Kernel ridge regression of one modality on another, mixed into what the decoder says.

    With z = (x − o) D the coordinates of a cell along supervised directions, and the kernel k(z, l) = exp(−γ ‖z − l‖),
    it predicts Σ_l k(z, l) c_l + b; its share of the imputation is w, so that imputed = (1 − w) decode(μ(x)) +
    w (Σ_l k(z, l) c_l + b). Everything is given, nothing is learned here.

    Parameters
    ----------
    landmarks
        Coordinates l of some training cells, (m, r).
    coefficients
        c, (m, d).
    origin, directions
        o, (k,), and D, (k, r).
    offset
        b, (d,).
    rate, mix_weight
        γ and w, scalars.
    """

    landmarks: Tensor
    coefficients: Tensor
    origin: Tensor
    directions: Tensor
    offset: Tensor
    rate: Tensor
    mix_weight: Tensor

    def __init__(
        self,
        landmarks: Tensor,
        coefficients: Tensor,
        *,
        origin: Tensor,
        directions: Tensor,
        offset: Tensor,
        rate: Tensor,
        mix_weight: Tensor,
    ) -> None:
        super().__init__()
        self.register_buffer("landmarks", landmarks)
        self.register_buffer("coefficients", coefficients)
        self.register_buffer("origin", origin)
        self.register_buffer("directions", directions)
        self.register_buffer("offset", offset)
        self.register_buffer("rate", rate)
        self.register_buffer("mix_weight", mix_weight)

    def coordinates(self, x: Tensor) -> Tensor:
        """Take inputs (n, k) to coordinates (n, r)."""
        return (x - self.origin) @ self.directions

    def predict(self, x: Tensor) -> Tensor:
        """Take (n, k) to (n, d), by kernel ridge alone."""
        distance = torch.cdist(
            self.coordinates(x), self.landmarks, compute_mode="donot_use_mm_for_euclid_dist"
        )  # by products it is noisy
        return torch.exp(-self.rate * distance) @ self.coefficients + self.offset

    def forward(self, x: Tensor, decoded: Tensor) -> Tensor:
        """Mix the prediction from inputs `x` into the decoder's, (n, d)."""
        return torch.lerp(decoded, self.predict(x), self.mix_weight)
