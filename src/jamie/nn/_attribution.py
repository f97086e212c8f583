"""DeepLIFT multipliers: how much of f(x) − f(r) each input of x carries, exactly, for every layer that we have.

Each layer's difference is written as a linear map of the difference of its inputs, Δy = A(x, r) Δx, with A as follows.
Composed, Δf = M Δx without remainder: the M Δx of single inputs are DeepLIFT contributions (Shrikumar et al. 2017,
rescale rule), whose mean over references r is DeepLIFT-SHAP.

| layer | A |
| --- | --- |
| linear, batch norm | its matrix |
| element-wise σ | Δσ / Δx, the derivative where Δx is 0 |
| layer norm, γ c s with c centred and s = 1 / sd | the mean of the two factors: Δ(c s) = s̄ Δc + c̄ Δs |
| kernel exp(−γ ‖x − z‖) | Δk / Δ‖x − z‖² times (x + r − 2 z); x and r along the directions of the kernel |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from ._kernel_mix import KernelMix

Pullback = Callable[[Tensor], Tensor]  # multipliers of outputs (n, t, q) → multipliers of inputs (n, t, p)

_NO_CHANGE = 1e-6
_AT_ONCE = 2**24  # landmarks × targets × inputs: 128 MB


def pullback(layers: Iterable[nn.Module], x: Tensor, reference: Tensor) -> tuple[Tensor, Tensor, Pullback]:
    """Walk through layers with inputs and their references, (n, p) each.

    Returns the outputs of both, (n, q), and the function that carries multipliers of the outputs back to the inputs.

    Raises
    ------
    NotImplementedError
        If a layer has no rule above.
    """
    back: list[Pullback] = []
    for layer in layers:
        y, y_reference = layer(x), layer(reference)
        if isinstance(layer, nn.Linear):
            back.append(lambda m, weight=layer.weight: m @ weight)  # type: ignore[misc]
        elif isinstance(layer, nn.LayerNorm):
            back.append(_layer_norm(layer, x, reference))
        elif isinstance(layer, nn.BatchNorm1d | nn.GELU | nn.LeakyReLU):
            slope = _slope(layer, x, reference, y - y_reference)
            back.append(lambda m, slope=slope: _times(m, slope[:, None]))  # type: ignore[misc]
        elif not isinstance(layer, nn.Dropout):
            msg = f"expected a linear, normalising, activating or dropout layer, found {type(layer).__name__}"
            raise NotImplementedError(msg)
        x, reference = y, y_reference

    def through(multipliers: Tensor) -> Tensor:
        multipliers = multipliers.clone() if multipliers.ndim == 3 else multipliers
        for step in reversed(back):
            multipliers = step(multipliers)
        return multipliers

    return x, reference, through


def kernel_pullback(kernel_mix: KernelMix, x: Tensor, reference: Tensor) -> tuple[Tensor, Tensor, Pullback]:
    """Predict by the kernel regression from inputs and references, (n, k), and carry multipliers back through it.

    Here the multipliers of the outputs are the same for all cells, (t, d). All is in double precision: the
    sum over the landmarks is a small difference of large numbers.
    """
    z, coefficients, rate = kernel_mix.landmarks.double(), kernel_mix.coefficients.double(), kernel_mix.rate.double()
    directions, kind = kernel_mix.directions.double(), x.dtype
    places = [(side.double() - kernel_mix.origin.double()) @ directions for side in (x, reference)]
    total = places[0] + places[1]
    distance, distance_r = (torch.cdist(place, z) for place in places)  # (n, m)
    kernel, kernel_r = (torch.exp(-rate * d) for d in (distance, distance_r))
    change = distance.square() - distance_r.square()
    middle = (0.5 * (distance + distance_r)).clamp_min(_NO_CHANGE)
    flat = change.abs() < _NO_CHANGE * middle.square()
    derivative = -0.5 * rate * torch.exp(-rate * middle) / middle
    slope = torch.where(flat, derivative, (kernel - kernel_r) / torch.where(flat, 1, change))
    y, y_reference = ((k @ coefficients).to(kind) + kernel_mix.offset for k in (kernel, kernel_r))

    def back(multipliers: Tensor) -> Tensor:
        on_landmarks = multipliers.double() @ coefficients.T  # (t, m)
        parts = on_landmarks.T.split(max(1, _AT_ONCE // z.numel()), dim=1)  # of the targets, so that memory is bounded
        pulled = [slope @ (part[:, :, None] * z[:, None]).reshape(len(z), -1) for part in parts]  # (n, t k) each
        toward = torch.cat(pulled, dim=1).reshape(len(x), *multipliers.shape[:1], -1)
        on_places = total[:, None] * (slope @ on_landmarks.T)[:, :, None] - 2 * toward  # (n, t, r)
        return (on_places @ directions.T).to(kind)

    return y, y_reference, back


def _slope(layer: nn.Module, x: Tensor, reference: Tensor, change: Tensor) -> Tensor:
    """Δσ / Δx element by element, and where Δx vanishes the derivative, from a small step around the middle."""
    step = x - reference
    flat = step.abs() < _NO_CHANGE
    middle, h = 0.5 * (x + reference), 1e-3
    derivative = (layer(middle + h) - layer(middle - h)) / (2 * h)
    return torch.where(flat, derivative, change / torch.where(flat, 1, step))


def _times(multipliers: Tensor, factor: Tensor) -> Tensor:
    """The product, in place where the multipliers have cells already: a new array of this size costs more than that."""
    return multipliers.mul_(factor) if multipliers.ndim == 3 else multipliers * factor


def _layer_norm(layer: nn.LayerNorm, x: Tensor, reference: Tensor) -> Pullback:
    centred, centred_r = x - x.mean(-1, keepdim=True), reference - reference.mean(-1, keepdim=True)
    v, v_r = (c.square().mean(-1, keepdim=True) + layer.eps for c in (centred, centred_r))
    s, s_r = v.rsqrt(), v_r.rsqrt()
    slope = -s * s_r * s * s_r / (s + s_r)  # (s − s_r) / (v − v_r), written without a difference
    factor, total = 0.5 * (s + s_r), centred + centred_r

    def back(multipliers: Tensor) -> Tensor:
        scaled = _times(multipliers, layer.weight)
        through_sd = 0.5 * (scaled @ total[:, :, None]) * slope[:, None] / x.shape[-1]
        on_centred = _times(scaled, factor[:, None]).addcmul_(through_sd, total[:, None])
        return on_centred.sub_(on_centred.mean(-1, keepdim=True))

    return back
