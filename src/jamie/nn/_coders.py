"""Encoder and decoder of one modality."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ._blocks import Norm, hidden_layers


class Encoder(nn.Module):
    """Prepared input → mean and log-variance of the latent: q(l | x) = N(μ, diag eᵛ) (section 4.1)."""

    def __init__(self, n_input: int, n_latent: int, hidden: Sequence[int], *, norm: Norm, dropout: float) -> None:
        super().__init__()
        self.trunk = hidden_layers([n_input, *hidden], norm=norm, dropout=dropout)
        self.mean = nn.Linear(hidden[-1], n_latent)
        self.log_variance = nn.Linear(hidden[-1], n_latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode (b, d) into two (b, g)."""
        h = self.trunk(x)
        return self.mean(h), self.log_variance(h)


class Decoder(nn.Module):
    """Latent → prepared input: the mirror of the encoder, its last layer bare (section 4.5)."""

    def __init__(self, n_latent: int, n_output: int, hidden: Sequence[int], *, norm: Norm, dropout: float) -> None:
        super().__init__()
        self.trunk = hidden_layers([n_latent, *hidden], norm=norm, dropout=dropout)
        self.output = nn.Linear(hidden[-1], n_output)

    def forward(self, latent: Tensor) -> Tensor:
        """Decode (b, g) into (b, d)."""
        return self.output(self.trunk(latent))
