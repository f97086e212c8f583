"""Networks that predict together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ._joint import JointVAE
from ._kernel_mix import KernelMix


class Ensemble(nn.Module):
    """Joint autoencoders of one shape, and kernel regressions beside them.

    Of e networks with g latents each a cell has e · g latents, one network after the other, and what is predicted from
    them is the mean over the networks. Distances between latents are then those of all networks together.

    Parameters
    ----------
    networks
        At least one.
    """

    def __init__(self, networks: Sequence[JointVAE]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.kernel_mixes = nn.ModuleDict()

    @property
    def members(self) -> list[JointVAE]:
        """The single networks."""
        return cast(list[JointVAE], list(self.networks))

    @property
    def names(self) -> list[str]:
        """Modalities."""
        return self.members[0].names

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.members[0].log_weights.device

    @property
    def n_latent(self) -> int:
        """Latents of a cell: e · g."""
        return sum(network.n_latent for network in self.members)

    @property
    def weights(self) -> dict[str, Tensor]:
        """Weight of each modality in the aggregate, for each latent, (e · g,)."""
        by_network = [network.weights for network in self.members]
        return {
            name: torch.cat([w[name].expand(n.n_latent) for n, w in zip(self.members, by_network, strict=True)])
            for name in self.names
        }

    def encode(self, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latents of modality `name`: (n, d) → (n, e · g) twice."""
        means, log_variances = zip(*(network.encode(name, x) for network in self.members), strict=True)
        return torch.cat(means, dim=1), torch.cat(log_variances, dim=1)

    def decode(self, name: str, latent: Tensor) -> Tensor:
        """Prepared input of modality `name` from latents: (n, e · g) → (n, d)."""
        parts = latent.split([network.n_latent for network in self.members], dim=1)
        decoded = [network.decode(name, part) for network, part in zip(self.members, parts, strict=True)]
        return decoded[0] if len(decoded) == 1 else torch.stack(decoded).mean(0)

    def impute(self, source: str, target: str, x: Tensor) -> Tensor:
        """Prepared input of `target` from that of `source`, (n, d_source) → (n, d_target).

        decode_target(μ_source), into which the kernel mix is mixed where there is one.
        """
        decoded = self.decode(target, self.encode(source, x)[0])
        kernel_mix = self.kernel_mix(source, target)
        return decoded if kernel_mix is None else kernel_mix(x, decoded)

    def correction(self, source: str, target: str, x: Tensor) -> Tensor:
        """What the kernel mix changes in decode_target(μ_source), (n, d_source) → (n, d_target)."""
        decoded = self.decode(target, self.encode(source, x)[0])
        kernel_mix = self.kernel_mix(source, target)
        return torch.zeros_like(decoded) if kernel_mix is None else kernel_mix(x, decoded) - decoded

    def kernel_mix(self, source: str, target: str) -> KernelMix | None:
        """The path that goes around the latent from `source` to `target`, if there is one."""
        key = self._key(source, target)
        return cast(KernelMix, self.kernel_mixes[key]) if key in self.kernel_mixes else None

    def add_kernel_mix(self, source: str, target: str, kernel_mix: KernelMix) -> None:
        """Set the path that goes around the latent from `source` to `target`."""
        self.kernel_mixes[self._key(source, target)] = kernel_mix

    def add_kernel_mixes_of(self, state: Mapping[str, Tensor]) -> None:
        """Make room for the kernel mixes of a state that is to be loaded, in the order in which they are fitted."""
        keys = {name.split(".")[1] for name in state if name.startswith("kernel_mixes.")}
        for key in sorted(keys, key=lambda key: [int(place) for place in key.split("-")]):
            names = ("landmarks", "coefficients", "origin", "directions", "offset", "rate", "mix_weight")
            self.kernel_mixes[key] = KernelMix(**{name: state[f"kernel_mixes.{key}.{name}"] for name in names})

    def _key(self, source: str, target: str) -> str:
        return f"{self.names.index(source)}-{self.names.index(target)}"
