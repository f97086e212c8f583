"""The joint variational autoencoder: one encoder and decoder a modality, one latent for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ._aggregate import Correspondence, aggregate, cross, meet
from ._blocks import Norm
from ._chance import own_generator
from ._coders import Decoder, Encoder
from ._compared import ALL_CELLS, Compared, picked
from ._ranks import over_ranks


class Outputs(NamedTuple):
    """All that one pass over a batch gives, by modality (`crossed` by source and target).

    Of several networks side by side each has one more dimension, the first.
    """

    mean: dict[str, Tensor]  # (n_m, g)
    log_variance: dict[str, Tensor]  # (n_m, g)
    latent: dict[str, Tensor]  # (n_m, g), sampled in training
    aggregated: dict[str, Tensor]  # (n_m, g)
    decoded: dict[str, Tensor]  # (r, d_m), from the aggregate, of the cells that are compared
    crossed: dict[tuple[str, str], tuple[Tensor, Tensor]]  # (r, d_b) from a's latents, and confidence (r,)


class JointVAE(nn.Module):
    """One variational autoencoder a modality, joined by the aggregation of corresponding cells (sections 4.1, 4.2).

    Parameters
    ----------
    n_inputs
        Width of the prepared input by modality.
    n_latent
        Latent dimensions g.
    hidden
        Widths of the encoder's hidden layers by modality; decoders mirror them.
    norm
        Kind of the hidden layers, see `hidden_layers`.
    dropout
        Share of hidden units dropped in training.
    """

    def __init__(
        self,
        n_inputs: Mapping[str, int],
        *,
        n_latent: int,
        hidden: Mapping[str, Sequence[int]],
        norm: Norm,
        dropout: float,
    ) -> None:
        super().__init__()
        self.names, self.n_latent = list(n_inputs), n_latent
        self.encoders = nn.ModuleList(
            Encoder(n_inputs[name], n_latent, hidden[name], norm=norm, dropout=dropout) for name in self.names
        )
        self.decoders = nn.ModuleList(
            Decoder(n_latent, n_inputs[name], hidden[name][::-1], norm=norm, dropout=dropout) for name in self.names
        )
        self.log_weights = nn.Parameter(torch.empty(len(self.names)))
        self.reset_parameters()
        self.low_precision = False  # whether `forward` has its matrix products in bfloat16

    def reset_parameters(self) -> None:
        """Weigh modalities alike; its layers have first weights of their own."""
        nn.init.zeros_(self.log_weights)

    @property
    def n_networks(self) -> int:
        """How many networks these are, side by side."""
        return 1

    @property
    def weights(self) -> dict[str, Tensor]:
        """Learned positive weight of each modality in the aggregate; δ of eq. 3 is w_y / w_x."""
        return dict(zip(self.names, self.log_weights.exp(), strict=True))

    def encode(self, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latents of modality `name`: (n, d) → (n, g) twice."""
        return self.encoders[self.names.index(name)](x)

    def decode(self, name: str, latent: Tensor) -> Tensor:
        """Prepared input of modality `name` from latents: (n, g) → (n, d)."""
        return self.decoders[self.names.index(name)](latent)

    def forward(
        self,
        inputs: Mapping[str, Tensor],
        correspondence: Correspondence,
        *,
        crossed: bool = False,
        compared: Compared = ALL_CELLS,
    ) -> Outputs:
        """Encode and aggregate one batch, and decode what of it is compared; sampled in training, μ afterwards."""
        encoded = {name: over_ranks(partial(self._encoded, name), x) for name, x in inputs.items()}
        mean, log_variance, latent = (
            {name: parts[i] for name, parts in ((name, e.chunk(3, dim=-1)) for name, e in encoded.items())}
            for i in range(3)
        )
        partners = meet(latent, correspondence)
        aggregated = aggregate(latent, partners, self.weights)
        crossing = cross(partners, compared.crossed) if crossed else {}
        decoded = {
            name: self._decoded_with(name, picked(m, compared.own.get(name)), crossing)
            for name, m in aggregated.items()
        }
        return Outputs(
            mean=mean,
            log_variance=log_variance,
            latent=latent,
            aggregated=aggregated,
            decoded={name: parts[0] for name, parts in decoded.items()},
            crossed={
                (a, b): (decoded[b][1 + i], crossing[a, b][1])
                for b in aggregated
                for i, a in enumerate(a for a, target in crossing if target == b)
            },
        )

    def _decoded_with(
        self, name: str, aggregated: Tensor, crossing: Mapping[tuple[str, str], tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, ...]:
        """Decode a modality's aggregate and what crosses into it, in one pass: few large products, not many small."""
        latents = [aggregated, *(latent for (_, target), (latent, _) in crossing.items() if target == name)]
        decoded = over_ranks(partial(self._decoded, name), torch.cat(latents, dim=-2))
        return decoded.split([latent.shape[-2] for latent in latents], dim=-2)

    def _encoded(self, name: str, x: Tensor) -> Tensor:
        """Mean, log-variance and a sample, side by side, in the precision of `x`: (..., n, d) → (..., n, 3 g)."""
        with _precision(x.device, is_low=self.low_precision):
            mean, log_variance = self.encode(name, x)
        mean, log_variance = mean.to(x.dtype), log_variance.to(x.dtype)
        return torch.cat([mean, log_variance, self._sample(mean, log_variance)], dim=-1)

    def _decoded(self, name: str, latent: Tensor) -> Tensor:
        with _precision(latent.device, is_low=self.low_precision):
            decoded = self.decode(name, latent)
        return decoded.to(latent.dtype)

    def _sample(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        if not self.training:
            return mean
        noise = torch.empty_like(mean).normal_(generator=own_generator(mean.device))
        return mean + noise * (0.5 * log_variance).exp()


def _precision(device: torch.device, *, is_low: bool) -> torch.autocast:
    """Matrix products in bfloat16, or as they are; cast weights are kept for nobody: the next step has others."""
    return torch.autocast(device.type, torch.bfloat16, enabled=is_low, cache_enabled=False)
