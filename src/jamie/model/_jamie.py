"""The estimator: where data, network and training meet once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from mudata import MuData
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from jamie._checks import generator, require_choice
from jamie._errors import InvalidValueError
from jamie._keys import Keys
from jamie._types import Array, Pair, Seed
from jamie.data import Draw, LinkedCells, Loader, model_inputs, read, require_mudata
from jamie.nn import aggregate, copy_from_first, join, own_noise
from jamie.train import Recipe, fit, recipe_of

from . import _persist
from ._device import SMALL, by_rows, has_fast_bfloat16, on_threads, resolve_device, seeded, to_torch
from ._kernel_mixes import KernelMixes
from ._plan import draws, hold_out, input_scale, loss_target, network_of, require_batch, require_ranks, widest
from ._recovery import with_recovery
from ._summary import summarise


class JAMIE(BaseEstimator):
    """Joint variational autoencoder of two or more modalities: embeds cells, imputes what they were not measured in.

    Functions of :mod:`jamie.tl` read from and write to a MuData around it; the model itself gives arrays.

    Parameters
    ----------
    recipe
        ``"default"``, ``"paper"`` (the published model), or a changed copy of one.
    n_latent, dropout, batch_size, max_steps
        Settings that replace the recipe's.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or any torch device.
    rng
        Seed or generator; the same seed on the same machine gives the same bits on CPU.

    Attributes
    ----------
    recipe_
        The recipe as it was used.
    preparations_
        By modality, how features become the network's input and back.
    history_
        Losses by step, a data frame.
    summary_
        FOSCTTM and correlations on validation pairs, or on training pairs if none were set aside: `cells` says which.

    Examples
    --------
    >>> import jamie as jm
    >>> mdata = jm.datasets.toy()
    >>> model = jm.JAMIE(max_steps=20).fit(mdata)
    >>> model.embed(mdata)["rna"].shape
    (54, 32)
    """

    def __init__(
        self,
        recipe: str | Recipe = "default",
        *,
        n_latent: int | None = None,
        dropout: float | None = None,
        batch_size: int | None = None,
        max_steps: int | None = None,
        device: str = "auto",
        rng: Seed = 0,
    ) -> None:
        self.recipe = recipe
        self.n_latent = n_latent
        self.dropout = dropout
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.device = device
        self.rng = rng

    def fit(self, mdata: MuData, *, modalities: Sequence[str] | None = None, key_added: str = "jamie") -> JAMIE:
        """Train on the cells that `pp.split` left, with preparation and pairs as `pp` wrote them, or by default."""
        rng = generator(self.rng)
        self.recipe_ = recipe_of(
            self.recipe,
            n_latent=self.n_latent,
            dropout=self.dropout,
            batch_size=self.batch_size,
            max_steps=self.max_steps,
        )
        device = resolve_device(self.device)
        problem = read(
            mdata,
            modalities=modalities,
            n_comps=self.recipe_.n_comps,
            max_value=self.recipe_.max_value,
            key_added=key_added,
            seed=int(rng.integers(2**31)),
            infer_below=self.recipe_.infer_below,
        )
        units = LinkedCells.of(problem)
        training, validation = hold_out(units, self.recipe_, rng)
        if self.max_steps and not len(validation):  # as many steps as were asked for
            self.recipe_ = recipe_of(self.recipe_, cycles=min(self.recipe_.cycles, 1))
        require_batch(len(training), self.batch_size)
        self.preparations_ = {name: view.preparation for name, view in problem.modalities.items()}
        self.divisors_ = {name: input_scale(view, self.recipe_) for name, view in problem.modalities.items()}
        load = Loader(problem, self.divisors_, device, least=2 if self.recipe_.norm == "batch" else 1)
        width = widest(self.preparations_, self.recipe_)
        with on_threads(width), seeded(rng, device):
            self.network_ = network_of(self.preparations_, self.recipe_).to(device)
            self.network_.low_precision = width > SMALL and has_fast_bfloat16(device)
            require_ranks(join(device), self.recipe_)
            own_noise()
            fitted = fit(
                self.network_,
                draws(problem, units, training, self.recipe_, rng),
                load,
                {name: loss_target(view, self.divisors_[name], device) for name, view in problem.modalities.items()},
                self.recipe_,
                steps_per_epoch=max(1, len(training) // self.recipe_.batch_size),
                validation=load(Draw(units.cells(validation), None, {})) if len(validation) else None,
            )
            kernel_mixes = KernelMixes(self.network_, problem, self.divisors_) if self.recipe_.kernel_mix else None
            if kernel_mixes:
                kernel_mixes.choose(units.cells(training), units.cells(validation), rng)
        copy_from_first(self.network_)
        self.history_ = fitted.history.frame()
        judged = validation if len(validation) else training
        self.summary_ = {
            "cells": "validation" if len(validation) else "training",
            "best_step": fitted.best_step,
            "seconds": fitted.seconds,
            **summarise(self, mdata, problem, units, judged),
        }
        if kernel_mixes and len(validation):
            kernel_mixes.refit(units.cells(np.concatenate([training, validation])), rng)
        self.preparations_ = with_recovery(self, mdata, problem, units.cells(np.arange(len(units))))
        return self

    def embed(self, mdata: MuData, *, key_added: str = "jamie") -> dict[str, Array]:
        """Latents μ of every cell by modality, (n, g) each, of the modalities that both model and `mdata` have."""
        check_is_fitted(self)
        require_mudata(mdata)
        names = [name for name in self.preparations_ if name in mdata.mod]
        if not names:
            require_choice(next(iter(mdata.mod), ""), list(self.preparations_), name="modality")
        keys = Keys(key_added)
        return {name: self.encode(model_inputs(mdata, name, self.preparations_[name], keys), name) for name in names}

    def impute(
        self,
        mdata: MuData,
        *,
        source: str,
        target: str,
        features: Sequence[str] | None = None,
        key_added: str = "jamie",
    ) -> Array:
        """Features of `target` for every cell of `source`, in imputed units, as `translate` gives them, (n, d)."""
        inputs = self.prepared(mdata, source=source, target=target, key_added=key_added)
        return self.translate(inputs, source, target, self.columns(target, features))

    def prepared(self, mdata: MuData, *, source: str, target: str, key_added: str = "jamie") -> Array:
        """Prepared inputs of every cell of `source`, (n, k), from which `translate` imputes the `target`."""
        check_is_fitted(self)
        require_mudata(mdata)
        for name, value in (("source", source), ("target", target)):
            require_choice(value, list(self.preparations_), name=name)
        require_choice(source, list(mdata.mod), name="source")
        return model_inputs(mdata, source, self.preparations_[source], Keys(key_added))

    def reconstruct(self, mdata: MuData, *, modality: str) -> Array:
        """Denoised features of a modality from its own latents, in imputed units, (n, d)."""
        check_is_fitted(self)
        require_choice(modality, list(self.preparations_), name="modality")
        return self.impute(mdata, source=modality, target=modality)

    def columns(self, name: str, features: Sequence[str] | None) -> Array | slice:
        """Positions of named features in a modality of the model; all of them if `None`."""
        if features is None:
            return slice(None)
        known = {feature: i for i, feature in enumerate(self.preparations_[name].features)}
        return np.array([known[require_choice(f, known, name=f"features of {name!r}")] for f in features], dtype=int)

    def encode(self, inputs: Array, name: str) -> Array:
        """Latents μ of prepared inputs, (n, k) → (n, g)."""
        scale = self.divisors_[name]
        return by_rows(inputs, lambda x: self.network_.encode(name, x / scale)[0], self._device)

    def translate(self, inputs: Array, source: str, target: str, columns: Array | slice = slice(None)) -> Array:
        """Features of `target` from prepared inputs of `source`, in imputed units, (n, k) → (n, d).

        decode_target(μ_source), and the share of the kernel regression where there is one; what `impute` does with the
        cells of a MuData. `columns` are positions of features of `target`.
        """
        scale = self.divisors_[source]
        return by_rows(
            inputs,
            lambda x: self.network_.impute(source, target, x / scale),
            self._device,
            then=lambda scores, _: self._features(scores, target, columns),
        )

    def decode(
        self, latent: Array, name: str, columns: Array | slice = slice(None), *, correction: Array | None = None
    ) -> Array:
        """Features of a modality from latents, in imputed units, (n, g) → (n, d).

        `correction`, (n, k), is added to the decoded components.
        """
        added = np.zeros((len(latent), 1), dtype=np.float32) if correction is None else correction
        return by_rows(
            latent,
            lambda l: self.network_.decode(name, l),
            self._device,
            then=lambda scores, rows: self._features(scores + added[rows], name, columns),
        )

    def correction(self, inputs: Array, source: str, target: str) -> Array:
        """What the kernel regression changes in the decoded components of `target`, (n, k); 0 where there is none."""
        scale = self.divisors_[source]
        return by_rows(inputs, lambda x: self.network_.correction(source, target, x / scale), self._device)

    def regressed(self, inputs: Array, source: str, target: str, columns: Array | slice = slice(None)) -> Array:
        """Features of `target` by the kernel regression alone, in imputed units, (n, k) → (n, d)."""
        scale, kernel_mix = self.divisors_[source], self.network_.kernel_mix(source, target)
        if kernel_mix is None:
            msg = f"expected a kernel regression from {source!r} to {target!r}, found none; take recipe='default'"
            raise InvalidValueError(msg)
        return self._features(by_rows(inputs, lambda x: kernel_mix.predict(x / scale), self._device), target, columns)

    @torch.inference_mode()
    def aggregate(self, latents: Mapping[str, Array], known: Mapping[Pair, sparse.csr_matrix]) -> dict[str, Array]:
        """Latents after corresponding cells have met (eq. 3), on sparse correspondence."""
        weights = {name: weight.cpu() for name, weight in self.network_.weights.items()}
        tensors = {name: torch.from_numpy(l) for name, l in latents.items()}
        mixed = aggregate(tensors, {pair: to_torch(f) for pair, f in known.items()}, weights)
        return {name: m.numpy() for name, m in mixed.items()}

    def save(self, path: str | Path) -> None:
        """Write the model to one file: tensors and JSON, no pickle."""
        _persist.save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path, *, device: str = "auto") -> JAMIE:
        """Read a model that `save` wrote."""
        return _persist.load(cls, Path(path), device=device)

    def _features(self, scores: Array, name: str, columns: Array | slice) -> Array:
        return self.preparations_[name].inverse(scores * self.divisors_[name], columns).astype(np.float32, copy=False)

    @property
    def _device(self) -> torch.device:
        return self.network_.log_weights.device

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")
