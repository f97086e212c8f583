"""Where networks draw their numbers from: a generator of the training, which nobody else draws from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import nn

_own: ContextVar[torch.Generator | None] = ContextVar("generator of this training", default=None)


@contextmanager
def drawing_from(generator: torch.Generator) -> Iterator[None]:
    """Draw dropout and latents on the CPU from a generator, in this thread alone; otherwise they come from torch's."""
    token = _own.set(generator)
    try:
        yield
    finally:
        _own.reset(token)


def own_generator(device: torch.device) -> torch.Generator | None:
    """What is drawn from on a device; `None` for torch's own generator."""
    return _own.get() if device.type == "cpu" else None


def chance_state(device: torch.device) -> torch.Tensor:
    """State of what is drawn from on a device, bytes on the CPU."""
    if (own := own_generator(device)) is not None:
        return own.get_state()
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_chance_state(device: torch.device, state: torch.Tensor) -> None:
    """Draw on from a state that `chance_state` gave."""
    if (own := own_generator(device)) is not None:
        own.set_state(state)
    elif device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Give networks that have no memory yet their first weights, those that torch would draw, from a generator."""
    network.to_empty(device="cpu")
    for module in network.modules():
        if isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.in_features)
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
            nn.init.uniform_(module.bias, -bound, bound, generator=generator)
        elif callable(reset := getattr(module, "reset_parameters", None)):
            reset()
