"""Dropout whose masks are cheap on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from ._chance import own_generator


class Dropout(nn.Dropout):
    """Dropout that gets many units from one random number.

    torch draws one number per unit on a CPU, which was a third of a training step of the default recipe. A number of
    64 bits holds eight units, or four where a share of 1/256 is too coarse.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Drop a share `p` of the units (n, k) in training, and scale the others so that the mean stays."""
        if not self.training or not self.p:
            return x
        if x.device.type != "cpu":
            return dropout(x, self.p)
        return x * kept(x.shape, 1 - self.p)


def kept(shape: torch.Size, share: float) -> Tensor:
    """1 / `share` for units that are kept, each with this probability to a part in 65,536, and 0 for the others."""
    per_draw, unit, levels = (8, torch.uint8, 256) if (share * 256).is_integer() else (4, torch.uint16, 65_536)
    draws = torch.empty(-(-shape.numel() // per_draw), dtype=torch.int64)
    draws.random_(-(2**63), None, generator=own_generator(draws.device))
    values = draws.view(unit)[: shape.numel()].view(shape).to(torch.float32)
    # Arithmetic, for comparisons and booleans of torch take several times as long: 1 for values of at least the
    # levels that are dropped.
    return values.add_(round(share * levels)).mul_(1 / levels).floor_().mul_(1 / share)
